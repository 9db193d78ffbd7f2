"""Rows in bulk, by COPY: for seeds and imports, never on the way of a request."""

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Column, MetaData, Table, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.schema import CreateTable, DropTable


async def unlimited(connection: AsyncConnection) -> None:
    """Lift the limits of time for the connection's transaction."""
    for name in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"):
        await connection.execute(select(func.set_config(name, "0", True)))


async def copy_rows(
    connection: AsyncConnection, table: Table, columns: Sequence[str], rows: Iterable[Sequence[Any]]
) -> None:
    """Copy rows into a table, within the connection's transaction, which must have begun.

    PostgreSQL has no COPY into a table with row-level security: the rows then go through a table of the session's own.
    """
    raw = await connection.get_raw_connection()
    driver: Any = raw.driver_connection
    secured = (await connection.execute(select(func.row_security_active(table.fullname)))).scalar()
    if not secured:
        await driver.copy_records_to_table(table.name, schema_name=table.schema, columns=columns, records=rows)
        return
    passage = Table("passage", MetaData(), *(_bare(table.c[name]) for name in columns), prefixes=["TEMPORARY"])
    await connection.execute(CreateTable(passage))
    await driver.copy_records_to_table(passage.name, columns=columns, records=rows)
    await connection.execute(insert(table).from_select(list(columns), select(passage), include_defaults=False))
    await connection.execute(DropTable(passage))


def _bare(column: Column[Any]) -> Column[Any]:
    return Column(column.name, column.type)
