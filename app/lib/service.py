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
    Table,
    Text,
    Uuid,
    and_,
    any_,
    bindparam,
    delete,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY
from uuid_utils.compat import uuid7

from app.lib.body import Body
from app.lib.database_errors import Violations
from app.lib.errors import NotFound, PreconditionFailed
from app.lib.http import ApiRequest
from app.lib.query import Page, PageQuery, parse_sort
from app.lib.session import Session

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

    def __init__(self, session: Session, user_id: str, if_match: str | None = None) -> None:
        # The parent's repository, which knows no user, is not made.
        self.session = session
        self._owner = user_id
        self._versions = expected_versions(if_match)

    @classmethod
    def provide(cls) -> Provide:
        """Give the dependency that makes the service for the user of a request and its `If-Match`."""

        def service(request: ApiRequest) -> Any:
            return cls(request.app.state.database.session(), request.user.id, request.headers.get("if-match"))

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
        """Give a page and the number of all matches, in one statement."""
        sort = parse_sort(self.default_sort if query.sort is UNSET else query.sort, self.sorts)
        given = {name: value for name in self.filters if (value := getattr(query, name)) is not UNSET}
        parameters = {value_of(name): value for name, value in given.items()}
        parameters |= {"owner": self._owner, "page_limit": query.limit, "page_offset": query.offset}
        rows = await self.session.read(self.statements.page(tuple(given), sort), parameters)
        total = rows[0][-1] if rows else await self._total(tuple(given), parameters, query.offset)
        return Page([self._struct(row[:-1]) for row in rows], total, query.limit, query.offset)

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
        if rows := await self._write(statement, item_id, {}):
            return self._struct(rows[0])
        can_rest = self.transitions[transition].unless is not None
        return await self._unchanged(item_id) if can_rest else await self._missed(item_id)

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
        self.count = lru_cache(MAX_STATEMENTS)(self._count)

    def _insert(self, body: type[Body]) -> Executable:
        changes = self._changes(body.__struct_fields__)
        values = changes | self._service.derive(changes, None)
        identity = {"user_id": bindparam("owner", type_=Text), "id": bindparam("key", type_=Uuid)}
        return insert(self._table).values(identity | values).returning(*self._columns)

    def _update(self, fields: tuple[str, ...], conditional: bool) -> Executable:
        changes = self._changes(fields)
        return self._touch(changes | self._service.derive(changes, self._table), conditional)

    def _transition(self, name: str, conditional: bool) -> Executable:
        values, unless = self._service.transitions[name]
        return self._touch(values, conditional, *([] if unless is None else [~unless]))

    def _touch(self, values: Mapping[str, Any], conditional: bool, *conditions: ColumnElement[bool]) -> Executable:
        # now() is when the transaction began; one that waited for the row may have begun before the last write.
        now = func.greatest(func.now(), self._table.c.updated_at)
        written = {"updated_at": now, "version": self._table.c.version + 1, **values}
        where = [self._row, *self._expected(conditional), *conditions]
        return update(self._table).where(*where).values(written).returning(*self._columns)

    def _delete(self, conditional: bool) -> Executable:
        return delete(self._table).where(self._row, *self._expected(conditional)).returning(self._table.c.id)

    def _expected(self, conditional: bool) -> list[ColumnElement[bool]]:
        versions = bindparam("versions", type_=ARRAY(Integer))
        return [self._table.c.version == any_(versions)] if conditional else []

    def _page(self, filters: tuple[str, ...], sort: tuple[tuple[str, bool], ...]) -> Executable:
        total = self._count(filters).scalar_subquery()
        statement = select(*self._columns, total).where(self._matching(filters)).order_by(*self._order(sort))
        return statement.limit(bindparam("page_limit", type_=Integer)).offset(bindparam("page_offset", type_=Integer))

    def _count(self, filters: tuple[str, ...]) -> Any:
        return select(func.count()).select_from(self._table).where(self._matching(filters))

    def _matching(self, filters: tuple[str, ...]) -> ColumnElement[bool]:
        return and_(self._own, *(self._service.filters[name] for name in filters))

    def _order(self, sort: tuple[tuple[str, bool], ...]) -> list[ColumnElement[Any]]:
        """The id breaks ties, in the direction of the last key."""
        keys = [_ordered(self._service.sorts[name], descending) for name, descending in sort]
        return [*keys, _ordered(self._table.c.id, sort[-1][1])]

    def _changes(self, fields: tuple[str, ...]) -> dict[str, ColumnElement[Any]]:
        columns = self._table.c
        return {name: bindparam(_value(name), type_=columns[name].type) for name in fields}


def _ordered(key: ColumnElement[Any], descending: bool) -> ColumnElement[Any]:
    """Nulls come last in both directions; where there are none it is not said, for then an index can serve."""
    if not descending:
        return key.asc()
    return key.desc().nulls_last() if getattr(key, "nullable", True) else key.desc()


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
