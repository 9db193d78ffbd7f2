"""Check by a direct rule that a statement reaches the rows of one user only.

Each place where an owned table is read or written must be bound by `owner column = :parameter`, in the WHERE of its
own statement or in the ON of an inner join; an INSERT must set the owner. There is no reasoning from one column to
another. Elements that are not in `_PLAIN` are refused, and the text must name owned tables as often as this check did.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, Self

from sqlalchemy import Delete, FromClause, Insert, Join, Select, Subquery, Update
from sqlalchemy.dialects.postgresql.dml import OnConflictDoUpdate
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import BindParameter, ClauseElement
from sqlalchemy.sql.selectable import CTE, AliasedReturnsRows, FromGrouping, Lateral, TableClause, TableValuedAlias

from app.lib.persistence.plain_elements import NotScopable, check_plain, is_plain_text
from app.lib.persistence.scope_parameters import OwnerParameters
from app.lib.persistence.sql_text import HiddenText, table_references
from app.lib.persistence.statement_parts import (
    AnySelect,
    OwnerColumn,
    aliased_cte,
    assigned_values,
    changed_and_used_tables,
    conflict_keys,
    conjuncts,
    full_name,
    selected_values,
    split_from,
    tables_bound_by_on,
)

type Owners = Mapping[str, str]
"""The column that names the owner, by the full name of its table."""


class _Enclosing(NamedTuple):
    """The tables that a nested SELECT can be correlated to: of all statements around it, and of the nearest one."""

    every: frozenset[FromClause] = frozenset()
    nearest: frozenset[FromClause] = frozenset()

    def with_nearest(self, tables: Iterable[ClauseElement]) -> Self:
        nearest = frozenset(source for table in tables for source in table._from_objects)
        return type(self)(self.every | nearest, nearest)


_OUTERMOST = _Enclosing()


def owner_parameters(compiled: SQLCompiler, owners: Owners) -> frozenset[str]:
    """Return the parameters that must be the user; none if no owned table is reached. Raise `NotScopable`."""
    if compiled.statement is None:
        raise NotScopable("no statement")
    analysis = _Analysis(compiled, owners)
    analysis.check(compiled.statement, _OUTERMOST)
    analysis.compare_with_text()
    return frozenset(analysis.parameters.names)


class _Analysis:
    def __init__(self, compiled: SQLCompiler, owners: Owners) -> None:
        self.parameters = OwnerParameters(compiled)
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

    def check(self, element: ClauseElement, around: _Enclosing) -> None:
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

    def _check_all(self, elements: Iterable[ClauseElement], around: _Enclosing) -> None:
        for element in elements:
            self.check(element, around)

    def _check_select(self, select: AnySelect, around: _Enclosing) -> None:
        # get_final_froms() does not know what is correlated; the compiler does.
        state: Any = select._compile_state_factory(select, self._compiler)
        sources = state._get_display_froms(around.every, around.nearest)
        inside = around.with_nearest(sources)
        self._check_tables(*split_from(sources), conjuncts(state.statement.whereclause), inside)
        self._check_all(state.statement.get_children(), inside)

    def _check_change(self, change: Update | Delete) -> None:
        tables = changed_and_used_tables(change)
        inside = _OUTERMOST.with_nearest(tables)
        self._check_tables(tables, [], conjuncts(change.whereclause), inside)
        column = self._owner_column(change.table)
        if isinstance(change, Update) and column is not None:
            self.parameters.check_written(column, self.parameters.assigned(change, column))
        self._check_all(change.get_children(), inside)

    def _check_insert(self, insert: Insert) -> None:
        if insert._multi_values:  # which get_children() passes over
            raise NotScopable("many rows in one VALUES: execute the statement with a list of parameters")
        column = self._reach(insert.table)
        if column is not None:
            has_select = insert.select is not None
            values = selected_values(insert, column.key) if has_select else self.parameters.assigned(insert, column)
            if not values:
                raise NotScopable(f"{insert.table} without {column.key}")
            self.parameters.check_written(column, values)
            if isinstance(insert._post_values_clause, OnConflictDoUpdate):
                self._check_conflict(insert._post_values_clause, insert.table, column)
        self._check_all(insert.get_children(), _OUTERMOST.with_nearest([insert.table]))

    def _check_conflict(self, clause: OnConflictDoUpdate, table: TableClause, column: OwnerColumn) -> None:
        """Check that the row that is updated instead is the user's: by the key of the conflict, or by its WHERE."""
        by_key = column.key in conflict_keys(clause, table)
        if not by_key and column not in self.parameters.bound_by(conjuncts(clause.update_whereclause), [column]):
            raise NotScopable(f"{table} on conflict")
        self.parameters.check_written(column, assigned_values(clause.update_values_to_set, column.key))

    def _check_tables(
        self, tables: list[FromClause], joins: list[Join], conditions: list[ClauseElement], inside: _Enclosing
    ) -> None:
        """Check that each owned table is bound, then what is nested in the others."""
        owner_columns = [column for table in tables if (column := self._reach(table)) is not None]
        bound = self.parameters.bound_by(conditions, owner_columns)
        for join in joins:
            bound_tables = tables_bound_by_on(join)
            columns = [column for column in owner_columns if column.table in bound_tables]
            bound |= self.parameters.bound_by(conjuncts(join.onclause), columns)
        for column in owner_columns:
            if column not in bound:
                raise NotScopable(f"{full_name(column.table)} is not bound by {column.key} = :owner")
        self._check_all((join.onclause for join in joins if join.onclause is not None), inside)
        for table in tables:
            self._check_source(table, inside)

    def _check_source(self, table: FromClause, inside: _Enclosing) -> None:
        """Check what a FROM is made of, other than tables: sub-selects, CTEs, functions."""
        check_plain(table)
        if isinstance(table, CTE):
            self._check_cte(table)
        elif isinstance(table, Lateral):  # the only sub-select in a FROM that sees the tables beside it
            self.check(table.element.element if isinstance(table.element, Subquery) else table.element, inside)
        elif isinstance(table, Subquery):
            self.check(table.element, _OUTERMOST)
        elif isinstance(table, TableValuedAlias):
            self.check(table.element, inside)
        elif not full_name(table):
            raise NotScopable(type(table).__name__)

    def _check_cte(self, cte: CTE) -> None:
        """Check a CTE once, however often it is named: its text stands in the statement once."""
        check_plain(cte)
        cte = aliased_cte(cte)
        if cte in self._ctes:
            return
        part: CTE | None = cte
        while part is not None:  # the first part of a recursive CTE, which the second one selects from
            self._ctes.add(part)
            part = part._restates
        self.check(cte.element, _OUTERMOST)

    def _reach(self, table: FromClause) -> OwnerColumn | None:
        """Return the owner column of an owned table, and count the table; None for any other."""
        column = self._owner_column(table)
        if column is not None:
            if not is_plain_text(column.type):
                raise NotScopable(f"{column} of type {column.type!r}")
            self._references[full_name(table)] += 1
        return column

    def _owner_column(self, table: FromClause) -> OwnerColumn | None:
        name = self._owners.get(full_name(table))
        if name is not None and name not in table.c:
            raise NotScopable(f"{full_name(table)} without its {name}")
        return None if name is None else table.c[name]
