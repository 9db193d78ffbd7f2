"""The SQL of owned tables: built once, and bound to the user in one place."""

import struct
from collections.abc import Mapping, Sequence
from functools import lru_cache, reduce
from operator import add
from typing import Any, NamedTuple, Protocol

from msgspec import Struct
from sqlalchemy import (
    ColumnElement,
    Executable,
    FromClause,
    Integer,
    LargeBinary,
    Select,
    String,
    Table,
    Text,
    Uuid,
    all_,
    and_,
    any_,
    bindparam,
    case,
    delete,
    func,
    insert,
    literal,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY, aggregate_order_by

from app.lib.validation.query import Sort

OUTLINE = struct.Struct(">16sI")  # of a row: its id and its size
ROW_BYTES = 1024  # what a row has beside its texts
MAX_STATEMENTS = 512  # of each kind and table; clients choose the fields, filters and sorts, so it needs a bound


class Transition(NamedTuple):
    """A change of state computed from the row itself, in one atomic UPDATE; where `unless` holds, nothing to do."""

    values: Mapping[str, ColumnElement[Any]]
    unless: ColumnElement[bool] | None = None


class Declaration(Protocol):
    """What a service says of its table."""

    model: type[Any]
    schema: type[Struct]
    extra_columns: Sequence[str]
    base_filter: ColumnElement[bool] | None
    filters: Mapping[str, ColumnElement[bool]]
    sorts: Mapping[str, ColumnElement[Any]]
    internal_sorts: Mapping[str, ColumnElement[Any]]
    transitions: Mapping[str, Transition]

    def computed_columns(
        self, changes: Mapping[str, ColumnElement[Any]], table: Table | None
    ) -> dict[str, ColumnElement[Any]]:
        """Give the columns that follow from changed ones; `table` is the old row, None for a new one."""


class Statements:
    """The SQL of one owned table. Each statement is built once, and bound to the user in `_own`."""

    def __init__(self, service: Declaration) -> None:
        self._service = service
        self._table: Table = service.model.__table__
        columns = self._table.c
        self._columns = [columns[name] for name in (*service.schema.__struct_fields__, *service.extra_columns)]
        self.width = len(self._columns)
        self._sorts = {**service.sorts, **service.internal_sorts}
        own = self.own(self._table)
        self.mine = own if service.base_filter is None else and_(own, service.base_filter)
        self._row = and_(self.mine, columns.id == bindparam("key"))
        self.get = select(*self._columns).where(self._row)
        self.insert = lru_cache(MAX_STATEMENTS)(self._insert)
        self.update = lru_cache(MAX_STATEMENTS)(self._update)
        self.transition = lru_cache(MAX_STATEMENTS)(self._transition)
        self.delete = lru_cache(MAX_STATEMENTS)(self._delete)
        self.page = lru_cache(MAX_STATEMENTS)(self._page)
        self.page_after = lru_cache(MAX_STATEMENTS)(self._page_after)
        self.count = lru_cache(MAX_STATEMENTS)(self._count)
        self.outline = lru_cache(MAX_STATEMENTS)(self._outline)
        self.chosen = lru_cache(MAX_STATEMENTS)(self._chosen)

    def own(self, table: FromClause) -> ColumnElement[bool]:
        """Bind a table, or an alias of it, to the user. Nothing else does."""
        return table.c.user_id == bindparam("owner", type_=Text)

    def _insert(self, fields: tuple[str, ...]) -> Executable:
        changes = self._changes(fields)
        values = changes | self._service.computed_columns(changes, None)
        identity = {"user_id": bindparam("owner", type_=Text), "id": bindparam("key", type_=Uuid)}
        return insert(self._table).values(identity | values).returning(*self._columns)

    def _update(self, fields: tuple[str, ...], conditional: bool) -> Executable:
        changes = self._changes(fields)
        return self._touch(changes | self._service.computed_columns(changes, self._table), conditional, None)

    def _transition(self, name: str, conditional: bool) -> Executable:
        values, unless = self._service.transitions[name]
        return self._touch(values, conditional, unless)

    def written(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Add to new values of columns what each write of a row does to it."""
        columns = self._table.c
        # now() is when the transaction began; one that waited for the row may have begun before the last write.
        return {"updated_at": func.greatest(func.now(), columns.updated_at), "version": columns.version + 1, **values}

    def _touch(self, values: Mapping[str, Any], conditional: bool, unless: ColumnElement[bool] | None) -> Executable:
        columns = self._table.c
        written = self.written(values)
        if unless is not None:
            # Written as it was, rather than passed over and read again: that would show what came in between.
            written = {name: case((unless, columns[name]), else_=value) for name, value in written.items()}
        where = [self._row, *self.expected(conditional)]
        return update(self._table).where(*where).values(written).returning(*self._columns)

    def _delete(self, conditional: bool) -> Executable:
        return delete(self._table).where(self._row, *self.expected(conditional)).returning(self._table.c.id)

    def expected(self, conditional: bool) -> list[ColumnElement[bool]]:
        """Return the conditions of `If-Match` and `If-None-Match`, if there are any."""
        if not conditional:
            return []
        versions, excluded = (bindparam(name, type_=ARRAY(Integer)) for name in ("versions", "excluded"))
        version = self._table.c.version
        return [or_(versions.is_(None), version == any_(versions)), version != all_(excluded)]

    def place_types(self, sort: Sort) -> list[type[Any]]:
        """Give the Python types of the values that say where a row stands in a sorted list."""
        return [key.type.python_type for key, _ in self._keys(sort)]

    def _page(self, filters: tuple[str, ...], sort: Sort) -> Executable:
        total = self._count(filters).scalar_subquery()
        return self._sorted(sort, total).where(self._matching(filters)).offset(bindparam("page_offset", type_=Integer))

    def _page_after(self, filters: tuple[str, ...], sort: Sort, nulls: tuple[bool, ...]) -> Executable:
        return self._sorted(sort).where(self._matching(filters), _after(self._keys(sort), nulls))

    def _outline(self, filters: tuple[str, ...], sort: Sort) -> Executable:
        """Select the ids of all matches in order, each with the size of its row, packed into one value."""
        keys = self._keys(sort)
        record = func.uuid_send(self._table.c.id, type_=LargeBinary).concat(func.int4send(self._size()))
        nothing = literal(b"", LargeBinary)
        order = aggregate_order_by(nothing, *(_ordered(key, descending) for key, descending in keys))
        packed = func.string_agg(record, order, type_=LargeBinary)
        return select(func.coalesce(packed, nothing)).where(self._matching(filters))

    def _size(self) -> ColumnElement[int]:
        """Return about how many bytes the texts of a row have; PostgreSQL knows without reading them."""
        texts = [func.octet_length(func.coalesce(column, "")) for column in self._columns if _is_text(column)]
        return reduce(add, texts, literal(ROW_BYTES, Integer))

    def _chosen(self, filters: tuple[str, ...]) -> Executable:
        ids = bindparam("ids", type_=ARRAY(Uuid))
        return select(*self._columns).where(self._matching(filters), self._table.c.id == any_(ids))

    def _sorted(self, sort: Sort, *columns: Any) -> Select[Any]:
        """Select rows, each with its place in the list."""
        keys = self._keys(sort)
        statement = select(*self._columns, *(key.label(None) for key, _ in keys), *columns)
        statement = statement.order_by(*(_ordered(key, descending) for key, descending in keys))
        return statement.limit(bindparam("page_limit", type_=Integer))

    def _count(self, filters: tuple[str, ...]) -> Any:
        return select(func.count()).select_from(self._table).where(self._matching(filters))

    def _matching(self, filters: tuple[str, ...]) -> ColumnElement[bool]:
        return and_(self.mine, *(self._service.filters[name] for name in filters))

    def _keys(self, sort: Sort) -> list[tuple[ColumnElement[Any], bool]]:
        """Give the sort keys, each with "is descending"; the id breaks ties, in the direction of the last."""
        keys = [(self._sorts[name], descending) for name, descending in sort]
        return [*keys, (self._table.c.id, sort[-1][1])]

    def _changes(self, fields: tuple[str, ...]) -> dict[str, ColumnElement[Any]]:
        columns = self._table.c
        return {name: bindparam(new_value_of(name), type_=columns[name].type) for name in fields}


def _is_text(column: ColumnElement[Any]) -> bool:
    return isinstance(column.type, String)


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


def in_order(column: ColumnElement[Any], values: Sequence[str]) -> ColumnElement[Any]:
    """Give the place of a column's value among those of an enumeration, to sort by."""
    return case({value: place for place, value in enumerate(values)}, value=column)


def place_of(number: int) -> str:
    """Name the bind parameter of the value of a sort key at a cursor."""
    return f"place_{number}"


def value_of(name: str) -> str:
    """Name the bind parameter of a filter's value."""
    return f"filter_{name}"


def new_value_of(name: str) -> str:
    """Name the bind parameter of a column's new value; SQLAlchemy claims the column's own name for itself."""
    return f"new_{name}"
