"""Who was erased starts afresh with the next valid token, wherever it was done and whatever still remembers them."""

import asyncio
import secrets
from collections.abc import Callable

import pytest
from litestar import Litestar
from sqlalchemy import delete

from app.domain.users.services import UserDirectory
from app.lib.auth.tokens import Identity
from app.lib.errors import Forbidden
from tests.factories import todo_rows, users
from tests.support import Client, assert_problem, token_for


async def erase_behind_its_back(app: Litestar, user_id: str) -> None:
    """Erase a user as another process would: nothing in this one hears of it."""
    async with app.state.database.begin(unscoped="tests") as connection:
        await connection.execute(delete(users).where(users.c.id == user_id))


class TestBehindItsBack:
    async def test_write_after_erasure_creates_the_user(self, app: Litestar, alice: Client) -> None:
        await alice.create()
        await erase_behind_its_back(app, alice.user_id)
        todo = await alice.create(title="Afresh")
        assert [row["title"] for row in (await todo_rows(app, alice.user_id)).values()] == ["Afresh"]
        assert (await alice.get(alice.todos())).json()["items"] == [todo]

    async def test_user_after_erasure_has_the_claims_of_the_token(
        self, app: Litestar, client_of: Callable[..., Client]
    ) -> None:
        user_id = f"user-{secrets.token_hex(8)}"
        token = token_for(user_id, email="zoe@example.com")
        zoe = client_of(user_id, headers={"Authorization": f"Bearer {token}"})
        await zoe.create()
        await erase_behind_its_back(app, user_id)
        await zoe.create()
        async with app.state.database.begin(unscoped="tests") as connection:
            rows = await connection.execute(users.select().where(users.c.id == user_id))
            assert [row.email for row in rows] == ["zoe@example.com"]

    async def test_write_with_a_key_after_erasure_is_stored(self, app: Litestar, alice: Client) -> None:
        await alice.create()
        await erase_behind_its_back(app, alice.user_id)
        headers = {"Idempotency-Key": "k"}
        first, again = [await alice.post(alice.todos(), json={"title": "Once"}, headers=headers) for _ in range(2)]
        assert (first.status_code, again.status_code) == (201, 201)
        assert again.headers["idempotency-replayed"] == "true"
        assert first.json() == again.json()

    async def test_data_from_before_the_erasure_is_gone(self, app: Litestar, alice: Client) -> None:
        todo = await alice.create()
        await erase_behind_its_back(app, alice.user_id)
        assert (await alice.get(alice.todos())).json()["total"] == 0
        for method in ("GET", "DELETE"):
            assert_problem(await alice.request(method, alice.todos(todo["id"])), 404)
        assert_problem(await alice.patch(alice.todos(todo["id"]), json={"title": "x"}), 404)

    async def test_concurrent_writes_after_erasure_succeed(self, app: Litestar, alice: Client) -> None:
        await alice.create()
        await erase_behind_its_back(app, alice.user_id)
        answers = await asyncio.gather(*(alice.post(alice.todos(), json={"title": "x"}) for _ in range(20)))
        assert {answer.status_code for answer in answers} == {201}
        assert len(await todo_rows(app, alice.user_id)) == 20

    async def test_user_erased_twice_within_a_request_is_409(
        self, app: Litestar, alice: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def unheard(*_: object) -> None: ...

        await alice.create()
        await erase_behind_its_back(app, alice.user_id)
        monkeypatch.setattr(app.state.users, "readmit", unheard)
        assert_problem(await alice.post(alice.todos(), json={"title": "x"}), 409)
        assert_problem(await alice.post(alice.todos(), json={"title": "x"}, headers={"Idempotency-Key": "k"}), 409)

    async def test_user_deactivated_meanwhile_is_403(
        self, app: Litestar, alice: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def closed(*_: object) -> None:
            raise Forbidden

        await alice.create()
        await erase_behind_its_back(app, alice.user_id)
        monkeypatch.setattr(app.state.users, "readmit", closed)
        assert_problem(await alice.post(alice.todos(), json={"title": "x"}), 403)


class TestForgetting:
    async def test_admission_read_before_forgetting_is_not_cached(self, app: Litestar) -> None:
        directory = UserDirectory(app.state.database.session)
        identity = Identity(f"user-{secrets.token_hex(8)}")
        admission = asyncio.create_task(directory.admit(identity))
        await asyncio.sleep(0)
        directory.forget(identity.id)
        await admission
        assert identity.id not in directory._admitted
        await directory.admit(identity)
        assert identity.id in directory._admitted
