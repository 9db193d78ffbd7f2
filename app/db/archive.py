"""Everything of one user, whatever the domains keep, as JSON Lines: out of the database, and back into it."""

from collections.abc import AsyncGenerator
from datetime import datetime
from functools import cache
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct
from sqlalchemy import ARRAY, JSON, Column, DateTime, Executable, Integer, Table, Text, bindparam, select, tuple_

from app.db.base import ROWS_RULE, TRANSIENT, WRITTEN_AS, RowsRule, metadata, owners, users_table
from app.lib.errors import OwnerDeleted
from app.lib.persistence.session import Session
from app.lib.persistence.statements import place_of

PROFILE = "profile"
BATCH = 50  # rows in memory at a time

_encoder = msgspec.json.Encoder()


class ExportTable:
    """A kind of line: the rows of one table, each tagged with its `type`; generated columns are left out."""

    def __init__(self, table: Table, owner: Column[Any], name: str) -> None:
        self.table, self.owner, self.name = table, owner, name
        self.columns = [column for column in table.columns if column.computed is None]
        self.keys = [column for column in table.primary_key if column is not owner]  # the owner has one row if none
        self.body: type[Struct] | None = table.info.get(WRITTEN_AS)
        self.rows_rule: RowsRule | None = table.info.get(ROWS_RULE)
        fields = [(str(column.name), _annotation(column)) for column in self.columns]
        self.record: type[Any] = msgspec.defstruct(
            table.name, fields, tag_field="type", tag=name, rename={"type": "type_"}, forbid_unknown_fields=True
        )
        self.first, self.further = self._page(), self._page(*self.keys)

    def _page(self, *after: Column[Any]) -> Executable:
        """Build the statement for a batch of the user's rows: the first, or the one after a key."""
        page = select(*self.columns).where(self.owner == bindparam("owner", type_=Text)).order_by(*self.keys)
        if after:
            place = [bindparam(place_of(number), type_=key.type) for number, key in enumerate(after)]
            page = page.where(tuple_(*after) > tuple_(*place))
        return page.limit(bindparam("page_limit", type_=Integer))

    async def batch(self, session: Session, user_id: str, after: Any) -> list[Any]:
        """Give the user's next rows, in one short read."""
        place = {place_of(number): getattr(after, key.name) for number, key in enumerate(self.keys) if after}
        statement = self.further if after else self.first
        rows = await session.read(statement, {"owner": user_id, "page_limit": BATCH} | place)
        return [self.record(*row) for row in rows]


def _annotation(column: Column[Any]) -> Any:
    annotation = _python_type(column.type)
    return annotation | None if column.nullable else annotation


def _python_type(kind: Any) -> Any:
    if isinstance(kind, JSON):
        return Any
    if isinstance(kind, ARRAY):
        return list[_python_type(kind.item_type)]  # type: ignore[misc]
    return Annotated[datetime, Meta(tz=True)] if isinstance(kind, DateTime) and kind.timezone else kind.python_type


@cache
def kinds() -> list[ExportTable]:
    """Give every kind of what is a user's, that to which others refer first."""
    owner_of, users = owners(), users_table()
    kept = [table for table in metadata.sorted_tables if table.fullname in owner_of and not table.info.get(TRANSIENT)]
    names = {table: PROFILE if table is users else str(table.name) for table in kept}
    return [ExportTable(table, table.c[owner_of[table.fullname]], names[table]) for table in kept]


async def export_lines(session: Session, user_id: str) -> AsyncGenerator[bytes]:
    """Give everything of a user, some lines at a time: the profile, what else there is one of, and the rest.

    No connection is held from one read to the next. Raises `OwnerDeleted` where there is no such user.
    """
    for kind in sorted(kinds(), key=lambda kind: len(kind.keys) > 0):
        last = None
        while records := await kind.batch(session, user_id, last):
            yield _encoder.encode_lines(records)
            last = records[-1]
            if len(records) < BATCH or not kind.keys:
                break
        if kind.name == PROFILE and last is None:
            raise OwnerDeleted
