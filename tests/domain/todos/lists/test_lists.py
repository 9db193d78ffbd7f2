"""`/api/{user_id}/lists`."""

import asyncio
from collections.abc import Iterable, Iterator
from typing import Any, ClassVar

import pytest
from litestar import Litestar

from app.lib.persistence.fractional_index import MAX_POSITION
from tests.domain.todos.verbs import discard, get, listed, new_list, restore, titles
from tests.domain.todos.walls import Collection, OneList
from tests.factories import insert_todos, todo_row, todo_rows
from tests.support import Client, assert_problem, mistakes

AN_ID = "0198c2f0-0000-7000-8000-000000000000"
TAKEN = "There is a list with this name"

VALID = [
    ("name", "x", "x"),
    ("name", "x" * 100, "x" * 100),
    ("name", f"  {'\N{PILE OF POO}' * 100}\n", "\N{PILE OF POO}" * 100),
    ("color", None, None),
    ("color", "#a1b2c3", "#a1b2c3"),
    ("color", "#A1B2C3", "#a1b2c3"),
]


def each(field: str, values: Iterable[Any]) -> Iterator[tuple[str, Any]]:
    return ((field, value) for value in values)


INVALID: list[tuple[str, Any]] = [
    *each("name", (None, "", " \t", "x" * 101, 1, True, ["x"], "a\x00")),
    *each("color", ("", "red", "#fff", "#a1b2c3d4", "a1b2c3", "#g1b2c3", "#a1b2c3\n", 1, [], "#a1b2c\x00")),
]


async def lists(client: Client, **query: Any) -> list[str]:
    """Give the names of the lists."""
    return [item["name"] for item in (await client.get(client.path("lists"), params=query)).json()["items"]]


async def move_list(client: Client, one: dict[str, Any], **where: Any) -> Any:
    body = {side: other["id"] if isinstance(other, dict) else other for side, other in where.items()}
    return await client.post(client.path("lists", one["id"], "move"), json=body)


class TestListLists(Collection):
    method: ClassVar = "GET"
    collection: ClassVar = "lists"

    async def test_new_user_has_no_lists(self, alice: Client) -> None:
        page = (await alice.get(alice.path("lists"))).json()
        assert page == {"items": [], "total": 0, "limit": 20, "offset": 0, "next_cursor": None}

    async def test_lists_are_sorted_by_position(self, alice: Client, bob: Client) -> None:
        for name in ("b", "c", "a"):
            await new_list(alice, name)
        await new_list(bob, "theirs")
        assert await lists(alice) == ["b", "c", "a"]
        assert await lists(alice, sort="name:desc") == ["c", "b", "a"]
        assert await lists(alice, sort="created_at:desc,position") == ["a", "c", "b"]
        assert await lists(alice, limit=1, offset=1) == ["c"]

    @pytest.mark.parametrize("sort", ["position", "position:desc", "name", "updated_at:desc,name"])
    async def test_cursor_pages_give_the_same_lists(self, alice: Client, sort: str) -> None:
        for number in range(7):
            await new_list(alice, f"l{number * 3 % 7}")
        whole, seen = await lists(alice, sort=sort), []
        response = await alice.get(alice.path("lists"), params={"sort": sort, "limit": 2})
        seen += response.json()["items"]
        while "link" in response.headers:
            response = await alice.get(response.links["next"]["url"])
            seen += response.json()["items"]
        assert [item["name"] for item in seen] == whole

    @pytest.mark.parametrize("query", ["sort=color", "sort=rank", "q=a", "deleted=true", "limit=0", "cursor=x"])
    async def test_unknown_list_parameters_are_refused(self, alice: Client, query: str) -> None:
        assert list(mistakes(await alice.get(f"{alice.path('lists')}?{query}"))) == [query.partition("=")[0]]


