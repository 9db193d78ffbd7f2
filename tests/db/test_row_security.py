"""Row-level security: even raw SQL in a user's transaction meets that user's rows alone."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from asyncpg import InsufficientPrivilegeError
from sqlalchemy import insert, text, update
from sqlalchemy.exc import DBAPIError

from app.db.base import SCHEMA, owners
from app.db.config import Database, ordinary_url
from app.db.migrate import differences, migrate
from app.lib.errors import OwnerDeleted, Unavailable
from app.lib.persistence import scope_guard as tripwire
from app.lib.persistence.session import Session
from app.lib.settings import Settings
from tests.factories import todos, users
from tests.live import call, fetch
from tests.support import SECRET, admin_url

CONNECTIONS = 5
ALL = text("SELECT user_id, title FROM app.todos ORDER BY user_id")


def settings_of(url: str, *, rls: bool = True) -> Settings:
    return Settings(
        environment="test",
        database_url=url,
        better_auth_secret=SECRET,
        database_rls=rls,
        database_pool_size=CONNECTIONS,
    )


@pytest.fixture(scope="module")
async def url(new_database: Callable[[], Any]) -> str:
    """Give the URL of an empty database, for an ordinary role."""
    made = admin_url(await new_database())
    return await ordinary_url(settings_of(made), made)


@pytest.fixture(scope="module")
async def database(url: str) -> AsyncIterator[Database]:
    """Give a migrated database with a todo of Alice's and one of Bob's, whose rows PostgreSQL keeps apart."""
    database = Database(settings_of(url))
    await migrate(database)
    for name in ("alice", "bob"):
        session = database.session(name)
        await session.write(insert(users).values(id=name), {})
        await session.write(insert(todos).values(user_id=name, title=f"of {name}"), {})
    yield database
    await database.close()


@pytest.fixture
async def unguarded(database: Database, monkeypatch: pytest.MonkeyPatch) -> Database:
    """Give the database without the tripwire: what is left is PostgreSQL."""
    monkeypatch.setattr(tripwire, "_analyse", lambda *_: frozenset())
    return database


async def seen(session: Session) -> list[str]:
    return [row[0] for row in await session.read(ALL, {})]


class TestRawSql:
    @pytest.mark.parametrize("name", ["alice", "bob"])
    async def test_raw_sql_sees_only_rows_of_its_user(self, unguarded: Database, name: str) -> None:
        session = unguarded.session(name)
        assert await seen(session) == [name]
        assert len(await session.read(text("SELECT * FROM app.users"), {})) == 1
        async with session.atomic():
            assert await seen(session) == [name]

    async def test_raw_sql_without_a_user_sees_nothing(self, unguarded: Database) -> None:
        assert await seen(unguarded.session()) == []
        assert await seen(unguarded.session("carol")) == []
        async with unguarded.engine.connect() as connection:
            assert (await connection.execute(ALL)).all() == []
        async with unguarded.engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
            assert (await connection.execute(ALL)).all() == []

    @pytest.mark.parametrize(
        "user_id", ["", "o'alice", "alice' OR 'x' = 'x", "alice', true), set_config('app.unscoped', 'x"]
    )
    async def test_raw_sql_with_a_hostile_user_id_sees_nothing(self, unguarded: Database, user_id: str) -> None:
        assert await seen(unguarded.session(user_id)) == []

    async def test_statement_with_an_impossible_user_id_is_not_sent(self, unguarded: Database) -> None:
        for user_id in ("alice\\", "\0"):
            with pytest.raises(ValueError, match="No user"):
                await seen(unguarded.session(user_id))

    @pytest.mark.parametrize(
        "sql",
        [
            "INSERT INTO app.todos (user_id, id, title) VALUES ('bob', gen_random_uuid(), 'x')",
            "UPDATE app.todos SET user_id = 'bob'",
            "INSERT INTO app.users (id) VALUES ('mallory')",
            "UPDATE app.users SET id = 'mallory'",
            "COPY app.todos TO '/tmp/x'",
        ],
    )
    async def test_raw_sql_cannot_insert_for_another_user(self, unguarded: Database, sql: str) -> None:
        with pytest.raises(DBAPIError) as refused:
            await unguarded.session("alice").write(text(sql), {})
        assert isinstance(refused.value.orig.__cause__, InsufficientPrivilegeError)  # type: ignore[union-attr]

    @pytest.mark.parametrize(
        "sql",
        [
            "UPDATE app.todos SET title = 'mine' WHERE user_id = 'bob'",
            "DELETE FROM app.todos WHERE user_id = 'bob'",
            "DELETE FROM app.users WHERE id <> 'alice'",
        ],
    )
    async def test_raw_sql_cannot_change_rows_of_another_user(self, unguarded: Database, url: str, sql: str) -> None:
        before = await fetch(url, "SELECT * FROM app.todos")
        await unguarded.session("alice").write(text(sql), {})
        assert await fetch(url, "SELECT * FROM app.todos") == before

    async def test_raw_upsert_cannot_take_the_key_of_another_user(self, unguarded: Database) -> None:
        taken = text("INSERT INTO app.users (id) VALUES ('bob') ON CONFLICT (id) DO UPDATE SET name = 'mine'")
        with pytest.raises(DBAPIError):
            await unguarded.session("alice").write(taken, {})


class TestPool:
    async def test_pooled_connection_keeps_no_user(self, unguarded: Database) -> None:
        settings = text("SELECT current_setting('app.user_id', true), current_setting('app.unscoped', true)")
        for _ in range(CONNECTIONS * 2):
            assert await seen(unguarded.session(unscoped="tests")) == ["alice", "bob"]
            assert await seen(unguarded.session("alice")) == ["alice"]
            assert await seen(unguarded.session()) == []
            assert [tuple(row) for row in await unguarded.session().read(settings, {})] == [("", "")]

    async def test_pooled_connection_left_unscoped_is_reset(self, unguarded: Database) -> None:
        async with unguarded.begin(unscoped="tests") as connection:
            await connection.execute(text("SELECT set_config('app.unscoped', 'left', false)"))
        for _ in range(CONNECTIONS * 2):
            assert await seen(unguarded.session("alice")) == ["alice"]

    async def test_pooled_connection_after_an_error_keeps_no_user(self, unguarded: Database) -> None:
        for _ in range(CONNECTIONS * 2):
            with pytest.raises(Unavailable):
                await unguarded.session("alice").write(text("SELECT no_such_column"), {})
            assert await seen(unguarded.session("bob")) == ["bob"]

    async def test_concurrent_users_stay_apart(self, unguarded: Database) -> None:
        names = ["alice", "bob", "carol"] * 30
        rows = await asyncio.gather(*(seen(unguarded.session(name)) for name in names))
        assert rows == [[name] if name != "carol" else [] for name in names]


class TestUnscopedWork:
    async def test_unscoped_session_sees_all_users(self, database: Database) -> None:
        assert await seen(database.session(unscoped="tests")) == ["alice", "bob"]
        async with database.begin(unscoped="tests") as connection:
            await connection.execute(update(todos).values(version=todos.c.version))

    async def test_unscoped_work_ends_with_its_transaction(self, unguarded: Database) -> None:
        session = unguarded.session("alice")
        async with session.atomic():
            for _ in range(2):
                assert await seen(session) == ["alice"]
                with session.unscoped("tests"):
                    assert await seen(session) == ["alice", "bob"]
            assert await seen(session) == ["alice"]

    @pytest.mark.usefixtures("database")
    async def test_unscoped_copy_writes_rows_of_many_users(self, url: str) -> None:
        own = settings_of(url)
        status, said = await asyncio.to_thread(call, own, "seed", "--users", "2", "--todos", "30")
        assert status == 0, said
        counted = await fetch(
            url, "SELECT count(*) FROM app.todos WHERE user_id NOT IN ('alice', 'bob') GROUP BY user_id"
        )
        assert counted == [(30,), (30,)]
        await fetch(url, "DELETE FROM app.users WHERE id NOT IN ($1, $2)", "alice", "bob")

    async def test_foreign_keys_hold_with_row_security(self, database: Database, url: str) -> None:
        session = database.session("dave")
        with pytest.raises(OwnerDeleted):
            await session.write(insert(todos).values(user_id="dave", title="x"), {})
        await session.write(insert(users).values(id="dave"), {})
        await session.write(insert(todos).values(user_id="dave", title="x"), {})
        await session.write(users.delete().where(users.c.id == "dave"), {})
        assert await fetch(url, "SELECT * FROM app.todos WHERE user_id = 'dave'") == []


class TestSwitch:
    @pytest.fixture
    async def empty(self, new_database: Callable[[], Any]) -> str:
        made = admin_url(await new_database())
        return await ordinary_url(settings_of(made), made)

    async def states(self, url: str) -> set[tuple[bool, bool]]:
        sql = "SELECT relrowsecurity, relforcerowsecurity FROM pg_class WHERE oid = ANY ($1::regclass[])"
        return {(on, forced) for on, forced in await fetch(url, sql, list(owners()))}

    async def test_migrate_switches_row_security_as_configured(self, empty: str) -> None:
        for rls in (True, False, True):
            database = Database(settings_of(empty, rls=rls))
            await migrate(database)
            assert await self.states(empty) == {(rls, rls)}
            assert await differences(database) == []
            await database.close()

    @pytest.mark.usefixtures("database")
    async def test_each_owned_table_has_a_policy_for_every_command(self, url: str) -> None:
        sql = (
            "SELECT schemaname || '.' || tablename, cmd, permissive, roles::text FROM pg_policies WHERE schemaname = $1"
        )
        assert set(await fetch(url, sql, SCHEMA)) == {(name, "ALL", "PERMISSIVE", "{public}") for name in owners()}

    async def test_check_reports_row_security_that_differs_from_the_setting(self, empty: str) -> None:
        assert (await asyncio.to_thread(call, settings_of(empty), "migrate"))[0] == 0
        assert await asyncio.to_thread(call, settings_of(empty), "check") == (0, "No problems found.\n")
        status, said = await asyncio.to_thread(call, settings_of(empty, rls=False), "check")
        assert (status, "D004" in said) == (1, True)
        await fetch(empty, "ALTER TABLE app.todos NO FORCE ROW LEVEL SECURITY")
        status, said = await asyncio.to_thread(call, settings_of(empty), "check")
        assert (status, "D004" in said) == (1, True)

    async def test_check_reports_a_role_that_bypasses_row_security(self, empty: str) -> None:
        superuser = settings_of(admin_url(empty))
        assert (await asyncio.to_thread(call, superuser, "migrate"))[0] == 0
        assert "D005" in (await asyncio.to_thread(call, superuser, "check", "--deploy"))[1]
        assert "D005" not in (await asyncio.to_thread(call, settings_of(empty), "check", "--deploy"))[1]
        assert (
            "D005"
            not in (
                await asyncio.to_thread(call, superuser.model_copy(update={"database_rls": False}), "check", "--deploy")
            )[1]
        )
