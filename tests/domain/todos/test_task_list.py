"""GET /api/{user_id}/tasks."""

from datetime import date, timedelta
from typing import Any, ClassVar

import httpx
import pytest
from litestar import Litestar

from app.domain.todos.tasks.services import TaskService
from tests.domain.todos.tasks.dialect import as_task, tasks
from tests.domain.todos.test_list import NOON, put_in
from tests.support import Client, JsonObject, assert_problem, mistakes


async def titles(client: Client, **parameters: Any) -> list[str]:
    response = await client.get(tasks(client), params=parameters)
    assert response.status_code == 200, response.text
    found = response.json()
    assert response.headers["x-total-count"] == str(len(found))
    return [task["title"] for task in found]


class TestListTasks:
    async def test_request_without_token_is_401(self, anonymous: httpx.AsyncClient, alice: Client) -> None:
        assert_problem(await anonymous.get(tasks(alice)), 401, "Missing authentication token")

    async def test_path_of_another_user_is_403(self, alice: Client, bob: Client) -> None:
        await alice.create()
        for parameters in (None, {"limit": 0}, {"nope": 1}):
            response = await bob.get(tasks(alice), params=parameters)
            assert_problem(response, 403)
            assert "x-total-count" not in response.headers

    async def test_list_shows_no_row_of_another_user(self, alice: Client, bob: Client) -> None:
        mine, theirs = await alice.create(title="shared a"), await bob.create(title="shared b")
        everything: tuple[dict[str, str | int], ...] = (
            {},
            {"search": "shared"},
            {"status": "pending"},
            {"sort": "title"},
            {"limit": 9},
            {"offset": 0},
        )
        for parameters in everything:
            for client, todo in ((alice, mine), (bob, theirs)):
                response = await client.get(tasks(client), params=parameters)
                assert (response.json(), response.headers["x-total-count"]) == ([as_task(todo)], "1")
        assert (await bob.get(tasks(bob), params={"offset": 1})).headers["x-total-count"] == "1"

    async def test_list_of_a_new_user_is_an_empty_array(self, alice: Client) -> None:
        response = await alice.get(tasks(alice))
        assert (response.content, response.headers["x-total-count"]) == (b"[]", "0")
        assert "etag" not in response.headers

    async def test_task_list_equals_the_todos_newest_first(self, alice: Client) -> None:
        await alice.create(tags=["a"], due_at="2026-03-01T12:00:00Z")
        await alice.post(tasks(alice), json={"title": "x", "due_date": "2026-03-01"})
        await alice.create(completed=True, priority="low")
        todos = (await alice.get(alice.todos())).json()["items"]
        assert (await alice.get(tasks(alice))).json() == [as_task(todo) for todo in todos]
        assert [todo["created_at"] for todo in todos] == sorted((todo["created_at"] for todo in todos), reverse=True)

    async def test_task_list_without_limit_is_complete(self, app: Litestar, alice: Client) -> None:
        await put_in(app, alice, [{"title": str(number)} for number in range(1500)])
        assert await titles(alice) == [str(number) for number in reversed(range(1500))]

    async def test_task_list_is_one_scoped_statement(self) -> None:
        build = TaskService.statements
        for key in TaskService.sorts:
            where = str(build.page(tuple(TaskService.filters), ((key, True),))).split("WHERE", 1)[1]
            assert where.count("app.todos.user_id = :owner AND") == 2  # of the rows, and of their number


class TestStretches:
    @pytest.fixture
    async def client(self, app: Litestar, alice: Client) -> Client:
        await put_in(app, alice, [{"title": str(number)} for number in range(7)])
        return alice

    @pytest.mark.parametrize(
        ("limit", "offset", "expected"),
        [(2, None, "65"), (2, 3, "32"), (None, 5, "10"), (100, 0, "6543210"), (5, 6, "0"), (1, 7, ""), (None, 99, "")],
    )
    async def test_limit_and_offset_bounds(
        self, client: Client, limit: int | None, offset: int | None, expected: str
    ) -> None:
        given = {"limit": limit, "offset": offset}
        params = {name: value for name, value in given.items() if value is not None}
        response = await client.get(tasks(client), params=params)
        assert "".join(task["title"] for task in response.json()) == expected
        assert response.headers["x-total-count"] == "7"

    async def test_total_header_counts_matches(self, client: Client) -> None:
        response = await client.get(tasks(client), params={"search": "3", "limit": 1, "offset": 1})
        assert (response.json(), response.headers["x-total-count"]) == ([], "1")


class TestFilters:
    @pytest.fixture
    async def client(self, app: Litestar, alice: Client) -> Client:
        done = {"completed": True, "completed_at": NOON}
        await put_in(app, alice, [{"title": "open", "priority": "low"}, {"title": "done", "priority": "high"} | done])
        return alice

    @pytest.mark.parametrize(
        ("parameters", "expected"),
        [
            ({"status": "all"}, ["done", "open"]),
            ({"status": "pending"}, ["open"]),
            ({"status": "completed"}, ["done"]),
            ({"completed": "true"}, ["done"]),
            ({"completed": "false"}, ["open"]),
            ({"status": "all", "completed": "true"}, ["done"]),
            ({"status": "pending", "completed": "true"}, []),
            ({"priority": "low"}, ["open"]),
            ({"priority": ["low", "high"]}, ["done", "open"]),
            ({"priority": "medium"}, []),
            ({"priority": "high", "status": "completed", "search": "DON"}, ["done"]),
        ],
    )
    async def test_filters_are_combined(self, client: Client, parameters: dict[str, Any], expected: list[str]) -> None:
        assert await titles(client, **parameters) == expected


