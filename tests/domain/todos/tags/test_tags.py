"""GET /api/{user_id}/tags."""

from collections import Counter
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from litestar import Litestar

from tests.domain.todos.verbs import discard, restore
from tests.domain.todos.walls import Collection
from tests.factories import insert_todos, new_user_id, todo_row
from tests.support import Client, mistakes


async def tags(client: Client, **query: Any) -> list[tuple[str, int]]:
    response = await client.get(client.path("tags"), params=query)
    assert response.status_code == 200, response.text
    return [(item["name"], item["count"]) for item in response.json()["items"]]


class TestTags(Collection):
    method: ClassVar = "GET"
    collection: ClassVar = "tags"

    async def test_new_user_has_no_tags(self, alice: Client) -> None:
        for offset in (0, 5):
            page = (await alice.get(alice.path("tags"), params={"offset": offset})).json()
            assert page == {"items": [], "total": 0, "limit": 20, "offset": offset, "next_cursor": None}

    async def test_most_used_tags_come_first(self, alice: Client, bob: Client) -> None:
        for names in (["b", "a"], ["b", "B"], ["b", "a", "ü"], []):
            await alice.create(tags=names)
        await bob.create(tags=["b", "theirs"])
        assert await tags(alice) == [("b", 3), ("a", 2), ("B", 1), ("ü", 1)]

    async def test_tag_counts_follow_changes(self, alice: Client) -> None:
        todo = await alice.create(tags=["a"])
        await alice.patch(alice.todos(todo["id"]), json={"tags": ["b", "b "]})
        assert await tags(alice) == [("b", 1)]
        await discard(alice, todo)
        assert await tags(alice) == []
        await restore(alice, todo)
        assert await tags(alice) == [("b", 1)]

    async def test_tag_pages(self, alice: Client) -> None:
        await alice.create(tags=list("abcde"))
        page = (await alice.get(alice.path("tags"), params={"limit": 2, "offset": 2})).json()
        assert page == {
            "items": [{"name": "c", "count": 1}, {"name": "d", "count": 1}],
            "total": 5,
            "limit": 2,
            "offset": 2,
            "next_cursor": None,
        }
        past = (await alice.get(alice.path("tags"), params={"offset": 5})).json()
        assert (past["items"], past["total"]) == ([], 5)

    @pytest.mark.parametrize(
        "query", ["limit=0", "limit=101", "limit=x", "offset=-1", "offset=2147483648", "sort=name", "cursor=x", "q=a"]
    )
    async def test_invalid_tag_parameters_are_refused(self, alice: Client, query: str) -> None:
        assert list(mistakes(await alice.get(f"{alice.path('tags')}?{query}"))) == [query.partition("=")[0]]


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(
        st.tuples(st.lists(st.sampled_from(["a", "A", "b", "é", "%", "a b"]), unique=True), st.booleans()), max_size=15
    ),
    limit=st.integers(1, 7),
    offset=st.integers(0, 7),
)
async def test_tag_counts_equal_the_model(
    app: Litestar, client_of: Any, rows: list[tuple[list[str], bool]], limit: int, offset: int
) -> None:
    client = client_of(new_user_id())
    moment = todo_row("x")["created_at"]
    stored = [todo_row(client.user_id, tags=names, deleted_at=moment if gone else None) for names, gone in rows]
    await insert_todos(app, stored)
    counts = Counter(name for names, gone in rows if not gone for name in names)
    expected = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    assert await tags(client, limit=limit, offset=offset) == expected[offset : offset + limit]
