"""4. Todos: pages by cursor."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from .api import User, body, mistakes, section
from .strategies import examples

pytestmark = pytest.mark.full
says = section("4. Todos /api/{user_id}/todos")

DUE = (None, "2026-03-01T12:00:00Z", "2026-03-02T12:00:00Z")


def page_after(user: User, page: dict[str, Any], **parameters: Any) -> dict[str, Any]:
    """Read the next page."""
    return user.page(cursor=page["next_cursor"], **parameters)


def walked(user: User, **parameters: Any) -> list[dict[str, Any]]:
    """Read a list to its end, page by page."""
    page = user.page(**parameters)
    items: list[dict[str, Any]] = page["items"]
    while page["next_cursor"]:
        page = page_after(user, page, **parameters)
        items += page["items"]
    return items


def fill(user: User, number: int) -> list[dict[str, Any]]:
    """Make todos with ties and nulls in every key."""
    return [
        user.create(
            title=f"t{each % 3}", priority=("low", "high")[each % 2], completed=each % 4 == 1, due_at=DUE[each % 3]
        )
        for each in range(number)
    ]


@says("?cursor= pages (opaque, signed or validated; stable while rows are added and removed)")
@pytest.mark.parametrize("key", ["created_at", "updated_at", "due_at", "priority", "title", "completed"])
def test_cursor_pages_cover_every_sort(alice: User, key: str) -> None:
    todos = fill(alice, 13)
    for sort in (f"{key}:asc", f"{key}:desc", f"{key}:desc,{'title' if key != 'title' else 'due_at:desc'}"):
        found = walked(alice, sort=sort, limit=3)
        assert found == alice.page(sort=sort, limit=100)["items"]
        assert sorted(todo["id"] for todo in found) == [todo["id"] for todo in todos]


@says("leave total null")
@says('"next_cursor": s or null')
def test_page_after_a_cursor_continues(alice: User) -> None:
    todos = fill(alice, 5)
    first = alice.page(limit=2, sort="created_at")
    assert (first["total"], first["offset"]) == (5, 0)
    second = page_after(alice, first, limit=2, sort="created_at")
    assert (second["items"], second["total"], second["limit"]) == (todos[2:4], None, 2)
    last = page_after(alice, second, limit=2, sort="created_at")
    assert (last["items"], last["total"], last["next_cursor"]) == (todos[4:], None, None)
    assert page_after(alice, first, limit=3, sort="created_at")["items"] == todos[2:]


@says('"next_cursor": s or null')
def test_full_last_page_has_no_next_cursor(alice: User) -> None:
    fill(alice, 4)
    page = page_after(alice, alice.page(limit=2), limit=2)
    assert (len(page["items"]), page["next_cursor"]) == (2, None)
    assert alice.page(limit=4)["next_cursor"] is None


@says("?cursor= pages")
def test_cursor_keeps_the_filters(alice: User) -> None:
    todos = fill(alice, 12)
    expected = [todo for todo in todos if todo["priority"] == "high" and not todo["completed"]]
    assert walked(alice, priority="high", completed="false", limit=2, sort="created_at") == expected


@says('Link: <…>; rel="next" (RFC 8288)')
def test_link_headers_lead_to_the_last_page(alice: User) -> None:
    todos = fill(alice, 9)
    wanted = [todo for todo in todos if todo["title"] != "t0"]
    query: Any = {"sort": "created_at", "limit": 2, "created_after": todos[0]["created_at"]}
    response = alice.get("/todos", params=query)
    found = body(response)["items"]
    while "next" in response.links:
        response = alice.http.get(response.links["next"]["url"], headers={"Authorization": f"Bearer {alice.token}"})
        assert len(body(response)["items"]) <= 2
        found += body(response)["items"]
    assert found == todos[1:]
    assert wanted
    assert "link" not in alice.get("/todos").headers


@says('Link: <…>; rel="next" (RFC 8288)')
def test_link_headers_keep_the_query(alice: User) -> None:
    for _ in range(4):
        alice.create(tags=["ä&b=c", "+ %"], title="tagged")
        alice.create(title="other")
    response = alice.get("/todos", params={"tag": ["ä&b=c", "+ %"], "limit": 3})
    rest = alice.http.get(response.links["next"]["url"], headers={"Authorization": f"Bearer {alice.token}"})
    assert [todo["title"] for todo in body(response)["items"] + body(rest)["items"]] == ["tagged"] * 4


@says("(opaque, signed or validated")
@pytest.mark.parametrize("cursor", ["", "x", "0", "null", "AAAA", "e30=", "é", "%00", "../..", "x" * 5000])
def test_malformed_cursor_is_refused(alice: User, cursor: str) -> None:
    fill(alice, 2)
    assert mistakes(alice.get("/todos", params={"cursor": cursor})) == {"cursor"}


@says("(opaque, signed or validated")
def test_cursor_of_another_user_is_refused(alice: User, bob: User) -> None:
    fill(alice, 3)
    his = fill(bob, 3)
    cursor = alice.page(limit=1)["next_cursor"]
    for changed in (cursor, cursor[:-2], cursor[2:], cursor + cursor, cursor.swapcase(), cursor[::-1]):
        response = bob.get("/todos", params={"cursor": changed})
        if response.status_code == 200:
            assert all(todo in his for todo in response.json()["items"])
        else:
            assert mistakes(response) == {"cursor"}


class Walk:
    """A walk through a list while its rows come and go."""

    def __init__(self, user: User, sort: str, limit: int) -> None:
        self.user, self.query = user, {"sort": sort, "limit": limit}
        self.here = fill(user, 7)
        self.stayed = {todo["id"] for todo in self.here}
        self.seen: list[str] = []
        self.page: dict[str, Any] | None = None

    def step(self) -> None:
        """Read a page, unless the last one was the last."""
        if self.page and not self.page["next_cursor"]:
            return
        self.page = page_after(self.user, self.page, **self.query) if self.page else self.user.page(**self.query)
        self.seen += [todo["id"] for todo in self.page["items"]]

    def insert(self, number: int) -> None:
        """Create a todo that was not there when the walk began."""
        self.here.append(self.user.create(title=f"t{number % 3}", due_at=DUE[number % 3], completed=number % 2 == 0))

    def delete(self, number: int) -> None:
        """Delete a todo, seen or not."""
        if self.here:
            gone = self.here.pop(number % len(self.here))["id"]
            self.stayed.discard(gone)
            assert self.user.delete(f"/todos/{gone}").status_code == 204


moves = st.tuples(st.sampled_from(["step", "insert", "delete"]), st.integers(0, 50))


@says("stable while rows are added and removed")
@examples(40)
@given(
    sort=st.sampled_from(
        ["created_at:desc", "created_at", "title,due_at:desc", "due_at", "due_at:desc", "completed:desc"]
    ),
    limit=st.integers(1, 4),
    changes=st.lists(moves, max_size=15),
)
def test_unchanged_rows_are_seen_exactly_once(
    new_user: Callable[..., User], sort: str, limit: int, changes: list[tuple[str, int]]
) -> None:
    walk = Walk(new_user(), sort, limit)
    for change, number in changes:
        walk.step() if change == "step" else getattr(walk, change)(number)
    while not walk.page or walk.page["next_cursor"]:
        walk.step()
    assert len(walk.seen) == len({*walk.seen}), "a row was seen twice"
    assert walk.stayed <= {*walk.seen}, "a row that stayed was not seen"


@says("(opaque, signed or validated")
def test_old_cursor_is_still_valid(alice: User) -> None:
    """Its row may be gone, and the list may be empty."""
    todos = fill(alice, 3)
    page = alice.page(limit=1)
    for todo in todos:
        assert alice.delete(f"/todos/{todo['id']}").status_code == 204
    response: httpx.Response = alice.get("/todos", params={"cursor": page["next_cursor"]})
    assert body(response).items() >= {"items": [], "next_cursor": None}.items()