class TestSearch:
    async def test_search_reads_title_and_description(self, app: Litestar, alice: Client) -> None:
        rows = [{"title": "Milk"}, {"title": "b", "description": "buy MILK"}, {"title": "c", "description": "silk"}]
        await put_in(app, alice, rows)
        assert await titles(alice, search="milk") == await titles(alice, search="mILk") == ["b", "Milk"]
        assert await titles(alice, search="ilk") == ["c", "b", "Milk"]
        assert await titles(alice, search="milkb") == []
        assert await titles(alice, search="") == ["c", "b", "Milk"]

    async def test_search_folds_case_beyond_ascii(self, alice: Client) -> None:
        await alice.create(title="Épicerie ÜBER Жук")
        for text in ("épicerie", "über", "ЖУК", "picerie u", "U\u0308BER"):
            assert len(await titles(alice, search=text)) == 1

    @pytest.mark.parametrize("text", ["%", "_", "\\", "'", '"', "%_%", "\\%", "*", ".", "[a-z]", "&", "|", ":", "$1"])
    async def test_search_is_not_a_pattern(self, alice: Client, text: str) -> None:
        await alice.create(title="plain words", description="and more")
        assert await titles(alice, search=text) == []
        await alice.create(title=f"a{text}b")
        assert await titles(alice, search=text) == [f"a{text}b"]


class TestSort:
    ROWS: ClassVar[list[JsonObject]] = [
        {"title": "b", "priority": "high", "due_date": date(2026, 3, 2), "created_at": NOON},
        {"title": "a", "priority": "none", "due_at": NOON, "created_at": NOON + timedelta(hours=1)},
        {"title": "c", "priority": "medium", "created_at": NOON - timedelta(hours=1)},
    ]

    @pytest.fixture
    async def client(self, app: Litestar, alice: Client) -> Client:
        moments = {"b": 1, "a": 3, "c": 2}
        rows = [row | {"updated_at": NOON + timedelta(days=moments[row["title"]])} for row in self.ROWS]
        await put_in(app, alice, rows)
        return alice

    @pytest.mark.parametrize(
        ("sort", "bare", "ascending", "descending"),
        [
            ("created", "abc", "cba", "abc"),
            ("updated", "acb", "bca", "acb"),
            ("title", "abc", "abc", "cba"),
            ("due_date", "abc", "abc", "bac"),  # nulls last
            ("priority", "bca", "acb", "bca"),
        ],
    )
    async def test_sort_by_each_key_and_direction(
        self, client: Client, sort: str, bare: str, ascending: str, descending: str
    ) -> None:
        assert "".join(await titles(client, sort=sort)) == bare
        for direction, expected in (("asc", ascending), ("desc", descending)):
            assert "".join(await titles(client, sort=f"{sort}:{direction}")) == expected
            assert "".join(await titles(client, sort=sort, order=direction)) == expected
            assert "".join(await titles(client, sort=f"{sort}:{direction}", order=direction)) == expected

    async def test_order_without_sort_is_by_creation(self, client: Client) -> None:
        assert "".join(await titles(client, order="asc")) == "cba"
        assert "".join(await titles(client, order="desc")) == "abc"

    async def test_two_directions_are_refused(self, client: Client) -> None:
        response = await client.get(tasks(client), params={"sort": "title:asc", "order": "desc"})
        assert mistakes(response) == {"order": "Expected the direction that sort names, or none"}


class TestParameters:
    @pytest.mark.parametrize(
        ("name", "value"),
        [
            *(("status", value) for value in ("", "done", "open", "Completed", "true")),
            *(("completed", value) for value in ("", "yes", "2")),
            *(("priority", value) for value in ("", "urgent", "HIGH", "low,high", "all")),
            *(
                ("sort", value)
                for value in ("", "nope", "title:", "title:up", "Title", "-title", "user_id", "title,created")
            ),
            *(("order", value) for value in ("", "ASC", "up")),
            *(("limit", value) for value in ("", "0", "-1", "101", "x", "1.0")),
            *(("offset", value) for value in ("", "-1", "x", str(2**31))),
            ("search", "a\x00"),
        ],
    )
    async def test_invalid_parameters_are_reported(self, alice: Client, name: str, value: str) -> None:
        assert mistakes(await alice.get(tasks(alice), params={name: value})).keys() == {name}

    @pytest.mark.parametrize("name", ["page", "cursor", "q", "tag", "due_before", "Status", "title", "user_id", "_"])
    async def test_unknown_parameters_are_reported(self, alice: Client, name: str) -> None:
        assert mistakes(await alice.get(tasks(alice), params={name: "1"})) == {name: "Unknown query parameter"}

    async def test_all_invalid_parameters_are_reported_at_once(self, alice: Client) -> None:
        wrong: dict[str, str | int] = {
            "limit": 0,
            "offset": "x",
            "status": "x",
            "sort": "x",
            "order": "x",
            "priority": "x",
            "nope": 1,
        }
        assert mistakes(await alice.get(tasks(alice), params=wrong)).keys() == wrong.keys()
