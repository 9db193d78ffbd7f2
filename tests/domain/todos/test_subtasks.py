"""`parent_id`: todos below todos, without cycles, at most five levels deep."""

import asyncio
from typing import Any

import pytest
from litestar import Litestar

from tests.domain.todos.verbs import chain, discard, get, listed, move, restore, titles
from tests.factories import todo_rows
from tests.support import Client, mistakes

AN_ID = "0198c2f0-0000-7000-8000-000000000000"
NO_PARENT = "Expected the id of another of your todos, outside the trash"
TOO_DEEP = "Expected at most 5 levels of todos"
OWN = "Expected none of its own subtasks, nor itself"


async def set_parent(client: Client, todo: dict[str, Any], parent: Any, method: str = "PATCH") -> Any:
    parent_id = parent["id"] if isinstance(parent, dict) and parent else parent
    return await client.request(method, client.todos(todo["id"]), json={"title": todo["title"], "parent_id": parent_id})


async def assert_sound(app: Litestar, client: Client) -> None:
    """Assert that there is no cycle, no sixth level outside the trash, and no live todo below one in the trash."""
    rows = await todo_rows(app, client.user_id)
    for row in rows.values():
        above, depth = row, 1
        while above["parent_id"] is not None:
            parent = rows[above["parent_id"]]
            assert above["deleted_at"] is not None or parent["deleted_at"] is None
            above, depth = parent, depth + 1
            assert depth <= len(rows), "a cycle"
        assert depth <= 5 or row["deleted_at"] is not None


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
class TestParents:
    async def write(self, client: Client, method: str, parent: Any) -> Any:
        todo = await client.create()
        if method == "POST":
            return await client.post(client.todos(), json={"title": "x", "parent_id": parent})
        return await set_parent(client, todo, parent, method)

    async def test_valid_parents_are_accepted(self, alice: Client, method: str) -> None:
        parent = await alice.create()
        response = await self.write(alice, method, parent["id"])
        assert response.is_success
        assert response.json()["parent_id"] == parent["id"]
        assert [todo["id"] for todo in await listed(alice, parent_id=parent["id"])] == [response.json()["id"]]

    @pytest.mark.parametrize("value", ["", "x", 1, [], {}, True, AN_ID[1:], "\x00"])
    async def test_parent_must_be_an_id(self, alice: Client, method: str, value: Any) -> None:
        assert list(mistakes(await self.write(alice, method, value))) == ["/parent_id"]

    async def test_parent_must_be_an_own_todo(self, app: Litestar, alice: Client, bob: Client, method: str) -> None:
        foreign, gone = await bob.create(), await alice.create()
        await discard(alice, gone)
        for parent in (foreign["id"], gone["id"], AN_ID):
            assert mistakes(await self.write(alice, method, parent)) == {"/parent_id": NO_PARENT}
        assert all(row["parent_id"] is None for row in (await todo_rows(app, alice.user_id)).values())

    async def test_sixth_level_is_refused(self, alice: Client, method: str) -> None:
        todos = await chain(alice, 5)
        assert mistakes(await self.write(alice, method, todos[4]["id"])) == {"/parent_id": TOO_DEEP}
        assert (await self.write(alice, method, todos[3]["id"])).is_success


class TestReparenting:
    @pytest.mark.parametrize("method", ["PUT", "PATCH"])
    async def test_todo_below_itself_is_refused(self, app: Litestar, alice: Client, method: str) -> None:
        todos = await chain(alice, 4)
        for below in todos:
            assert mistakes(await set_parent(alice, todos[0], below, method)) == {"/parent_id": OWN}
        await assert_sound(app, alice)

    async def test_reparented_subtree_must_fit_the_depth(self, alice: Client) -> None:
        deep, tall = await chain(alice, 3), await chain(alice, 3)
        assert mistakes(await set_parent(alice, tall[0], deep[2])) == {"/parent_id": TOO_DEEP}
        assert (await set_parent(alice, tall[0], deep[1])).status_code == 200

    async def test_trashed_subtasks_do_not_count_for_the_depth(self, alice: Client) -> None:
        deep, tall = await chain(alice, 4), await chain(alice, 2)
        await discard(alice, tall[1])
        assert (await set_parent(alice, tall[0], deep[3])).status_code == 200

    async def test_null_parent_moves_to_the_top_level(self, alice: Client) -> None:
        todos = await chain(alice, 3)
        assert (await set_parent(alice, todos[1], None)).json()["parent_id"] is None
        assert (await get(alice, todos[2]))["parent_id"] == todos[1]["id"]
        assert (await set_parent(alice, todos[0], todos[2])).status_code == 200

    async def test_put_without_parent_removes_it(self, alice: Client) -> None:
        todos = await chain(alice, 2)
        response = await alice.put(alice.todos(todos[1]["id"]), json={"title": "x"})
        assert response.json()["parent_id"] is None

    async def test_missing_row_is_404_before_an_invalid_parent(self, alice: Client, bob: Client) -> None:
        foreign = await bob.create()
        for parent in (await alice.create(), AN_ID):
            assert (await set_parent(alice, foreign, parent)).status_code == 404

    async def test_stale_if_match_is_412_and_changes_nothing(self, alice: Client) -> None:
        todo, parent = await alice.create(), await alice.create()
        response = await alice.patch(
            alice.todos(todo["id"]), json={"parent_id": parent["id"]}, headers={"If-Match": '"2"'}
        )
        assert response.status_code == 412
        assert await get(alice, todo) == todo

    async def test_reparented_todo_keeps_its_list(self, alice: Client) -> None:
        """Subtasks have a list and a position of their own."""
        home = (await alice.post(alice.path("lists"), json={"name": "Home"})).json()
        parent, todo = await alice.create(list_id=home["id"]), await alice.create()
        moved = (await set_parent(alice, todo, parent)).json()
        assert (moved["list_id"], moved["position"]) == (None, todo["position"])


