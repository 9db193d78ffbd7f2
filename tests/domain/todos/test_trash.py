"""The trash: what is deleted is out of sight, until it is restored or removed for good."""

from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from litestar import Litestar

from tests.domain.todos.verbs import chain, discard, get, listed, move, put_next_to, restore, titles
from tests.domain.todos.walls import OneTodo
from tests.factories import new_user_id, todo_rows
from tests.support import Client, assert_problem, mistakes

NOT_IN_IT = "The todo is not in the trash"


class TestRestore(OneTodo):
    method: ClassVar = "POST"
    action: ClassVar = "restore"

    async def test_restored_todo_is_unchanged(self, alice: Client) -> None:
        todo = await alice.create(description="d", tags=["a"], completed=True, priority="high")
        await discard(alice, todo)
        response = await self.ask(alice, todo)
        back = response.json()
        assert back == todo | {"version": 3, "updated_at": back["updated_at"]}
        assert response.headers["etag"] == '"3"'
        assert await get(alice, todo) == back

    async def test_restore_of_a_live_todo_is_409(self, alice: Client) -> None:
        todo = await alice.create()
        assert_problem(await self.ask(alice, todo), 409, NOT_IN_IT)
        await discard(alice, todo)
        await self.ask(alice, todo)
        assert_problem(await self.ask(alice, todo), 409, NOT_IN_IT)

    async def test_restore_of_a_permanently_deleted_todo_is_404(self, alice: Client) -> None:
        todo = await alice.create()
        await discard(alice, todo, permanent="true")
        assert_problem(await self.ask(alice, todo), 404)

    async def test_restore_checks_if_match(self, app: Litestar, alice: Client) -> None:
        todo = await alice.create()
        await discard(alice, todo)
        before = await todo_rows(app, alice.user_id)
        assert_problem(await self.ask(alice, todo, **{"If-Match": '"1"'}), 412)
        assert await todo_rows(app, alice.user_id) == before
        assert (await self.ask(alice, todo, **{"If-Match": '"2"'})).status_code == 200
        assert_problem(await self.ask(alice, todo, **{"If-Match": '"2"'}), 409, NOT_IN_IT)

    async def test_subtasks_deleted_together_are_restored_together(self, alice: Client) -> None:
        todos = await chain(alice, 5)
        await discard(alice, todos[1])
        assert await titles(alice) == ["Level 1"]
        await restore(alice, todos[1])
        assert [todo["parent_id"] for todo in await listed(alice, sort="title")] == [
            None,
            *(todo["id"] for todo in todos[:4]),
        ]

    async def test_subtasks_deleted_earlier_stay_deleted(self, alice: Client) -> None:
        top, middle, leaf = await chain(alice, 3)
        await discard(alice, leaf)
        await discard(alice, top)
        await restore(alice, top)
        assert await titles(alice) == ["Level 1", "Level 2"]
        assert (await restore(alice, leaf)).json()["parent_id"] == middle["id"]

    async def test_restored_without_its_trashed_parent(self, alice: Client) -> None:
        top, middle, leaf = await chain(alice, 3)
        await discard(alice, top)
        assert (await restore(alice, middle)).json()["parent_id"] is None
        assert (await get(alice, leaf))["parent_id"] == middle["id"]
        await restore(alice, top)
        assert (await get(alice, middle))["parent_id"] is None

    async def test_restored_without_a_parent_that_is_too_deep(self, alice: Client) -> None:
        parent, child, grandchild = await chain(alice, 3)
        deep = await chain(alice, 3)
        await discard(alice, child)
        await put_next_to(alice, parent, into=deep[2])
        assert (await restore(alice, child)).json()["parent_id"] is None
        assert (await get(alice, grandchild))["parent_id"] == child["id"]
        await discard(alice, grandchild)
        await put_next_to(alice, child, into=parent)
        await discard(alice, child)
        assert (await restore(alice, child)).json()["parent_id"] == parent["id"]
        assert (await restore(alice, grandchild)).json()["parent_id"] is None


