"""GET /api/{user_id}/todos?cursor=: each row that stays is given exactly once, whatever comes and goes."""

import asyncio
import secrets
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.domain.todos.verbs import discard, listed, new_list
from tests.support import Client, mistakes

DUE = (None, "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z")
KEYS = ("created_at", "updated_at", "due_at", "priority", "title", "completed", "position")


async def follow(client: Client, **query: Any) -> list[dict[str, Any]]:
    """Read a whole list, page after page, by the `Link` of each."""
    response = await client.get(client.todos(), params=query)
    items = list(response.json()["items"])
    while "link" in response.headers:
        response = await client.get(response.links["next"]["url"])
        assert response.json()["total"] is None
        items += response.json()["items"]
    assert response.json()["next_cursor"] is None
    return items


async def fill(client: Client) -> None:
    """Make todos with ties and nulls in every key."""
    fields = [
        {"title": f"t{n % 3}", "priority": ("none", "high")[n % 2], "completed": n % 5 < 2, "due_at": DUE[n % 3]}
        for n in range(14)
    ]
    await asyncio.gather(*(client.create(**each) for each in fields))


class TestCursorPages:
    @pytest.mark.parametrize("key", KEYS)
    @pytest.mark.parametrize("direction", ["asc", "desc"])
    async def test_cursor_pages_equal_one_large_page(self, alice: Client, key: str, direction: str) -> None:
        await fill(alice)
        for sort in (f"{key}:{direction}", f"{key}:{direction},due_at:desc", f"due_at,{key}:{direction}"):
            if sort.count("due_at") < 2:
                whole = (await alice.get(alice.todos(), params={"sort": sort, "limit": 100})).json()["items"]
                assert await follow(alice, sort=sort, limit=3) == whole

    async def test_cursor_keeps_the_filters(self, alice: Client) -> None:
        await fill(alice)
        found = await follow(alice, priority="high", completed="false", limit=1)
        assert len(found) == 4
        assert all(todo["priority"] == "high" and not todo["completed"] for todo in found)

    @pytest.mark.parametrize("sort", ["position:desc", "updated_at", "due_at,title:desc", "created_at:desc"])
    async def test_cursor_pages_in_the_trash(self, alice: Client, sort: str) -> None:
        await fill(alice)
        for todo in (await listed(alice))[:9]:
            await discard(alice, todo)
        whole = await listed(alice, deleted="true", sort=sort)
        assert len(whole) == 9
        assert await follow(alice, deleted="true", sort=sort, limit=2) == whole

    async def test_cursor_pages_of_a_list_a_parent_and_due_filters(self, alice: Client) -> None:
        home, parent = await new_list(alice), await alice.create()
        for number in range(7):
            fields = {"list_id": home["id"], "parent_id": parent["id"], "due_at": DUE[number % 2 + 1]}
            await alice.create(title=f"word {number}", tags=["a"], **fields)
        await fill(alice)
        queries = [{"list_id": home["id"]}, {"parent_id": parent["id"]}, {"list_id": "none"}, {"due": "overdue"}]
        queries += [{"q": "word", "tag": "a"}, {"parent_id": "none", "due": "none"}]
        for query in queries:
            assert await follow(alice, limit=2, **query) == await listed(alice, **query)

    async def test_cursor_with_another_filter_continues(self, alice: Client) -> None:
        """A cursor is a place in a sort; filters are those of the request that it comes with."""
        await fill(alice)
        cursor = (await alice.get(alice.todos(), params={"limit": 7})).json()["next_cursor"]
        rest = [todo for todo in (await listed(alice))[7:] if todo["priority"] == "high"]
        assert await listed(alice, cursor=cursor, priority="high") == rest

    async def test_last_page_has_no_next_cursor(self, alice: Client) -> None:
        for _ in range(4):
            await alice.create()
        response = await alice.get(alice.todos(), params={"limit": 2})
        assert response.json()["total"] == 4
        last = await alice.get(alice.todos(), params={"limit": 2, "cursor": response.json()["next_cursor"]})
        assert len(last.json()["items"]) == 2
        assert "link" not in last.headers
        assert last.json()["next_cursor"] is None

    async def test_cursor_of_another_user_or_sort_is_refused(self, alice: Client, bob: Client) -> None:
        for client in (alice, bob):
            await client.create()
            await client.create()
        cursor = (await alice.get(alice.todos(), params={"limit": 1})).json()["next_cursor"]
        assert "cursor" in mistakes(await bob.get(bob.todos(), params={"cursor": cursor}))
        assert "cursor" in mistakes(await alice.get(alice.todos(), params={"cursor": cursor, "sort": "title"}))
        assert "offset" in mistakes(await alice.get(alice.todos(), params={"cursor": cursor, "offset": 1}))

    async def test_modified_cursor_is_refused(self, alice: Client) -> None:
        await alice.create()
        await alice.create()
        cursor = (await alice.get(alice.todos(), params={"limit": 1})).json()["next_cursor"]
        forged = [cursor[:n] + ("A" if cursor[n] != "A" else "B") + cursor[n + 1 :] for n in range(len(cursor) - 1)]
        forged += ["", "x", "é", "=" * 8, cursor * 60, cursor[:-4], cursor + "AAAA"]
        for each in forged:
            assert "cursor" in mistakes(await alice.get(alice.todos(), params={"cursor": each}))


