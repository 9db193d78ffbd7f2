"""A fresh database for one run, with the same rows for every server."""

import asyncio
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from app.db.config import ordinary_url
from app.db.embedded import EmbeddedPostgres
from app.lib.settings import Settings

ROOT = Path(__file__).absolute().parents[1]
EMBEDDED = ROOT / ".data" / "benchmarks"
COLUMNS = (
    "user_id, id, title, description, completed, completed_at, priority, due_date, due_at, tags, "
    "created_at, updated_at, version"
)


class BenchmarkError(Exception):
    """The run cannot go on, or its numbers would mean nothing; the message says why."""


@contextmanager
def scratch_database(server_url: str | None) -> Iterator[str]:
    """Yield the URL of a new, empty database, which is dropped at the end."""
    with _server(server_url) as url:
        name = f"bench_{secrets.token_hex(6)}"
        execute(url, f"CREATE DATABASE {name}")
        try:
            yield urlunsplit(urlsplit(url)._replace(path=f"/{name}"))
        finally:
            execute(url, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


@contextmanager
def _server(url: str | None) -> Iterator[str]:
    if url is not None:
        yield url
        return
    with EmbeddedPostgres(EMBEDDED) as embedded:  # durable, as in production: a commit waits for the disk
        yield embedded


def environment(database_url: str, secret: str, pool_size: int) -> dict[str, str]:
    """What every server and command is started with; settings of the caller's shell do not leak in."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("BETTER_AUTH_")}
    return inherited | {
        "ENV_FILE": "",
        "ENVIRONMENT": "development",
        "DATABASE_URL": database_url,
        "DATABASE_POOL_SIZE": str(pool_size),
        "DATABASE_POOL_OVERFLOW": "0",
        "BETTER_AUTH_SECRET": secret,
        "RATE_LIMIT_PER_MINUTE": "0",  # the peers have none
        "LOG_LEVEL": "warning",
    }


def as_ordinary_role(url: str) -> str:
    """Give the URL of a role that may do the same, but is no superuser."""
    return asyncio.run(ordinary_url(Settings(_env_file=None), url))


def manage(*arguments: str, env: dict[str, str]) -> None:
    """Run a command of `manage.py`. Raises `BenchmarkError` with what it printed."""
    command = [sys.executable, "manage.py", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BenchmarkError(f"manage.py {arguments[0]} failed:\n{done.stdout}{done.stderr}")


def copy_to_peer(url: str) -> None:
    """Give the peer the very rows that the app has."""
    source = COLUMNS.replace("priority", "priority::text::peer.priority")
    execute(
        url,
        "INSERT INTO peer.users (id, deactivated_at) SELECT id, deactivated_at FROM app.users",
        f"INSERT INTO peer.todos ({COLUMNS}) SELECT {source} FROM app.todos ORDER BY user_id, id",
    )


def settle(url: str, schemas: set[str]) -> None:
    """Keep autovacuum from striking one server's turn and not another's: `tidy` does its work."""
    execute(url, *(f"ALTER TABLE {schema}.todos SET (autovacuum_enabled = off)" for schema in schemas))
    execute(url, *(f"VACUUM ANALYZE {schema}.todos" for schema in schemas))


def tidy(url: str, schemas: set[str], since: datetime) -> None:
    """After a round, take away what it created, and the dead rows."""
    for schema in schemas:
        fetch(url, f"DELETE FROM {schema}.todos WHERE created_at > $1", since)
        execute(url, f"VACUUM ANALYZE {schema}.todos")


def execute(url: str, *statements: str) -> None:
    """Run statements one by one, each in a transaction of its own."""
    for statement in statements:
        fetch(url, statement)


def fetch(url: str, query: str, *arguments: Any) -> list[asyncpg.Record]:
    """Run one query."""

    async def run() -> list[asyncpg.Record]:
        connection = await asyncpg.connect(url)
        try:
            rows: list[asyncpg.Record] = await connection.fetch(query, *arguments)
            return rows
        finally:
            await connection.close()

    return asyncio.run(run())
