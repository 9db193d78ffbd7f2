"""Migrations: Alembic, driven from code, in one transaction and by one process at a time."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, Literal

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import Script, ScriptDirectory
from alembic.util.exc import CommandError as AlembicError
from sqlalchemy import Column, Connection, MetaData, String, Table, false, func, inspect, select, update
from sqlalchemy.schema import CreateSchema
from sqlmodel import AutoString

from app.db import policies, row_security  # noqa: F401 - migrations and their comparison know policies
from app.db.base import SCHEMA, metadata
from app.db.config import Database
from app.db.suitability import refuse_unsuitable
from app.lib.errors import OperatorError, Unavailable
from app.lib.persistence.errors import lacks_schema
from app.lib.persistence.session import Session

VERSION_TABLE = "alembic_version"
LOCK_TIMEOUT = "10s"
_LOCK = 0x746F646F  # any number that all replicas share

_versions = Table(VERSION_TABLE, MetaData(schema=SCHEMA), Column("version_num", String(32)))
_CURRENT = select(_versions.c.version_num)
_STATE = _CURRENT.add_columns(func.current_setting("transaction_read_only") == "on")
_WRITE_NOTHING = update(_versions).values(version_num=_versions.c.version_num).where(false())


def alembic_config() -> Config:
    """Configure Alembic without an ini file."""
    config = Config()
    folder = Path(__file__).parent / "migrations"
    config.set_main_option("script_location", str(folder).replace("%", "%%"))  # ConfigParser's escape
    config.set_main_option("file_template", "%%(rev)s_%%(slug)s")
    config.set_main_option("path_separator", "os")
    return config


@cache
def scripts() -> ScriptDirectory:
    """Read the migration files, once."""
    return ScriptDirectory.from_config(alembic_config())


def revisions() -> list[Script]:
    """All migrations, the oldest first."""
    return list(reversed(list(scripts().walk_revisions())))


async def current_revision(database: Database, session: Session | None = None) -> str | None:
    """The migration that the database is at; None before the first. Raises `Unavailable`."""
    return (await _read_state(database, session))[0]


async def _read_state(database: Database, session: Session | None) -> tuple[str | None, bool]:
    """Return the revision, and whether the database refuses writes."""
    try:
        rows = await (session or database.session()).read(_STATE, {})
    except Unavailable as error:
        if lacks_schema(error):
            return None, False
        raise
    return (rows[0][0], rows[0][1]) if rows else (None, False)


async def pending_revisions(database: Database, session: Session | None = None) -> list[str]:
    """The migrations that are not applied yet. Raises `Unavailable`."""
    return _revisions_after(await current_revision(database, session))


async def pending_and_read_only(database: Database, session: Session | None = None) -> tuple[list[str], bool]:
    """As `pending_revisions`, and whether the database refuses writes, in the same round trip.

    Where it does, the connections are dropped: after a failover they lead to a standby, and new ones may not.
    """
    current, read_only = await _read_state(database, session)
    if read_only:
        for each in (session, database.session()) if session else (database.session(),):
            with suppress(Unavailable):
                await each.write(_WRITE_NOTHING, {})
    return _revisions_after(current), read_only


def _revisions_after(current: str | None) -> list[str]:
    known = [script.revision for script in revisions()]
    if current is not None and current not in known:
        return []  # made by a newer release, which a rolling deployment has already started
    return known[known.index(current) + 1 :] if current else known


async def migrate(database: Database, target: str = "head") -> None:
    """Move the database up or down to a revision; `zero` is before the first. Then secure it as the setting says."""

    def move(config: Config, connection: Connection) -> None:
        _move(config, connection, target)
        row_security.secure(connection, database.secured)

    await _alembic(database, move)


def _move(config: Config, connection: Connection, target: str) -> None:
    if target in ("zero", "base"):
        return command.downgrade(config, "base")
    if not target:
        raise AlembicError("There is no revision without a name")
    revision = scripts().get_revision(target)
    known = [script.revision for script in revisions()]
    current = MigrationContext.configure(connection, opts=_context_options()).get_current_revision()
    if current in known and revision is not None and known.index(revision.revision) < known.index(current):
        return command.downgrade(config, revision.revision)
    return command.upgrade(config, target)


async def make_migration(database: Database, message: str) -> Path | None:
    """Write a migration for what the models have and the database has not; None if there is nothing."""
    if not await differences(database):
        return None
    made: list[Any] = []

    def run(config: Config, _: Connection) -> None:
        made.append(command.revision(config, message=_plain(message), autogenerate=True, rev_id=_new_revision_id()))

    await _alembic(database, run)
    scripts.cache_clear()
    return Path(made[0].path)


def _new_revision_id() -> str:
    """Give the minute of now, or the next that is free."""
    known = {script.revision for script in revisions()}
    moment = datetime.now(UTC)
    while (name := f"{moment:%Y%m%d_%H%M}") in known:
        moment += timedelta(minutes=1)
    return name


def _plain(message: str) -> str:
    """Keep a message on one line and inside the quotes of the file's docstring."""
    return " ".join(message.replace('"', "'").replace("\\", "/").split())


async def differences(database: Database) -> list[Any]:
    """What the models have and the database has not, or the other way round."""

    def compare(connection: Connection) -> list[Any]:
        context = MigrationContext.configure(connection, opts=_context_options())
        with _computed_columns_unseen():
            return list(compare_metadata(context, metadata))

    async with database.begin(unscoped="compare the models") as connection:
        return await connection.run_sync(compare)


def _context_options() -> dict[str, Any]:
    """What env.py and comparisons share: only our schema is seen, types and defaults count."""
    return {
        "version_table": VERSION_TABLE,
        "version_table_schema": SCHEMA,
        "include_schemas": True,
        "include_name": lambda name, kind, _: kind != "schema" or name == SCHEMA,
        "compare_type": True,
        "compare_server_default": True,
        "render_item": _render,
        "target_metadata": metadata,
    }


def _render(kind: str, item: Any, _: Any) -> str | Literal[False]:
    """Write SQLModel's own string type as what it is in the database: migrations know SQLAlchemy only."""
    if kind == "type" and isinstance(item, AutoString):
        return f"sa.String({item.length or ''})"
    return False


def run_in(connection: Connection, configure: Callable[..., None]) -> None:
    """For env.py: take the lock of all replicas, make the schema if it is missing, and configure the context."""
    connection.execute(select(func.set_config("lock_timeout", LOCK_TIMEOUT, True)))
    connection.execute(select(func.set_config("statement_timeout", "0", True)))
    connection.execute(select(func.pg_advisory_xact_lock(_LOCK)))
    if not inspect(connection).has_schema(
        SCHEMA
    ):  # IF NOT EXISTS asks for CREATE on the database even where it is there
        connection.execute(CreateSchema(SCHEMA))
    configure(connection=connection, **_context_options())


@contextmanager
def _computed_columns_unseen() -> Iterator[None]:
    """Alembic compares their texts, which PostgreSQL spells its own way, and warns; tests compare what is stored."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Computed default on")
        yield


async def _alembic(database: Database, run: Callable[[Config, Connection], None]) -> None:
    config = alembic_config()

    def in_transaction(connection: Connection) -> None:
        refuse_unsuitable(connection)
        config.attributes["connection"] = connection
        with _computed_columns_unseen():
            run(config, connection)

    try:
        async with database.begin(unscoped="migrate") as connection:
            await connection.run_sync(in_transaction)
    except AlembicError as error:
        raise OperatorError(f"{error}. See `python manage.py showmigrations`.") from error
