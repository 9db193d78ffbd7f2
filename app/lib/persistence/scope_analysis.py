"""The proof that a statement reaches the rows of one user alone, by its structure.

It says which parameters must then be that user's id. Every place where an owned table is read or written must be
bound by `user_id = :owner`, or be joined by `user_id` to one that is. What is not understood is not proven.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import chain
from typing import Any, NamedTuple

from sqlalchemy import CompoundSelect, Delete, Insert, Select, TextClause, Update
from sqlalchemy.dialects.postgresql.dml import OnConflictDoUpdate
from sqlalchemy.sql import operators
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.dml import UpdateBase
from sqlalchemy.sql.elements import BinaryExpression, BindParameter, BooleanClauseList, Grouping, Label
from sqlalchemy.sql.selectable import (
    CTE,
    AliasedReturnsRows,
    FromClause,
    FromGrouping,
    Join,
    Lateral,
    SelectBase,
    SelectStatementGrouping,
    Subquery,
    TableClause,
)

type Owners = Mapping[str, str]
"""The column that names the owner, by the full name of its table."""


class NotScopable(Exception):
    """The statement may reach the rows of others; the message names tables, never values."""


def owner_parameters(compiled: SQLCompiler, owners: Owners) -> frozenset[str]:
    """Give the parameters that must be the user, none where no owned table is reached. Raises `NotScopable`."""
    proof = _Proof(compiled, owners)
    proof.prove_all([compiled.statement], _OUTERMOST)
    proof.compare_with_text()
    return frozenset(proof.parameters)


class _Level(NamedTuple):
    """What a nested SELECT sees of the statements around it."""

    carried: frozenset[Any]  # columns that are known to be the user's id
    around: frozenset[Any]  # what it may correlate to
    beside: frozenset[Any]  # and what it does by itself


_OUTERMOST = _Level(frozenset(), frozenset(), frozenset())


class _Condition(NamedTuple):
    """Something that must hold for the rows of `binds`; those of other tables may come without."""

    clause: Any
    binds: frozenset[Any]


class _Proof:
    def __init__(self, compiled: SQLCompiler, owners: Owners) -> None:
        self.parameters: set[str] = set()
        self._compiled = compiled
        self._compiler = compiled.dialect.statement_compiler(compiled.dialect, None)
        self._owners = owners
        self._reached: Counter[str] = Counter()
        self._seen: set[CTE] = set()
        self._whole: dict[CTE, CTE] = {}  # the recursive CTE of its first part

    def compare_with_text(self) -> None:
        """What the text mentions and the proof has not met came in some other way."""
        text = self._compiled.string.replace('"', "")
        for name in self._owners:
            if len(re.findall(rf"(?<![\w.]){re.escape(name)}(?![\w.])", text)) > self._reached[name]:
                raise NotScopable(name)

    def _prove(self, statement: Any, level: _Level) -> None:
        if isinstance(statement, SelectStatementGrouping):
            return self._prove(statement.element, level)
        for cte in getattr(statement, "_independent_ctes", ()):
            self._prove_cte(cte)
        if isinstance(statement, Select):
            return self._prove_select(statement, level)
        if isinstance(statement, CompoundSelect):
            return self.prove_all(statement.get_children(), level)
        if isinstance(statement, Insert):
            return self._prove_insert(statement)
        if isinstance(statement, Update | Delete):
            return self._prove_change(statement)
        raise NotScopable(type(statement).__name__)

    def _prove_select(self, select: Any, level: _Level) -> None:
        state = select._compile_state_factory(select, self._compiler)
        froms = state._get_display_froms(level.around, level.beside)
        self._prove_scope(state.statement, froms, level)

    def _prove_change(self, change: Any) -> None:
        state = change._compile_state_factory(change, self._compiler)
        change = state.statement
        self._prove_scope(change, [change.table, *state._extra_froms], _OUTERMOST)
        column = self._owner_column(change.table)
        if isinstance(change, Update) and column is not None:
            self._prove_assigned(column, self._assigned(state, column))

    def _prove_insert(self, insert: Any) -> None:
        state = insert._compile_state_factory(insert, self._compiler)
        insert = state.statement
        self.prove_all(insert.get_children(), _OUTERMOST)
        if (column := self._reach(insert.table)) is None:
            return
        values = self._assigned(state, column)
        if insert.select is not None:
            values = [row[insert._select_names.index(column.key)] for row in _selected(insert.select)]
        if not values:
            raise NotScopable(f"{insert.table} without {column.key}")
        self._prove_assigned(column, values)
        if isinstance(clause := insert._post_values_clause, OnConflictDoUpdate):
            self._prove_conflict(clause, insert.table, column)

    def _prove_conflict(self, clause: Any, table: Any, column: Any) -> None:
        """What is updated instead must be the user's own: the owner is in the key, or in the condition."""
        named = next((item for item in table.constraints if item.name == clause.constraint_target), None)
        keys = [getattr(key, "key", key) for key in clause.inferred_target_elements or getattr(named, "columns", ())]
        conditions = [_Condition(item, frozenset([table])) for item in _conjuncts(clause.update_whereclause)]
        if column.key not in keys and column not in self._carried([table], conditions, _OUTERMOST):
            raise NotScopable(f"{table} on conflict")
        written = clause.update_values_to_set.items()
        self._prove_assigned(column, [value for key, value in written if getattr(key, "key", key) == column.key])

    def _assigned(self, state: Any, column: Any) -> list[Any]:
        """Give what a statement writes to the column, in each of its rows."""
        several = state._multi_parameters
        names = [f"{column.key}_m{number}" for number in range(len(several))] if several else [column.key]
        rows = zip(names, several or [state._dict_parameters or {}], strict=True)
        values = [
            self._sent(value, name)
            for name, row in rows
            for key, value in row.items()
            if getattr(key, "key", key) == column.key
        ]
        given = column.key in (self._compiled.column_keys or ())  # with the execution
        return values or ([self._compiled.binds[column.key]] if given else [])

    def _sent(self, value: Any, name: str) -> Any:
        """A value without a name of its own was given the column's when it was compiled."""
        return value if value in self._compiled.bind_names else self._compiled.binds.get(name, value)

    def _prove_assigned(self, column: Any, values: Iterable[Any]) -> None:
        for value in values:
            if not (self._is_owner(value, frozenset()) or self._comes_from_owners(value)):
                raise NotScopable(f"another {column.key} of {column.table}")

    def _prove_scope(self, statement: Any, froms: list[Any], level: _Level) -> None:
        """Prove a statement's own tables, then what is nested in it."""
        leaves, conditions = _flattened(froms)
        every = frozenset(leaves)
        conditions += [_Condition(item, every) for clause in statement._where_criteria for item in _conjuncts(clause)]
        for leaf in leaves:
            if isinstance(leaf, CTE):
                self._prove_cte(leaf)
            elif isinstance(leaf, Subquery):
                self._prove(leaf.element, _OUTERMOST)
        carried = self._carried(leaves, conditions, level)
        for leaf in leaves:
            column = self._reach(leaf)
            if column is not None and column not in carried:
                raise NotScopable(_name(leaf))
        around = frozenset(part for clause in froms for part in clause._from_objects)
        parts = [
            part for leaf in leaves if not isinstance(leaf, TableClause | CTE | Subquery) for part in _within(leaf)
        ]
        nested = chain(parts, statement.get_children(), (item.clause for item in conditions))
        self.prove_all(nested, _Level(carried, level.around | around, around))

    def _carried(self, leaves: Collection[Any], conditions: list[_Condition], level: _Level) -> frozenset[Any]:
        """Find the columns that equal the user's id: by `= :owner`, and then from column to column."""
        own = frozenset(column for leaf in leaves if (column := self._owner_column(leaf)) is not None)
        selected = frozenset(leaf for leaf in leaves if isinstance(leaf, CTE | Subquery))
        # A table that is read anew has nothing to do with the one of its name outside.
        carried, before = frozenset(column for column in level.carried if column.table not in leaves), None
        while carried != before:
            before = carried
            for clause, binds in conditions:
                for one, other in _equal(clause):
                    if one in own and one.table in binds and self._is_owner(other, carried, selected):
                        carried |= {one}
        return carried

    def _is_owner(self, value: Any, carried: frozenset[Any], selected: frozenset[Any] = frozenset()) -> bool:
        if isinstance(value, Label | Grouping):
            return self._is_owner(value.element, carried, selected)
        if isinstance(value, BindParameter):
            self.parameters.add(self._name_of(value))
            return True
        return value in carried or (getattr(value, "table", None) in selected and self._comes_from_owners(value))

    def _comes_from_owners(self, value: Any) -> bool:
        """All that is selected from an owned table is proven to be the user's, or the whole statement is refused."""
        table = getattr(value, "table", None)
        if isinstance(table, CTE) and (whole := self._whole.get(_origin(table))) is not None:
            value = list(whole.c)[list(table.c).index(value)]
        bases = getattr(value, "base_columns", ())
        return bool(bases) and all(self._names_owner(base) for base in bases)

    def _names_owner(self, column: Any) -> bool:
        own = self._owner_column(getattr(column, "table", None))
        return own is not None and own.key == column.key

    def _name_of(self, parameter: BindParameter[Any]) -> str:
        name = self._compiled.bind_names.get(parameter)
        if name is None and not parameter.unique and parameter.key in self._compiled.binds:
            name = parameter.key
        if name is None:
            raise NotScopable("a parameter that is not sent")
        return name

    def _reach(self, leaf: Any) -> Any:
        column = self._owner_column(leaf)
        if column is not None:
            self._reached[_name(leaf)] += 1
        return column

    def _owner_column(self, leaf: Any) -> Any:
        name = self._owners.get(_name(leaf))
        return None if name is None else leaf.c[name]

    def _prove_cte(self, cte: CTE) -> None:
        cte = _origin(cte)
        if cte in self._seen:
            return
        part: CTE | None = cte
        while part is not None:
            self._seen.add(part)
            self._whole[part] = cte
            part = part._restates
        self._prove(cte.element, _OUTERMOST)

    def prove_all(self, elements: Iterable[Any], level: _Level) -> None:
        for element in elements:
            if isinstance(element, TextClause):
                raise NotScopable("text")
            if isinstance(element, Select | CompoundSelect | SelectStatementGrouping | UpdateBase):
                self._prove(element, level)
            elif isinstance(element, SelectBase):
                raise NotScopable(type(element).__name__)
            elif not isinstance(element, TableClause | AliasedReturnsRows | Join):
                self.prove_all(element.get_children(), level)


