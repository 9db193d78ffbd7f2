"""A real PostgreSQL, migrated; the application on it; and clients of users who are new in every test.

Every test has users of its own, and a user sees only what is theirs: that isolates the tests from each other,
with real commits on the real pool, and it is the very promise under test.
"""

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextlib import ExitStack
from typing import Any

import asyncpg
import httpx
import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from litestar import Litestar

from app.db.config import Database, ordinary_url
from app.db.embedded import EmbeddedPostgres
from app.db.migrate import migrate
from app.lib.settings import PROJECT, Settings
from app.main import create_app
from tests.asgi import asgi_transport
from tests.canaries import COOKIE, leaks
from tests.support import SECRET, Client, admin_url, database_url, running, token_for

for name in (*Settings.model_fields, "env_file"):
    os.environ.pop(name.upper(), None)
os.environ["ENV_FILE"] = ""  # a developer's .env is none of the tests' business
os.environ["DATABASE_RLS"] = os.environ.get("TEST_DATABASE_RLS", "false")
os.environ["RATE_LIMIT_PER_MINUTE"] = os.environ["AUTH_FAILURES_PER_MINUTE"] = "0"  # but where they are the subject

# How fast an example is depends on the machine, which may be busy with other work.
hypothesis_settings.register_profile("suite", deadline=None, suppress_health_check=[HealthCheck.too_slow])
hypothesis_settings.load_profile("suite")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail a test in which something was told that must never be."""
    report = yield
    found = {leak for title, text in report.sections if "stdout" not in title for leak in leaks(text)}
    if found and report.outcome == "passed":
        report.outcome, report.longrepr = "failed", f"It was told, and must not be: {sorted(found)}"
    return report


@pytest.fixture(scope="session")
def server_url() -> Iterator[str]:
    """Give the URL of a PostgreSQL where databases can be made: `TEST_DATABASE_URL`, or the embedded one.

    With `TEST_DATABASE_RLS=true` it is that of an ordinary role, and so are those of the databases.
    """
    with ExitStack() as stack:
        if not (url := os.environ.get("TEST_DATABASE_URL", "")):
            url = stack.enter_context(EmbeddedPostgres(PROJECT / ".data" / "tests", durable=False))
        settings = Settings()
        yield asyncio.run(ordinary_url(settings, url)) if settings.database_rls else url


@pytest.fixture(scope="session")
def new_database(server_url: str) -> Iterator[Callable[[], Any]]:
    """Give a function that makes an empty database and gives its URL; all are dropped at the end."""
    made: list[str] = []

    async def make() -> str:
        name = f"test_{secrets.token_hex(8)}"
        connection = await asyncpg.connect(admin_url(server_url))
        await connection.execute(f'CREATE DATABASE "{name}"')
        await connection.close()
        made.append(name)
        return database_url(server_url, name)

    yield make

    async def drop() -> None:
        connection = await asyncpg.connect(admin_url(server_url))
        for name in made:
            await connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        await connection.close()

    asyncio.run(drop())


@pytest.fixture(scope="session")
async def settings(new_database: Callable[[], Any]) -> Settings:
    """Settings of the shared application, on a migrated database of this process."""
    settings = Settings(
        environment="test", database_url=await new_database(), better_auth_secret=SECRET, log_level="info"
    )
    database = Database(settings)
    await migrate(database)
    await database.close()
    return settings


@pytest.fixture(scope="session")
async def app(settings: Settings) -> AsyncIterator[Litestar]:
    """Give the application, running."""
    async with running(create_app(settings)) as app:
        yield app


@pytest.fixture
async def client_of(app: Litestar) -> AsyncIterator[Callable[..., Client]]:
    """Give a function that makes a client of a user: `client_of("alice")`, or with headers of its own."""
    clients: list[Client] = []

    def make(user_id: str, **options: Any) -> Client:
        headers = {"Authorization": f"Bearer {token_for(user_id)}", "Cookie": COOKIE} | options.pop("headers", {})
        transport = asgi_transport(app)
        clients.append(Client(user_id, transport=transport, headers=headers, **options))
        return clients[-1]

    yield make
    for client in clients:
        await client.aclose()


@pytest.fixture
def alice(client_of: Callable[..., Client]) -> Client:
    """Give a client of a user that nobody has seen before."""
    return client_of(f"alice-{secrets.token_hex(8)}")


@pytest.fixture
def bob(client_of: Callable[..., Client]) -> Client:
    """Give a client of another new user."""
    return client_of(f"bob-{secrets.token_hex(8)}")


@pytest.fixture
async def anonymous(app: Litestar) -> AsyncIterator[httpx.AsyncClient]:
    """Give a client without a token."""
    transport = asgi_transport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as client:
        yield client
