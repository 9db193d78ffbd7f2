"""Many at once: nothing is lost, nothing is done twice, and nobody waits for another user's row."""

import asyncio
from collections import Counter
from collections.abc import Awaitable
from typing import Any

import httpx
import pytest
from litestar import Litestar

from tests.factories import todo_rows
from tests.support import Client, JsonObject

MANY = 50


async def at_once(*calls: Awaitable[httpx.Response]) -> tuple[Counter[int], list[dict[str, Any]]]:
    """Give how often each status came, and the bodies of the successes."""
    answers = await asyncio.gather(*calls)
    return Counter(answer.status_code for answer in answers), [
        item.json() for item in answers if item.status_code < 204
    ]


class TestWriters:
    @pytest.mark.parametrize(("count", "completed"), [(MANY, False), (MANY - 1, True)])
    async def test_concurrent_toggles_are_all_applied(self, alice: Client, count: int, completed: bool) -> None:
        todo = await alice.create()
        path = alice.todos(todo["id"], "toggle-complete")
        statuses, answers = await at_once(*(alice.post(path) for _ in range(count)))
        assert statuses == {200: count}
        assert sorted(answer["version"] for answer in answers) == list(range(2, count + 2))
        assert all(answer["completed"] is (answer["version"] % 2 == 0) for answer in answers)
        last = (await alice.get(alice.todos(todo["id"]))).json()
        assert (last["completed"], last["version"]) == (completed, count + 1)

    async def test_one_of_many_conditional_patches_wins(self, alice: Client) -> None:
        todo = await alice.create()
        one, headers = alice.todos(todo["id"]), {"If-Match": '"1"'}
        calls = (alice.patch(one, json={"title": f"Writer {number}"}, headers=headers) for number in range(MANY))
        statuses, (winner,) = await at_once(*calls)
        assert statuses == {200: 1, 412: MANY - 1}
        assert winner["version"] == 2
        assert (await alice.get(one)).json() == winner

    @pytest.mark.parametrize("verb", ["PUT", "DELETE", "toggle-complete", "complete"])
    async def test_one_of_many_conditional_writes_wins(self, app: Litestar, alice: Client, verb: str) -> None:
        todo = await alice.create()
        method, parts = (verb, ()) if verb.isupper() else ("POST", (verb,))
        path, body = alice.todos(todo["id"], *parts), {"title": "x"}
        calls = (alice.request(method, path, json=body, headers={"If-Match": '"1"'}) for _ in range(MANY))
        statuses, _ = await at_once(*calls)
        assert sum(statuses[status] for status in (200, 204)) == 1
        assert statuses[404 if verb == "DELETE" else 412] + statuses[412] >= MANY - 1
        assert [row["version"] for row in (await todo_rows(app, alice.user_id)).values()] == [2]

    async def test_concurrent_patches_of_different_fields_are_all_kept(self, alice: Client) -> None:
        todo = await alice.create()
        patches: list[JsonObject] = [
            {"title": "New"},
            {"description": "d"},
            {"priority": "high"},
            {"tags": ["a"]},
            {"completed": True},
        ]
        statuses, _ = await at_once(*(alice.patch(alice.todos(todo["id"]), json=patch) for patch in patches * 5))
        assert statuses == {200: 25}
        last = (await alice.get(alice.todos(todo["id"]))).json()
        assert all(last.items() >= patch.items() for patch in patches)
        assert last["version"] == 26

    async def test_concurrent_due_date_and_due_at_never_both(self, alice: Client) -> None:
        todo = await alice.create()
        patches = [{"due_date": "2026-03-01"}, {"due_at": "2026-03-01T12:00:00Z"}] * 10
        statuses, _ = await at_once(*(alice.patch(alice.todos(todo["id"]), json=patch) for patch in patches))
        assert statuses == {200: 10, 422: 10}
        last = (await alice.get(alice.todos(todo["id"]))).json()
        assert (last["due_date"] is None) != (last["due_at"] is None)
        assert last["version"] == 11

    async def test_updated_at_never_goes_back(self, alice: Client) -> None:
        todo = await alice.create()
        path = alice.todos(todo["id"], "toggle-complete")
        _, answers = await at_once(*(alice.post(path) for _ in range(MANY)))
        moments = [answer["updated_at"] for answer in sorted(answers, key=lambda answer: answer["version"])]
        assert moments == sorted(moments)


class TestRetrySafePair:
    @pytest.mark.parametrize("action", ["complete", "reopen"])
    async def test_concurrent_equal_transitions_are_one_write(self, alice: Client, action: str) -> None:
        todo = await alice.create(completed=action == "reopen")
        statuses, answers = await at_once(*(alice.post(alice.todos(todo["id"], action)) for _ in range(MANY)))
        assert statuses == {200: MANY}
        assert all(answer == answers[0] for answer in answers)
        assert (answers[0]["version"], answers[0]["completed"]) == (2, action == "complete")

    async def test_concurrent_transitions_return_the_requested_state(self, alice: Client) -> None:
        todo = await alice.create()
        actions = ["complete", "reopen"] * 25
        calls = (alice.post(alice.todos(todo["id"], action)) for action in actions)
        answers = await asyncio.gather(*calls)
        assert [item.json()["completed"] for item in answers] == [action == "complete" for action in actions]

    async def test_complete_and_reopen_at_once_leave_a_consistent_row(self, alice: Client) -> None:
        todo = await alice.create()
        one = alice.todos(todo["id"])
        statuses, answers = await at_once(*(alice.post(f"{one}/{action}") for action in ["complete", "reopen"] * 25))
        assert statuses == {200: MANY}
        last = (await alice.get(one)).json()
        assert last["version"] == max(answer["version"] for answer in answers)
        for answer in [*answers, last]:
            assert answer["completed"] is (answer["version"] % 2 == 0)
            assert (answer["completed_at"] is not None) is answer["completed"]


