"""Filters, sorts and pages against a plain-Python model of the same rules."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta, timezone
from typing import Any
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st
from litestar import Litestar

from tests.asgi import asgi_transport
from tests.factories import insert_todos, new_user_id, todo_row
from tests.support import Client, JsonObject, json_object, token_for

type Row = Mapping[str, Any]
type Sort = list[tuple[str, bool]]

DAY = datetime(2026, 3, 1, tzinfo=UTC)
RANK = {"none": 0, "low": 1, "medium": 2, "high": 3}


def due(row: Row) -> datetime | None:
    """A day is due from its first moment in UTC on."""
    return row["due_at"] or (row["due_date"] and datetime.combine(row["due_date"], time(), UTC))


FILTERS: dict[str, Callable[[Row, Any], bool]] = {
    "completed": lambda row, value: row["completed"] is value,
    "priority": lambda row, values: row["priority"] in values,
    "tag": lambda row, values: set(values) <= set(row["tags"]),
    "due_before": lambda row, value: due(row) is not None and due(row) < value,
    "due_after": lambda row, value: due(row) is not None and due(row) > value,
    "created_before": lambda row, value: row["created_at"] < value,
    "created_after": lambda row, value: row["created_at"] > value,
    "updated_after": lambda row, value: row["updated_at"] > value,
    "deleted": lambda row, value: (row["deleted_at"] is not None) is value,
}
KEYS: dict[str, Callable[[Row], Any]] = {
    "created_at": lambda row: row["created_at"],
    "updated_at": lambda row: row["updated_at"],
    "due_at": due,
    "priority": lambda row: RANK[row["priority"]],
    "title": lambda row: row["title"],
    "completed": lambda row: row["completed"],
    "position": lambda row: row["position"],
}


def in_order(rows: Sequence[Row], sort: Sort) -> list[Row]:
    """Sort by the last key first, for Python's sort is stable; nulls come last whatever the direction."""
    rows = sorted(rows, key=lambda row: row["id"], reverse=sort[-1][1])
    for name, descending in reversed(sort):
        key = KEYS[name]
        known = sorted((row for row in rows if key(row) is not None), key=key, reverse=descending)
        rows = known + [row for row in rows if key(row) is None]
    return rows


moments = st.builds(
    lambda hours, ticks: DAY + timedelta(hours=hours, microseconds=ticks),
    st.sampled_from([0, 12, 24]),
    st.integers(-1, 1),
)
days = st.integers(-1, 2).map(lambda number: DAY.date() + timedelta(days=number))
tags = st.lists(st.sampled_from(["a", "b", "c", "ü", "%", "a b"]), max_size=4, unique=True)
words = st.sampled_from(["a", "A", "b", "B", "ab", "a b", "é", "e\u0301", "Z", "ß", "10", "9", "\uffff", "\U0001f600"])
nothing: JsonObject = {}
dues = st.one_of(
    st.just(nothing), st.fixed_dictionaries({"due_at": moments}), st.fixed_dictionaries({"due_date": days})
)
dones = st.one_of(st.just(nothing), moments.map(lambda moment: {"completed": True, "completed_at": moment}))
values = st.fixed_dictionaries(
    {
        "id": st.integers(0, 2**128 - 1).map(lambda number: UUID(int=number)),
        "title": words,
        "priority": st.sampled_from(list(RANK)),
        "tags": tags,
        "created_at": moments,
        "updated_at": moments,
        "position": st.sampled_from(["1", "10", "2", "V", "a", "aV"]),
        "deleted_at": st.sampled_from([None, None, None, DAY]),
    }
)
row = st.builds(lambda *parts: parts[0] | parts[1] | parts[2], values, dues, dones)
few = st.lists(row, max_size=25, unique_by=lambda row: row["id"])
many = st.lists(row, min_size=10, max_size=25, unique_by=lambda row: row["id"])
arguments: dict[str, st.SearchStrategy[Any]] = {
    "completed": st.booleans(),
    "priority": st.lists(st.sampled_from(list(RANK)), min_size=1, max_size=3),
    "tag": st.lists(st.sampled_from(["a", "b", "ü", "%", "z"]), min_size=1, max_size=2),
    **{name: moments | days for name in FILTERS if name.endswith(("before", "after"))},
    "deleted": st.booleans(),
}
# A few at a time: under many filters nothing is left to sort.
one_filter = st.sampled_from(list(arguments)).flatmap(lambda name: st.tuples(st.just(name), arguments[name]))
filters = st.lists(one_filter, max_size=3).map(dict)
sorts: st.SearchStrategy[Sort] = st.lists(
    st.tuples(st.sampled_from(list(KEYS)), st.booleans()), max_size=4, unique_by=lambda key: key[0]
)
zones = st.sampled_from([0, 90, -330, 845]).map(lambda minutes: timezone(timedelta(minutes=minutes)))


