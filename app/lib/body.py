"""Request bodies: strict JSON into typed structs, and everything that is wrong named at once."""

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from functools import cache
from itertools import chain, islice
from types import UnionType
from typing import Annotated, Any, ClassVar, Never, Union, get_args, get_origin

import msgspec
from msgspec import UNSET, Meta, Struct

from app.lib.errors import BadRequest, FieldError, Invalid

MAX_DEPTH = 32  # of arrays and objects in each other; what types allow is far from it
MAX_ERRORS = 100  # named in one answer
MAX_TEXT = 500  # characters of what a client sent, in an answer

type Rule = Callable[[Any], Any]
type Place = tuple[Place, str | int] | None

# NUL and lone surrogates: PostgreSQL cannot hold the one, UTF-8 not the other.
UNTYPABLE = re.compile("[\x00\ud800-\udfff]")
MAX_DIGITS = 4000  # Python reads 4300
_FIRST, _LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
_STEP = re.compile(r"\.([^.\[]+)|\[(\d+)\]")


class TooDeep(BadRequest):
    """JSON that only costs."""

    detail = f"The body is nested too deeply: {MAX_DEPTH} levels are allowed"


class Broken(ValueError):
    """A rule that a value breaks; `path` is a JSON pointer from the value to the culprit."""

    def __init__(self, detail: str, path: str = "") -> None:
        super().__init__(detail)
        self.path = path


class Trimmed:
    """Strip surrounding white space, then measure, in characters."""

    def __init__(self, min_length: int, max_length: int) -> None:
        self.min_length, self.max_length = min_length, max_length

    def __call__(self, value: str) -> str:
        """Raises `Broken`."""
        value = value.strip()
        if not self.min_length <= len(value) <= self.max_length:
            raise Broken(f"Expected {self.min_length} to {self.max_length} characters after trimming")
        return value

    @property
    def json_schema(self) -> dict[str, Any]:
        """The same rule for a text that is not trimmed yet."""
        visible = r"[^\s\u0000]"
        trimmed = rf"{visible}([^\u0000]{{0,{self.max_length - 2}}}{visible})?" if self.max_length > 1 else visible
        return {
            "type": "string",
            "description": f"{self.min_length} to {self.max_length} characters after trimming",
            "pattern": rf"^\s*{trimmed if self.min_length else f'({trimmed})?'}\s*$",
        }


class AtMostOne:
    """A rule between fields: one of them may have a value, the others none or null."""

    def __init__(self, *names: str) -> None:
        self.names = names
        self.error = FieldError(f"At most one of {' and '.join(names)} can be set", pointer=f"/{names[0]}")

    def is_broken_by(self, body: Struct) -> bool:
        """Tell whether two of them have a value."""
        values = [value for name in self.names if (value := getattr(body, name)) is not None and value is not UNSET]
        return len(values) > 1

    @property
    def json_schema(self) -> dict[str, Any]:
        """Each choice leaves one of the fields its value."""
        empty = {name: {"type": "null"} for name in self.names}
        return {"anyOf": [{"properties": {k: empty[k] for k in self.names if k != name}} for name in self.names]}


class ExactlyOne:
    """A rule between fields: one of them is sent, and no other."""

    def __init__(self, *names: str) -> None:
        self.names = names
        self.error = FieldError(f"Expected exactly one of {', '.join(names)}", pointer="")

    def is_broken_by(self, body: Struct) -> bool:
        """Tell whether none of them or more than one is sent."""
        return sum(getattr(body, name) is not UNSET for name in self.names) != 1

    @property
    def json_schema(self) -> dict[str, Any]:
        """One of them is required, whichever."""
        return {"oneOf": [{"required": [name]} for name in self.names]}


class Digits:
    """Take a decimal number in a string, where it stays exact: so many digits, some of them behind the point."""

    def __init__(self, precision: int, scale: int) -> None:
        self.pattern = rf"^-?(0|[1-9][0-9]{{0,{precision - scale - 1}}})(\.[0-9]{{1,{scale}}})?$"
        self._said = (
            f"decimal number in a string, with up to {precision - scale} digits before its point, {scale} behind"
        )

    def __call__(self, value: str) -> str:
        """Raises `Broken`."""
        if not re.fullmatch(self.pattern, value):
            raise Broken(f"Expected a {self._said}")
        return value

    @property
    def json_schema(self) -> dict[str, Any]:
        """The same rule as a pattern."""
        return {"type": "string", "description": f"A {self._said}", "pattern": self.pattern, "examples": ["1.5"]}