class TestCreateList(Collection):
    method: ClassVar = "POST"
    collection: ClassVar = "lists"
    body: ClassVar = {"name": "Home"}

    @pytest.mark.parametrize(("name", "sent", "kept"), VALID)
    async def test_valid_list_values_are_accepted(self, alice: Client, name: str, sent: Any, kept: Any) -> None:
        response = await alice.post(alice.path("lists"), json={"name": "n"} | {name: sent})
        assert response.status_code == 201
        made = response.json()
        assert made[name] == kept
        assert (made["user_id"], made["version"]) == (alice.user_id, 1)
        assert response.headers["location"] == alice.path("lists", made["id"])
        assert (await alice.get(response.headers["location"])).json() == made

    @pytest.mark.parametrize(("name", "sent"), INVALID)
    async def test_invalid_values_in_create_are_refused(self, alice: Client, name: str, sent: Any) -> None:
        response = await alice.post(alice.path("lists"), json={"name": "n"} | {name: sent})
        assert list(mistakes(response)) == [f"/{name}"]
        assert await lists(alice) == []

    async def test_all_errors_are_reported_at_once(self, alice: Client) -> None:
        body = {"name": " ", "color": "red", "position": "V", "id": AN_ID}
        assert mistakes(await alice.post(alice.path("lists"), json=body)).keys() == {
            "/name",
            "/color",
            "/position",
            "/id",
        }

    async def test_list_name_is_unique_per_user(self, alice: Client, bob: Client) -> None:
        await new_list(alice, "Home")
        assert_problem(await alice.post(alice.path("lists"), json={"name": " Home "}), 409, TAKEN)
        for same in ("home", "HOME", "h\u00d6me", "Ho\u0308me"):
            status = 201 if same == "h\u00d6me" else 409
            assert (await alice.post(alice.path("lists"), json={"name": same})).status_code == status
        await new_list(alice, "home 2")
        await new_list(bob, "Home")

    async def test_concurrent_creations_of_one_name_create_one_list(self, alice: Client) -> None:
        calls = (alice.post(alice.path("lists"), json={"name": "Home"}) for _ in range(20))
        assert sorted(answer.status_code for answer in await asyncio.gather(*calls)) == [201] + [409] * 19


class TestGetList(OneList):
    method: ClassVar = "GET"

    async def test_get_list_has_an_etag(self, alice: Client) -> None:
        made = await new_list(alice)
        response = await self.ask(alice, made)
        assert (response.json(), response.headers["etag"]) == (made, '"1"')
        assert (await self.ask(alice, made, **{"If-None-Match": '"1"'})).status_code == 304


class TestReplaceList(OneList):
    method: ClassVar = "PUT"
    body: ClassVar = {"name": "Work"}

    async def test_put_list_resets_missing_fields(self, alice: Client) -> None:
        made = await new_list(alice, color="#000000")
        changed = (await self.ask(alice, made)).json()
        assert changed == made | {"name": "Work", "color": None, "version": 2, "updated_at": changed["updated_at"]}

    async def test_stale_if_match_is_412(self, alice: Client) -> None:
        made = await new_list(alice)
        assert_problem(await self.ask(alice, made, **{"If-Match": '"2"'}), 412)
        assert await lists(alice) == ["Home"]


class TestUpdateList(OneList):
    method: ClassVar = "PATCH"
    body: ClassVar = {"color": "#ABCDEF"}

    async def test_patch_list_keeps_missing_fields(self, alice: Client) -> None:
        made = await new_list(alice)
        changed = (await self.ask(alice, made)).json()
        assert changed == made | {"color": "#abcdef", "version": 2, "updated_at": changed["updated_at"]}

    @pytest.mark.parametrize(("name", "sent"), INVALID)
    async def test_invalid_values_in_patch_are_refused(self, alice: Client, name: str, sent: Any) -> None:
        made = await new_list(alice)
        response = await alice.patch(alice.path("lists", made["id"]), json={name: sent})
        assert list(mistakes(response)) == [f"/{name}"]

    async def test_taken_list_name_is_409(self, alice: Client) -> None:
        await new_list(alice, "Home")
        work = await new_list(alice, "Work")
        assert_problem(await alice.patch(alice.path("lists", work["id"]), json={"name": "Home"}), 409, TAKEN)

    async def test_concurrent_renames_to_one_name_have_one_winner(self, alice: Client) -> None:
        made = [await new_list(alice, str(number)) for number in range(10)]
        calls = (alice.patch(alice.path("lists", item["id"]), json={"name": "Home"}) for item in made)
        assert sorted(answer.status_code for answer in await asyncio.gather(*calls)) == [200] + [409] * 9


