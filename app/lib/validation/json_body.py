"""Strict JSON into typed structs; what is wrong is named, as far as that costs little."""

import json
import math
from collections.abc import Iterable
from functools import cache
from itertools import chain, islice
from typing import Annotated, Any, Never

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from app.lib.errors import BadRequest, FieldError, Invalid
from app.lib.validation.error_collection import RepeatedNames, collect_errors, has_objects, max_length

MAX_DEPTH = 32  # of arrays and objects in each other; what types allow is far from it
MAX_NODES = 5000  # values in arrays and objects; a batch of 100 whole todos has 3,400
MAX_ERRORS = 100  # named in one answer
EXACT_DIGITS, MAX_DIGITS = 40, 400  # reading an integer is quadratic; no double has more digits
MAX_EXACT = 2**53
_NO_CODING = {b"identity", b""}

_OPENINGS = (b",", b"[", b"{")  # each begins a value


class TooDeep(BadRequest):
    """JSON that only costs."""

    detail = f"The body is nested too deeply: {MAX_DEPTH} levels are allowed"


def is_encoded(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Return whether a body has a content coding; `identity` is none (RFC 9110, 8.4)."""
    values = [value for name, value in headers if name == b"content-encoding"]
    return bool(values) and not {coding.strip().lower() for coding in b",".join(values).split(b",")} <= _NO_CODING


class TooManyValues(BadRequest):
    """JSON that only costs."""

    detail = f"The body has too many values: {MAX_NODES:,} are allowed"


def decode[T: Struct](body: bytes, kind: type[T]) -> T:
    """Decode a JSON body.

    Raises `BadRequest` where it is not JSON, `Invalid` with the mistakes where it is not a `kind`.
    """
    if len(body) > MAX_NODES:
        _refuse_crowd(body)
        _refuse_long_arrays(body, kind)
    if not kind.__struct_config__.forbid_unknown_fields:  # msgspec skips what is unknown, valid JSON or not
        return _explain(body, kind)
    try:
        value: T = _decoder(kind).decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, Invalid):
        return _explain(body, kind)
    return value if _is_plain(body) else _explain(body, kind)


@cache
def _decoder(kind: type[Struct]) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind)


def _refuse_crowd(body: bytes) -> None:
    """Raise `TooManyValues` before anything is made of them; what is in texts does not count."""
    if _openings(body) > MAX_NODES:
        plain = body.replace(rb"\\", b"").replace(rb"\"", b"") if b"\\" in body else body
        parts = plain.split(b'"', 4 * MAX_NODES)  # each other one is in a text
        if len(parts) > 4 * MAX_NODES or _openings(b"".join(parts[::2])) > MAX_NODES:
            raise TooManyValues


def _refuse_long_arrays(body: bytes, kind: type[Struct]) -> None:
    """Raise `Invalid` for too many objects before they are made: msgspec makes them all, then counts."""
    if (outline := _outline(kind)) is None:
        return
    try:
        outline.decode(body)
    except msgspec.ValidationError as error:
        detail, _, path = str(error).partition(" - at `$.")
        if "length" in detail:
            raise Invalid([FieldError(detail, pointer=f"/{path.removesuffix('`')}")]) from None
    except (msgspec.DecodeError, RecursionError):
        return


@cache
def _outline(kind: type[Struct]) -> msgspec.json.Decoder[Any] | None:
    """Make a decoder that counts the items of arrays of objects and reads nothing else; None where there are none."""
    limits = {field.name: max_length(field.type) for field in msgspec.structs.fields(kind) if has_objects(field.type)}
    fields = [
        (name, Annotated[list[msgspec.Raw], Meta(max_length=limit)] | UnsetType, UNSET)
        for name, limit in limits.items()
        if limit is not None
    ]
    return msgspec.json.Decoder(msgspec.defstruct("Outline", fields)) if fields else None


def _openings(body: bytes) -> int:
    return sum(map(body.count, _OPENINGS))


def _is_plain(body: bytes) -> bool:
    """Return whether there is neither NUL nor a repeated name, both of which msgspec passes over."""
    try:
        _strict_reader.decode(body.decode())
    except ValueError:
        return False
    return b"\\u0000" not in body


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make an object as JSON Schema knows it. Raises `ValueError` for a repeated name."""
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise ValueError
    return fields


_strict_reader = json.JSONDecoder(object_pairs_hook=_unique)


def _explain[T: Struct](body: bytes, kind: type[T]) -> T:
    raw = _parse(body)
    _refuse_depth(raw)
    if not isinstance(raw, dict):
        raise Invalid([FieldError("Expected an object", pointer="")])
    if not kind.__struct_config__.forbid_unknown_fields:
        raw = _known_fields(raw, kind)
    if errors := list(islice(collect_errors(raw, kind), MAX_ERRORS + 1)):
        raise Invalid(errors[:MAX_ERRORS], _FIRST_ONLY if len(errors) > MAX_ERRORS else None)
    try:
        return msgspec.convert(raw, kind)
    except msgspec.ValidationError as error:
        raise Invalid([FieldError(str(error), pointer="")]) from None


_FIRST_ONLY = f"{Invalid.detail}: these are the first {MAX_ERRORS} errors, there are more"


def _known_fields(raw: dict[str, Any], kind: type[Struct]) -> dict[str, Any]:
    known = {name: raw[name] for name in kind.__struct_encode_fields__ if name in raw}
    repeated = [name for name in getattr(raw, "repeated", ()) if name in known]
    return RepeatedNames(known, repeated) if repeated else known


def _parse(body: bytes) -> Any:
    """Parse all that is JSON, lone surrogates and huge numbers too, and mark objects with repeated names."""
    if body.isspace():  # which JSONDecoder would match with a regular expression
        raise BadRequest
    try:
        return _reader.decode(body.decode())
    except RecursionError:
        raise TooDeep from None
    except ValueError:
        raise BadRequest from None


def _refuse_depth(raw: Any) -> None:
    level = [raw]
    for _ in range(MAX_DEPTH):
        level = [value for value in chain.from_iterable(map(_children, level)) if isinstance(value, dict | list)]
        if not level:
            return
    raise TooDeep


def _children(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _marked(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) == len(pairs):
        return fields
    seen: set[str] = set()
    repeated = [name for name, _ in pairs if name in seen or seen.add(name)]  # type: ignore[func-returns-value]
    return RepeatedNames(fields, repeated)


def _number(digits: str) -> int | float:
    """Read `1.0` and `1e2` as the integers that they are to JSON Schema, as far as a double holds them exactly."""
    value = float(digits)
    return int(value) if value.is_integer() and abs(value) <= MAX_EXACT else value


def _integer(digits: str) -> int | float:
    if len(digits) <= EXACT_DIGITS:
        return int(digits)
    return float(digits) if len(digits) <= MAX_DIGITS else math.inf


def _refuse_constant(name: str) -> Never:
    raise ValueError(name)


_reader = json.JSONDecoder(
    object_pairs_hook=_marked, parse_constant=_refuse_constant, parse_int=_integer, parse_float=_number
)
