"""Check by a direct rule that a statement reaches the rows of one user only.

Each place where an owned table is read or written must be bound by `owner column = :parameter`, in the WHERE of its
own statement or in the ON of an inner join; an INSERT must set the owner. There is no reasoning from one column to
another. Elements that are not in `_PLAIN` are refused, and the text must name owned tables as often as this check did.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, Self

from sqlalchemy import ColumnElement, CompoundSelect, Delete, FromClause, Insert, Join, Select, Subquery, Update
from sqlalchemy.dialects.postgresql.dml import OnConflictDoUpdate
from sqlalchemy.sql import operators
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import BinaryExpression, BindParameter, BooleanClauseList, ClauseElement, Grouping, Label
from sqlalchemy.sql.selectable import (
    CTE,
    AliasedReturnsRows,
    FromGrouping,
    Lateral,
    SelectStatementGrouping,
    TableClause,
    TableValuedAlias,
)

from app.lib.persistence.plain_elements import NotScopable, check_plain, is_plain_text
from app.lib.persistence.sql_text import HiddenText, table_references

type Owners = Mapping[str, str]
"""The column that names the owner, by the full name of its table."""

type Tables = frozenset[FromClause]


class _Enclosing(NamedTuple):
    """The tables that a nested SELECT can be correlated to: of all statements around it, and of the nearest one."""

    every: Tables = frozenset()
    nearest: Tables = frozenset()

    def with_nearest(self, tables: Iterable[Any]) -> Self:
        """Return what a statement that is nested one level deeper can be correlated to."""
        nearest = frozenset(part for table in tables for part in table._from_objects)
        return type(self)(self.every | nearest, nearest)


_OUTERMOST = _Enclosing()


def owner_parameters(compiled: SQLCompiler, owners: Owners) -> frozenset[str]:
    """Return the parameters that must be the user; none if no owned table is reached. Raise `NotScopable`."""
    analysis = _Analysis(compiled, owners)
    analysis.check(compiled.statement, _OUTERMOST)
    analysis.compare_with_text()
    return frozenset(analysis.parameters)


class _Analysis:
    def __init__(self, compiled: SQLCompiler, owners: Owners) -> None:
        self.parameters: set[str] = set()
        self._compiled = compiled
        self._compiler = compiled.dialect.statement_compiler(compiled.dialect, None)
        self._owners = owners
        self._references: Counter[str] = Counter()
        self._ctes: set[CTE] = set()

    def compare_with_text(self) -> None:
        """Raise `NotScopable` if the text names an owned table that the check has not met, or the other way round."""
        try:
            in_text = table_references(self._compiled.string, self._owners)
        except HiddenText:
            raise NotScopable("text with a comment, an escape or a second statement") from None
        if in_text != self._references:
            raise NotScopable(f"the text names {dict(in_text)}, the structure {dict(self._references)}")

    def check(self, element: Any, around: _Enclosing) -> None:
        """Check an element and all below it that is nested in statements with the tables `around`."""
        check_plain(element)
        match element:
            case Select():
                self._check_select(element, around)
            case Insert():
                self._check_insert(element)
            case Update() | Delete():
                self._check_change(element)
            case CTE():
                self._check_cte(element)
            case BindParameter() | TableClause() | AliasedReturnsRows() | Join() | FromGrouping():
                pass  # tables are checked where they are in the FROM of a statement
            case _:
                self._check_all(element.get_children(), around)

    def _check_all(self, elements: Iterable[Any], around: _Enclosing) -> None:
        for element in elements:
            self.check(element, around)

    def _check_select(self, select: Select[Any], around: _Enclosing) -> None:
        # get_final_froms() does not know what is correlated; the compiler does.
        state: Any = select._compile_state_factory(select, self._compiler)
        sources = state._get_display_froms(around.every, around.nearest)
        inside = around.with_nearest(sources)
        self._check_tables(*_flatten(sources), _conjuncts(state.statement.whereclause), inside)
        self._check_all(state.statement.get_children(), inside)

    def _check_change(self, change: Update | Delete) -> None:
        tables = _tables_of(change)
        inside = _OUTERMOST.with_nearest(tables)
        self._check_tables(tables, [], _conjuncts(change.whereclause), inside)
        column = self._owner_column(change.table)
        if isinstance(change, Update) and column is not None:
            self._check_owners(column, self._assigned(change, column))
        self._check_all(change.get_children(), inside)

    def _check_insert(self, insert: Insert) -> None:
        if insert._multi_values:  # which get_children() passes over
            raise NotScopable("many rows in one VALUES: execute the statement with a list of parameters")
        column = self._reach(insert.table)
        if column is not None:
            values = _selected(insert, column.key) if insert.select is not None else self._assigned(insert, column)
            if not values:
                raise NotScopable(f"{insert.table} without {column.key}")
            self._check_owners(column, values)
            if isinstance(insert._post_values_clause, OnConflictDoUpdate):
                self._check_conflict(insert._post_values_clause, insert.table, column)
        self._check_all(insert.get_children(), _OUTERMOST.with_nearest([insert.table]))

    def _check_conflict(self, clause: Any, table: Any, column: Any) -> None:
        """Check that the row that is updated instead is the user's: by the key of the conflict, or by its WHERE."""
        constraint = next((item for item in table.constraints if item.name == clause.constraint_target), None)
        keys = clause.inferred_target_elements or getattr(constraint, "columns", ())
        by_key = column.key in [getattr(key, "key", key) for key in keys]
        if not by_key and column not in self._bound([column], _conjuncts(clause.update_whereclause)):
            raise NotScopable(f"{table} on conflict")
        written = clause.update_values_to_set.items()
        self._check_owners(column, [value for key, value in written if getattr(key, "key", key) == column.key])

    def _check_tables(
        self, tables: list[Any], joins: list[Join], conditions: list[ColumnElement[bool]], inside: _Enclosing
    ) -> None:
        """Check that each owned table is bound, then what is nested in the others."""
        owner_columns = [column for table in tables if (column := self._reach(table)) is not None]
        bound = self._bound(owner_columns, conditions)
        for join in joins:
            binds = [column for column in owner_columns if column.table in _bound_by_on(join)]
            bound |= self._bound(binds, _conjuncts(join.onclause))
        for column in owner_columns:
            if column not in bound:
                raise NotScopable(f"{_name(column.table)} is not bound by {column.key} = :owner")
        for join in joins:
            self.check(join.onclause, inside)
        for table in tables:
            self._check_source(table, inside)

    def _check_source(self, table: Any, inside: _Enclosing) -> None:
        """Check what a FROM is made of, other than tables: sub-selects, CTEs, functions."""
        check_plain(table)
        if isinstance(table, CTE):
            self._check_cte(table)
        elif isinstance(table, Lateral):
            self.check(table.element.element if isinstance(table.element, Subquery) else table.element, inside)
        elif isinstance(table, Subquery):
            self.check(table.element, _OUTERMOST)
        elif isinstance(table, TableValuedAlias):
            self.check(table.element, inside)
        elif not _name(table):
            raise NotScopable(type(table).__name__)

    def _check_cte(self, cte: CTE) -> None:
        """Check a CTE once, however often it is named: its text stands in the statement once."""
        check_plain(cte)
        cte = _origin(cte)
        if cte in self._ctes:
            return
        part: CTE | None = cte
        while part is not None:  # the first part of a recursive CTE, which the second one selects from
            self._ctes.add(part)
            part = part._restates
        self.check(cte.element, _OUTERMOST)

    def _bound(self, owner_columns: Collection[Any], conditions: list[ColumnElement[bool]]) -> set[Any]:
        """Return the owner columns that a condition compares with a parameter, and note the parameter."""
        bound = set()
        for condition in conditions:
            if isinstance(condition, BinaryExpression) and condition.operator is operators.eq:
                for side, value in ((condition.left, condition.right), (condition.right, condition.left)):
                    if side in owner_columns and isinstance(value, BindParameter):
                        self._note(value)
                        bound.add(side)
        return bound

    def _check_owners(self, column: Any, values: Iterable[Any]) -> None:
        for value in values:
            parameter = _inside(value)
            if not isinstance(parameter, BindParameter):
                raise NotScopable(f"another {column.key} of {column.table}")
            self._note(parameter)

    def _assigned(self, statement: Any, column: Any) -> list[Any]:
        """Return what an INSERT or UPDATE writes to a column, by `values()` or by the execution's parameters."""
        written = (statement._values or {}).items()
        values = [value for key, value in written if getattr(key, "key", key) == column.key]
        by_execution = column.key in (self._compiled.column_keys or ())
        if values and not isinstance(values[0], ClauseElement):
            raise NotScopable(f"{column.key} that is no parameter")
        if values and values[0] not in self._compiled.bind_names and column.key in self._compiled.binds:
            return [self._compiled.binds[column.key]]  # a plain value was named after its column when compiled
        return values or ([self._compiled.binds[column.key]] if by_execution else [])

    def _note(self, parameter: BindParameter[Any]) -> None:
        """Remember that a parameter must be the user. Raise if its value can be another one when it is sent."""
        if parameter.expanding or parameter.literal_execute or not is_plain_text(parameter.type):
            raise NotScopable(f"parameter {parameter.key} of type {parameter.type!r}")
        name = self._compiled.bind_names.get(parameter)
        if name is None and not parameter.unique and parameter.key in self._compiled.binds:
            name = parameter.key
        if name is None:
            raise NotScopable("a parameter that is not sent")
        self.parameters.add(name)

    def _reach(self, table: Any) -> Any:
        """Return the owner column of an owned table, and count the table; None for any other."""
        column = self._owner_column(table)
        if column is not None:
            if not is_plain_text(column.type):
                raise NotScopable(f"{column} of type {column.type!r}")
            self._references[_name(table)] += 1
        return column

    def _owner_column(self, table: Any) -> Any:
        name = self._owners.get(_name(table))
        if name is not None and name not in table.c:
            raise NotScopable(f"{_name(table)} without its {name}")
        return None if name is None else table.c[name]


