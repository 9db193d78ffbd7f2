"""The user-scoped service: the one place where a query is bound to its user."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Never
from uuid import UUID

from msgspec import UNSET, Struct
from sqlalchemy import ColumnElement, Executable, Table
from uuid_utils.compat import uuid7

from app.lib.errors import FieldError, Invalid, NotFound
from app.lib.persistence.errors import Violations
from app.lib.persistence.repository import Row
from app.lib.persistence.repository_service import RepositoryService
from app.lib.persistence.row_quota import UNLIMITED, RowQuota
from app.lib.persistence.session import Rows, Session
from app.lib.persistence.statement_budget import StatementBudget
from app.lib.persistence.statements import Statements, Transition, new_value_of, place_of, value_of
from app.lib.validation.body import Body
from app.lib.validation.conditions import Condition
from app.lib.validation.cursors import CursorSeal
from app.lib.validation.query import Page, PageQuery, Sort, parse_sort

BUDGET = StatementBudget()


class UserScopedService[ModelT: Row, ReadT: Struct](RepositoryService[ModelT]):
    """CRUD over one user's rows of an owned table, answering with structs.

    Subclasses name the `model` and the struct to read (its fields are columns), and declare the filters, whose
    bind parameters are named by `value_of`, and the sort keys that a list takes; `internal_sorts` are for the service
    alone. Where `live` does not hold, a row is not there for any verb. Where the struct is not simply
    made of its columns, `present` makes it, of those and the columns `beside`.
    """

    schema: ClassVar[type[Struct]]
    extra_columns: ClassVar[Sequence[str]] = ()
    filters: ClassVar[Mapping[str, ColumnElement[bool]]] = {}
    sorts: ClassVar[Mapping[str, ColumnElement[Any]]] = {}
    internal_sorts: ClassVar[Mapping[str, ColumnElement[Any]]] = {}
    default_sort: ClassVar[str] = "created_at:desc"
    transitions: ClassVar[Mapping[str, Transition]] = {}
    read_violations: ClassVar[Violations] = {}
    statements: ClassVar[Statements]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if hasattr(cls, "model"):
            cls.build()

    @classmethod
    def build(cls) -> None:
        """Build the statements, once for the class."""
        cls.statements = Statements(cls)

    def __init__(
        self,
        session: Session,
        user_id: str,
        seal: CursorSeal,
        condition: Condition | None = None,
        quota: RowQuota = UNLIMITED,
    ) -> None:
        self.session = session  # the parent's constructor makes the repository at its first use
        self._user_id = user_id
        self._seal = seal
        self._quota = quota
        self._condition = condition

    @classmethod
    def computed_columns(
        cls, changes: Mapping[str, ColumnElement[Any]], table: Table | None
    ) -> dict[str, ColumnElement[Any]]:
        """Give the columns that follow from changed ones; `table` is the old row, None for a new one."""
        del changes, table
        return {}

    async def fetch(self, item_id: UUID) -> ReadT:
        """Raises `NotFound`."""
        rows = await self.session.read(self.statements.get, self._key(item_id))
        if not rows:
            raise NotFound
        return self.row_to_schema(rows[0])

    async def page(self, query: PageQuery) -> Page[ReadT]:
        """Give a page, in one statement: by offset with the number of all matches, or after a cursor without."""
        sort = self.sort_for(query)
        given = self.active_filters(query)
        if query.cursor is not UNSET:
            return await self._page_after(query.cursor, query, sort, self._matching(given), tuple(given))
        rows, total = await self._offset_rows(given, sort, query.offset, query.limit)
        more = query.offset + len(rows) < total
        return self._page(rows, query, sort, total=total, more=bool(rows) and more)

    def active_filters(self, query: PageQuery) -> dict[str, Any]:
        """Give the filters that a query asks for, with their values."""
        return {name: value for name in self.filters if (value := getattr(query, name)) is not UNSET}

    def sort_for(self, query: PageQuery) -> Sort:
        """Give the sort that a query asks for. Raises `Invalid`."""
        return parse_sort(self.default_sort if query.sort is UNSET else query.sort, self.sorts)

    async def list_from(
        self, given: Mapping[str, Any], sort: Sort, offset: int, limit: int | None
    ) -> tuple[list[ReadT], int]:
        """Give the matches from an offset on, all of them without a limit, and the number of all, in one statement."""
        rows, total = await self._offset_rows(given, sort, offset, limit)
        return self._rows_to_schemas(rows), total

    async def outline(self, given: Mapping[str, Any], sort: Sort) -> bytes:
        """Return the ids and sizes of all matches in order, packed as `OUTLINE`."""
        statement = self.statements.outline(tuple(given), sort)
        rows = await self.session.read(statement, self._matching(given), self.read_violations)
        return bytes(rows[0][0])

    async def list_chosen(self, given: Mapping[str, Any], ids: Sequence[UUID]) -> list[ReadT]:
        """Return the rows with these ids, in their order; those that are gone or do not match are left out."""
        statement = self.statements.chosen(tuple(given))
        rows = await self.session.read(statement, self._matching(given) | {"ids": ids}, self.read_violations)
        found = {row[0]: row for row in rows}
        return self._rows_to_schemas([found[key] for key in ids if key in found])

    async def _offset_rows(
        self, given: Mapping[str, Any], sort: Sort, offset: int, limit: int | None
    ) -> tuple[Rows, int]:
        await self._spend(tuple(given), sort)
        parameters = self._matching(given) | {"page_limit": limit, "page_offset": offset}  # LIMIT NULL is none
        rows = await self.session.read(self.statements.page(tuple(given), sort), parameters, self.read_violations)
        return rows, rows[0][-1] if rows else await self._total(tuple(given), parameters, offset)

    async def _page_after(
        self, cursor: str, query: PageQuery, sort: Sort, parameters: dict[str, Any], filters: tuple[str, ...]
    ) -> Page[ReadT]:
        if query.offset:
            raise Invalid([FieldError("Expected either an offset or a cursor", parameter="offset")])
        await self._spend(filters, sort)
        place = self._seal.decode(self._user_id, str(sort), cursor, self.statements.place_types(sort))
        parameters |= {place_of(number): value for number, value in enumerate(place) if value is not None}
        statement = self.statements.page_after(filters, sort, tuple(value is None for value in place))
        limited = parameters | {"page_limit": query.limit + 1}
        rows = await self.session.read(statement, limited, self.read_violations)
        return self._page(rows[: query.limit], query, sort, total=None, more=len(rows) > query.limit)

    async def _spend(self, filters: tuple[str, ...], sort: Sort) -> None:
        await BUDGET.spend(self._user_id, (type(self), filters, sort))

    def _page(self, rows: Rows, query: PageQuery, sort: Sort, *, total: int | None, more: bool) -> Page[ReadT]:
        width = self.statements.width
        place = rows[-1][width : width + len(sort) + 1] if more else ()
        cursor = self._seal.encode(self._user_id, str(sort), list(place)) if more else None
        return Page(self._rows_to_schemas(rows), total, query.limit, query.offset, cursor)

    async def insert(self, data: Body) -> ReadT:
        """Insert a row with an id of its own."""
        sent = data.sent()
        parameters = {"owner": self._user_id, "key": uuid7()} | _values(sent)
        rows = await self.session.write(self.statements.insert(tuple(sent)), parameters, self.violations)
        return self.row_to_schema(rows[0])

    async def patch(self, item_id: UUID, data: Body) -> ReadT:
        """Set what was sent; a complete body replaces. Raises `NotFound`, `PreconditionFailed`."""
        sent = data.sent()
        if not sent:
            return await self._unchanged(item_id)
        statement = self.statements.update(tuple(sent), self._condition is not None)
        rows = await self._write(statement, item_id, _values(sent))
        return self.row_to_schema(rows[0]) if rows else await self._raise_missing_or_stale(item_id)

    async def apply_transition(self, item_id: UUID, transition: str) -> ReadT:
        """Apply a declared transition. Raises `NotFound`, `PreconditionFailed`."""
        statement = self.statements.transition(transition, self._condition is not None)
        rows = await self._write(statement, item_id, {})
        return self.row_to_schema(rows[0]) if rows else await self._raise_missing_or_stale(item_id)

    async def remove(self, item_id: UUID) -> None:
        """Remove a row. Raises `NotFound`, `PreconditionFailed`."""
        if not await self._write(self.statements.delete(self._condition is not None), item_id, {}):
            await self._raise_missing_or_stale(item_id)

    def service[ServiceT: UserScopedService[Any, Any]](
        self, service: type[ServiceT], version: int | None = None
    ) -> ServiceT:
        """Give another service of the same user, in the same session; a version given takes the place of `If-Match`."""
        condition = self._condition if version is None else Condition([version])
        return service(self.session, self._user_id, self._seal, condition, self._quota)

    def row_to_schema(self, row: Sequence[Any]) -> ReadT:
        """Make the struct of a row: its own columns, then those `beside`."""
        return self.schema(*row)  # type: ignore[return-value]

    async def _write(self, statement: Executable, item_id: UUID, values: dict[str, Any]) -> Any:
        parameters = self._key(item_id) | values
        if self._condition is not None:
            parameters |= {"versions": self._condition.versions, "excluded": self._condition.excluded}
        return await self.session.write(statement, parameters, self.violations)

    async def _read(self, statement: Executable, **values: Any) -> Rows:
        return await self.session.read(statement, {"owner": self._user_id} | values)

    async def _unchanged(self, item_id: UUID) -> ReadT:
        item = await self.fetch(item_id)
        self.check_version(item)
        return item

    def check_version(self, item: Any) -> None:
        """Raises `PreconditionFailed` for an item of a version for which the conditions do not hold."""
        if self._condition is not None and not self._condition.holds(item.version):
            raise self._condition.failure()

    async def _raise_missing_or_stale(self, item_id: UUID) -> Never:
        """Say why a conditional write found no row."""
        if self._condition is not None:
            await self.fetch(item_id)
            raise self._condition.failure()
        raise NotFound

    async def _total(self, filters: tuple[str, ...], parameters: dict[str, Any], offset: int) -> int:
        if offset == 0:
            return 0
        counted = await self.session.read(self.statements.count(filters), parameters, self.read_violations)
        return int(counted[0][0])

    def _key(self, item_id: UUID) -> dict[str, Any]:
        return {"owner": self._user_id, "key": item_id}

    def _matching(self, given: Mapping[str, Any]) -> dict[str, Any]:
        return {value_of(name): value for name, value in given.items()} | {"owner": self._user_id}

    def _rows_to_schemas(self, rows: Rows) -> list[ReadT]:
        width = self.statements.width
        return [self.row_to_schema(row[:width]) for row in rows]


def _values(sent: Mapping[str, Any]) -> dict[str, Any]:
    return {new_value_of(name): value for name, value in sent.items()}
