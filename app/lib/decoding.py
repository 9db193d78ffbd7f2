"""Strict JSON into typed structs; what is wrong is named, all of it."""

import json
import math
from collections.abc import Iterable
from functools import cache
from itertools import chain, islice
from typing import Any, Never

import msgspec
from msgspec import Struct

from app.lib.errors import BadRequest, FieldError, Invalid
from app.lib.mistakes import mistakes_in

MAX_DEPTH = 32  # of arrays and objects in each other; what types allow is far from it
MAX_ERRORS = 100  # named in one answer
MAX_DIGITS = 4000  # Python reads 4300
MAX_EXACT = 2**53
_NO_CODING = {b"identity", b""}


class TooDeep(BadRequest):
    """JSON that only costs."""

    detail = f"The body is nested too deeply: {MAX_DEPTH} levels are allowed"


def is_encoded(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Return whether a body has a content coding; `identity` is none (RFC 9110, 8.4)."""
    values = [value for name, value in headers if name == b"content-encoding"]
    return bool(values) and not {coding.strip().lower() for coding in b",".join(values).split(b",")} <= _NO_CODING


def decode[T: Struct](body: bytes, kind: type[T]) -> T:
    """Decode a JSON body.

    Raises `BadRequest` where it is not JSON, `Invalid` with all mistakes where it is not a `kind`.
    """
    if not kind.__struct_config__.forbid_unknown_fields:  # msgspec skips what is unknown, valid JSON or not
        return _explain(body, kind)
    try:
        value: T = _decoder(kind).decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, Invalid):
        return _explain(body, kind)
    return _explain(body, kind) if b"\\u0000" in body else value


@cache
def _decoder(kind: type[Struct]) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind)


def _explain[T: Struct](body: bytes, kind: type[T]) -> T:
    raw = _parse(body)
    _refuse_depth(raw)
    if not isinstance(raw, dict):
        raise Invalid([FieldError("Expected an object", pointer="")])
    if not kind.__struct_config__.forbid_unknown_fields:
        raw = {name: raw[name] for name in kind.__struct_encode_fields__ if name in raw}
    if errors := list(islice(mistakes_in(raw, kind), MAX_ERRORS)):
        raise Invalid(errors)
    try:
        return msgspec.convert(raw, kind)
    except msgspec.ValidationError as error:
        raise Invalid([FieldError(str(error), pointer="")]) from None


def _parse(body: bytes) -> Any:
    try:
        return _reader.decode(body)
    except RecursionError:
        raise TooDeep from None
    except UnicodeDecodeError:
        raise BadRequest from None
    except msgspec.DecodeError:
        return _parse_the_rest(body)


def _parse_the_rest(body: bytes) -> Any:
    """Parse what only the standard library reads: lone surrogates and huge numbers, which are JSON all the same."""
    try:
        return json.loads(body.decode(), parse_constant=_refuse_constant, parse_int=_integer, parse_float=_number)
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


def _number(digits: str) -> int | float:
    """Read `1.0` and `1e2` as the integers that they are to JSON Schema, as far as a double holds them exactly."""
    value = float(digits)
    return int(value) if value.is_integer() and abs(value) <= MAX_EXACT else value


_reader = msgspec.json.Decoder(float_hook=_number)


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) < MAX_DIGITS else math.inf


def _refuse_constant(name: str) -> Never:
    raise ValueError(name)
