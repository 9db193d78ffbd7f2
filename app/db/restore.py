"""An exported user, put back: every line is checked before the first is written, and all of them are or none."""

import re
from array import array
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, Never, Union

import msgspec
from sqlalchemy import Column, ForeignKeyConstraint, delete, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.db.archive import PROFILE, ExportTable, kinds
from app.db.base import users_table
from app.db.bulk import copy_rows
from app.db.import_rules import fault_of
from app.lib.cli import escaped
from app.lib.errors import OperatorError
from app.lib.persistence.errors import sqlstate

_OF_THE_ROWS = ("22", "23")  # the classes of SQLSTATE that tell of values, and of constraints
_AT = re.compile(r"COPY \w+, line (\d+)")


class _Fault(NamedTuple):
    """What the database has against a row: the rule, if it is one of ours, and which one, if it says so."""

    rule: str | None
    row: int | None


class Archive:
    """A file of JSON Lines, as `export_lines` writes it. What is wrong is an `OperatorError` that names the line."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._kinds = {kind.record: kind for kind in kinds()}
        self._decoder = msgspec.json.Decoder(Union[*self._kinds])

    @cached_property
    def profile(self) -> Any:
        """The first line, which names the user."""
        kind, number, record = next(self._lines(), (None, 1, None))
        if kind is None or kind.name != PROFILE:
            self.refuse(number, "Expected the profile of the user")
        return record

    def verify(self) -> None:
        """Read every line: it must be of a known kind, whole, and of the user of the profile."""
        user_id = self.profile.id
        for kind, number, record in self._lines():
            if kind.name == PROFILE and number > 1:
                self.refuse(number, "There is a profile already")
            if getattr(record, kind.owner.name) != user_id:
                self.refuse(number, "The line is of another user than the profile")

    async def restore(self, connection: AsyncConnection) -> int:
        """Insert everything within the connection's transaction; give the number of lines."""
        mark = await self._make_way(connection)
        count = sum([await self._copy(connection, kind) for kind in kinds()])
        self._check_rules()  # of what no constraint has refused
        if mark is not None:
            users = users_table()
            # An import changes no row's `updated_at`, which an UPDATE would otherwise set.
            kept = func.coalesce(users.c.deactivated_at, mark)
            row = {"deactivated_at": kept, "updated_at": users.c.updated_at}
            await connection.execute(update(users).where(users.c.id == self.profile.id).values(row))
        return count

    async def _make_way(self, connection: AsyncConnection) -> datetime | None:
        """Remove the row that an erased user left because they are deactivated; return since when they are.

        Raises `OperatorError` where there is more of the user.
        """
        users = users_table()
        own = users.c.id == self.profile.id
        row = (await connection.execute(select(users).where(own))).first()
        if row is None:
            return None
        is_mark = row.deactivated_at is not None and row.email is row.name is row.image is row.bio is None
        if not is_mark or await self._has_rows(connection):
            raise OperatorError(f"There is a user {self.profile.id!r} already: nothing was imported.")
        await connection.execute(delete(users).where(own))
        mark: datetime = row.deactivated_at
        return mark

    async def _has_rows(self, connection: AsyncConnection) -> bool:
        own = [select(kind.owner).where(kind.owner == self.profile.id) for kind in kinds() if kind.name != PROFILE]
        return bool((await connection.execute(select(or_(*(rows.exists() for rows in own))))).scalar())

    def _check_rules(self) -> None:
        """Refuse what the API could not have written; constraints hold by now."""
        for kind in kinds():
            numbered = list(self._of(kind))
            for number, record in numbered:
                if reason := fault_of(kind, record):
                    self.refuse(number, reason)
            rows_rule = kind.rows_rule or (lambda _: ())
            for index, reason in rows_rule([record for _, record in numbered]):
                self.refuse(numbered[index][0], reason)

    def refuse(self, number: int, reason: str) -> Never:
        """Raises `OperatorError`."""
        raise OperatorError(escaped(f"{self._path.name}, line {number}: {reason}. Nothing was imported."))

    async def _copy(self, connection: AsyncConnection, kind: ExportTable) -> int:
        """Copy the rows of one kind: references among them are checked at the end of the one statement."""
        numbers = array("Q", (number for number, _ in self._of(kind)))
        async with connection.begin_nested() as savepoint:
            fault = await self._fault(connection, kind, len(numbers))
            if fault is not None:
                await savepoint.rollback()
        if fault is not None:
            await self._explain(connection, kind, fault, numbers)
        return len(numbers)

    async def _fault(self, connection: AsyncConnection, kind: ExportTable, count: int) -> _Fault | None:
        """Copy the first rows of a kind; give what is wrong with one of them."""
        values = [(column.name, _to_driver(connection, column)) for column in kind.columns]
        records = (record for _, record in islice(self._of(kind), count))
        rows = ([convert(getattr(record, name)) for name, convert in values] for record in records)
        try:
            await copy_rows(connection, kind.table, [name for name, _ in values], rows)
        except Exception as error:
            if isinstance(error, OverflowError) or (sqlstate(error) or "").startswith(_OF_THE_ROWS):
                return _fault_of(error)
            raise
        return None

    async def _explain(
        self, connection: AsyncConnection, kind: ExportTable, fault: _Fault, numbers: Sequence[int]
    ) -> Never:
        """Name the line that was refused."""
        broken = next((item for item in kind.table.constraints if fault.rule and item.name == fault.rule), None)
        if isinstance(broken, ForeignKeyConstraint):
            self.refuse(self._dangling(kind, broken), f"{broken.column_keys[-1]} refers to what is not in the file")
        row = fault.row or await self._search(connection, kind, fault, len(numbers))
        reason = f"breaks the rule {fault.rule}" if fault.rule else "has a value that the database cannot hold"
        self.refuse(numbers[row - 1], reason)

    async def _search(self, connection: AsyncConnection, kind: ExportTable, fault: _Fault, count: int) -> int:
        """Halve the rows until one is left: the driver does not tell it, nor does row-level security."""
        good, bad = 0, count
        while bad - good > 1:
            middle = (good + bad) // 2
            savepoint = await connection.begin_nested()
            again = await self._fault(connection, kind, middle)
            await savepoint.rollback()
            good, bad = (good, middle) if again is not None and again.rule == fault.rule else (middle, bad)
        return bad

    def _dangling(self, kind: ExportTable, broken: ForeignKeyConstraint) -> int:
        referred = [element.column.name for element in broken.elements]
        target = next(other for other in kinds() if other.table is broken.referred_table)
        known = {_fields(record, referred) for _, record in self._of(target)}
        references = ((number, _fields(record, broken.column_keys)) for number, record in self._of(kind))
        return next(number for number, place in references if None not in place and place not in known)

    def _of(self, kind: ExportTable) -> Iterator[tuple[int, Any]]:
        return ((number, record) for found, number, record in self._lines() if found is kind)

    def _lines(self) -> Iterator[tuple[ExportTable, int, Any]]:
        with self._path.open("rb") as file:
            for number, line in enumerate(file, 1):
                try:
                    record = self._decoder.decode(line)
                except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                    self.refuse(number, str(error))
                yield self._kinds[type(record)], number, record


def _fault_of(error: Exception) -> _Fault:
    cause = getattr(getattr(error, "orig", None), "__cause__", None) or error  # the driver's own, wrapped or not
    at = _AT.search(getattr(cause, "context", None) or "")
    return _Fault(getattr(cause, "constraint_name", None), int(at[1]) if at else None)


def _fields(record: Any, names: Sequence[str]) -> tuple[Any, ...]:
    return tuple(getattr(record, name) for name in names)


def _to_driver(connection: AsyncConnection, column: Column[Any]) -> Callable[[Any], Any]:
    """Give what makes of a value of a column what the driver takes."""
    dialect = connection.dialect
    return column.type.dialect_impl(dialect).bind_processor(dialect) or (lambda value: value)
