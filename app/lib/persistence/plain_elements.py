"""The elements of a statement that the scope guard understands. What is not listed here is refused.

A listed element renders its children, with parentheses where precedence needs them, and no text of the caller. So it
cannot change the meaning of another condition, and cannot name a table that the analysis does not see.
"""

import re
from typing import Any

from sqlalchemy import ARRAY, String, Text
from sqlalchemy.dialects.postgresql import array, dml, ext
from sqlalchemy.orm.util import _ORMJoin
from sqlalchemy.sql import dml as core_dml
from sqlalchemy.sql import elements, functions, operators, schema, selectable
from sqlalchemy.sql.annotation import Annotated
from sqlalchemy.sql.elements import ClauseElement, quoted_name
from sqlalchemy.types import TypeEngine

_PLAIN: frozenset[type] = frozenset(
    {
        *(elements.AggregateOrderBy, elements.AsBoolean, elements.BinaryExpression, elements.BindParameter),
        *(elements.BooleanClauseList, elements.Case, elements.Cast, elements.ClauseList, elements.CollationClause),
        *(elements.CollectionAggregate, elements.ColumnClause, elements.ExpressionClauseList, elements.Extract),
        *(elements.False_, elements.FunctionFilter, elements.Grouping, elements.Label, elements.Null, elements.Over),
        *(elements.OrderByList, elements.True_, elements.Tuple, elements.TypeClause, elements.UnaryExpression),
        elements.ElementList,
        *(selectable.Alias, selectable.CTE, selectable.CompoundSelect, selectable.Exists, selectable.ForUpdateArg),
        *(selectable.FromGrouping, selectable.Join, selectable.Lateral, selectable.ScalarSelect, selectable.Select),
        *(selectable.SelectStatementGrouping, selectable.Subquery, selectable.TableClause),
        selectable._OffsetLimitParam,  # noqa: SLF001 - what limit() and offset() make of a number
        *(selectable.TableValuedAlias, elements.TableValuedColumn, selectable.NamedFromGrouping),
        *(schema.Column, schema.Table, _ORMJoin),
        *(core_dml.Delete, core_dml.Insert, core_dml.Update),
        *(dml.Insert, dml.OnConflictDoNothing, dml.OnConflictDoUpdate, array, ext.aggregate_order_by),
        *(functions.Function, functions.ScalarFunctionColumn, functions.array_agg, functions.char_length),
        *(functions.coalesce, functions.concat, functions.count, functions.max, functions.min, functions.now),
        *(functions.sum, functions.rank, functions.dense_rank),
    }
)

# Functions that only compute a value. Others read tables, run SQL or change the user: ts_stat('SELECT …'),
# query_to_xml, set_config.
_FUNCTIONS = frozenset(
    """
    abs age app.search_fold app.search_query array_agg array_append array_length array_position array_remove
    array_to_string avg bool_and bool_or btrim cardinality ceil char_length coalesce concat concat_ws count
    current_setting date_part date_trunc dense_rank floor greatest hashtextextended int4send jsonb_array_length
    jsonb_build_object lag lead least left length lower lpad ltrim make_interval max min mod normalize now nullif
    octet_length percent_rank pg_advisory_xact_lock pg_try_advisory_xact_lock rank regexp_replace replace reverse
    right round row_number rpad rtrim setweight split_part starts_with statement_timestamp string_agg
    string_to_array strpos substr substring sum timezone to_char to_hex to_tsquery to_tsvector translate trim
    ts_rank unnest upper uuid_send
    """.split()  # noqa: SIM905 - a list of quoted words would take a page
)
# An operator of letters (`OR`) or with a comment in it could end the condition that it stands in.
_SYMBOLS = re.compile(r"[-+*/<>=~!@#%^&|?]+")
_WORD = re.compile(r"[A-Za-z_]+")
_COLLATION = re.compile(r"[\w.@-]+")
# Methods by which a type renders SQL of its own around a value.
_RENDERS = frozenset({"bind_expression", "column_expression", "get_col_spec", "load_dialect_impl"})
_TRUSTED_MODULES = ("sqlalchemy.", "builtins", "typing")
_TEXT_ATTRIBUTES = ("_prefixes", "_suffixes", "_hints", "_statement_hints")
_NAME_ATTRIBUTES = ("name", "schema", "collation", "collation_schema", "packagenames", "key")


class NotScopable(Exception):
    """The statement may reach the rows of others. The message names elements and tables, never values."""


def check_plain(element: ClauseElement) -> None:
    """Raise `NotScopable` for an element that is not understood. Its children are not checked."""
    # An ORM statement has annotated copies of elements, each of a class made for it.
    kind = next(each for each in type(element).__mro__ if not issubclass(each, Annotated))
    if kind not in _PLAIN or hasattr(kind, "_compiler_dispatcher"):  # set by @compiles
        raise NotScopable(f"{kind.__name__} is not an element that the scope guard understands")
    if any(getattr(element, name, None) for name in _TEXT_ATTRIBUTES):
        raise NotScopable("a prefix, a suffix or a hint")
    if any(_is_unquoted(getattr(element, name, None)) for name in _NAME_ATTRIBUTES):
        raise NotScopable("a name that is rendered without quotes")
    if getattr(element, "is_literal", False) and getattr(element, "name", "") != "*":  # count(*) and EXISTS have it
        raise NotScopable("literal_column")
    if isinstance(element, functions.FunctionElement):
        _check_function(element)
    elif isinstance(element, elements.Extract) and not _WORD.fullmatch(element.field):
        raise NotScopable("a field of EXTRACT that is not a word")
    for operator in (getattr(element, "operator", None), getattr(element, "modifier", None)):
        if isinstance(operator, operators.custom_op) and not _SYMBOLS.fullmatch(operator.opstring):
            raise NotScopable(f"operator {operator.opstring}")
    _check_type(getattr(element, "type", None))


def is_plain_text(kind: TypeEngine[Any]) -> bool:
    """Check that the driver gets the value itself: a subclass (`TypeDecorator`) could send another one."""
    return type(kind) in (String, Text)


def _check_function(function: functions.FunctionElement[Any]) -> None:
    path = ".".join((*function.packagenames, function.name))
    if path not in _FUNCTIONS:
        raise NotScopable(f"function {path}: list it in plain_elements.py if it only computes a value")


def _check_type(kind: object) -> None:
    """Refuse types that can render SQL: around a value, or as their name, which is in the cast of every value."""
    if isinstance(kind, ARRAY):
        _check_type(kind.item_type)
    bases = [base for base in type(kind).__mro__ if not base.__module__.startswith(_TRUSTED_MODULES)]
    if any(_RENDERS & vars(base).keys() for base in bases):
        raise NotScopable(f"type {type(kind).__name__} with SQL of its own")
    if not _COLLATION.fullmatch(getattr(kind, "collation", None) or "C") or _is_unquoted(getattr(kind, "name", None)):
        raise NotScopable(f"the name of type {type(kind).__name__}")


def _is_unquoted(name: object) -> bool:
    if isinstance(name, tuple):
        return any(map(_is_unquoted, name))
    return isinstance(name, quoted_name) and name.quote is False
