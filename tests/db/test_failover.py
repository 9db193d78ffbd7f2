"""What a healthy client meets after a failover, a restart, or a migration: 503 until it works again, never 500."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest
from litestar import Litestar

from app.db.config import Database, LostConnections
from app.db.migrate import migrate
from app.lib.middleware import access_log as request_log
from app.lib.persistence.errors import MEANINGS
from app.lib.settings import Settings
from app.main import create_app
from tests.asgi import asgi_transport
from tests.live import call, fetch, until
from tests.support import SECRET, Client, admin_url, assert_problem, running, token_for

RAISING = """
    CREATE OR REPLACE FUNCTION app.misfortune() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN RAISE EXCEPTION USING ERRCODE = '{code}', CONSTRAINT = 'of_an_operator', MESSAGE = 'private'; END $$;
"""
AT_COMMIT = """
    CREATE CONSTRAINT TRIGGER misfortune AFTER INSERT ON app.todos
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION app.misfortune();
"""
# As clients see each SQLSTATE, stated once more and on purpose; a class stands for all of its members.
STATUSES = {
    503: "08000 08006 25006 25P03 25P04 26000 28000 28P01 3D000 3F000 40001 40003 40P01 42703 42704 42883 42P01 42P05"
    " 53000 53100 53200 53300 53400 55P03 57014 57P01 57P02 57P03 57P04 57P05 58000 58030",
    409: "23000 23001 23503 23505 23P01 40002",
    422: "22001 22003 22P05 23502 23514 44000",
    500: "P0001 42501 0A000 XX000 25P02",
}
EXPECTED = {code: status for status, codes in STATUSES.items() for code in codes.split()}


def settings_of(url: str) -> Settings:
    return Settings(_env_file=None, environment="test", database_url=url, better_auth_secret=SECRET)


@asynccontextmanager
async def application(url: str) -> AsyncIterator[tuple[Litestar, Client]]:
    async with running(create_app(settings_of(url))) as app:
        transport = asgi_transport(app)
        headers = {"Authorization": f"Bearer {token_for('alice')}"}
        async with Client("alice", transport=transport, headers=headers) as client:
            yield app, client


@pytest.fixture
async def url(new_database: Callable[[], Any]) -> str:
    """The URL of a migrated database."""
    url: str = await new_database()
    database = Database(settings_of(url))
    await migrate(database)
    await database.close()
    return url


async def set_read_only(url: str, value: str) -> None:
    """Decide what new connections are; those that are open stay what they are, as after a failover."""
    name = (await fetch(url, "SELECT current_database()"))[0][0]
    connection = await asyncpg.connect(admin_url(url), server_settings={"default_transaction_read_only": "off"})
    await connection.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = {value}')
    await connection.close()


class Log:
    """What the requests' log is told."""

    def __init__(self) -> None:
        self.causes: dict[str, set[str]] = {}

    def warning(self, event: str, *, cause: str, **_: object) -> None:
        self.causes.setdefault(event, set()).add(cause)

    def info(self, event: str, **_: object) -> None:
        """Nothing is asked of the lines of requests here."""


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Log:
    log = Log()
    monkeypatch.setattr(request_log, "_log", log)
    return log


def test_every_sqlstate_has_a_case() -> None:
    assert {code for code in MEANINGS if not any(tried.startswith(code) for tried in EXPECTED)} == set()


async def test_each_sqlstate_at_commit_has_its_status(url: str) -> None:
    await fetch(url, RAISING.format(code="P0001") + AT_COMMIT)
    async with application(url) as (_, client):
        statuses = {}
        for code in EXPECTED:
            await fetch(url, RAISING.format(code=code))
            response = await client.post(client.todos(), json={"title": "Lost"})
            assert_problem(response, response.status_code)
            assert ("retry-after" in response.headers) == (response.status_code == 503)
            assert not {"private", code, "of_an_operator"} & set(response.text.split('"'))
            statuses[code] = response.status_code
        assert statuses == EXPECTED
        assert await fetch(url, "SELECT count(*) FROM app.todos") == [(0,)]


KNOWN_TITLES = """
    CREATE TABLE app.titles (title text PRIMARY KEY);
    ALTER TABLE app.todos ADD CONSTRAINT known_title FOREIGN KEY (title) REFERENCES app.titles
    DEFERRABLE INITIALLY DEFERRED;
"""


