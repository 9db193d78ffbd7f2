"""`Idempotency-Key`: a POST that is sent again is not done again."""

import asyncio
import secrets
from collections import Counter
from typing import Any

import pytest
from litestar import Litestar
from sqlalchemy import text

from app.db.idempotency import purge_answers
from app.domain.todos.services import TodoService
from tests.support import Client, assert_problem, json_object, mistakes, token_for


def keyed(key: str | None = None) -> dict[str, str]:
    return {"Idempotency-Key": key or secrets.token_hex(8)}


async def count(client: Client) -> int:
    return int(json_object(await client.get(client.todos()))["total"])


class TestReplay:
    async def test_retried_create_returns_the_first_response(self, alice: Client) -> None:
        headers = keyed()
        first = await alice.post(alice.todos(), json={"title": "once"}, headers=headers)
        again = await alice.post(alice.todos(), json={"title": "once"}, headers=headers)
        assert (first.status_code, again.status_code) == (201, 201)
        assert first.content == again.content
        for name in ("location", "etag", "content-type"):
            assert first.headers[name] == again.headers[name]
        assert "idempotency-replayed" not in first.headers
        assert again.headers["idempotency-replayed"] == "true"
        assert first.headers["x-request-id"] != again.headers["x-request-id"]
        assert await count(alice) == 1

    async def test_retried_toggle_runs_once(self, alice: Client) -> None:
        path = alice.todos((await alice.create())["id"], "toggle-complete")
        headers = keyed()
        answers = [await alice.post(path, headers=headers) for _ in range(3)]
        assert [answer.json()["version"] for answer in answers] == [2, 2, 2]
        assert (await alice.post(path, headers=keyed())).json()["version"] == 3

    async def test_requests_without_key_all_run(self, alice: Client) -> None:
        for _ in range(2):
            await alice.create()
        assert await count(alice) == 2

    async def test_idempotency_key_expires_after_a_day(self, app: Litestar, alice: Client) -> None:
        headers = keyed()
        await alice.post(alice.todos(), json={"title": "once"}, headers=headers)
        async with app.state.database.begin(unscoped="tests") as connection:
            age = text("UPDATE app.idempotency_keys SET created_at = now() - interval '25 h' WHERE user_id = :owner")
            await connection.execute(age, {"owner": alice.user_id})
        again = await alice.post(alice.todos(), json={"title": "once"}, headers=headers)
        assert "idempotency-replayed" not in again.headers
        third = await alice.post(alice.todos(), json={"title": "once"}, headers=headers)
        assert third.content == again.content
        assert await count(alice) == 2

    async def test_purge_removes_expired_keys(self, app: Litestar, alice: Client, bob: Client) -> None:
        for client in (alice, bob):
            await client.post(client.todos(), json={"title": "once"}, headers=keyed())
        async with app.state.database.begin(unscoped="tests") as connection:
            age = text("UPDATE app.idempotency_keys SET created_at = now() - interval '25 h' WHERE user_id = :owner")
            await connection.execute(age, {"owner": alice.user_id})
        assert await purge_answers(app.state.database.session(unscoped="tests")) >= 1
        left = text("SELECT user_id FROM app.idempotency_keys WHERE user_id IN (:one, :other)")
        async with app.state.database.begin(unscoped="tests") as connection:
            owners = await connection.scalars(left, {"one": alice.user_id, "other": bob.user_id})
        assert owners.all() == [bob.user_id]


class TestMisuse:
    async def test_key_reused_for_another_request_is_422(self, alice: Client) -> None:
        headers = keyed()
        todo = (await alice.post(alice.todos(), json={"title": "once"}, headers=headers)).json()
        other: list[tuple[str, Any]] = [
            (alice.todos(), {"title": "twice"}),
            (alice.todos(todo["id"], "complete"), {"title": "once"}),
        ]
        for path, body in other:
            assert "Idempotency-Key" in mistakes(await alice.post(path, json=body, headers=headers))
        assert await count(alice) == 1

    @pytest.mark.parametrize("key", ["", " ", "a b", "x" * 256, "\x7f", "é"])
    async def test_idempotency_key_must_be_visible_ascii(self, alice: Client, key: str) -> None:
        value = key.encode()
        response = await alice.post(alice.todos(), json={"title": "x"}, headers={b"Idempotency-Key": value})
        assert "Idempotency-Key" in mistakes(response)
        assert await count(alice) == 0

    async def test_two_idempotency_keys_are_refused(self, alice: Client) -> None:
        headers = [
            ("Idempotency-Key", "a"),
            ("Idempotency-Key", "b"),
            ("Authorization", alice.headers["authorization"]),
        ]
        assert "Idempotency-Key" in mistakes(await alice.post(alice.todos(), json={"title": "x"}, headers=headers))

    async def test_authentication_precedes_idempotency(self, alice: Client, bob: Client) -> None:
        headers = keyed()
        await alice.post(alice.todos(), json={"title": "hers"}, headers=headers)
        assert_problem(await bob.post(alice.todos(), json={"title": "hers"}, headers=headers), 403)
        anonymous = {**headers, "Authorization": "Bearer nonsense"}
        assert_problem(await alice.post(alice.todos(), json={"title": "hers"}, headers=anonymous), 401)


async def deactivate(app: Litestar, user_id: str) -> None:
    """Mark a user as another process would: this one still trusts them for some seconds."""
    async with app.state.database.begin(unscoped="tests") as connection:
        mark = text("UPDATE app.users SET deactivated_at = now() WHERE id = :owner")
        await connection.execute(mark, {"owner": user_id})


