"""4. Todos: pages by offset, filters and sorts."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from .api import User, mistakes, section
from .strategies import examples

pytestmark = pytest.mark.core
says = section("4. Todos /api/{user_id}/todos")

RANK = ("none", "low", "medium", "high")


class TestPages:
    @says('Page: {"items": […], "total": n, "limit": n, "offset": n, "next_cursor": s or null}')
    @says("GET /todos: 200 page")
    def test_page_of_a_new_user_is_empty(self, alice: User) -> None:
        assert alice.page() == {"items": [], "total": 0, "limit": 20, "offset": 0, "next_cursor": None}

    @says("limit 1..100, default 20. offset pages count total")
    def test_offset_pages_cover_all_rows_once(self, alice: User) -> None:
        todos = [alice.create(title=f"{number:03}") for number in range(23)]
        page = alice.page(sort="title")
        assert (page["items"], page["total"], page["limit"], page["offset"]) == (todos[:20], 23, 20, 0)
        page = alice.page(sort="title", offset=20)
        assert (page["items"], page["total"], page["offset"]) == (todos[20:], 23, 20)
        found = [
            todo for offset in range(0, 25, 5) for todo in alice.page(sort="title", limit=5, offset=offset)["items"]
        ]
        assert found == todos
        page = alice.page(sort="title", limit=100)
        assert (page["items"], page["limit"]) == (todos, 100)
        page = alice.page(sort="title", offset=1000)
        assert (page["items"], page["total"]) == ([], 23)

    @says("limit 1..100")
    @pytest.mark.parametrize("limit", ["0", "101", "-1", "1.5", "x", "", "1e1", "99999999999999999999"])
    def test_limit_out_of_range_is_refused(self, alice: User, limit: str) -> None:
        assert mistakes(alice.get("/todos", params={"limit": limit})) == {"limit"}

    @says("offset pages count total")
    @pytest.mark.parametrize("offset", ["-1", "x", "", "1.0", "99999999999999999999"])
    def test_offset_out_of_range_is_refused(self, alice: User, offset: str) -> None:
        assert mistakes(alice.get("/todos", params={"offset": offset})) == {"offset"}

    @says("GET /todos: 200 page")
    def test_default_sort_is_newest_first(self, alice: User) -> None:
        todos = [alice.create() for _ in range(4)]
        assert alice.page()["items"] == todos[::-1]
        assert alice.page(limit=2, offset=1)["items"] == todos[2:0:-1]


class TestFilters:
    @says("Filters: completed")
    def test_filter_by_completed(self, alice: User) -> None:
        alice.create(title="open")
        alice.create(title="done", completed=True)
        assert alice.titles(completed="true") == ["done"]
        assert alice.titles(completed="false") == ["open"]
        assert alice.page(completed="true")["total"] == 1

    @says("priority (repeatable: any)")
    def test_filter_by_priority(self, alice: User) -> None:
        for name in RANK:
            alice.create(title=name, priority=name)
        assert alice.titles(priority="none") == ["none"]
        assert alice.titles(priority=["high", "low"], sort="created_at") == ["low", "high"]
        assert mistakes(alice.get("/todos", params={"priority": ["high", "urgent"]})) == {"priority"}

    @says("tag (repeatable: all)")
    def test_filter_by_tag(self, alice: User) -> None:
        for tags in (["a"], ["b", "a"], ["ab"], ["A"], [], ["a b", "%", "a,b", "{a}"]):
            alice.create(title=str(tags), tags=tags)
        assert alice.titles(tag="a", sort="created_at") == ["['a']", "['b', 'a']"]
        assert alice.titles(tag=["a", "b"]) == ["['b', 'a']"]
        assert alice.titles(tag=["a", "z"]) == alice.titles(tag="_") == alice.titles(tag="*") == []
        assert len(alice.titles(tag="%")) == len(alice.titles(tag="a b")) == len(alice.titles(tag="{a}")) == 1

    @says("due_before, due_after")
    @says(
        "due_before and due_after take an instant or a day, and a due_date is compared as the first "
        "instant of its day in UTC"
    )
    def test_filter_by_due_date(self, alice: User) -> None:
        for instant in ("2026-02-28T23:59:59.999999Z", "2026-03-01T12:00:00Z"):
            alice.create(title=instant, due_at=instant)
        alice.create(title="day", due_date="2026-03-01")
        alice.create(title="never")
        early, noon, day = "2026-02-28T23:59:59.999999Z", "2026-03-01T12:00:00Z", "day"
        for bound, before, after in (
            ("2026-03-01", [early], [noon]),
            ("2026-03-01T00:00:00Z", [early], [noon]),
            ("2026-03-01T00:00:00.000001Z", [day, early], [noon]),
            ("2026-03-01T13:00:00+01:00", [day, early], []),
            ("2026-03-02", [day, early, noon], []),
            ("2000-01-01", [], [day, early, noon]),
        ):
            assert sorted(alice.titles(due_before=bound)) == sorted(before), bound
            assert sorted(alice.titles(due_after=bound)) == sorted(after), bound

    @says("created_before, created_after, updated_after")
    @says("before and after exclude the given instant")
    def test_filter_by_created_and_updated(self, alice: User) -> None:
        first, second, third = (alice.create(title=title) for title in ("first", "second", "third"))
        assert alice.titles(created_before=second["created_at"]) == ["first"]
        assert alice.titles(created_after=second["created_at"]) == ["third"]
        assert alice.titles(created_after=first["created_at"], created_before=third["created_at"]) == ["second"]
        alice.patch(f"/todos/{first['id']}", json={"title": "changed"})
        assert alice.titles(updated_after=third["updated_at"]) == ["changed"]
        assert alice.titles(created_after="2000-01-01", created_before="2000-01-02") == []

    @says("Filters: completed, priority")
    @pytest.mark.parametrize(
        ("name", "values"),
        [
            ("completed", ["yes", "", "2", "null"]),
            ("priority", ["", "High", "none,low"]),
            *(
                (name, ["", "soon", "2026-02-30", "2026-03-01T12:00:00", "1772366400"])
                for name in ("due_before", "due_after", "created_before", "created_after", "updated_after")
            ),
        ],
    )
    def test_invalid_filter_value_is_refused(self, alice: User, name: str, values: list[str]) -> None:
        for value in values:
            assert mistakes(alice.get("/todos", params={name: value})) == {name}, value

    @says("All given filters must match")
    def test_filters_are_combined(self, alice: User) -> None:
        for completed in (True, False):
            for tags in (["a"], ["b"]):
                alice.create(title=f"{completed} {tags}", completed=completed, tags=tags, priority="low")
        assert alice.titles(completed="true", tag="a", priority="low") == ["True ['a']"]
        assert alice.page(completed="true", tag="a", priority="high")["total"] == 0


class TestSorts:
    @says("Sort: sort=created_at:desc,title:asc over created_at updated_at due_at priority title")
    @pytest.mark.parametrize(
        ("key", "field", "values"),
        [
            ("title", "title", ["a", "b", "c"]),
            ("priority", "priority", RANK),
            ("completed", "completed", [False, True]),
            ("due_at", "due_at", [f"2026-03-0{day}T12:00:00Z" for day in (1, 2, 3)]),
            ("due_at", "due_date", [f"2026-03-0{day}" for day in (1, 2, 3)]),
        ],
    )
    def test_sort_by_each_key(self, alice: User, key: str, field: str, values: list[Any]) -> None:
        for value in reversed(values):
            alice.create(**{field: value})
        for sort, expected in ((key, values), (f"{key}:asc", values), (f"{key}:desc", values[::-1])):
            assert [todo[field] for todo in alice.page(sort=sort)["items"]] == [*expected]

    @says("over created_at updated_at")
    def test_sort_by_each_time(self, alice: User) -> None:
        first, second = alice.create(title="first"), alice.create(title="second")
        alice.post(f"/todos/{first['id']}/complete")
        assert alice.titles(sort="created_at") == alice.titles(sort="updated_at:desc") == ["first", "second"]
        assert alice.titles(sort="created_at:desc") == alice.titles(sort="updated_at:asc") == ["second", "first"]
        assert second["updated_at"] < alice.read(first["id"])["updated_at"]

    @says("id breaks ties; nulls last")
    def test_sort_puts_nulls_last_and_breaks_ties_by_id(self, alice: User) -> None:
        todos = [alice.create(due_at="2026-03-01T12:00:00Z" if number % 2 else None) for number in range(8)]
        due, never = todos[1::2], todos[::2]
        for direction in ("asc", "desc"):
            page = alice.page(sort=f"due_at:{direction}")["items"]
            assert sorted(page[:4], key=lambda todo: todo["id"]) == due
            assert sorted(page[4:], key=lambda todo: todo["id"]) == never
            assert page == alice.page(sort=f"due_at:{direction}")["items"]
            for part in (page[:4], page[4:]):
                rising = {one["id"] < other["id"] for one, other in pairwise(part)}
                assert len(rising) == 1, "ties are in the order of their ids"

    @says("Sort: sort=created_at:desc,title:asc")
    def test_sort_by_several_keys(self, alice: User) -> None:
        for title in ("b", "a"):
            for priority in ("low", "high"):
                alice.create(title=title, priority=priority)
        page = alice.page(sort="priority:desc,title")["items"]
        expected = [("high", "a"), ("high", "b"), ("low", "a"), ("low", "b")]
        assert [(todo["priority"], todo["title"]) for todo in page] == expected

    @says("Sort: sort=created_at:desc,title:asc over")
    @pytest.mark.parametrize(
        "sort",
        [
            "",
            "nope",
            "title:",
            "title:up",
            "title,,due_at",
            "title,title:desc",
            "-title",
            "title desc",
            "user_id",
            "id;",
        ],
    )
    def test_invalid_sort_is_refused(self, alice: User, sort: str) -> None:
        assert mistakes(alice.get("/todos", params={"sort": sort})) == {"sort"}


DAY = datetime(2026, 3, 1, tzinfo=UTC)
moments = st.integers(-3, 3).map(lambda hours: (DAY + timedelta(hours=hours)).isoformat())
no_due: dict[str, str] = {}
dues = (
    st.just(no_due)
    | moments.map(lambda at: {"due_at": at})
    | st.sampled_from(["2026-02-28", "2026-03-01"]).map(lambda day: {"due_date": day})
)
some_tags = st.lists(st.sampled_from("abc"), max_size=3, unique=True)
fields = st.fixed_dictionaries(
    {
        "title": st.sampled_from(["a", "b", "ab", "b a"]),
        "priority": st.sampled_from(RANK),
        "completed": st.booleans(),
        "tags": some_tags,
    }
)
todos = st.lists(fields | st.builds(lambda one, other: one | other, fields, dues), max_size=10)
queries = st.fixed_dictionaries(
    {},
    optional={
        "completed": st.sampled_from(["true", "false"]),
        "priority": st.lists(st.sampled_from(RANK), min_size=1, max_size=2),
        "tag": st.lists(st.sampled_from("abcd"), min_size=1, max_size=2),
        "due_before": moments,
        "due_after": moments,
    },
)
keys = st.tuples(
    st.sampled_from(["created_at", "updated_at", "due_at", "priority", "title", "completed"]), st.booleans()
)
sorts = st.lists(keys, min_size=1, max_size=3, unique_by=lambda key: key[0])


def due(todo: dict[str, Any]) -> datetime | None:
    """Give when a todo is due: a day is its first moment in UTC."""
    if todo["due_date"]:
        return datetime.fromisoformat(f"{todo['due_date']}T00:00:00Z")
    return datetime.fromisoformat(todo["due_at"]) if todo["due_at"] else None


def matches(todo: dict[str, Any], query: dict[str, Any]) -> bool:
    """Say what the filters say."""
    when = due(todo)
    return (
        ("completed" not in query or todo["completed"] is (query["completed"] == "true"))
        and todo["priority"] in query.get("priority", RANK)
        and {*query.get("tag", ())} <= {*todo["tags"]}
        and ("due_before" not in query or (when is not None and when < datetime.fromisoformat(query["due_before"])))
        and ("due_after" not in query or (when is not None and when > datetime.fromisoformat(query["due_after"])))
    )


def value(todo: dict[str, Any], key: str) -> Any:
    """Give what a todo is sorted by."""
    return {"due_at": due(todo), "priority": RANK.index(todo["priority"])}.get(key, todo.get(key))


def in_order(found: list[dict[str, Any]], sort: list[tuple[str, bool]]) -> list[dict[str, Any]]:
    """Sort by the last key first, for Python's sort is stable; nulls come last."""
    for key, descending in reversed(sort):
        known = sorted(
            (todo for todo in found if value(todo, key) is not None),
            key=lambda todo: value(todo, key),
            reverse=descending,
        )
        found = known + [todo for todo in found if value(todo, key) is None]
    return found


