"""Collect the parameters of a compiled statement that must have the user as their value."""

from collections.abc import Collection, Iterable, Sequence

from sqlalchemy import Insert, Update
from sqlalchemy.sql import operators
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import BinaryExpression, BindParameter, ClauseElement

from app.lib.persistence.plain_elements import NotScopable, is_plain_text
from app.lib.persistence.statement_parts import AnyColumn, OwnerColumn, assigned_values, without_label


class OwnerParameters:
    def __init__(self, compiled: SQLCompiler) -> None:
        self.names: set[str] = set()
        self._compiled = compiled

    def bound_by(self, conditions: Iterable[ClauseElement], owner_columns: Collection[OwnerColumn]) -> set[AnyColumn]:
        """Return the owner columns that a condition compares with a parameter, and collect that parameter."""
        bound: set[AnyColumn] = set()
        for condition in conditions:
            # Any other operator, `LIKE` and `!=` among them, can be true for the rows of other users.
            if isinstance(condition, BinaryExpression) and condition.operator is operators.eq:
                for side, value in ((condition.left, condition.right), (condition.right, condition.left)):
                    if side in owner_columns and isinstance(value, BindParameter):
                        self._collect(value)
                        bound.add(side)
        return bound

    def check_written(self, column: OwnerColumn, values: Iterable[object]) -> None:
        """Raise `NotScopable` unless each value that is written to an owner column is a parameter; collect them."""
        for value in values:
            parameter = without_label(value)
            if not isinstance(parameter, BindParameter):
                raise NotScopable(f"another value of {column}")
            self._collect(parameter)

    def assigned(self, statement: Insert | Update, column: OwnerColumn) -> Sequence[object]:
        """Return what an INSERT or UPDATE writes to a column, by `values()` or by the execution's parameters."""
        values = assigned_values(statement._values or {}, column.key)
        by_execution = column.key in (self._compiled.column_keys or ())
        if values and not isinstance(values[0], ClauseElement):
            raise NotScopable(f"{column.key} that is no parameter")
        if values and values[0] not in self._compiled.bind_names and column.key in self._compiled.binds:
            return [self._compiled.binds[column.key]]  # the compiler names a plain value after its column
        return values or ([self._compiled.binds[column.key]] if by_execution else [])

    def _collect(self, parameter: BindParameter[object]) -> None:
        """Raise `NotScopable` if the value that is sent can differ from the one that the guard compares."""
        if parameter.expanding or parameter.literal_execute or not is_plain_text(parameter.type):
            raise NotScopable(f"parameter {parameter.key} of type {parameter.type!r}")
        name = self._compiled.bind_names.get(parameter)
        if name is None and not parameter.unique and parameter.key in self._compiled.binds:
            name = parameter.key  # another object of the same name: both are sent as one parameter
        if name is None:
            raise NotScopable("a parameter that is not sent")
        self.names.add(name)