def _name(leaf: Any) -> str:
    """Give the full name of a table, also of an alias of one."""
    while isinstance(leaf, AliasedReturnsRows) and isinstance(leaf.element, FromClause):
        leaf = leaf.element
    return leaf.fullname if isinstance(leaf, TableClause) else ""


def _origin(cte: CTE) -> CTE:
    return cte if cte._cte_alias is None else _origin(cte._cte_alias)


def _within(leaf: Any) -> Iterable[Any]:
    """Give what may nest a statement in a table expression: LATERAL, a function, a sample, VALUES."""
    if isinstance(leaf, Lateral):
        return [leaf.element.element if isinstance(leaf.element, Subquery) else leaf.element]
    parts: Iterable[Any] = leaf.get_children()
    return parts


def _flattened(froms: Iterable[Any]) -> tuple[list[Any], list[_Condition]]:
    """Take joins apart: the tables in them, and what their ON says of which."""
    leaves: list[Any] = []
    conditions: list[_Condition] = []
    for clause in froms:
        if isinstance(clause, FromGrouping):
            found, said = _flattened([clause.element])
        elif isinstance(clause, Join):
            found, said = _joined(clause)
        else:
            found, said = [clause], []
        leaves += found
        conditions += said
    return leaves, conditions


def _joined(join: Join) -> tuple[list[Any], list[_Condition]]:
    left, conditions = _flattened([join.left])
    right, more = _flattened([join.right])
    # The rows of an outer side come whether or not the condition holds.
    binds = frozenset(() if join.full else right if join.isouter else [*left, *right])
    return left + right, conditions + more + [_Condition(item, binds) for item in _conjuncts(join.onclause)]


def _conjuncts(clause: Any) -> Iterator[Any]:
    if isinstance(clause, Grouping):
        yield from _conjuncts(clause.element)
    elif isinstance(clause, BooleanClauseList) and clause.operator is operators.and_:
        for part in clause.clauses:
            yield from _conjuncts(part)
    elif clause is not None:
        yield clause


def _equal(clause: Any) -> list[tuple[Any, Any]]:
    is_equality = isinstance(clause, BinaryExpression) and clause.operator is operators.eq
    return [(clause.left, clause.right), (clause.right, clause.left)] if is_equality else []


def _selected(select: Any) -> list[list[Any]]:
    """Give the columns of each SELECT of a union."""
    if isinstance(select, SelectStatementGrouping):
        return _selected(select.element)
    if isinstance(select, CompoundSelect):
        return [row for arm in select.selects for row in _selected(arm)]
    return [list(select.selected_columns)]
