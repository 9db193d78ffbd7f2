"""Users are known from their first valid token on, and turned away when an operator closed them."""

import asyncio
import secrets
from collections.abc import Callable
from typing import Any

import pytest
from litestar import Litestar
from sqlalchemy import event, text

from app.domain.users import services
from app.domain.users.administration import UserAdministration
from app.domain.users.schemas import UserQuery
from app.domain.users.services import UserDirectory
from app.lib.auth.tokens import Identity
from app.lib.errors import Forbidden, NotFound
from tests.support import Client, assert_problem, token_for

FORBIDDEN = "Forbidden: not authorized to access this resource"


def new_id() -> str:
    return f"user-{secrets.token_hex(8)}"


async def rows_of(app: Litestar, user_id: str) -> list[Any]:
    query = text("SELECT email, name, image, deactivated_at, created_at FROM app.users WHERE id = :id")
    return list(await app.state.database.session(unscoped="tests").read(query, {"id": user_id}))


def administration(app: Litestar) -> UserAdministration:
    return UserAdministration(app.state.database.session(unscoped="tests"))


class TestFirstSight:
    async def test_first_token_creates_the_user(self, app: Litestar, alice: Client) -> None:
        assert await rows_of(app, alice.user_id) == []
        assert (await alice.get(alice.todos())).status_code == 200
        assert len(await rows_of(app, alice.user_id)) == 1

    async def test_hundred_concurrent_first_requests_create_one_user(self, app: Litestar, alice: Client) -> None:
        answers = await asyncio.gather(*(alice.post(alice.todos(), json={"title": "x"}) for _ in range(100)))
        assert {answer.status_code for answer in answers} == {201}
        assert len(await rows_of(app, alice.user_id)) == 1
        assert (await alice.get(alice.todos())).json()["total"] == 100

    async def test_first_requests_in_several_processes_create_one_user(self, app: Litestar) -> None:
        user_id = new_id()
        directories = [UserDirectory(app.state.database.session) for _ in range(15)]
        await asyncio.gather(*(directory.admit(Identity(user_id)) for directory in directories))
        assert len(await rows_of(app, user_id)) == 1

    async def test_refused_path_creates_no_user(self, app: Litestar, alice: Client, bob: Client) -> None:
        assert_problem(await bob.get(alice.todos()), 403)
        assert await rows_of(app, alice.user_id) == await rows_of(app, bob.user_id) == []

    async def test_refused_token_creates_no_user(self, app: Litestar, client_of: Callable[..., Client]) -> None:
        user_id = new_id()
        client = client_of(user_id, headers={"Authorization": f"Bearer {token_for(user_id, exp=1)}"})
        assert_problem(await client.get(client.todos()), 401)
        assert await rows_of(app, user_id) == []


class TestClaims:
    @staticmethod
    async def seen(app: Litestar, client_of: Callable[..., Client], **claims: Any) -> tuple[Any, ...]:
        user_id = new_id()
        client = client_of(user_id, headers={"Authorization": f"Bearer {token_for(user_id, **claims)}"})
        assert (await client.get(client.todos())).status_code == 200
        (row,) = await rows_of(app, user_id)
        return tuple(row[:3])

    async def test_claims_fill_the_user_row(self, app: Litestar, client_of: Callable[..., Client]) -> None:
        claims = {"email": "zoë@example.com", "name": "Zoë 🦄", "image": "https://example.com/z.png"}
        assert await self.seen(app, client_of, **claims) == tuple(claims.values())

    @pytest.mark.parametrize(
        "value", [None, "", " ", 1, True, [], ["a"], {}, {"a": "b"}, "nul\x00", "lone \ud800", "\udfff"]
    )
    async def test_invalid_claims_are_dropped(
        self, app: Litestar, client_of: Callable[..., Client], value: Any
    ) -> None:
        assert await self.seen(app, client_of, email=value, name=value, image=value) == (None, None, None)

    async def test_claims_have_a_maximum_length(self, app: Litestar, client_of: Callable[..., Client]) -> None:
        fits = {"email": "e" * 320, "name": "n" * 200, "image": "i" * 2048}
        assert await self.seen(app, client_of, **fits) == tuple(fits.values())
        longer = {name: value + "x" for name, value in fits.items()}
        assert await self.seen(app, client_of, **longer) == (None, None, None)

    async def test_claims_of_later_tokens_change_nothing(self, app: Litestar) -> None:
        user_id = new_id()
        for name in ("first", "second"):
            await UserDirectory(app.state.database.session).admit(Identity(user_id, name=name))
        assert (await rows_of(app, user_id))[0].name == "first"


