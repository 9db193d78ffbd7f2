"""The fields of a new domain: `total:decimal` from the command line, as each of the files has it."""

import builtins
import re
from collections.abc import Sequence

from msgspec import Struct
from sqlalchemy import ColumnCollection

from app.db.base import Owned
from app.domain.system.scaffold.kinds import KINDS
from app.domain.system.scaffold.names import MAX_FIELD, Name, checked
from app.lib.errors import OperatorError
from app.lib.validation.body import Body
from app.lib.validation.query import PageQuery

DEFAULT = "name:string"
MAX_FIELDS = 50
# What schemas need for themselves: a field called so has a type with another name.
_TAKEN = {
    *dir(builtins),
    "Annotated",
    "Body",
    "Decimal",
    "Digits",
    "Instant",
    "Literal",
    "LongText",
    "Meta",
    "Moment",
    "Number",
}
_TAKEN |= {"Struct", "Trimmed"}
_PARAMETERS = (
    "excluded",
    "key",
    "owner",
    "versions",
)  # of our own statements: SQLAlchemy wants columns called otherwise
_SPEC = re.compile(r"(?P<name>[^:]*):(?P<kind>[a-z]+)(\((?P<bounds>[^()]*)\))?(?P<nullable>\?)?")


class Filter(Struct, frozen=True):
    """A query parameter, its type, and how a column is compared with it."""

    parameter: str
    type: str
    comparison: str


class Field(Struct, frozen=True, kw_only=True):
    """A field of a new domain, as Python code."""

    name: str
    nullable: bool
    model: str
    column: str
    read: str
    body: str
    declared: Sequence[str]
    check: Sequence[str]
    filters: Sequence[Filter]
    sort: str | None
    samples: str


def read_fields(specs: Sequence[str], variable: str) -> list[Field]:
    """Read the fields of a domain whose columns are those of `variable`. Raises `OperatorError`."""
    if len(specs) > MAX_FIELDS:
        raise OperatorError(f"{MAX_FIELDS} fields at most.")
    fields = [_field(spec, variable) for spec in specs or (DEFAULT,)]
    _refuse_doubles("field", [field.name for field in fields])
    _refuse_doubles("filter", [each.parameter for field in fields for each in field.filters])
    return fields


def _refuse_doubles(what: str, names: list[str]) -> None:
    if doubles := sorted({name for name in names if names.count(name) > 1}):
        raise OperatorError(f"Two {what}s would be called {doubles[0]!r}: choose another name for a field.")


def _field(spec: str, variable: str) -> Field:
    parts = _SPEC.fullmatch(spec)
    if parts is None or parts["kind"] not in KINDS:
        raise OperatorError(
            f"{spec!r} is no field: expected NAME:TYPE or NAME:TYPE?, and a type of {', '.join(KINDS)}."
        )
    kind, name = KINDS[parts["kind"]], _name(parts["name"])
    try:
        bounds = kind.bounds(parts["bounds"] or kind.default)
    except OperatorError as error:
        raise OperatorError(f"{spec!r}: {error}.") from None
    own = f"{name.camel}Value" if name.camel in _TAKEN else name.camel
    words = {"name": name.snake, "Name": own, "NAME": name.snake.upper(), **bounds}
    words |= {"time": re.sub("_(at|on)$", "", name.snake), "column": f"{variable}.{name.snake}"}

    def write(text: str) -> str:
        return text.format_map(words)

    return Field(
        name=name.snake,
        nullable=bool(parts["nullable"]),
        model=kind.model,
        column=write(kind.column),
        read=write(kind.read or kind.model),
        body=write(kind.body),
        declared=list(map(write, kind.declared)),
        check=list(map(write, kind.check)),
        filters=[Filter(write(name), write(kind), how) for name, (kind, how) in kind.filters.items()],
        sort=write(kind.sort) if kind.sort else None,
        samples=write(kind.samples),
    )


def _name(text: str) -> Name:
    taken = any(hasattr(kind, text) for kind in (Owned, Body, PageQuery, ColumnCollection))
    if taken or text in (*Owned.model_fields, *_PARAMETERS) or text.startswith("model_"):
        raise OperatorError(f"A field cannot be called {text!r}: the application has another meaning for it.")
    return Name(checked(text, MAX_FIELD))