def distinct(values: list[Any]) -> list[Any]:
    """Drop doubles, keep the order."""
    return list(dict.fromkeys(values))


def in_utc(value: datetime) -> datetime:
    """Move an instant to UTC, where it may not exist: year 0 or 10000."""
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise Broken("Expected an instant between the years 1 and 9999 in UTC") from None


def finite(value: datetime) -> datetime:
    """Refuse the first and the last instant of all, which asyncpg takes for PostgreSQL's infinities."""
    if value in (_FIRST, _LAST):
        raise Broken("Expected an instant after the first and before the last one of the years 1 to 9999")
    return value


Instant = Annotated[datetime, in_utc, finite, Meta(tz=True)]
Int32 = Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)]


class Body(Struct, forbid_unknown_fields=True, kw_only=True):
    """Base of what clients send: applies the rules in its annotations and refuses unknown fields.

    A subclass with `forbid_unknown_fields=False` passes them over.
    """

    between: ClassVar[tuple[AtMostOne | ExactlyOne, ...]] = ()

    def __post_init__(self) -> None:
        for name, rule in _rules(type(self)):
            value = getattr(self, name)
            if value is not None and value is not UNSET:
                setattr(self, name, rule(value))
        if errors := list(self.mistakes()):
            raise Invalid(errors)

    def mistakes(self) -> Iterator[FieldError]:
        """Yield what is wrong between fields that are each valid alone."""
        yield from (rule.error for rule in self.between if rule.is_broken_by(self))

    def sent(self) -> dict[str, Any]:
        """Give the fields of a partial body that the client did send."""
        return {name: value for name in self.__struct_fields__ if (value := getattr(self, name)) is not UNSET}


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


@cache
def _rules(kind: type[Struct]) -> tuple[tuple[str, Rule], ...]:
    found = ((field.encode_name, _rule(field.type)) for field in msgspec.structs.fields(kind))
    return tuple((name, rule) for name, rule in found if rule is not None)


