"""Query strings: typed structs, unknown parameters refused, and the page that lists come in."""

import re
from collections.abc import Callable, Collection
from datetime import UTC, date, datetime, time
from functools import cache
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin
from urllib.parse import parse_qsl
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from app.lib.errors import FieldError, Invalid
from app.lib.text import MAX_MARKS, nfc
from app.lib.validation.body import Int32, JsonSchema, RuleViolation, in_utc
from app.lib.validation.cursors import MAX_CURSOR_LENGTH

# The largest offset that PostgreSQL takes is 2**63 - 1; nobody pages that far by hand.
MAX_OFFSET = 2**31 - 1

MAX_QUERY_STRING = 32 * 1024  # all parameters at once, percent-encoded, are shorter

_DECIMAL = re.compile(r"-?[0-9]{1,30}")


def moment(text: str) -> datetime:
    """Read a timestamp with an offset, or a day: its first moment in UTC."""
    try:
        return in_utc(msgspec.convert(text, Annotated[datetime, Meta(tz=True)]))
    except msgspec.ValidationError:
        return datetime.combine(_day(text), time(), UTC)


def integer(text: str) -> int:
    """Read a plain decimal, not the `1e1` and `5.0` that msgspec would take."""
    if not _DECIMAL.fullmatch(text):
        raise RuleViolation("Expected an integer")
    return int(text)


def reference(text: str) -> UUID | None:
    """Read an id, or `none` for rows that refer to nothing."""
    try:
        return None if text == "none" else msgspec.convert(text, UUID)
    except msgspec.ValidationError:
        raise RuleViolation("Expected an id, or none") from None


DAY_OR_INSTANT = JsonSchema(anyOf=[{"type": "string", "format": "date"}, {"type": "string", "format": "date-time"}])
Moment = Annotated[datetime, moment, DAY_OR_INSTANT]
ID_OR_NONE = JsonSchema(anyOf=[{"type": "string", "format": "uuid"}, {"type": "string", "const": "none"}])
Reference = Annotated[UUID | None, reference, ID_OR_NONE]
Number = Annotated[Int32, integer]


type Sort = tuple[tuple[str, bool], ...]
"""Sort keys by name, each with "is descending"."""


class Page[T](Struct):
    """A page of a list. `total` counts the matches of offset pages, and is null on cursor pages."""

    items: list[T]
    total: int | None
    limit: int
    offset: int
    next_cursor: str | None = None


class Query(Struct, forbid_unknown_fields=True, kw_only=True):
    """Base of typed query strings."""


_SEALED = JsonSchema(
    type="string",
    description="`next_cursor` of the page before, with the same sort",
    pattern=rf"^[A-Za-z0-9_-]{{24,{MAX_CURSOR_LENGTH}}}$",
)
Limit = Annotated[int, integer, Meta(ge=1, le=100)]
Offset = Annotated[int, integer, Meta(ge=0, le=MAX_OFFSET)]


class PageQuery(Query):
    """What every list takes: `sort` is `field:asc,other:desc`, `cursor` comes from the page before."""

    limit: Limit = 20
    offset: Offset = 0
    sort: str | UnsetType = UNSET
    cursor: Annotated[str, _SEALED] | UnsetType = UNSET


def parse_query[T: Query](query_string: bytes, kind: type[T]) -> T:
    """Parse a query string. Raises `Invalid` with every parameter that is wrong."""
    if not query_string:
        return kind()
    values: dict[str, Any] = {}
    errors: list[FieldError] = []
    parameters = _parameters(kind)
    for name, texts in _grouped(query_string).items():
        if name not in parameters:
            errors.append(FieldError("Unknown query parameter", parameter=name))
            continue
        try:
            values[name] = parameters[name].convert(texts)
        except (msgspec.ValidationError, RuleViolation) as error:
            errors.append(FieldError(str(error).partition(" - at `$")[0], parameter=name))
    if errors:
        raise Invalid(errors)
    return kind(**values)


def refuse_parameters(query_string: bytes) -> None:
    """Refuse every parameter, for operations that take none."""
    if errors := [FieldError("Unknown query parameter", parameter=name) for name in _grouped(query_string)]:
        raise Invalid(errors)


def parse_sort(sort: str, allowed: Collection[str]) -> Sort:
    """Parse `title,due_at:desc` into pairs of key and "is descending"; the direction defaults to `asc`."""
    keys: dict[str, bool] = {}
    for part in sort.split(","):
        key, colon, direction = part.partition(":")
        if key not in allowed or key in keys or (colon and direction not in ("asc", "desc")):
            detail = f"Expected distinct keys of {', '.join(allowed)}, each with :asc or :desc"
            raise Invalid([FieldError(detail, parameter="sort")])
        keys[key] = direction == "desc"
    return tuple(keys.items())


def sort_schema(allowed: Collection[str], default: str) -> dict[str, Any]:
    """Say as JSON Schema what `parse_sort` takes."""
    keys = "|".join(allowed)
    term = f"({keys})(:asc|:desc)?"
    twice = f"(?!(.*,)?({keys})(:[a-z]+)?,(.*,)?\\2(:|,|$))"
    return {
        "type": "string",
        "description": f"Distinct keys of {', '.join(allowed)}, each with :asc or :desc",
        "pattern": f"^{twice}{term}(,{term})*$",
        "default": default,
    }


def _grouped(query_string: bytes) -> dict[str, list[str]]:
    if len(query_string) > MAX_QUERY_STRING:
        raise Invalid([FieldError("The query string is too long", parameter="")])
    grouped: dict[str, list[str]] = {}
    try:
        pairs = parse_qsl(query_string.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=100)
    except ValueError:
        raise Invalid([FieldError("Malformed query string", parameter="")]) from None
    for name, text in pairs:
        grouped.setdefault(name, []).append(text)
    return grouped


class _Parameter(Struct):
    """How one parameter is read: `parse` makes a value of the text, `kind` validates it."""

    kind: Any
    parse: Callable[[str], Any] | None
    repeatable: bool

    def convert(self, texts: list[str]) -> Any:
        texts = list(map(_plain, texts))
        if self.repeatable:
            return msgspec.convert(texts, self.kind)
        if len(texts) > 1:
            raise RuleViolation("Expected the parameter once")
        return msgspec.convert(self.parse(texts[0]) if self.parse else texts[0], self.kind, strict=False)


@cache
def _parameters(kind: type[Query]) -> dict[str, _Parameter]:
    return {field.encode_name: _parameter(field.type) for field in msgspec.structs.fields(kind)}


def _parameter(annotation: Any) -> _Parameter:
    kinds = [item for item in get_args(annotation) if item is not UnsetType]
    kind = kinds[0] if get_origin(annotation) is UnionType or get_origin(annotation) is Union else annotation
    metadata = get_args(kind)[1:] if get_origin(kind) is Annotated else ()
    bare = get_args(kind)[0] if metadata else kind
    parse = next((item for item in metadata if callable(item)), None)
    return _Parameter(kind, parse, repeatable=get_origin(bare) is list)


def _plain(text: str) -> str:
    """Return a text in NFC, as texts are stored. Raises `RuleViolation`."""
    if "\x00" in text:
        raise RuleViolation("NUL characters are not allowed")
    plain = nfc(text)
    if plain is None:
        raise RuleViolation(f"Expected at most {MAX_MARKS} combining characters in a row")
    return plain


def _day(text: str) -> date:
    try:
        return msgspec.convert(text, date)
    except msgspec.ValidationError:
        raise RuleViolation("Expected an RFC 3339 timestamp with an offset, or a date") from None
