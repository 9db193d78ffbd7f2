"""Read the parts of a statement: its tables, its joins, its conditions, and the values that it writes."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from sqlalchemy import ColumnElement, CompoundSelect, Delete, FromClause, Insert, Join, Select, Table, Update
from sqlalchemy.dialects.postgresql.dml import OnConflictDoUpdate
from sqlalchemy.sql import operators
from sqlalchemy.sql.elements import BooleanClauseList, ClauseElement, Grouping, KeyedColumnElement, Label
from sqlalchemy.sql.schema import ColumnCollectionConstraint as KeyConstraint
from sqlalchemy.sql.selectable import (
    CTE,
    AliasedReturnsRows,
    FromGrouping,
    SelectBase,
    SelectStatementGrouping,
    TableClause,
)

type AnyColumn = ColumnElement[Any]
type OwnerColumn = KeyedColumnElement[Any]
type AnySelect = Select[*tuple[Any, ...]]


def split_from(sources: Iterable[ClauseElement]) -> tuple[list[FromClause], list[Join]]:
    """Return the tables of a FROM, and its joins, the inner ones first."""
    tables: list[FromClause] = []
    joins: list[Join] = []
    for source in sources:
        if isinstance(source, FromGrouping | Join):
            nested = [source.element] if isinstance(source, FromGrouping) else [source.left, source.right]
            nested_tables, nested_joins = split_from(nested)
            tables += nested_tables
            joins += [*nested_joins, *([source] if isinstance(source, Join) else [])]
        elif isinstance(source, FromClause):
            tables.append(source)
    return tables, joins


def tables_bound_by_on(join: Join) -> list[FromClause]:
    """Return the tables whose rows appear only where the ON holds: not those of an outer side."""
    if join.full:
        return []
    return split_from([join.right] if join.isouter else [join.left, join.right])[0]


def changed_and_used_tables(change: Update | Delete) -> list[FromClause]:
    """Return the table that is changed, and those that an UPDATE … FROM or a DELETE … USING names by a column."""
    tables: dict[FromClause, None] = dict.fromkeys([change.table, *getattr(change, "_extra_froms", ())])
    pending = [*change.get_children()]
    while pending:
        element = pending.pop()
        table = getattr(element, "table", None)
        if isinstance(table, FromClause) and not isinstance(element, FromClause):
            tables.setdefault(table)
        elif not isinstance(element, Select | CompoundSelect | Update | Delete | Insert | FromClause):
            pending += element.get_children()
    return list(tables)


def selected_values(insert: Insert, key: str) -> list[AnyColumn]:
    """Return what each SELECT of an `INSERT … SELECT` writes to a column; none if it writes nothing there."""
    keys = [getattr(column, "key", column) for column in insert._select_names or ()]
    return [row[keys.index(key)] for row in _selected_rows(insert.select)] if key in keys else []


def _selected_rows(select: SelectBase | None) -> list[list[AnyColumn]]:
    if isinstance(select, SelectStatementGrouping):
        return _selected_rows(select.element)
    if isinstance(select, CompoundSelect):
        return [row for part in select.selects for row in _selected_rows(part)]
    return [] if select is None else [list(select.selected_columns)]


def assigned_values(assignments: Mapping[Any, Any], key: str) -> list[object]:
    """Return what `values()` or `set_` writes to a column, which they name by its key or by itself."""
    return [value for column, value in assignments.items() if getattr(column, "key", column) == key]


def conflict_keys(clause: OnConflictDoUpdate, table: TableClause) -> list[str]:
    """Return the columns of the key by which an INSERT finds the row to update instead."""
    columns = [*(clause.inferred_target_elements or ())]
    if clause.constraint_target is not None and isinstance(table, Table):
        constraints = [each for each in table.constraints if each.name == clause.constraint_target]
        columns += [column for each in constraints if isinstance(each, KeyConstraint) for column in each.columns]
    return [each if isinstance(each, str) else each.key for each in columns]


def without_label(value: object) -> object:
    """Return what is inside of labels and parentheses."""
    while isinstance(value, Label | Grouping):
        value = value.element
    return value


def conjuncts(clause: ClauseElement | None) -> list[ClauseElement]:
    """Return the conditions that must all hold: the parts of an AND, however nested."""
    return list(_conjuncts(clause))


def _conjuncts(clause: ClauseElement | None) -> Iterator[ClauseElement]:
    is_and = isinstance(clause, BooleanClauseList) and clause.operator is operators.and_
    if clause is not None and (is_and or isinstance(clause, Grouping)):
        for part in clause.get_children():
            yield from _conjuncts(part)
    elif clause is not None:
        yield clause


def full_name(table: object) -> str:
    """Return `schema.table`, also for an alias of a table; an empty string for any other FROM."""
    while isinstance(table, AliasedReturnsRows) and isinstance(table.element, FromClause):
        table = table.element
    return table.fullname if isinstance(table, TableClause) else ""


def aliased_cte(cte: CTE) -> CTE:
    """Return the CTE itself for an alias of one."""
    return cte if cte._cte_alias is None else aliased_cte(cte._cte_alias)
