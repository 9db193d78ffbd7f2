"""The user-scoped service: the one place where a query is bound to its user."""

import inspect
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, ClassVar, NamedTuple, Never
from uuid import UUID

from advanced_alchemy.repository import SQLAlchemyAsyncRepository
from advanced_alchemy.service import SQLAlchemyAsyncRepositoryService
from litestar.di import Provide
from msgspec import UNSET, Struct
from sqlalchemy import (
    ColumnElement,
    Executable,
    Integer,
    Select,
    Table,
    Text,
    Uuid,
    and_,
    any_,
    bindparam,
    case,
    delete,
    func,
    insert,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY
from uuid_utils.compat import uuid7

from app.lib.body import Body
from app.lib.cursor import CursorSeal
from app.lib.database_errors import Violations
from app.lib.errors import FieldError, Invalid, NotFound, PreconditionFailed
from app.lib.http import ApiRequest
from app.lib.query import Page, PageQuery, Sort, parse_sort
from app.lib.session import Rows, Session

MAX_VERSION = 2**31 - 1
MAX_STATEMENTS = 512  # of each kind and table; clients choose the filters and sorts, so it needs a bound


_TAG = re.compile(r'"([1-9][0-9]{0,9})"', re.ASCII)


class UnscopedVerb(TypeError):
    """A verb of advanced-alchemy that would reach the rows of other users."""


class Transition(NamedTuple):
    """A change of state computed from the row itself, in one atomic UPDATE; where `unless` holds, nothing to do."""

    values: Mapping[str, ColumnElement[Any]]
    unless: ColumnElement[bool] | None = None


class UserScopedService[ModelT: Any, ReadT: Struct](
    SQLAlchemyAsyncRepositoryService[ModelT, SQLAlchemyAsyncRepository[ModelT]]
):
    """CRUD over one user's rows of an owned table, answering with structs.

    Subclasses name the `model` and the struct to read (its fields are columns), and declare the filters, whose
    bind parameters are named by `value_of`, and the sort keys that a list takes.
    """

    model: ClassVar[type[Any]]
    read: ClassVar[type[Struct]]
    filters: ClassVar[Mapping[str, ColumnElement[bool]]] = {}
    sorts: ClassVar[Mapping[str, ColumnElement[Any]]] = {}
    default_sort: ClassVar[str] = "created_at:desc"
    transitions: ClassVar[Mapping[str, Transition]] = {}
    violations: ClassVar[Violations] = {}
    statements: ClassVar["Statements"]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.statements = Statements(cls)

    def __init__(self, session: Session, user_id: str, seal: CursorSeal, if_match: str | None = None) -> None:
        # The parent's repository, which knows no user, is not made.
        self.session = session
        self._owner = user_id
        self._seal = seal
        self._versions = expected_versions(if_match)

    @classmethod
    def provide(cls) -> Provide:
        """Give the dependency that makes the service for the user of a request and its `If-Match`."""

        def service(request: ApiRequest) -> Any:
            state = request.app.state
            return cls(state.database.session(), request.user.id, state.cursor_seal, request.headers.get("if-match"))

        return Provide(service, sync_to_thread=False)

    @classmethod
    def derive(cls, changes: Mapping[str, ColumnElement[Any]], table: Table | None) -> dict[str, ColumnElement[Any]]:
        """Give the columns that follow from changed ones; `table` is the old row, None for a new one."""
        del changes, table
        return {}

    async def get(self, item_id: UUID) -> ReadT:  # type: ignore[override]
        """Raises `NotFound`."""
        rows = await self.session.read(self.statements.get, self._key(item_id))
        if not rows:
            raise NotFound
        return self._struct(rows[0])

    async def list_page(self, query: PageQuery) -> Page[ReadT]:
        """Give a page, in one statement: by offset with the number of all matches, or after a cursor without."""
        sort = parse_sort(self.default_sort if query.sort is UNSET else query.sort, self.sorts)
        given = {name: value for name in self.filters if (value := getattr(query, name)) is not UNSET}
        parameters = {value_of(name): value for name, value in given.items()} | {"owner": self._owner}
        if query.cursor is not UNSET:
            return await self._page_after(query.cursor, query, sort, parameters, tuple(given))
        parameters |= {"page_limit": query.limit, "page_offset": query.offset}
        rows = await self.session.read(self.statements.page(tuple(given), sort), parameters)
        total = rows[0][-1] if rows else await self._total(tuple(given), parameters, query.offset)
        more = query.offset + len(rows) < total
        return self._page(rows, query, sort, total=total, more=bool(rows) and more)

    async def _page_after(
        self, cursor: str, query: PageQuery, sort: Sort, parameters: dict[str, Any], filters: tuple[str, ...]
    ) -> Page[ReadT]:
        if query.offset:
            raise Invalid([FieldError("Expected either an offset or a cursor", parameter="offset")])
        place = self._seal.decode(self._owner, str(sort), cursor, self.statements.place_types(sort))
        parameters |= {place_of(number): value for number, value in enumerate(place) if value is not None}
        statement = self.statements.page_after(filters, sort, tuple(value is None for value in place))
        rows = await self.session.read(statement, parameters | {"page_limit": query.limit + 1})
        return self._page(rows[: query.limit], query, sort, total=None, more=len(rows) > query.limit)

    def _page(self, rows: Rows, query: PageQuery, sort: Sort, *, total: int | None, more: bool) -> Page[ReadT]:
        width = len(self.read.__struct_fields__)
        place = rows[-1][width : width + len(sort) + 1] if more else ()
        cursor = self._seal.encode(self._owner, str(sort), list(place)) if more else None
        return Page([self._struct(row[:width]) for row in rows], total, query.limit, query.offset, cursor)

    async def create(self, data: Body) -> ReadT:  # type: ignore[override]
        """Insert a row with an id of its own."""
        parameters = {"owner": self._owner, "key": uuid7()} | _values(data.sent())
        rows = await self.session.write(self.statements.insert(type(data)), parameters, self.violations)
        return self._struct(rows[0])

    async def update(self, item_id: UUID, data: Body) -> ReadT:  # type: ignore[override]
        """Set what was sent; a complete body replaces. Raises `NotFound`, `PreconditionFailed`."""
        sent = data.sent()
        if not sent:
            return await self._unchanged(item_id)
        statement = self.statements.update(tuple(sent), self._versions is not None)
        rows = await self._write(statement, item_id, _values(sent))
        return self._struct(rows[0]) if rows else await self._missed(item_id)

    async def change(self, item_id: UUID, transition: str) -> ReadT:
        """Apply a declared transition. Raises `NotFound`, `PreconditionFailed`."""
        statement = self.statements.transition(transition, self._versions is not None)
        rows = await self._write(statement, item_id, {})
        return self._struct(rows[0]) if rows else await self._missed(item_id)

    async def delete(self, item_id: UUID) -> None:  # type: ignore[override]
        """Remove a row. Raises `NotFound`, `PreconditionFailed`."""
        if not await self._write(self.statements.delete(self._versions is not None), item_id, {}):
            await self._missed(item_id)

    async def _write(self, statement: Executable, item_id: UUID, values: dict[str, Any]) -> Any:
        parameters = self._key(item_id) | values
        if self._versions is not None:
            parameters["versions"] = self._versions
        return await self.session.write(statement, parameters, self.violations)

    async def _unchanged(self, item_id: UUID) -> ReadT:
        item: Any = await self.get(item_id)
        if self._versions is not None and item.version not in self._versions:
            raise PreconditionFailed
        return item  # type: ignore[no-any-return]

    async def _missed(self, item_id: UUID) -> Never:
        """Say why a conditional write found no row."""
        if self._versions is not None:
            await self.get(item_id)
            raise PreconditionFailed
        raise NotFound

    async def _total(self, filters: tuple[str, ...], parameters: dict[str, Any], offset: int) -> int:
        if offset == 0:
            return 0
        counted = await self.session.read(self.statements.count(filters), parameters)
        return int(counted[0][0])

    def _key(self, item_id: UUID) -> dict[str, Any]:
        return {"owner": self._owner, "key": item_id}

    def _struct(self, row: Any) -> ReadT:
        return self.read(*row)  # type: ignore[return-value]


class Statements:
    """The SQL of one owned table. Each statement is built once, and bound to the user in `_own`."""

    def __init__(self, service: type[UserScopedService[Any, Any]]) -> None:
        self._service = service
        self._table: Table = service.model.__table__
        columns = self._table.c
        self._columns = [columns[name] for name in service.read.__struct_fields__]
        self._own = columns.user_id == bindparam("owner", type_=Text)
        self._row = and_(self._own, columns.id == bindparam("key"))
        self.get = select(*self._columns).where(self._row)
        self.insert = lru_cache(MAX_STATEMENTS)(self._insert)
        self.update = lru_cache(MAX_STATEMENTS)(self._update)
        self.transition = lru_cache(MAX_STATEMENTS)(self._transition)
        self.delete = lru_cache(MAX_STATEMENTS)(self._delete)
        self.page = lru_cache(MAX_STATEMENTS)(self._page)
        self.page_after = lru_cache(MAX_STATEMENTS)(self._page_after)
        self.count = lru_cache(MAX_STATEMENTS)(self._count)

    def _insert(self, body: type[Body]) -> Executable:
        changes = self._changes(body.__struct_fields__)
        values = changes | self._service.derive(changes, None)
        identity = {"user_id": bindparam("owner", type_=Text), "id": bindparam("key", type_=Uuid)}
        return insert(self._table).values(identity | values).returning(*self._columns)

    def _update(self, fields: tuple[str, ...], conditional: bool) -> Executable:
        changes = self._changes(fields)
        return self._touch(changes | self._service.derive(changes, self._table), conditional, None)

    def _transition(self, name: str, conditional: bool) -> Executable:
        values, unless = self._service.transitions[name]
        return self._touch(values, conditional, unless)

    def _touch(self, values: Mapping[str, Any], conditional: bool, unless: ColumnElement[bool] | None) -> Executable:
        columns = self._table.c
        # now() is when the transaction began; one that waited for the row may have begun before the last write.
        now = func.greatest(func.now(), columns.updated_at)
        written = {"updated_at": now, "version": columns.version + 1, **values}
        if unless is not None:
            # Written as it was, rather than passed over and read again: that would show what came in between.
            written = {name: case((unless, columns[name]), else_=value) for name, value in written.items()}
        where = [self._row, *self._expected(conditional)]
        return update(self._table).where(*where).values(written).returning(*self._columns)

    def _delete(self, conditional: bool) -> Executable:
        return delete(self._table).where(self._row, *self._expected(conditional)).returning(self._table.c.id)

    def _expected(self, conditional: bool) -> list[ColumnElement[bool]]:
        versions = bindparam("versions", type_=ARRAY(Integer))
        return [self._table.c.version == any_(versions)] if conditional else []

    def place_types(self, sort: Sort) -> list[type[Any]]:
        """Give the Python types of the values that say where a row stands in a sorted list."""
        return [key.type.python_type for key, _ in self._keys(sort)]

    def _page(self, filters: tuple[str, ...], sort: Sort) -> Executable:
        total = self._count(filters).scalar_subquery()
        return self._sorted(sort, total).where(self._matching(filters)).offset(bindparam("page_offset", type_=Integer))

    def _page_after(self, filters: tuple[str, ...], sort: Sort, nulls: tuple[bool, ...]) -> Executable:
        return self._sorted(sort).where(self._matching(filters), _after(self._keys(sort), nulls))

    def _sorted(self, sort: Sort, *columns: Any) -> Select[Any]:
        """Select rows, each with its place in the list."""
        keys = self._keys(sort)
        statement = select(*self._columns, *(key.label(None) for key, _ in keys), *columns)
        statement = statement.order_by(*(_ordered(key, descending) for key, descending in keys))
        return statement.limit(bindparam("page_limit", type_=Integer))

    def _count(self, filters: tuple[str, ...]) -> Any:
        return select(func.count()).select_from(self._table).where(self._matching(filters))

    def _matching(self, filters: tuple[str, ...]) -> ColumnElement[bool]:
        return and_(self._own, *(self._service.filters[name] for name in filters))

    def _keys(self, sort: Sort) -> list[tuple[ColumnElement[Any], bool]]:
        """Give the sort keys, each with "is descending"; the id breaks ties, in the direction of the last."""
        keys = [(self._service.sorts[name], descending) for name, descending in sort]
        return [*keys, (self._table.c.id, sort[-1][1])]

    def _changes(self, fields: tuple[str, ...]) -> dict[str, ColumnElement[Any]]:
        columns = self._table.c
        return {name: bindparam(_value(name), type_=columns[name].type) for name in fields}


def _ordered(key: ColumnElement[Any], descending: bool) -> ColumnElement[Any]:
    """Nulls come last in both directions; where there are none it is not said, for then an index can serve."""
    if not descending:
        return key.asc()
    return key.desc().nulls_last() if _is_nullable(key) else key.desc()


def _is_nullable(key: ColumnElement[Any]) -> bool:
    return getattr(key, "nullable", True)


def _after(keys: list[tuple[ColumnElement[Any], bool]], nulls: tuple[bool, ...]) -> ColumnElement[bool]:
    """Hold for the rows that come after a place, some of whose values may be null."""
    values = [bindparam(place_of(number), type_=key.type) for number, (key, _) in enumerate(keys)]
    if len({descending for _, descending in keys}) == 1 and not any(_is_nullable(key) for key, _ in keys):
        row, place = tuple_(*(key for key, _ in keys)), tuple_(*values)  # an index serves it from the right place on
        return row < place if keys[0][1] else row > place
    chain: list[ColumnElement[bool]] = []
    same: list[ColumnElement[bool]] = []
    for (key, descending), value, is_null in zip(keys, values, nulls, strict=True):
        if not is_null:
            beyond = key < value if descending else key > value
            chain.append(and_(*same, or_(beyond, key.is_(None)) if _is_nullable(key) else beyond))
        same.append(key.is_(None) if is_null else key == value)
    return or_(*chain)


def place_of(number: int) -> str:
    """Name the bind parameter of the value of a sort key at a cursor."""
    return f"place_{number}"


def value_of(name: str) -> str:
    """Name the bind parameter of a filter's value."""
    return f"filter_{name}"


def _value(name: str) -> str:
    """Name the bind parameter of a column's new value; SQLAlchemy claims the column's own name for itself."""
    return f"new_{name}"


def _values(sent: Mapping[str, Any]) -> dict[str, Any]:
    return {_value(name): value for name, value in sent.items()}


def expected_versions(if_match: str | None) -> list[int] | None:
    """Read `If-Match` as versions; None for no condition, and what is no ETag of ours matches nothing."""
    if if_match is None or if_match.strip() == "*":
        return None
    tags = [_TAG.fullmatch(item.strip()) for item in if_match.split(",")]
    return [version for tag in tags if tag and (version := int(tag[1])) <= MAX_VERSION]


def _refuse_the_rest() -> None:
    """Replace each public coroutine of the parent that is not defined here, those of later releases included."""
    for name, member in inspect.getmembers(SQLAlchemyAsyncRepositoryService, _reaches_rows):
        if not name.startswith("_") and name not in vars(UserScopedService):
            refusal = _refusal(name)
            setattr(UserScopedService, name, property(refusal) if isinstance(member, property) else refusal)


def _reaches_rows(member: Any) -> bool:
    return inspect.iscoroutinefunction(member) or isinstance(member, property) or inspect.ismethod(member)


def _refusal(name: str) -> Any:
    def refuse(*_: Any, **__: Any) -> Never:
        raise UnscopedVerb(f"A user-scoped service has no {name}: it would reach the rows of others")

    return refuse


_refuse_the_rest()
