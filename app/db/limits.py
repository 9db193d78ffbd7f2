"""Limits of time in PostgreSQL: of a connection, or of each transaction where a pooler shares connections."""

from typing import Any

from sqlalchemy import func, select, true
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg

from app.lib.settings import Settings


def time_limits(settings: Settings, options: str) -> dict[str, str]:
    """Return PostgreSQL's settings, in milliseconds; those that the URL's `options` name are left to it."""
    limits = {
        "statement_timeout": settings.database_statement_timeout,
        "idle_in_transaction_session_timeout": settings.database_statement_timeout,
        "lock_timeout": settings.database_lock_timeout,
    }
    return {name: str(max(1, round(seconds * 1000))) for name, seconds in limits.items() if name not in options}


def limit_transactions(base: type[Any], limits: dict[str, str]) -> type[Any]:
    """Return a kind of connection that sets limits with each BEGIN, in the same round trip and for it alone."""
    settings = select(*(func.set_config(name, value, true()) for name, value in limits.items()))
    dialect = PGDialect_asyncpg()  # type: ignore[no-untyped-call]
    command = str(settings.compile(dialect=dialect, compile_kwargs={"literal_binds": True}))

    class LimitedConnection(base):  # type: ignore[misc]
        __slots__ = ()

        async def execute(self, query: str, *args: object, timeout: float | None = None) -> str:  # noqa: ASYNC109
            if query.startswith("BEGIN"):
                query = f"{query.rstrip(';')}; {command}"
            status: str = await super().execute(query, *args, timeout=timeout)
            return status

    return LimitedConnection