def _flatten(sources: Iterable[Any]) -> tuple[list[Any], list[Join]]:
    """Return the tables of a FROM, and its joins."""
    tables: list[Any] = []
    joins: list[Join] = []
    for source in sources:
        if isinstance(source, FromGrouping | Join):
            parts = [source.element] if isinstance(source, FromGrouping) else [source.left, source.right]
            below, joins_below = _flatten(parts)
            tables += below
            joins += [*joins_below, *([source] if isinstance(source, Join) else [])]
        else:
            tables.append(source)
    return tables, joins


def _bound_by_on(join: Join) -> list[Any]:
    """Return the tables whose rows come only where the ON holds: not those of an outer side."""
    if join.full:
        return []
    return _flatten([join.right] if join.isouter else [join.left, join.right])[0]


def _tables_of(change: Any) -> list[Any]:
    """Return the table that is changed, and those that an UPDATE … FROM or a DELETE … USING names by a column."""
    named = dict.fromkeys([change.table, *getattr(change, "_extra_froms", ())])
    pending = [*change.get_children()]
    while pending:
        element = pending.pop()
        if (table := getattr(element, "table", None)) is not None and not isinstance(element, FromClause):
            named.setdefault(table)
        elif not isinstance(element, Select | CompoundSelect | Update | Delete | Insert | FromClause):
            pending += element.get_children()
    return list(named)