class TestMoveList(OneList):
    method: ClassVar = "POST"
    action: ClassVar = "move"
    body: ClassVar = {"after": AN_ID}

    @pytest.mark.parametrize(
        ("moved", "side", "other", "order"),
        [(2, "before", 0, "cab"), (0, "after", 1, "bac"), (0, "after", 2, "bca"), (1, "before", 1, None)],
    )
    async def test_moved_list_is_next_to_the_other(
        self, alice: Client, moved: int, side: str, other: int, order: str | None
    ) -> None:
        made = [await new_list(alice, name) for name in "abc"]
        response = await move_list(alice, made[moved], **{side: made[other]})
        if order is None:
            assert list(mistakes(response)) == [f"/{side}"]
        else:
            assert (response.status_code, response.headers["etag"]) == (200, '"2"')
            assert await lists(alice) == list(order)

    @pytest.mark.parametrize("body", [{}, {"into": AN_ID}, {"before": AN_ID, "after": AN_ID}, {"before": None}])
    async def test_invalid_move_is_refused(self, alice: Client, body: dict[str, Any]) -> None:
        made = await new_list(alice)
        mistakes(await alice.post(alice.path("lists", made["id"], "move"), json=body))

    async def test_move_next_to_another_users_list_is_refused(self, alice: Client, bob: Client) -> None:
        made, foreign = await new_list(alice), await new_list(bob)
        todo = await alice.create()
        for other in (foreign, AN_ID, todo):
            assert list(mistakes(await move_list(alice, made, before=other))) == ["/before"]

    async def test_stale_if_match_is_412(self, alice: Client) -> None:
        made = [await new_list(alice, name) for name in "ab"]
        path, body = alice.path("lists", made[1]["id"], "move"), {"before": made[0]["id"]}
        assert_problem(await alice.post(path, json=body, headers={"If-Match": '"3"'}), 412)
        assert await lists(alice) == ["a", "b"]

    async def test_concurrent_list_moves_all_succeed(self, alice: Client) -> None:
        first, *others = [await new_list(alice, str(number)) for number in range(11)]
        answers = await asyncio.gather(*(move_list(alice, other, before=first) for other in others))
        assert {answer.status_code for answer in answers} == {200}
        assert (await lists(alice))[-1] == "0"
        positions = [answer.json()["position"] for answer in answers]
        assert len(set(positions)) == 10
        assert max(map(len, positions)) <= MAX_POSITION