class TestDeletes:
    async def test_one_of_many_concurrent_deletes_succeeds(self, alice: Client) -> None:
        todo = await alice.create()
        statuses, _ = await at_once(*(alice.delete(alice.todos(todo["id"])) for _ in range(MANY)))
        assert statuses == {204: 1, 404: MANY - 1}

    async def test_deleted_todo_stays_deleted_despite_writers(self, app: Litestar, alice: Client) -> None:
        todo = await alice.create()
        one = alice.todos(todo["id"])
        writes = [alice.patch(one, json={"title": "x"}) for _ in range(10)] + [
            alice.put(one, json={"title": "y"}) for _ in range(10)
        ]
        actions = [
            alice.post(f"{one}/{action}") for action in ("complete", "reopen", "toggle-complete") for _ in range(5)
        ]
        statuses, _ = await at_once(*writes, alice.delete(one), *actions, alice.get(one))
        assert statuses.keys() <= {200, 204, 404}
        assert statuses[204] == 1
        (row,) = (await todo_rows(app, alice.user_id)).values()
        assert row["deleted_at"] is not None
        assert (await alice.get(one)).status_code == 404

    async def test_conditional_deletes_against_conditional_patches_have_one_winner(self, alice: Client) -> None:
        todo = await alice.create()
        one, headers = alice.todos(todo["id"]), {"If-Match": '"1"'}
        patches = [alice.patch(one, json={"title": "x"}, headers=headers) for _ in range(10)]
        deletes = [alice.delete(one, headers=headers) for _ in range(10)]
        statuses, _ = await at_once(*(call for pair in zip(patches, deletes, strict=True) for call in pair))
        assert statuses[200] + statuses[204] == 1
        assert statuses[412] + statuses[404] == 19


class TestTwoUsers:
    async def test_two_users_create_concurrently(self, alice: Client, bob: Client) -> None:
        calls = (client.post(client.todos(), json={"title": client.user_id}) for client in [alice, bob] * 25)
        statuses, made = await at_once(*calls)
        assert (statuses, len({todo["id"] for todo in made})) == ({201: MANY}, MANY)
        for client in (alice, bob):
            page = (await client.get(client.todos(), params={"limit": 100})).json()
            assert page["total"] == 25
            assert {(item["user_id"], item["title"]) for item in page["items"]} == {(client.user_id, client.user_id)}

    @pytest.mark.parametrize(
        ("method", "action"),
        [("PUT", ""), ("PATCH", ""), ("POST", "/toggle-complete"), ("POST", "/complete"), ("POST", "/reopen")],
    )
    async def test_two_users_write_concurrently(self, alice: Client, bob: Client, method: str, action: str) -> None:
        own = {client: await client.create(completed=action == "/reopen") for client in (alice, bob)}
        calls = (
            client.request(method, client.todos(own[client]["id"]) + action, json={"title": client.user_id})
            for client in [alice, bob] * 10
        )
        statuses, answers = await at_once(*calls)
        assert statuses == {200: 20}
        assert Counter(answer["user_id"] for answer in answers) == {alice.user_id: 10, bob.user_id: 10}
        for client in (alice, bob):
            last = (await client.get(client.todos(own[client]["id"]))).json()
            assert last["title"] in (own[client]["title"], client.user_id)
            assert last["version"] == (2 if action in ("/complete", "/reopen") else 11)

    async def test_two_users_read_and_delete_concurrently(self, alice: Client, bob: Client) -> None:
        theirs = await bob.create()
        mine = [await alice.create() for _ in range(10)]
        deletes = [alice.delete(alice.todos(todo["id"])) for todo in mine]
        stolen = [bob.delete(bob.todos(todo["id"])) for todo in mine]
        statuses, pages = await at_once(*deletes, *stolen, *(bob.get(bob.todos()) for _ in range(10)))
        assert statuses == {204: 10, 404: 10, 200: 10}
        assert all(page["items"] == [theirs] for page in pages)

    async def test_pages_are_consistent_while_rows_are_created(self, alice: Client) -> None:
        creates = [alice.post(alice.todos(), json={"title": "x"}) for _ in range(25)]
        reads = [alice.get(alice.todos(), params={"limit": 100}) for _ in range(25)]
        _, answers = await at_once(*(call for pair in zip(creates, reads, strict=True) for call in pair))
        pages = [answer for answer in answers if "items" in answer]
        assert len(pages) == 25
        assert all(page["total"] == len(page["items"]) for page in pages)