class Clock:
    """A clock that a test turns."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class TestTrust:
    @pytest.fixture
    def clock(self) -> Clock:
        return Clock()

    @pytest.fixture
    def directory(self, app: Litestar, clock: Clock) -> UserDirectory:
        return UserDirectory(app.state.database.session, clock)

    async def test_known_user_needs_no_query(self, app: Litestar, directory: UserDirectory) -> None:
        identity, statements = Identity(new_id()), []
        await directory.admit(identity)
        engine = app.state.database.engine.sync_engine

        def count(*arguments: Any) -> None:
            statements.append(arguments[2])

        event.listen(engine, "before_cursor_execute", count)
        for _ in range(10):
            await directory.admit(identity)
        event.remove(engine, "before_cursor_execute", count)
        assert statements == []

    async def test_deactivation_is_noticed_in_time(self, app: Litestar, directory: UserDirectory, clock: Clock) -> None:
        identity = Identity(new_id())
        await directory.admit(identity)
        await administration(app).set_active(identity.id, active=False)
        clock.now += services.TRUST_SECONDS
        for _ in range(3):
            with pytest.raises(Forbidden):
                await directory.admit(identity)

    async def test_activation_is_noticed_at_once(self, app: Litestar, directory: UserDirectory) -> None:
        identity = Identity(new_id())
        await UserDirectory(app.state.database.session).admit(identity)
        await administration(app).set_active(identity.id, active=False)
        with pytest.raises(Forbidden):
            await directory.admit(identity)
        await administration(app).set_active(identity.id, active=True)
        await directory.admit(identity)

    async def test_admission_is_cached_for_a_few_seconds(self) -> None:
        assert 0 < services.TRUST_SECONDS <= 10

    async def test_clock_at_zero_admits_nobody_unchecked(self, app: Litestar) -> None:
        identity = Identity(new_id())
        await UserDirectory(app.state.database.session, lambda: 0.0).admit(identity)
        assert len(await rows_of(app, identity.id)) == 1

    async def test_admission_cache_is_bounded(self, directory: UserDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(services, "MAX_REMEMBERED", 3)
        for _ in range(5):
            await directory.admit(Identity(new_id()))
        assert len(directory._admitted) == 3

    async def test_erased_user_is_created_again(self, app: Litestar, directory: UserDirectory, clock: Clock) -> None:
        identity = Identity(new_id())
        await directory.admit(identity)
        async with app.state.database.begin(unscoped="tests") as connection:
            await connection.execute(text("DELETE FROM app.users WHERE id = :id"), {"id": identity.id})
        clock.now += services.TRUST_SECONDS
        await directory.admit(identity)
        assert len(await rows_of(app, identity.id)) == 1


class TestDeactivated:
    async def test_deactivated_user_is_403_until_activated(
        self, app: Litestar, alice: Client, bob: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(services, "TRUST_SECONDS", 0)
        todo = await alice.create()
        await administration(app).set_active(alice.user_id, active=False)
        for path in (alice.todos(), alice.todos(todo["id"])):
            assert_problem(await alice.get(path), 403, FORBIDDEN)
        assert_problem(await alice.delete(alice.todos(todo["id"])), 403)
        assert (await bob.get(bob.todos())).status_code == 200
        await administration(app).set_active(alice.user_id, active=True)
        assert (await alice.get(alice.todos(todo["id"]))).json() == todo

    async def test_deactivated_user_is_403_before_other_errors(
        self, app: Litestar, alice: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(services, "TRUST_SECONDS", 0)
        await alice.create()
        await administration(app).set_active(alice.user_id, active=False)
        assert_problem(await alice.post(alice.todos(), content=b"\xff"), 403)
        assert_problem(await alice.options(alice.todos()), 403)


class TestAdministration:
    async def test_second_deactivation_keeps_the_time(self, app: Litestar) -> None:
        user_id = new_id()
        await UserDirectory(app.state.database.session).admit(Identity(user_id))
        first = await administration(app).set_active(user_id, active=False)
        again = await administration(app).set_active(user_id, active=False)
        assert first == again
        assert first.deactivated_at is not None

    async def test_administration_of_unknown_user_is_not_found(self, app: Litestar) -> None:
        for question in (
            administration(app).get_user("nobody"),
            administration(app).set_active("nobody", active=False),
        ):
            with pytest.raises(NotFound):
                await question
        assert await rows_of(app, "nobody") == []

    async def test_users_are_listed_oldest_first(self, app: Litestar) -> None:
        ids = [new_id() for _ in range(3)]
        for user_id in ids:
            await UserDirectory(app.state.database.session).admit(Identity(user_id, email=f"{user_id}@example.com"))
        listed = [user.id for user in (await administration(app).list_users(UserQuery(limit=10_000))).items]
        assert [user_id for user_id in listed if user_id in ids] == ids
        last = await administration(app).list_users(UserQuery(limit=1, offset=len(listed) - 1))
        assert ([user.id for user in last.items], last.total) == (listed[-1:], len(listed))


async def test_control_characters_in_claims_are_not_stored(app: Litestar, alice: Client) -> None:
    token = token_for(alice.user_id, name="x\x1b]0;pwned\x07\nid: admin", email="a@b.c\tactive\nother")
    alice.headers["authorization"] = f"Bearer {token}"
    await alice.create()
    (row,) = await rows_of(app, alice.user_id)
    assert (row.name, row.email) == (None, None)