class TestDiscard:
    async def test_subtree_is_deleted_together(self, app: Litestar, alice: Client) -> None:
        todos = await chain(alice, 4)
        await discard(alice, todos[1])
        rows = await todo_rows(app, alice.user_id)
        gone = [row for row in rows.values() if row["deleted_at"]]
        assert {str(row["id"]) for row in gone} == {todo["id"] for todo in todos[1:]}
        assert len({row["deleted_at"] for row in gone}) == 1
        assert {row["version"] for row in gone} == {2}

    async def test_permanent_delete_removes_the_trashed_subtree(self, app: Litestar, alice: Client) -> None:
        todos = await chain(alice, 4)
        await discard(alice, todos[3])
        assert (await discard(alice, todos[1], permanent="true")).status_code == 204
        assert {str(key) for key in await todo_rows(app, alice.user_id)} == {todos[0]["id"]}

    async def test_permanent_delete_from_the_trash(self, app: Litestar, alice: Client) -> None:
        todo = await alice.create()
        await discard(alice, todo)
        assert_problem(await discard(alice, todo), 404)
        assert (await discard(alice, todo, permanent="true")).status_code == 204
        assert await todo_rows(app, alice.user_id) == {}
        assert_problem(await discard(alice, todo, permanent="true"), 404)

    @pytest.mark.parametrize("permanent", ["", "yes", "none", "2"])
    async def test_permanent_parameter_is_a_bool(self, alice: Client, permanent: str) -> None:
        todo = await alice.create()
        assert list(mistakes(await discard(alice, todo, permanent=permanent))) == ["permanent"]
        assert await get(alice, todo) == todo

    async def test_another_users_trashed_todo_is_404(self, app: Litestar, alice: Client, bob: Client) -> None:
        todo = await alice.create()
        await discard(alice, todo)
        before = await todo_rows(app, alice.user_id)
        for query in ({}, {"permanent": "true"}):
            assert_problem(await discard(bob, todo, **query), 404)
        assert_problem(await restore(bob, todo), 404)
        assert await todo_rows(app, alice.user_id) == before


class TestOutOfSight:
    async def test_trashed_todo_is_404_but_for_restore_and_delete(self, app: Litestar, alice: Client) -> None:
        todo, other = await alice.create(), await alice.create()
        await discard(alice, todo)
        before = await todo_rows(app, alice.user_id)
        one = alice.todos(todo["id"])
        for method, action in (("GET", ""), ("PUT", ""), ("PATCH", ""), ("DELETE", "")):
            assert_problem(await alice.request(method, one + action, json={"title": "x"}), 404)
        for action in ("complete", "reopen", "toggle-complete"):
            assert_problem(await alice.post(f"{one}/{action}"), 404)
        assert_problem(await move(alice, todo, after=other), 404)
        assert_problem(await alice.patch(alice.path("tasks", todo["id"]), json={"title": "x"}), 404)
        assert_problem(await alice.get(alice.path("tasks", todo["id"])), 404)
        operations = [{"op": "update", "id": todo["id"], "data": {"title": "x"}}, {"op": "delete", "id": todo["id"]}]
        for operation in operations:
            assert_problem(await alice.post(alice.todos("batch"), json={"operations": [operation]}), 404)
        assert await todo_rows(app, alice.user_id) == before

    async def test_trashed_todo_is_not_counted(self, alice: Client) -> None:
        todo = await alice.create(title="word", tags=["a"], due_date="2020-01-01")
        await discard(alice, todo)
        for query in ({}, {"q": "word"}, {"tag": "a"}, {"due": "overdue"}, {"limit": 1, "offset": 1}):
            page = (await alice.get(alice.todos(), params=query)).json()
            assert (page["items"], page["total"]) == ([], 0)
        assert (await alice.get(alice.path("tags"))).json()["total"] == 0
        assert (await alice.get(alice.path("tasks"))).json() == []

    async def test_trash_has_all_filters(self, alice: Client) -> None:
        home = (await alice.post(alice.path("lists"), json={"name": "Home"})).json()
        todo = await alice.create(title="word", tags=["a"], due_date="2020-01-01", list_id=home["id"], priority="high")
        await alice.create(title="word", tags=["a"])
        await discard(alice, todo)
        shown = (await listed(alice, deleted="true"))[0]
        assert shown["deleted_at"] is not None
        for query in ({"q": "wor"}, {"tag": "a"}, {"due": "overdue"}, {"list_id": home["id"]}, {"priority": "high"}):
            assert await listed(alice, deleted="true", **query) == [shown]
        for query in ({"q": "sword"}, {"tag": "b"}, {"due": "none"}, {"list_id": "none"}, {"completed": "true"}):
            assert await listed(alice, deleted="true", **query) == []
        assert await titles(alice) == await titles(alice, deleted="false") == ["word"]