def _rule(annotation: Any) -> Rule | None:
    """Compose the rules in an annotation, innermost first."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        outer = [item for item in arguments[1:] if callable(item)]
        return _chain([rule for rule in (_rule(arguments[0]), *outer) if rule is not None])
    if origin in (Union, UnionType):
        rules = [rule for rule in map(_rule, arguments) if rule is not None]
        return _chain(rules)
    if origin is list and (rule := _rule(arguments[0])):
        return lambda values: [_within(f"/{index}", rule, value) for index, value in enumerate(values)]
    return None


def _chain(rules: list[Rule]) -> Rule | None:
    if len(rules) < 2:
        return rules[0] if rules else None

    def apply(value: Any) -> Any:
        for rule in rules:
            value = rule(value)
        return value

    return apply


def _within(path: str, rule: Rule, value: Any) -> Any:
    try:
        return rule(value)
    except Broken as broken:
        raise Broken(str(broken), path + broken.path) from None


def _explain[T: Struct](body: bytes, kind: type[T]) -> T:
    raw = _parse(body)
    _refuse_depth(raw)
    if not isinstance(raw, dict):
        raise Invalid([FieldError("Expected an object", pointer="")])
    if not kind.__struct_config__.forbid_unknown_fields:
        raw = {name: raw[name] for name in kind.__struct_encode_fields__ if name in raw}
    found = chain(_untypable(raw), _wrong(raw, kind, ""))
    if errors := list(islice(found, MAX_ERRORS)):
        raise Invalid(errors)
    try:
        return msgspec.convert(raw, kind)
    except msgspec.ValidationError as error:
        raise Invalid([FieldError(str(error), pointer="")]) from None


def _parse(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except RecursionError:
        raise TooDeep from None
    except UnicodeDecodeError:
        raise BadRequest from None
    except msgspec.DecodeError:
        return _parse_the_rest(body)


def _parse_the_rest(body: bytes) -> Any:
    """Parse what only the standard library reads: lone surrogates and huge numbers, which are JSON all the same."""
    try:
        return json.loads(body.decode(), parse_constant=_refuse_constant, parse_int=_integer)
    except RecursionError:
        raise TooDeep from None
    except ValueError:
        raise BadRequest from None


def _refuse_depth(raw: Any) -> None:
    level = [raw]
    for _ in range(MAX_DEPTH + 1):
        level = list(chain.from_iterable(map(_children, level)))
        if not level:
            return
    raise TooDeep


def _children(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) < MAX_DIGITS else math.inf


def _refuse_constant(name: str) -> Never:
    raise ValueError(name)


def _untypable(raw: Any) -> Iterator[FieldError]:
    """Find what PostgreSQL and UTF-8 cannot hold: NUL, lone surrogates, numbers out of range."""
    for place, value in _walk(raw):
        if isinstance(value, str) and UNTYPABLE.search(value):
            yield _field_error(_pointer(place), "NUL characters and lone surrogates are not allowed")
        elif isinstance(value, float) and not math.isfinite(value):
            yield _field_error(_pointer(place), "Number out of range")


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
    errors: list[FieldError] = []
    for field in msgspec.structs.fields(kind):
        name = field.encode_name
        if name in raw:
            found = list(islice(_wrong_value(raw[name], field.type, f"{above}/{name}", valid), MAX_ERRORS))
            errors += found
        elif field.required:
            errors.append(FieldError("Required field is missing", pointer=f"{above}/{name}"))
    yield from errors
    if not errors and issubclass(kind, Body) and raw.keys() - {tag} <= valid.keys():
        yield from _mistakes(valid, kind, above)


def _wrong_value(value: Any, annotation: Any, at: str, valid: dict[str, Any]) -> Iterator[FieldError]:
    """Find what is wrong with the value of a field; a valid one is noted under its name."""
    nested = list(_wrong_within(value, annotation, at))
    yield from nested
    if nested:
        return
    try:
        converted = msgspec.convert(value, annotation)
        rule = _rule(annotation)
        valid[at.rpartition("/")[2]] = converted if converted is None or rule is None else rule(converted)
    except msgspec.ValidationError as error:
        detail, _, path = str(error).partition(" - at `$")
        steps = "".join(f"/{name or index}" for name, index in _STEP.findall(path.removesuffix("`")))
        yield _field_error(at + steps, detail)
    except Broken as broken:
        yield FieldError(str(broken), pointer=at + broken.path)
    except Invalid as invalid:  # between the fields of a body inside this one
        yield from _below(at, invalid.errors)
    except UnicodeEncodeError:  # a lone surrogate, which is named already
        return


def _wrong_within(value: Any, annotation: Any, at: str) -> Iterator[FieldError]:
    """Find what is wrong within the objects that a value is made of, each by itself."""
    kinds, many = _bodies(annotation)
    if not kinds or not isinstance(value, list if many else dict):
        return
    for place, item in [(f"{at}/{index}", item) for index, item in enumerate(value)] if many else [(at, value)]:
        kind = _kind_of(item, kinds)
        if isinstance(item, dict) and kind is not None:
            yield from _wrong(item, kind, place)
        elif isinstance(item, dict):
            tags = ", ".join(str(kind.__struct_config__.tag) for kind in kinds)
            yield FieldError(f"Expected one of {tags}", pointer=f"{place}/{kinds[0].__struct_config__.tag_field}")
        else:
            yield FieldError("Expected an object", pointer=place)


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


def _mistakes(valid: dict[str, Any], kind: type[Body], above: str) -> Iterator[FieldError]:
    try:
        kind(**valid)
    except Invalid as invalid:
        yield from _below(above, invalid.errors)


def _below(above: str, errors: Sequence[FieldError]) -> Iterator[FieldError]:
    for error in errors:
        yield FieldError(error.detail, pointer=f"{above}{error.pointer}")


def _escape(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")


def _field_error(pointer: str, detail: str) -> FieldError:
    """What the client sent may be part of both texts, and must neither break the answer nor fill it."""
    return FieldError(*(text[:MAX_TEXT].encode(errors="replace").decode() for text in (detail, pointer)))