class TestFilter:
    async def test_filter_by_parent(self, alice: Client, bob: Client) -> None:
        todos = await chain(alice, 3)
        foreign = await chain(bob, 2)
        assert await titles(alice, parent_id="none") == ["Level 1"]
        assert await titles(alice, parent_id=todos[0]["id"]) == ["Level 2"]
        for parent in (todos[2]["id"], foreign[0]["id"], AN_ID):
            assert await titles(alice, parent_id=parent) == []
        assert mistakes(await alice.get(alice.todos(), params={"parent_id": "null"})) == {
            "parent_id": "Expected an id, or none"
        }


class TestAtOnce:
    async def test_concurrent_reparenting_below_each_other(self, app: Litestar, alice: Client) -> None:
        for _ in range(10):
            one, other = await alice.create(), await alice.create()
            answers = await asyncio.gather(set_parent(alice, one, other), move(alice, other, into=one))
            assert sorted(answer.status_code for answer in answers) == [200, 422]
        await assert_sound(app, alice)

    async def test_concurrent_reparenting_makes_no_cycle(self, app: Litestar, alice: Client) -> None:
        todos = [await alice.create(title=str(number)) for number in range(20)]
        pairs = zip(todos, [*todos[1:], todos[0]], strict=True)
        answers = await asyncio.gather(*(set_parent(alice, one, other) for one, other in pairs))
        assert {answer.status_code for answer in answers} == {200, 422}
        await assert_sound(app, alice)

    async def test_concurrent_reparenting_keeps_the_depth(self, app: Litestar, alice: Client) -> None:
        chains = [await chain(alice, 2) for _ in range(10)]
        ends = zip(chains, [*chains[1:], chains[0]], strict=True)
        answers = await asyncio.gather(*(set_parent(alice, one[0], other[1]) for one, other in ends))
        assert {answer.status_code for answer in answers} == {200, 422}
        await assert_sound(app, alice)

    async def test_deletion_races_with_new_subtasks(self, app: Litestar, alice: Client) -> None:
        for permanent in ("false", "true"):
            top, parent = await chain(alice, 2)
            others = [await alice.create() for _ in range(6)]
            calls = [
                *(alice.post(alice.todos(), json={"title": "new", "parent_id": parent["id"]}) for _ in range(6)),
                *(set_parent(alice, todo, parent) for todo in others[:3]),
                *(move(alice, todo, into=parent) for todo in others[3:]),
            ]
            calls.insert(5, discard(alice, top, permanent=permanent))
            answers = await asyncio.gather(*calls)
            assert answers.pop(5).status_code == 204
            assert {answer.status_code for answer in answers} <= {200, 201, 422}
            await assert_sound(app, alice)
            assert not [todo for todo in await listed(alice) if todo["parent_id"] == parent["id"]]

    async def test_restoration_races_with_deletions(self, app: Litestar, alice: Client) -> None:
        top, middle, leaf = await chain(alice, 3)
        await discard(alice, middle)
        calls = [restore(alice, middle), discard(alice, top), discard(alice, leaf), restore(alice, leaf)] * 3
        answers = await asyncio.gather(*calls)
        assert {answer.status_code for answer in answers} <= {200, 204, 404, 409}
        await assert_sound(app, alice)