def as_sent(value: Any, zone: timezone) -> Any:
    """Write a parameter as a client would, an instant in any zone."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, datetime):
        return value.astimezone(zone).isoformat()
    return value


def as_moment(value: Any) -> Any:
    """A day means its first moment in UTC."""
    is_day = isinstance(value, date) and not isinstance(value, datetime)
    return datetime.combine(value, time(), UTC) if is_day else value


async def read(client: Client, **parameters: Any) -> dict[str, Any]:
    return json_object(await client.get(client.todos(), params=parameters))


@settings(max_examples=80, deadline=None)
@given(
    rows=many,
    chosen=st.lists(
        st.tuples(filters, sorts, st.integers(1, 30), st.integers(0, 5) | st.just(30)), min_size=3, max_size=6
    ),
    zone=zones,
)
async def test_pages_equal_the_model(
    app: Litestar, rows: list[dict[str, Any]], chosen: list[tuple[dict[str, Any], Sort, int, int]], zone: timezone
) -> None:
    user_id, other = new_user_id(), new_user_id()
    stored = [todo_row(user_id, **row) for row in rows]
    await insert_todos(app, [*stored, *(row | {"user_id": other} for row in stored)])
    headers = {"Authorization": f"Bearer {token_for(user_id)}"}
    async with Client(user_id, transport=asgi_transport(app, raises=True), headers=headers) as client:
        for given_filters, sort, limit, offset in chosen:
            wanted = {"deleted": False} | {name: as_moment(value) for name, value in given_filters.items()}
            matching = [row for row in stored if all(FILTERS[name](row, value) for name, value in wanted.items())]
            expected = [str(row["id"]) for row in in_order(matching, sort or [("created_at", True)])]
            parameters = {name: as_sent(value, zone) for name, value in given_filters.items()}
            if sort:
                parameters["sort"] = ",".join(f"{name}:desc" if descending else name for name, descending in sort)
            page = await read(client, **parameters, limit=limit, offset=offset)
            assert [item["id"] for item in page["items"]] == expected[offset : offset + limit]
            assert (page["total"], page["limit"], page["offset"]) == (len(expected), limit, offset)
            assert {item["user_id"] for item in page["items"]} <= {user_id}


@settings(max_examples=30, deadline=None)
@given(rows=few, sort=sorts.filter(bool), limit=st.integers(1, 10))
async def test_consecutive_pages_cover_all_rows_once(
    app: Litestar, rows: list[dict[str, Any]], sort: Sort, limit: int
) -> None:
    user_id = new_user_id()
    stored = [todo_row(user_id, **row) for row in rows]
    await insert_todos(app, stored)
    headers = {"Authorization": f"Bearer {token_for(user_id)}"}
    text = ",".join(f"{name}:{'desc' if descending else 'asc'}" for name, descending in sort)
    seen: list[str] = []
    async with Client(user_id, transport=asgi_transport(app, raises=True), headers=headers) as client:
        while items := (await read(client, sort=text, limit=limit, offset=len(seen)))["items"]:
            seen += [item["id"] for item in items]
    assert seen == [str(row["id"]) for row in in_order([row for row in stored if not row["deleted_at"]], sort)]
