"""Rows in bulk, by COPY: for seeds and imports, never on the way of a request."""

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Table, func, select
from sqlalchemy.ext.asyncio import AsyncConnection


async def unlimited(connection: AsyncConnection) -> None:
    """Lift the limits of time for the connection's transaction."""
    for name in ("statement_timeout", "idle_in_transaction_session_timeout"):
        await connection.execute(select(func.set_config(name, "0", True)))


async def copy_rows(
    connection: AsyncConnection, table: Table, columns: Sequence[str], rows: Iterable[Sequence[Any]]
) -> None:
    """Copy rows into a table, within the connection's transaction, which must have begun."""
    raw = await connection.get_raw_connection()
    driver: Any = raw.driver_connection
    await driver.copy_records_to_table(table.name, schema_name=table.schema, columns=columns, records=rows)