@says("Filters: completed, priority (repeatable: any), tag (repeatable: all)")
@says("Sort: sort=created_at:desc,title:asc over created_at updated_at due_at priority title")
@examples(40)
@given(made=todos, query=queries, sort=sorts, window=st.tuples(st.integers(0, 4), st.integers(1, 12)))
def test_pages_equal_the_model(
    new_user: Callable[..., User],
    made: list[dict[str, Any]],
    query: dict[str, Any],
    sort: list[tuple[str, bool]],
    window: tuple[int, int],
) -> None:
    offset, limit = window
    user = new_user()
    rows = [user.create(**each) for each in made]
    matching = in_order([todo for todo in rows if matches(todo, query)], sort)
    text = ",".join(f"{key}:{'desc' if descending else 'asc'}" for key, descending in sort)
    page = user.page(**query, sort=text, limit=limit, offset=offset)
    assert page["total"] == len(matching)
    kinds = [[value(todo, key) for key, _ in sort] for todo in matching[offset : offset + limit]]
    assert [[value(todo, key) for key, _ in sort] for todo in page["items"]] == kinds
    assert all(todo in matching for todo in page["items"])
    whole = user.page(**query, sort=text, limit=100)["items"]
    assert page["items"] == whole[offset : offset + limit]
    assert sorted(whole, key=lambda todo: todo["id"]) == sorted(matching, key=lambda todo: todo["id"])
