"""Settings to engines: one pool, seen twice, in transactions for writes and in autocommit for reads."""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from typing import Any
from uuid import uuid4

import asyncpg
from advanced_alchemy.config import EngineConfig, SQLAlchemyAsyncConfig
from sqlalchemy import ExceptionContext, event, make_url
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.db import libpq, row_security
from app.db.base import owners
from app.db.embedded import EmbeddedPostgres
from app.db.limits import limit_transactions, time_limits
from app.db.probe import Probe
from app.db.supervisor import EmbeddedPostgresError
from app.lib.database_url import ConnectionTarget, parse_database_url
from app.lib.errors import OperatorError
from app.lib.persistence.errors import is_lost
from app.lib.persistence.scope_guard import install_scope_guard, scope
from app.lib.persistence.session import Session
from app.lib.persistence.statement_budget import MAX_SHAPES
from app.lib.persistence.turns import Turns
from app.lib.settings import Settings


class Database:
    """The connection pool of one process."""

    def __init__(self, settings: Settings, url: str | None = None) -> None:
        """`url` is the embedded database's; by default the settings name one."""
        target = parse_database_url(url) if url else settings.connection_target
        assert target is not None, "the embedded database is started before this"
        libpq.forget_variables()
        self.config = alchemy_config(settings, target)
        self.engine = self.config.get_engine()
        self.secured = settings.database_rls
        # In autocommit a single SELECT needs no BEGIN and no ROLLBACK. Behind PgBouncer a statement is prepared
        # and executed on one server connection only within a transaction, and row-level security asks for one, too.
        self._has_transactions_only = target.pooled or self.secured
        self.reader = self._prepare(self.engine)
        waits = (settings.database_pool_timeout, settings.database_connect_timeout, settings.database_statement_timeout)
        self._deadline = sum(waits) + 1
        connections = settings.database_pool_size + settings.database_pool_overflow
        self._turns = Turns(connections, settings.database_pool_timeout)
        single = settings.model_copy(update={"database_pool_size": 1, "database_pool_overflow": 0})
        engine = alchemy_config(single, target).get_engine()
        self.probe: Probe[Any] = Probe(engine, self._prepare(engine), settings.database_connect_timeout + 1)

    def _prepare(self, engine: AsyncEngine) -> AsyncEngine:
        """Watch what an engine sends, and return the one for its reads."""
        event.listen(engine.sync_engine, "checkout", _refuse_closed)
        event.listen(engine.sync_engine, "handle_error", LostConnections())
        install_scope_guard(engine.sync_engine, owners)
        if self.secured:
            row_security.announce_users(engine.sync_engine)
        return engine if self._has_transactions_only else engine.execution_options(isolation_level="AUTOCOMMIT")

    def session(self, user_id: str | None = None, *, unscoped: str | None = None) -> Session:
        """Make a session; it takes a connection only while it works.

        It reaches the rows of `user_id` alone. Work on those of several users says by `unscoped` what it is for.
        """
        return Session(self.engine, self.reader, scope(user_id, unscoped), self._deadline, self._turns)

    @asynccontextmanager
    async def begin(self, *, unscoped: str) -> AsyncIterator[AsyncConnection]:
        """Give a connection in a transaction, for work on the rows of several users."""
        async with self.engine.connect() as connection:
            await connection.execution_options(**scope(None, unscoped))
            async with connection.begin():
                yield connection

    async def close(self) -> None:
        """Close every connection."""
        await self.probe.close()
        await self.engine.dispose()


@asynccontextmanager
async def open_database(settings: Settings) -> AsyncIterator[Database]:
    """Connect to the configured database, or to the embedded one, which runs for as long as somebody uses it."""
    with ExitStack() as stack:
        embedded = settings.database_url is None
        url = await asyncio.to_thread(stack.enter_context, embedded_postgres(settings)) if embedded else None
        database = Database(settings, url)
        try:
            yield database
        finally:
            await database.close()