@pytest.mark.parametrize(
    ("ddl", "status", "constraint"),
    [
        (KNOWN_TITLES, 409, "known_title"),
        ("ALTER TABLE app.todos ADD CONSTRAINT no_x CHECK (title NOT LIKE 'x%');", 422, "no_x"),
        ("ALTER TABLE app.todos ADD CONSTRAINT once UNIQUE (title) DEFERRABLE INITIALLY DEFERRED;", 409, "once"),
        (RAISING.format(code="23514") + AT_COMMIT, 422, "of_an_operator"),
    ],
    ids=["foreign key", "check", "unique", "trigger"],
)
async def test_violated_constraint_is_named_only_in_the_log(
    url: str, ddl: str, status: int, constraint: str, log: Log
) -> None:
    await fetch(url, ddl)
    async with application(url) as (_, client):
        for title in ("xylophone", "xylophone"):  # the second one is not unique
            response = await client.post(client.todos(), json={"title": title})
        assert_problem(response, status)
        assert constraint not in response.text
        assert log.causes == {"constraint_violated": {constraint}}


async def test_read_only_database_is_503_until_new_connections_can_write(url: str) -> None:
    async with application(url) as (_, client):
        await client.create()  # so that the user is known
    await set_read_only(url, "on")
    async with application(url) as (app, client):
        assert (await client.get(client.todos())).json()["total"] == 1
        response = await client.post(client.todos(), json={"title": "Lost"})
        assert_problem(response, 503)
        assert int(response.headers["retry-after"]) > 0
        operations = [{"op": "create", "data": {"title": "Lost"}}]
        assert_problem(await client.post(client.todos("batch"), json={"operations": operations}), 503)
        await set_read_only(url, "off")

        async def writes() -> bool:
            response = await client.post(client.todos(), json={"title": "Kept"})
            assert response.status_code in (201, 503)
            return response.status_code == 201

        await until(writes)
        assert app.state.database.engine.pool.checkedout() == 0


async def test_health_checks_recover_from_a_read_only_database(url: str) -> None:
    await set_read_only(url, "on")
    async with application(url) as (_, client):
        problem = assert_problem(await client.get("/api/health"), 503)
        assert (problem["database"], problem["migrations"]) == ("read_only", "current")
        for command, output in (
            ("health", "read_only"),
            ("check", "D007"),
            ("seed", "primary"),
            ("migrate zero", "primary"),
        ):
            status, said = await asyncio.to_thread(call, settings_of(url), *command.split())
            assert status == 1, (command, said)
            assert output in said
        await set_read_only(url, "off")

        async def is_healthy() -> bool:
            return (await client.get("/api/health")).status_code == 200

        await until(is_healthy)


def test_pool_is_replaced_once_per_interval() -> None:
    class Context:
        connection = object()
        original_exception = type("ReadOnly", (Exception,), {"sqlstate": "25006"})()
        is_disconnect = False
        invalidate_pool_on_disconnect = True

    now = 0.0
    lost = LostConnections(clock=lambda: now)
    replaced = []
    for now in (0.0, 0.5, 1.0, 1.5, 2.5):  # noqa: B007 - read by the clock
        context: Any = Context()
        lost(context)
        assert context.is_disconnect
        replaced.append(context.invalidate_pool_on_disconnect)
    assert replaced == [True, False, True, False, True]


@pytest.mark.parametrize(
    "ddl",
    [
        "DROP SCHEMA app CASCADE;",
        "DROP TABLE app.users CASCADE;",
        "ALTER TABLE app.todos DROP COLUMN position;",
    ],
)
async def test_missing_tables_and_columns_are_503(url: str, ddl: str, log: Log) -> None:
    async with application(url) as (_, client):
        await fetch(url, ddl)
        for response in (
            await client.get(client.todos()),
            await client.post(client.todos(), json={"title": "Lost"}),
        ):
            assert_problem(response, 503, "The database is unavailable, try again later")
            assert int(response.headers["retry-after"]) > 0
        assert log.causes["schema_mismatch"] <= {"3F000", "42P01", "42703"}


async def test_older_schema_is_503_until_migrated(new_database: Callable[[], Any]) -> None:
    url = await new_database()
    database = Database(settings_of(url))
    async with application(url) as (_, client):
        assert_problem(await client.get(client.todos()), 503)
        await migrate(database, "20261121_0100")
        assert_problem(await client.get(client.todos()), 503)
        await migrate(database)
        assert (await client.get(client.todos())).status_code == 200
    await database.close()


async def test_outdated_statement_plan_is_prepared_again(url: str) -> None:
    async with application(url) as (_, client):
        created = await client.post(client.path("lists"), json={"name": "Groceries"})
        path = client.path("lists", created.json()["id"])
        assert (await client.get(path)).status_code == 200
        await fetch(url, "ALTER TABLE app.lists ALTER COLUMN color TYPE varchar(9);")
        assert (await client.get(path)).json()["name"] == "Groceries"
        assert (await client.post(client.path("lists"), json={"name": "Work"})).status_code == 201
