"""Everything that is wrong with a parsed body, each with a JSON pointer to it."""

import math
import re
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import chain, islice
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import msgspec
from msgspec import Struct

from app.lib.errors import FieldError, Invalid
from app.lib.validation.body import Body, RuleViolation, rule_from

MAX_TEXT = 500  # characters of what a client sent, in an answer

MAX_STEPS = 500  # values that are looked at for text that nobody can store, where something else is wrong too

type Place = tuple[Place, str | int] | None

_rule = cache(rule_from)
_STEP = re.compile(r"\.([^.\[]+)|\[(\d+)\]")


class RepeatedNames(dict[str, Any]):
    """An object in which names occurred more than once."""

    def __init__(self, fields: dict[str, Any], repeated: Sequence[str]) -> None:
        super().__init__(fields)
        self.repeated = tuple(dict.fromkeys(repeated))


def collect_errors(raw: dict[str, Any], kind: type[Struct]) -> Iterator[FieldError]:
    """Find what keeps an object from being a `kind`."""
    is_whole = True
    for error in chain(islice(_unusable(raw), MAX_STEPS), _wrong(raw, kind, "")):
        if error is not None:
            is_whole = False
            yield error
    if is_whole:  # there is nothing else to name, so all of it has to be looked at
        yield from (error for error in islice(_unusable(raw), MAX_STEPS, None) if error is not None)


def _unusable(raw: Any) -> Iterator[FieldError | None]:
    """Find NUL, lone surrogates, numbers out of range and repeated names; yield None for each value without."""
    for place, value in _walk(raw):
        if isinstance(value, str):
            yield _field_error(_pointer(place), _UNTYPABLE) if _is_untypable(value) else None
        elif isinstance(value, RepeatedNames):
            yield from (_field_error(_pointer((place, name)), _REPEATED) for name in value.repeated)
        elif isinstance(value, float) and not math.isfinite(value):
            yield _field_error(_pointer(place), "Number out of range")
        else:
            yield None


def _is_untypable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return "\x00" in text


_UNTYPABLE = "NUL characters and lone surrogates are not allowed"
_REPEATED = "The name occurs more than once"


def _walk(raw: Any) -> Iterator[tuple[Place, Any]]:
    """Give every value and every key, each with its place, in memory that grows with the depth alone."""
    levels: list[tuple[Place, Iterator[tuple[str | int, Any]]]] = [(None, iter([("", raw)]))]
    while levels:
        above, values = levels[-1]
        step, value = next(values, (None, None))
        if step is None:
            levels.pop()
            continue
        place = (above, step) if len(levels) > 1 else None
        if isinstance(step, str):
            yield place, step
        yield place, value
        if isinstance(value, dict):
            levels.append((place, iter(value.items())))
        elif isinstance(value, list):
            levels.append((place, iter(enumerate(value))))


def _pointer(place: Place) -> str:
    steps: list[str] = []
    while place is not None:
        place, step = place
        steps.append(_escape(str(step)))
    return "".join(f"/{step}" for step in reversed(steps))


def _wrong(raw: dict[str, Any], kind: type[Struct], above: str) -> Iterator[FieldError]:
    """Find what is wrong with an object: unknown fields, then each field, then what is wrong between them."""
    tag = kind.__struct_config__.tag_field
    for key in raw:
        if key not in kind.__struct_encode_fields__ and key != tag:
            yield _field_error(f"{above}/{_escape(key)}", "Unknown field")
    valid: dict[str, Any] = {}
    is_whole = True
    for field in _fields(kind):
        for error in _wrong_field(raw, field, above, valid):
            is_whole = False
            yield error
    if is_whole and issubclass(kind, Body) and raw.keys() - {tag} <= valid.keys():
        yield from _cross_field_errors(valid, kind, above)


@cache
def _fields(kind: type[Struct]) -> tuple[msgspec.structs.FieldInfo, ...]:
    return msgspec.structs.fields(kind)


def _wrong_field(
    raw: dict[str, Any], field: msgspec.structs.FieldInfo, above: str, valid: dict[str, Any]
) -> Iterator[FieldError]:
    at = f"{above}/{field.encode_name}"
    if field.encode_name in raw:
        yield from _wrong_value(raw[field.encode_name], field.type, at, valid)
    elif field.required:
        yield FieldError("Required field is missing", pointer=at)