class TestDeleteList(OneList):
    method: ClassVar = "DELETE"

    async def test_delete_is_204_without_content(self, alice: Client) -> None:
        made = await new_list(alice)
        response = await self.ask(alice, made)
        assert (response.status_code, response.content) == (204, b"")
        assert_problem(await self.ask(alice, made), 404, "Not found")

    async def test_deleted_list_leaves_its_todos(self, alice: Client) -> None:
        home, work = await new_list(alice, "Home"), await new_list(alice, "Work")
        todo, other = await alice.create(list_id=home["id"]), await alice.create(list_id=work["id"])
        await self.ask(alice, home)
        freed = await get(alice, todo)
        assert freed == todo | {name: freed[name] for name in ("list_id", "position", "updated_at", "version")}
        assert (freed["list_id"], freed["version"]) == (None, 2)
        assert await get(alice, other) == other

    async def test_stale_delete_of_a_list_changes_no_todo(self, alice: Client) -> None:
        home = await new_list(alice)
        todo = await alice.create(list_id=home["id"])
        await alice.patch(alice.path("lists", home["id"]), json={"color": "#000000"})
        assert_problem(await self.ask(alice, home, **{"If-Match": '"1"'}), 412)
        assert await get(alice, todo) == todo

    async def test_todos_of_a_deleted_list_come_last_in_order(self, alice: Client) -> None:
        home = await new_list(alice)
        for title in "abc":
            await alice.create(title=title, list_id=home["id"])
        for title in "xy":
            await alice.create(title=title)
        await self.ask(alice, home)
        assert await titles(alice) == ["x", "y", "a", "b", "c"]
        await alice.create(title="z")
        assert await titles(alice) == ["x", "y", "a", "b", "c", "z"]

    async def test_list_with_longest_positions_can_be_deleted(self, app: Litestar, alice: Client) -> None:
        home = await new_list(alice)
        rows = [todo_row(alice.user_id, title=name, list_id=home["id"], position=name * MAX_POSITION) for name in "ba"]
        await insert_todos(app, rows)
        assert (await self.ask(alice, home)).status_code == 204
        assert await titles(alice, list_id="none") == ["a", "b"]

    async def test_trashed_todo_is_restored_without_its_deleted_list(self, alice: Client) -> None:
        home = await new_list(alice)
        todo = await alice.create(list_id=home["id"])
        await discard(alice, todo)
        await self.ask(alice, home)
        assert (await restore(alice, todo)).json()["list_id"] is None

    async def test_stale_if_match_is_412_and_changes_nothing(self, app: Litestar, alice: Client) -> None:
        home = await new_list(alice)
        await alice.create(list_id=home["id"])
        before = await todo_rows(app, alice.user_id)
        assert_problem(await self.ask(alice, home, **{"If-Match": '"2"'}), 412)
        assert await todo_rows(app, alice.user_id) == before
        assert (await self.ask(alice, home, **{"If-Match": '"1"'})).status_code == 204

    async def test_list_deletion_races_with_new_todos(self, alice: Client) -> None:
        """Each is in no list in the end; whoever came too late is told so, and each change has a version."""
        home = await new_list(alice)
        todos = [await alice.create(title="moved") for _ in range(8)]
        moves = [alice.patch(alice.todos(todo["id"]), json={"list_id": home["id"]}) for todo in todos]
        news = [alice.post(alice.todos(), json={"title": "new", "list_id": home["id"]}) for _ in range(8)]
        mixed = [call for pair in zip(moves, news, strict=True) for call in pair]
        mixed.insert(4, self.ask(alice, home))
        answers = await asyncio.gather(*mixed)
        assert answers.pop(4).status_code == 204
        assert {answer.status_code for answer in answers} <= {200, 201, 422}
        assert all("/list_id" in mistakes(answer) for answer in answers if answer.status_code == 422)
        came = {answer.json()["id"]: answer.json() for answer in answers if answer.status_code < 400}
        for todo in await listed(alice):
            assert todo["list_id"] is None
            if todo["id"] in came:
                assert todo["version"] == came[todo["id"]]["version"] + 1


class TestListsOfTodos:
    @pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
    async def test_list_of_another_user_is_refused(self, alice: Client, bob: Client, method: str) -> None:
        foreign, todo = await new_list(bob), await alice.create()
        path = alice.todos() if method == "POST" else alice.todos(todo["id"])
        for key in (foreign["id"], AN_ID, todo["id"]):
            found = mistakes(await alice.request(method, path, json={"title": "x", "list_id": key}))
            assert found == {"/list_id": "Expected the id of one of your lists"}
        assert await listed(alice) == [todo]

    async def test_todos_are_filtered_by_list(self, alice: Client, bob: Client) -> None:
        home, foreign = await new_list(alice), await new_list(bob)
        await alice.create(title="in", list_id=home["id"])
        await alice.create(title="out")
        await bob.create(title="theirs", list_id=foreign["id"])
        assert await titles(alice, list_id=home["id"]) == ["in"]
        assert await titles(alice, list_id="none") == ["out"]
        assert await titles(alice, list_id=foreign["id"]) == []
        assert mistakes(await alice.get(alice.todos(), params={"list_id": "x"})) == {
            "list_id": "Expected an id, or none"
        }
