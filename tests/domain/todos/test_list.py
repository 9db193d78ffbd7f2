"""GET /api/{user_id}/todos."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest
from litestar import Litestar

from tests.factories import insert_todos, todo_row
from tests.support import Client, assert_problem, json_object, mistakes

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
TICK = timedelta(microseconds=1)


async def put_in(app: Litestar, client: Client, rows: Sequence[dict[str, Any]]) -> None:
    """Insert rows with ids in their order; created at the same moment unless they say otherwise."""
    same = {"created_at": NOON, "updated_at": NOON}
    await insert_todos(
        app, [todo_row(client.user_id, id=UUID(int=number), **same | row) for number, row in enumerate(rows)]
    )


async def titles(client: Client, **parameters: Any) -> list[str]:
    response = await client.get(client.todos(), params=parameters)
    assert response.status_code == 200, response.text
    page = response.json()
    assert page["total"] == len(page["items"])
    return [item["title"] for item in page["items"]]


class TestListTodos:
    async def test_request_without_token_is_401(self, anonymous: httpx.AsyncClient, alice: Client) -> None:
        assert_problem(await anonymous.get(alice.todos()), 401, "Missing authentication token")

    async def test_path_of_another_user_is_403(self, alice: Client, bob: Client) -> None:
        await alice.create()
        for parameters in ({}, {"limit": 0}, {"nope": 1}):
            assert_problem(await bob.get(alice.todos(), params=parameters), 403)

    async def test_list_shows_no_row_of_another_user(self, alice: Client, bob: Client) -> None:
        mine = await alice.create(title="a", tags=["shared"])
        theirs = await bob.create(title="b", tags=["shared"])
        for parameters in (
            {},
            {"tag": "shared"},
            {"completed": False},
            {"sort": "title"},
            {"created_after": "2020-01-01"},
        ):
            for client, todo in ((alice, mine), (bob, theirs)):
                page = (await client.get(client.todos(), params=parameters)).json()
                assert (page["items"], page["total"]) == ([todo], 1)

    async def test_list_of_a_new_user_is_empty(self, alice: Client) -> None:
        page = (await alice.get(alice.todos())).json()
        assert page == {"items": [], "total": 0, "limit": 20, "offset": 0, "next_cursor": None}

    async def test_items_equal_the_single_reads(self, alice: Client) -> None:
        todo = await alice.create(description="d", tags=["a"], due_date="2026-03-01", completed=True)
        response = await alice.get(alice.todos())
        assert response.json()["items"] == [todo]
        assert "etag" not in response.headers

    async def test_default_order_is_newest_first(self, alice: Client) -> None:
        todos = [await alice.create() for _ in range(3)]
        assert (await alice.get(alice.todos())).json()["items"] == todos[::-1]

    async def test_list_shows_every_write(self, alice: Client) -> None:
        first, second = await alice.create(), await alice.create()
        await alice.delete(alice.todos(first["id"]))
        changed = (await alice.patch(alice.todos(second["id"]), json={"title": "new"})).json()
        assert (await alice.get(alice.todos())).json()["items"] == [changed]


class TestFilters:
    async def test_filter_by_completed(self, alice: Client) -> None:
        await alice.create(title="open")
        await alice.create(title="done", completed=True)
        assert await titles(alice, completed="true") == await titles(alice, completed="1") == ["done"]
        assert await titles(alice, completed="false") == await titles(alice, completed="0") == ["open"]

    async def test_filter_by_any_of_several_priorities(self, app: Litestar, alice: Client) -> None:
        await put_in(app, alice, [{"title": name, "priority": name} for name in ("none", "low", "medium", "high")])
        assert await titles(alice, priority="none") == ["none"]
        assert await titles(alice, priority=["high", "low"]) == ["high", "low"]
        assert await titles(alice, priority=["low", "low"]) == ["low"]
        assert len(await titles(alice, priority=["none", "low", "medium", "high"])) == 4

    async def test_filter_by_all_of_several_tags(self, app: Litestar, alice: Client) -> None:
        rows: tuple[list[str], ...] = ([], ["a"], ["b", "a"], ["a", "b", "c"], ["A"], ["a b"])
        await put_in(app, alice, [{"title": str(tags), "tags": tags} for tags in rows])
        assert len(await titles(alice, tag="a")) == 3
        assert await titles(alice, tag=["a", "b"]) == ["['a', 'b', 'c']", "['b', 'a']"]
        assert await titles(alice, tag=["c", "b", "c"]) == ["['a', 'b', 'c']"]
        assert await titles(alice, tag="a b") == ["['a b']"]
        assert await titles(alice, tag=["a", "z"]) == []

    @pytest.mark.parametrize("tag", ["%", "_", "", "*", "{a}", "a,b", "'", '"', "\\", "NULL", "null"])
    async def test_tag_filter_is_not_a_pattern(self, alice: Client, tag: str) -> None:
        await alice.create(title="other", tags=["a", "b", "ab"])
        if tag:
            await alice.create(title="this", tags=[tag])
        assert await titles(alice, tag=tag) == (["this"] if tag else [])

    @pytest.mark.parametrize(
        ("moment", "before", "after"),
        [
            ("2026-03-01T12:00:00Z", ["day", "early"], ["late", "next"]),
            ("2026-03-01T13:00:00+01:00", ["day", "early"], ["late", "next"]),
            ("2026-03-01T12:00:00.000001Z", ["day", "early", "noon"], ["next"]),
            ("2026-03-01T00:00:00Z", [], ["early", "late", "next", "noon"]),
            ("2026-03-01", [], ["early", "late", "next", "noon"]),
            ("2026-03-01T00:00:00.000001Z", ["day"], ["early", "late", "next", "noon"]),
            ("2026-03-02", ["day", "early", "late", "noon"], []),
            ("9999-12-31", ["day", "early", "late", "next", "noon"], []),
            ("0001-01-01", [], ["day", "early", "late", "next", "noon"]),
        ],
    )
    async def test_filter_by_due_date(
        self, app: Litestar, alice: Client, moment: str, before: list[str], after: list[str]
    ) -> None:
        instants = {"early": NOON - TICK, "noon": NOON, "late": NOON + TICK}
        days = {"day": date(2026, 3, 1), "next": date(2026, 3, 2)}
        rows = [{"title": title, "due_at": instant} for title, instant in instants.items()]
        rows += [{"title": title, "due_date": day} for title, day in days.items()]
        await put_in(app, alice, [*rows, {"title": "never"}])
        assert sorted(await titles(alice, due_before=moment)) == before
        assert sorted(await titles(alice, due_after=moment)) == after

    async def test_filter_by_created_and_updated(self, app: Litestar, alice: Client) -> None:
        moments = {"before": NOON - TICK, "at": NOON, "after": NOON + TICK}
        rows = [{"title": name, "created_at": at, "updated_at": at} for name, at in moments.items()]
        await put_in(app, alice, rows)
        for noon in ("2026-03-01T12:00:00Z", "2026-03-01T06:30:00-05:30"):
            assert await titles(alice, created_before=noon) == ["before"]
            assert await titles(alice, created_after=noon) == ["after"]
            assert await titles(alice, updated_after=noon) == ["after"]
        assert await titles(
            alice, created_after=(NOON - 2 * TICK).isoformat(), created_before="2026-03-01T12:00:00Z"
        ) == ["before"]
        assert len(await titles(alice, created_after="2026-03-01", created_before="2026-03-02")) == 3

    async def test_updated_after_finds_new_writes(self, alice: Client) -> None:
        first, second = await alice.create(title="first"), await alice.create(title="second")
        assert await titles(alice, updated_after=first["updated_at"]) == ["second"]
        await alice.post(alice.todos(first["id"], "complete"))
        assert await titles(alice, updated_after=second["updated_at"]) == ["first"]

    async def test_filters_are_combined(self, app: Litestar, alice: Client) -> None:
        done = {"completed": True, "completed_at": NOON}
        whole = {"tags": ["a"], "priority": "high", "due_at": NOON} | done
        rows = [{"title": "all"} | whole]
        rows += [
            {"title": f"not {name}"} | whole | {name: value}
            for name, value in (("tags", []), ("priority", "low"), ("due_at", None))
        ]
        rows += [{"title": "not completed"} | whole | {"completed": False, "completed_at": None}]
        await put_in(app, alice, rows)
        given = {"tag": "a", "priority": ["high", "none"], "due_before": "2026-03-02", "completed": True}
        assert await titles(alice, **given) == ["all"]
        assert await titles(alice, **given, due_after="2026-03-02") == []


class TestSort:
    ROWS = [
        {"title": "b", "due_at": NOON, "created_at": NOON, "updated_at": NOON + 3 * TICK, "priority": "low"},
        {"title": "a", "created_at": NOON + TICK, "updated_at": NOON + 2 * TICK, "priority": "high"},
        {
            "title": "B",
            "due_date": date(2026, 3, 2),
            "created_at": NOON + 3 * TICK,
            "completed": True,
            "completed_at": NOON,
        },
        {
            "title": "ä",
            "due_date": date(2026, 3, 1),
            "created_at": NOON + 2 * TICK,
            "updated_at": NOON + TICK,
            "priority": "medium",
        },
    ]

    @pytest.mark.parametrize(
        ("sort", "expected"),
        [
            ("title:asc", "Babä"),
            ("title:desc", "äbaB"),
            ("created_at:asc", "baäB"),
            ("created_at:desc", "Bäab"),
            ("updated_at:asc", "Bäab"),
            ("updated_at:desc", "baäB"),
            ("due_at:asc", "äbBa"),
            ("due_at:desc", "Bbäa"),  # what is never due comes last both ways
            ("priority:asc", "Bbäa"),
            ("priority:desc", "aäbB"),
            ("completed:asc", "baäB"),
            ("completed:desc", "Bäab"),
            ("completed,title", "abäB"),
            ("completed:desc,title:desc", "Bäba"),
        ],
    )
    async def test_sort_by_each_key_and_direction(self, app: Litestar, alice: Client, sort: str, expected: str) -> None:
        await put_in(app, alice, self.ROWS)
        assert "".join(await titles(alice, sort=sort)) == expected

    async def test_default_sort_is_newest_first(self, app: Litestar, alice: Client) -> None:
        await put_in(app, alice, self.ROWS)
        assert await titles(alice) == await titles(alice, sort="created_at:desc")

    async def test_ascending_is_the_default_direction(self, app: Litestar, alice: Client) -> None:
        await put_in(app, alice, self.ROWS)
        assert await titles(alice, sort="title") == await titles(alice, sort="title:asc")

    async def test_titles_sort_by_code_point(self, app: Litestar, alice: Client) -> None:
        words = [
            "z",
            "Z",
            "é",
            "e\u0301",
            "É",
            "1",
            "10",
            "9",
            " a",
            "-a",
            "a",
            "\U0001f600",
            "\uffff",
            "ß",
            "ss",
            "_",
            "a b",
            "ab",
        ]
        await put_in(app, alice, [{"title": word} for word in words])
        assert await titles(alice, sort="title") == sorted(words)
        assert await titles(alice, sort="title:desc") == sorted(words, reverse=True)

    async def test_id_breaks_ties_in_the_direction_of_the_last_key(self, app: Litestar, alice: Client) -> None:
        await put_in(app, alice, [{"title": title, "priority": "low"} for title in "abc"])
        for sort in ("priority", "priority:desc,completed", "due_at", "created_at"):
            assert "".join(await titles(alice, sort=sort)) == "abc"
        for sort in ("priority:desc", "priority,completed:desc", "due_at:desc", "created_at:desc"):
            assert "".join(await titles(alice, sort=sort)) == "cba"

    async def test_sort_by_all_keys_at_once(self, app: Litestar, alice: Client) -> None:
        await put_in(app, alice, self.ROWS)
        sort = "completed:desc,priority:desc,due_at,title,created_at:desc,updated_at"
        assert "".join(await titles(alice, sort=sort)) == "Baäb"


class TestPages:
    async def pages(self, client: Client, **parameters: Any) -> dict[str, Any]:
        return json_object(await client.get(client.todos(), params=parameters))

    async def test_default_limit_is_20(self, app: Litestar, alice: Client) -> None:
        await put_in(app, alice, [{}] * 101)
        page = await self.pages(alice)
        assert (len(page["items"]), page["total"], page["limit"], page["offset"]) == (20, 101, 20, 0)

    @pytest.mark.parametrize(
        ("limit", "offset", "expected"), [(1, 0, 1), (100, 0, 100), (100, 1, 100), (100, 2, 99), (7, 98, 3)]
    )
    async def test_limit_and_offset_bounds(
        self, app: Litestar, alice: Client, limit: int, offset: int, expected: int
    ) -> None:
        await put_in(app, alice, [{}] * 101)
        page = await self.pages(alice, limit=limit, offset=offset)
        assert (len(page["items"]), page["total"]) == (expected, 101)
        assert (page["limit"], page["offset"]) == (limit, offset)
        assert (page["next_cursor"] is None) == (offset + expected == 101)

    async def test_pages_cover_all_rows_once(self, app: Litestar, alice: Client) -> None:
        await put_in(app, alice, [{"title": str(number % 3)} for number in range(23)])
        pages = [await self.pages(alice, limit=5, offset=offset, sort="title:desc") for offset in range(0, 25, 5)]
        whole = await self.pages(alice, limit=100, sort="title:desc")
        assert [item for page in pages for item in page["items"]] == whole["items"]
        assert len({item["id"] for item in whole["items"]}) == 23

    @pytest.mark.parametrize("offset", [3, 4, 1000, 2**31 - 1])
    async def test_page_beyond_the_end_has_the_total(self, app: Litestar, alice: Client, offset: int) -> None:
        await put_in(app, alice, [{"tags": ["a"]}, {"tags": ["a"]}, {}])
        page = await self.pages(alice, offset=offset)
        assert (page["items"], page["total"], page["offset"]) == ([], 3, offset)
        assert (await self.pages(alice, offset=offset, tag="a"))["total"] == 2
        assert (await self.pages(alice, offset=offset, tag="b"))["total"] == 0


FAR = "1" + "0" * 30
NOT_MOMENTS = (
    "",
    "now",
    "2026-02-29",
    "2026-03-01T12:00:00",
    "1767225600",
    "0001-01-01T00:00:00+01:00",
    "2026-03-01T12:00Z",
)
NOT_SORTS = (
    "",
    ",",
    "nope",
    "title:",
    "title:up",
    "title:ASC",
    "Title",
    ":asc",
    "title,",
    "title,title:desc",
    "-title",
    "title;asc",
    "title asc",
    "title:asc:desc",
    "id",
    "user_id",
    "description",
    "tags",
    "version",
    "title\x00",
)
WRONG: dict[str, Sequence[str]] = {
    "limit": (
        "0",
        "-1",
        "101",
        "",
        "x",
        "1.5",
        "1e1",
        "5.0",
        " 5",
        "+5",
        "\u0665",
        "0x5",
        "null",
        "true",
        FAR,
        "9" * 5000,
    ),
    "offset": ("-1", "", "x", "1.0", str(2**31), str(2**63), FAR, f"-{FAR}"),
    "sort": NOT_SORTS,
    "completed": ("", "yes", "2", "null", "true,false", "\x00"),
    "priority": ("", "urgent", "LOW", "low,high", "low ", "null"),
    "tag": ("\x00", "a\x00"),
    **dict.fromkeys(("due_before", "due_after", "created_before", "created_after", "updated_after"), NOT_MOMENTS),
}


class TestWrongParameters:
    @pytest.mark.parametrize(("name", "value"), [(name, value) for name in WRONG for value in WRONG[name]])
    async def test_invalid_parameters_are_reported(self, alice: Client, name: str, value: str) -> None:
        assert mistakes(await alice.get(alice.todos(), params={name: value})).keys() == {name}

    @pytest.mark.parametrize(
        "name", ["page", "Limit", "LIMIT", "limit ", "", "title", "user_id", "priority[]", "ünï", "a\x00"]
    )
    async def test_unknown_parameters_are_reported(self, alice: Client, name: str) -> None:
        assert mistakes(await alice.get(alice.todos(), params={name: "1"})) == {name: "Unknown query parameter"}

    @pytest.mark.parametrize(
        "query",
        ["limit=1&limit=1", "offset=0&limit=5&offset=0", "sort=title&sort=title", "completed=true&completed=false"]
        + [f"{name}=2026-03-01&{name}=2026-03-01" for name in WRONG if name.endswith(("before", "after"))],
    )
    async def test_repeated_parameters_are_reported(self, alice: Client, query: str) -> None:
        response = await alice.get(f"{alice.todos()}?{query}")
        assert mistakes(response) == {query.partition("=")[0]: "Expected the parameter once"}

    async def test_all_invalid_parameters_are_reported_at_once(self, alice: Client) -> None:
        wrong: dict[str, str | int] = {
            "limit": 0,
            "offset": "x",
            "completed": "maybe",
            "priority": "x",
            "due_before": "x",
            "nope": 1,
        }
        response = await alice.get(alice.todos(), params=wrong)
        assert mistakes(response).keys() == wrong.keys()
        assert all(error.keys() == {"parameter", "detail"} for error in response.json()["errors"])

    async def test_too_many_filter_values_are_refused(self, alice: Client) -> None:
        assert mistakes(await alice.get(alice.todos(), params={"tag": ["a"] * 21})).keys() == {"tag"}
        assert mistakes(await alice.get(alice.todos(), params={"priority": ["low"] * 5})).keys() == {"priority"}

    @pytest.mark.parametrize("query", ["tag=%ff", "tag=%ed%a0%80", "%ff=1", "&".join(["tag=a"] * 101)])
    async def test_undecodable_query_is_422(self, alice: Client, query: str) -> None:
        assert_problem(await alice.get(f"{alice.todos()}?{query}"), 422)