def _selected(insert: Any, key: str) -> list[Any]:
    """Return the owner column of each SELECT that an INSERT takes its rows from."""
    names = [getattr(name, "key", name) for name in insert._select_names]
    return [row[names.index(key)] for row in _rows(insert.select)] if key in names else []


def _rows(select: Any) -> list[list[Any]]:
    if isinstance(select, SelectStatementGrouping):
        return _rows(select.element)
    if isinstance(select, CompoundSelect):
        return [row for part in select.selects for row in _rows(part)]
    return [list(select.selected_columns)]


def _inside(value: Any) -> Any:
    while isinstance(value, Label | Grouping):
        value = value.element
    return value


def _conjuncts(clause: Any) -> list[Any]:
    """Return what must hold: the parts of an AND, however nested."""
    return list(_parts(clause))


def _parts(clause: Any) -> Iterator[Any]:
    if isinstance(clause, Grouping):
        yield from _parts(clause.element)
    elif isinstance(clause, BooleanClauseList) and clause.operator is operators.and_:
        for part in clause.clauses:
            yield from _parts(part)
    elif clause is not None:
        yield clause


def _name(table: Any) -> str:
    """Return the full name of a table, also of an alias of one; else an empty string."""
    while isinstance(table, AliasedReturnsRows) and isinstance(table.element, FromClause):
        table = table.element
    return table.fullname if isinstance(table, TableClause) else ""


def _origin(cte: CTE) -> CTE:
    return cte if cte._cte_alias is None else _origin(cte._cte_alias)