class Model:
    """The rules of the trash and of subtasks, in plain Python."""

    def __init__(self) -> None:
        self.parents: dict[str, str | None] = {}
        self.gone: dict[str, int] = {}  # when
        self.clock = 0

    def below(self, key: str) -> list[str]:
        """Give a todo and all that lie below it."""
        return [key, *(found for child, above in self.parents.items() if above == key for found in self.below(child))]

    def live_height(self, key: str) -> int:
        children = [child for child, above in self.parents.items() if above == key and child not in self.gone]
        return 1 + max(map(self.live_height, children), default=0)

    def depth(self, key: str | None) -> int:
        return 0 if key is None else 1 + self.depth(self.parents[key])

    def fits(self, key: str, parent: str | None) -> bool:
        if parent is None:
            return True
        return (
            parent not in self.gone
            and parent not in self.below(key)
            and self.depth(parent) + self.live_height(key) <= 5
        )

    def discard(self, key: str) -> int:
        if key in self.gone:
            return 404
        self.clock += 1
        self.gone |= {found: self.clock for found in self.below(key) if found not in self.gone}
        return 204

    def remove(self, key: str) -> int:
        for found in self.below(key):
            del self.parents[found]
            self.gone.pop(found, None)
        return 204

    def restore(self, key: str) -> int:
        if key not in self.gone:
            return 409
        moment, back = self.gone[key], [key]
        for found in back:
            back += [
                child for child, above in self.parents.items() if above == found and self.gone.get(child) == moment
            ]
        for found in back:
            del self.gone[found]
        if not self.fits(key, self.parents[key]):
            self.parents[key] = None
        return 200

    def put_below(self, key: str, parent: str | None) -> int:
        if key in self.gone:
            return 404
        if not self.fits(key, parent):
            return 422
        self.parents[key] = parent
        return 200


changes = st.lists(
    st.tuples(
        st.sampled_from(["create", "create", "into", "parent", "top", "discard", "restore", "restore", "remove"]),
        st.integers(0, 30),
        st.integers(0, 30),
    ),
    min_size=10,
    max_size=50,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=changes)
async def test_tree_equals_the_model(app: Litestar, client_of: Any, changes: list[tuple[str, int, int]]) -> None:
    client, model = client_of(new_user_id()), Model()
    for change, first, second in [("create", 0, 99)] * 3 + changes:
        keys = list(model.parents)
        if change == "create" or not keys:
            parent = keys[second] if second < len(keys) else None
            response = await client.post(client.todos(), json={"title": "x", "parent_id": parent})
            allowed = parent is None or (parent not in model.gone and model.depth(parent) < 5)
            assert response.status_code == (201 if allowed else 422)
            if allowed:
                model.parents[response.json()["id"]] = parent
            continue
        key, other = keys[first % len(keys)], keys[second % len(keys)]
        one = client.todos(key)
        if change == "discard":
            assert (await client.delete(one)).status_code == model.discard(key)
        elif change == "remove":
            assert (await client.delete(one, params={"permanent": "true"})).status_code == model.remove(key)
        elif change == "restore":
            assert (await client.post(f"{one}/restore")).status_code == model.restore(key)
        elif change == "into":
            assert (await client.post(f"{one}/move", json={"into": other})).status_code == model.put_below(key, other)
        else:
            parent = other if change == "parent" else None
            assert (await client.patch(one, json={"parent_id": parent})).status_code == model.put_below(key, parent)
    rows = await todo_rows(app, client.user_id)
    assert {str(row["id"]): row["parent_id"] and str(row["parent_id"]) for row in rows.values()} == model.parents
    assert {str(row["id"]) for row in rows.values() if row["deleted_at"]} == model.gone.keys()