def _wrong_value(value: Any, annotation: Any, at: str, valid: dict[str, Any]) -> Iterator[FieldError]:
    """Find what is wrong with the value of a field; a valid one is noted under its name."""
    is_whole = True
    for error in _wrong_within(value, annotation, at):
        is_whole = False
        yield error
    if not is_whole:
        return
    try:
        converted = msgspec.convert(value, annotation)
        rule = _rule(annotation)
        valid[at.rpartition("/")[2]] = converted if converted is None or rule is None else rule(converted)
    except msgspec.ValidationError as error:
        detail, _, path = str(error).partition(" - at `$")
        steps = "".join(f"/{name or index}" for name, index in _STEP.findall(path.removesuffix("`")))
        yield _field_error(at + steps, detail)
    except RuleViolation as violation:
        yield FieldError(str(violation), pointer=at + violation.path)
    except Invalid as invalid:  # between the fields of a body inside this one
        yield from _below(at, invalid.errors)
    except UnicodeEncodeError:  # a lone surrogate, which is named already
        return


def _wrong_within(value: Any, annotation: Any, at: str) -> Iterator[FieldError]:
    """Find what is wrong within the objects that a value is made of, each by itself."""
    kinds, many = _bodies(annotation)
    if not kinds or not isinstance(value, list if many else dict):
        return
    if many and (most := max_length(annotation)) is not None and len(value) > most:  # each would be looked at
        yield FieldError(f"Expected `array` of length <= {most}", pointer=at)
        return
    for place, item in [(f"{at}/{index}", item) for index, item in enumerate(value)] if many else [(at, value)]:
        kind = _kind_of(item, kinds)
        if isinstance(item, dict) and kind is not None:
            if many and _is_valid(item, kind):
                continue
            yield from _wrong(item, kind, place)
        elif isinstance(item, dict):
            tags = ", ".join(str(kind.__struct_config__.tag) for kind in kinds)
            yield FieldError(f"Expected one of {tags}", pointer=f"{place}/{kinds[0].__struct_config__.tag_field}")
        else:
            yield FieldError("Expected an object", pointer=place)


def _is_valid(item: dict[str, Any], kind: type[Struct]) -> bool:
    """Return whether an object is as it should be, which most are where one of many is not."""
    try:
        msgspec.convert(item, kind)
    except (msgspec.ValidationError, Invalid, UnicodeEncodeError):
        return False
    return True


@cache
def max_length(annotation: Any) -> int | None:
    """Return how many items an array may have."""
    limits = [item.max_length for item in get_args(annotation)[1:] if isinstance(item, msgspec.Meta)]
    return min((limit for limit in limits if limit is not None), default=None)


def has_objects(annotation: Any) -> bool:
    """Return whether a field is an array of objects."""
    kinds, many = _bodies(annotation)
    return many and bool(kinds)


@cache
def _bodies(annotation: Any) -> tuple[tuple[type[Struct], ...], bool]:
    """Give the objects that a field is made of, and whether it is a list of them."""
    if get_origin(annotation) is Annotated:
        return _bodies(get_args(annotation)[0])
    if get_origin(annotation) is list:
        return _bodies(get_args(annotation)[0])[0], True
    is_union = get_origin(annotation) in (Union, UnionType)
    kinds = [item for item in (get_args(annotation) if is_union else [annotation]) if isinstance(item, type)]
    return tuple(kind for kind in kinds if issubclass(kind, Struct)), False


def _kind_of(item: Any, kinds: Sequence[type[Struct]]) -> type[Struct] | None:
    if len(kinds) == 1:
        return kinds[0]
    tagged = {kind.__struct_config__.tag: kind for kind in kinds}
    tag = item.get(kinds[0].__struct_config__.tag_field) if isinstance(item, dict) else None
    return tagged.get(tag) if isinstance(tag, str) else None


def _cross_field_errors(valid: dict[str, Any], kind: type[Body], above: str) -> Iterator[FieldError]:
    try:
        kind(**valid)
    except Invalid as invalid:
        yield from _below(above, invalid.errors)


def _below(above: str, errors: Sequence[FieldError]) -> Iterator[FieldError]:
    for error in errors:
        yield FieldError(error.detail, pointer=f"{above}{error.pointer}")


def _escape(key: str) -> str:
    return key[:MAX_TEXT].replace("~", "~0").replace("/", "~1")


def _field_error(pointer: str, detail: str) -> FieldError:
    """What the client sent may be part of both texts, and must neither break the answer nor fill it."""
    return FieldError(*(text[:MAX_TEXT].encode(errors="replace").decode() for text in (detail, pointer)))