QUERIES: list[dict[str, Any]] = [
    *({"sort": sort} for sort in ("created_at:desc", "title,due_at:desc", "due_at", "completed:desc,priority")),
    *({"sort": sort} for sort in ("position", "position:desc", "title,position")),
    {"q": "wor"},
    {"list_id": "home", "sort": "position"},
    {"deleted": "true", "sort": "title,due_at"},
]


@given(
    query=st.sampled_from(QUERIES),
    changes=st.lists(
        st.tuples(st.sampled_from(["create", "delete", "move", "step"]), st.integers(0, 20), st.integers(0, 20)),
        min_size=5,
        max_size=25,
    ),
    limit=st.integers(1, 4),
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_unchanged_rows_are_returned_exactly_once(
    client_of: Any, query: dict[str, Any], changes: list[tuple[str, int, int]], limit: int
) -> None:
    """Insert, delete and move between the pages: what stayed where it was comes once."""
    client = client_of(f"model-{secrets.token_hex(8)}")
    home = await new_list(client)
    in_trash = "deleted" in query
    if "list_id" in query:
        query = query | {"list_id": home["id"]}

    async def create(number: int) -> str:
        title = "word " * (number % 2 + 1)
        made = await client.create(
            title=title, due_at=DUE[number % 3], completed=number % 2 == 0, list_id=home["id"] if number % 3 else None
        )
        if in_trash:
            await discard(client, made)
        return str(made["id"])

    there = [await create(number) for number in range(8)]
    before = {todo["id"] for todo in await listed(client, **query)}
    touched: set[str] = set()
    seen: list[str] = []
    response = await client.get(client.todos(), params={"limit": limit} | query)
    seen += [todo["id"] for todo in response.json()["items"]]
    for change, first, second in [*changes, *[("step", 0, 0)] * 60]:
        one, other = (there[number % len(there)] for number in (first, second)) if there else ("", "")
        if change == "create":
            there.append(await create(first))
        elif change == "delete" and there:
            there.remove(one)
            touched.add(one)
            await client.delete(client.todos(one), params={"permanent": str(bool(in_trash or second % 2)).lower()})
        elif change == "move" and one != other and not in_trash:
            touched.add(one)
            side = "before" if first % 2 else "after"
            assert (await client.post(client.todos(one, "move"), json={side: other})).status_code == 200
        elif "link" in response.headers:
            response = await client.get(response.links["next"]["url"])
            seen += [todo["id"] for todo in response.json()["items"]]
    assert "link" not in response.headers
    untouched = [key for key in seen if key not in touched]
    assert len(untouched) == len(set(untouched))
    assert before - touched <= set(seen)