class TestGuards:
    async def test_lost_role_ends_replays(self, bob: Client, client_of: Any) -> None:
        await bob.create()
        user_id = f"admin-{secrets.token_hex(8)}"
        admin, plain = (
            client_of(user_id, headers={"Authorization": f"Bearer {token_for(user_id, role=role)}"})
            for role in ("admin", "user")
        )
        path, headers = admin.path("admin", "users", bob.user_id, "deactivate"), keyed()
        assert (await admin.post(path, headers=headers)).status_code == 200
        assert (await admin.post(path, headers=headers)).headers["idempotency-replayed"] == "true"
        refused = await plain.post(path, headers=headers)
        assert_problem(refused, 403)
        assert "idempotency-replayed" not in refused.headers
        assert bob.user_id not in refused.text.replace(path, "")

    async def test_deactivation_ends_replays_at_once(self, app: Litestar, alice: Client) -> None:
        sent: dict[str, Any] = {"json": {"title": "once"}, "headers": keyed()}
        assert (await alice.post(alice.todos(), **sent)).status_code == 201
        await deactivate(app, alice.user_id)
        assert_problem(await alice.post(alice.todos(), **sent), 403)
        async with app.state.database.begin(unscoped="tests") as connection:
            rows = text("SELECT count(*) FROM app.todos WHERE user_id = :owner")
            assert (await connection.execute(rows, {"owner": alice.user_id})).scalar_one() == 1

    async def test_guards_run_before_key_validation(self, alice: Client) -> None:
        path, headers = alice.path("admin", "users", "somebody", "deactivate"), keyed()
        await alice.post(alice.todos(), json={"title": "x"}, headers=headers)
        for key in (headers["Idempotency-Key"], "not visible"):
            assert_problem(await alice.post(path, headers=keyed(key)), 403)
            assert_problem(await alice.post(alice.path("nowhere"), headers=keyed(key)), 404)
            assert_problem(await alice.post(alice.path("export"), headers=keyed(key)), 405)

    async def test_replay_runs_no_handler(self, alice: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        sent: dict[str, Any] = {"json": {"title": "once"}, "headers": keyed()}
        first = await alice.post(alice.todos(), **sent)
        monkeypatch.setattr(TodoService, "insert", None)
        assert (await alice.post(alice.todos(), **sent)).content == first.content


class TestRefusals:
    async def test_refused_requests_are_not_stored(self, alice: Client) -> None:
        headers = keyed()
        assert_problem(await alice.post(alice.todos(), json={"title": ""}, headers=headers), 422)
        assert (await alice.post(alice.todos(), json={"title": "now"}, headers=headers)).status_code == 201

    async def test_refused_retry_keeps_its_status(self, alice: Client) -> None:
        await alice.create()
        big = b'{"title": "' + b"x" * 2**21 + b'"}'
        json = {"Content-Type": "application/json"}
        assert_problem(await alice.post(alice.todos(), content=big, headers=keyed() | json), 413)
        assert_problem(await alice.post(alice.todos(), content=b"{", headers=keyed() | json), 400)
        assert_problem(await alice.post(alice.todos(), content=b"{}", headers=keyed()), 415)
        assert_problem(await alice.post(alice.path("nowhere"), headers=keyed()), 404)
        double = {"title": "x", "due_date": "2026-01-01", "due_at": "2026-01-01T00:00:00Z"}
        assert_problem(await alice.post(alice.todos(), json=double, headers=keyed()), 422)


class TestConcurrency:
    async def test_fifty_concurrent_retries_create_one_row(self, alice: Client) -> None:
        headers = keyed()
        body = {"title": "once"}
        answers = await asyncio.gather(*(alice.post(alice.todos(), json=body, headers=headers) for _ in range(50)))
        statuses = Counter(answer.status_code for answer in answers)
        assert statuses.keys() <= {201, 409}
        assert len({answer.content for answer in answers if answer.status_code == 201}) == 1
        assert sum("idempotency-replayed" not in answer.headers for answer in answers if answer.status_code == 201) == 1
        assert await count(alice) == 1

    async def test_idempotency_keys_are_per_user(self, alice: Client, bob: Client) -> None:
        headers = keyed()
        answers = await asyncio.gather(
            *(client.post(client.todos(), json={"title": client.user_id}, headers=headers) for client in (alice, bob))
        )
        assert [answer.status_code for answer in answers] == [201, 201]
        assert [answer.json()["user_id"] for answer in answers] == [alice.user_id, bob.user_id]
        assert not any("idempotency-replayed" in answer.headers for answer in answers)

    async def test_stored_key_of_another_user_is_not_replayed(self, alice: Client, bob: Client) -> None:
        headers = keyed()
        for client in (alice, bob):
            answer = await client.post(client.todos(), json={"title": "x"}, headers=headers)
            assert (answer.status_code, answer.json().get("user_id")) == (201, client.user_id)
            assert "idempotency-replayed" not in answer.headers

    async def test_retries_leave_no_connection_checked_out(self, app: Litestar, alice: Client) -> None:
        await asyncio.gather(*(alice.post(alice.todos(), json={"title": "x"}, headers=keyed()) for _ in range(30)))
        assert app.state.database.engine.pool.checkedout() == 0
        assert await count(alice) == 30


async def test_first_request_of_a_user_may_have_a_key(client_of: Any) -> None:
    client = client_of(f"first-{secrets.token_hex(8)}")
    assert (await client.post(client.todos(), json={"title": "x"}, headers=keyed())).status_code == 201
