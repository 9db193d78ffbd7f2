"""GET /api/{user_id}/todos?cursor=: each row that stays is given exactly once, whatever comes and goes."""

import asyncio
import secrets
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support import Client, mistakes

DUE = (None, "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z")
KEYS = ("created_at", "updated_at", "due_at", "priority", "title", "completed")


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
    async def test_give_what_one_big_page_gives(self, alice: Client, key: str, direction: str) -> None:
        await fill(alice)
        for sort in (f"{key}:{direction}", f"{key}:{direction},due_at:desc", f"due_at,{key}:{direction}"):
            if sort.count("due_at") < 2:
                whole = (await alice.get(alice.todos(), params={"sort": sort, "limit": 100})).json()["items"]
                assert await follow(alice, sort=sort, limit=3) == whole

    async def test_keep_the_filters(self, alice: Client) -> None:
        await fill(alice)
        found = await follow(alice, priority="high", completed="false", limit=1)
        assert len(found) == 4
        assert all(todo["priority"] == "high" and not todo["completed"] for todo in found)

    async def test_the_last_page_has_no_next(self, alice: Client) -> None:
        for _ in range(4):
            await alice.create()
        response = await alice.get(alice.todos(), params={"limit": 2})
        assert response.json()["total"] == 4
        last = await alice.get(alice.todos(), params={"limit": 2, "cursor": response.json()["next_cursor"]})
        assert len(last.json()["items"]) == 2
        assert "link" not in last.headers
        assert last.json()["next_cursor"] is None

    async def test_a_cursor_belongs_to_its_user_and_sort(self, alice: Client, bob: Client) -> None:
        for client in (alice, bob):
            await client.create()
            await client.create()
        cursor = (await alice.get(alice.todos(), params={"limit": 1})).json()["next_cursor"]
        assert "cursor" in mistakes(await bob.get(bob.todos(), params={"cursor": cursor}))
        assert "cursor" in mistakes(await alice.get(alice.todos(), params={"cursor": cursor, "sort": "title"}))
        assert "offset" in mistakes(await alice.get(alice.todos(), params={"cursor": cursor, "offset": 1}))

    async def test_no_change_to_a_cursor_is_accepted(self, alice: Client) -> None:
        await alice.create()
        await alice.create()
        cursor = (await alice.get(alice.todos(), params={"limit": 1})).json()["next_cursor"]
        forged = [cursor[:n] + ("A" if cursor[n] != "A" else "B") + cursor[n + 1 :] for n in range(len(cursor) - 1)]
        forged += ["", "x", "é", "=" * 8, cursor * 60, cursor[:-4], cursor + "AAAA"]
        for each in forged:
            assert "cursor" in mistakes(await alice.get(alice.todos(), params={"cursor": each}))


@given(
    sort=st.sampled_from(["created_at:desc", "title,due_at:desc", "due_at", "completed:desc,priority"]),
    changes=st.lists(st.sampled_from(["create", "delete", "step"]), min_size=5, max_size=25),
    limit=st.integers(1, 4),
)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_rows_that_stay_are_given_exactly_once(client_of: Any, sort: str, changes: list[str], limit: int) -> None:
    """Insert and delete between the pages: what was there all the time comes once, nothing comes twice."""
    client = client_of(f"model-{secrets.token_hex(8)}")
    before = [await client.create(title=f"t{n % 2}", due_at=DUE[n % 3], completed=n % 2 == 0) for n in range(6)]
    gone: set[str] = set()
    seen: list[str] = []
    response = await client.get(client.todos(), params={"sort": sort, "limit": limit})
    seen += [todo["id"] for todo in response.json()["items"]]
    for change in [*changes, *["step"] * 40]:
        if change == "create":
            await client.create(title="t1", due_at=DUE[len(seen) % 3])
        elif change == "delete" and len(gone) < len(before):
            victim = before[len(gone)]["id"]
            gone.add(victim)
            await client.delete(client.todos(victim))
        elif "link" in response.headers:
            response = await client.get(response.links["next"]["url"])
            seen += [todo["id"] for todo in response.json()["items"]]
    assert len(seen) == len(set(seen))
    assert {todo["id"] for todo in before} - gone <= set(seen)