@contextmanager
def embedded_postgres(settings: Settings) -> Iterator[str]:
    """Share in the embedded PostgreSQL of this project, and give its URL. Raises `OperatorError`."""
    embedded = EmbeddedPostgres(settings.data_dir / "postgres")
    try:
        url = embedded.start()
    except EmbeddedPostgresError as error:
        raise OperatorError(str(error)) from error
    try:
        yield asyncio.run(ordinary_url(settings, url)) if settings.database_rls else url
    finally:
        embedded.close()


async def ordinary_url(settings: Settings, url: str) -> str:
    """Give the URL of an ordinary role beside the superuser of a URL: row-level security does not bind superusers."""
    database = Database(settings, url)
    try:
        async with database.begin(unscoped="make an ordinary role") as connection:
            await connection.run_sync(row_security.make_role)
    finally:
        await database.close()
    return make_url(url).set(username=row_security.ROLE).render_as_string(hide_password=False)


def alchemy_config(settings: Settings, target: ConnectionTarget) -> SQLAlchemyAsyncConfig:
    """Build advanced-alchemy's configuration.

    It is the one without Litestar's commit hook: a lost commit must not be answered with 201. Litestar's variant also
    registers each configuration for the life of the process, and fails with RecursionError at about the 950th.
    """
    arguments: dict[str, Any] = {"timeout": settings.database_connect_timeout, **target.arguments}
    given = target.arguments.get("server_settings", {})
    limits = time_limits(settings, given.get("options", ""))
    # A pooler's connections belong to everybody: what is set there is set for a transaction.
    own = {} if target.pooled else limits | {"timezone": "UTC"}
    arguments["server_settings"] = {"application_name": "todo-backend", **own, **given}
    kind: type[Any] = row_security.ScopedConnection if settings.database_rls else asyncpg.Connection
    if target.pooled:
        arguments |= _without_prepared_statements()
        kind = limit_transactions(kind, limits)
    arguments["connection_class"] = kind
    engine = EngineConfig(
        pool_size=settings.database_pool_size,
        max_overflow=settings.database_pool_overflow,
        pool_timeout=settings.database_pool_timeout,
        pool_use_lifo=True,  # idle connections age and can be closed by the other side
        hide_parameters=True,
        query_cache_size=4 * MAX_SHAPES,  # a combination has a page, a page after a cursor and a count
        connect_args=arguments,
    )
    return SQLAlchemyAsyncConfig(
        connection_string=target.url.render_as_string(hide_password=False), engine_config=engine
    )


def _without_prepared_statements() -> dict[str, Any]:
    """PgBouncer before 1.21 knows none; their names must then differ, for its server connections are shared."""
    return {
        "statement_cache_size": 0,
        "prepared_statement_cache_size": 0,
        "prepared_statement_name_func": lambda: f"__asyncpg_{uuid4()}__",
    }


class LostConnections:
    """Closes the connections of errors after which they are of no use, though the server keeps them open.

    After a failover all idle ones lead to the old server. They are replaced together, but at most once in
    `INTERVAL` seconds: else each write to a database that stays read-only would have all readers reconnect.
    """

    INTERVAL = 1

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._next = -math.inf

    def __call__(self, context: ExceptionContext) -> None:
        """Mark the connection as lost (SQLAlchemy's event `handle_error`)."""
        if context.connection is None or not is_lost(context.original_exception):
            return
        context.is_disconnect = True
        context.invalidate_pool_on_disconnect = (now := self._clock()) >= self._next
        if context.invalidate_pool_on_disconnect:
            self._next = now + self.INTERVAL


def _refuse_closed(dbapi_connection: Any, *_: Any) -> None:
    """Replace a connection that the server has closed (a restart, a suspended Neon), at no round trip."""
    if dbapi_connection.driver_connection.is_closed():
        raise DisconnectionError
