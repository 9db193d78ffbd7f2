"""What request bodies are: typed structs, with rules in their annotations and between their fields."""

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import cache
from types import UnionType
from typing import Annotated, Any, ClassVar, Union, get_args, get_origin

import msgspec
from msgspec import UNSET, Meta, Struct

from app.lib.errors import FieldError, Invalid
from app.lib.text import (
    MAX_EXPANSION,
    MAX_MARKS,
    NO_CONTROLS,
    NO_LINE_CONTROLS,
    has_control,
    has_line_control,
    invisible_class,
    is_visible,
    nfc,
)
from app.lib.validation.merge_patch import BodyMeta


class JsonSchema:
    """Stands in an annotation where a rule takes other values than the type alone would say."""

    def __init__(self, **json_schema: Any) -> None:
        self.json_schema = json_schema


type Rule = Callable[[Any], Any]

_FIRST, _LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)


class RuleViolation(ValueError):
    """A rule that a value breaks; `path` is a JSON pointer from the value to the culprit."""

    def __init__(self, detail: str, path: str = "") -> None:
        super().__init__(detail)
        self.path = path


class Trimmed:
    """A line of text: NFC, surrounding white space stripped, then measured in characters; something can be seen."""

    def __init__(self, min_length: int, max_length: int) -> None:
        self.min_length, self.max_length = min_length, max_length
        self._expected = f"Expected {min_length} to {max_length} characters after trimming"

    def __call__(self, value: str) -> str:
        """Raises `RuleViolation`."""
        value = value.strip()
        if len(value) > self.max_length * MAX_EXPANSION:
            raise RuleViolation(self._expected)
        is_plain = value.isascii() and value.isprintable()
        value = value if is_plain else _nfc(value, self.max_length)
        if not self.min_length <= len(value) <= self.max_length:
            raise RuleViolation(self._expected)
        return value if is_plain else _line(value)

    @property
    def json_schema(self) -> dict[str, Any]:
        """The same rule for a text in NFC that is not trimmed yet."""
        space = r"\s\u001c-\u001f\u0085"  # all that str.strip() takes for white space
        edge = rf"[^{space}{NO_LINE_CONTROLS}]"
        rest = rf"([^{NO_LINE_CONTROLS}]{{{max(self.min_length - 2, 0)},{self.max_length - 2}}}{edge})"
        trimmed = edge if self.max_length == 1 else f"{edge}{rest}{'' if self.min_length > 1 else '?'}"
        trimmed = rf"(?=[^{NO_LINE_CONTROLS}]*[^{invisible_class()}]){trimmed}"
        return {
            "type": "string",
            "description": f"{self.min_length} to {self.max_length} characters after trimming, in NFC",
            "pattern": rf"^[{space}]*{trimmed if self.min_length else f'({trimmed})?'}[{space}]*$",
        }


class LongText:
    """Text of several lines: NFC, then measured in characters; no control characters but tab and line breaks."""

    def __init__(self, max_length: int) -> None:
        self.max_length = max_length

    def __call__(self, value: str) -> str:
        """Raises `RuleViolation`."""
        value = _nfc(value, self.max_length)
        if len(value) > self.max_length:
            raise RuleViolation(f"Expected at most {self.max_length} characters")
        if has_control(value):
            raise RuleViolation("Control characters other than tab, newline and carriage return are not allowed")
        return value

    @property
    def json_schema(self) -> dict[str, Any]:
        """The same rule for a text in NFC."""
        return {"type": "string", "maxLength": self.max_length, "pattern": f"^[^{NO_CONTROLS}]*$"}


def _line(value: str) -> str:
    if has_line_control(value):
        raise RuleViolation("Control characters and line breaks are not allowed")
    if value and not is_visible(value):
        raise RuleViolation("Expected a character that can be seen")
    return value


def _nfc(value: str, max_length: int) -> str:
    """Return a text in NFC; one that is too long in any form comes back as it is. Raises `RuleViolation`."""
    if len(value) > max_length * MAX_EXPANSION:
        return value
    text = nfc(value)
    if text is None:
        raise RuleViolation(f"Expected at most {MAX_MARKS} combining characters in a row")
    return text


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
        """Raises `RuleViolation`."""
        if not re.fullmatch(self.pattern, value):
            raise RuleViolation(f"Expected a {self._said}")
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
        raise RuleViolation("Expected an instant between the years 1 and 9999 in UTC") from None


def finite(value: datetime) -> datetime:
    """Refuse the first and the last instant of all, which asyncpg takes for PostgreSQL's infinities."""
    if value in (_FIRST, _LAST):
        raise RuleViolation("Expected an instant after the first and before the last one of the years 1 to 9999")
    return value


Instant = Annotated[datetime, in_utc, finite, Meta(tz=True)]
Int32 = Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)]


class Body(Struct, metaclass=BodyMeta, forbid_unknown_fields=True, kw_only=True):
    """Base of what clients send: applies the rules in its annotations and refuses unknown fields.

    A subclass with `forbid_unknown_fields=False` passes them over; one with `patch_of` is a merge patch of another.
    """

    cross_field_rules: ClassVar[tuple[AtMostOne | ExactlyOne, ...]] = ()

    def __post_init__(self) -> None:
        for name, rule in field_rules(type(self)):
            value = getattr(self, name)
            if value is not None and value is not UNSET:
                setattr(self, name, rule(value))
        violation = (rule.error for rule in self.cross_field_rules if rule.is_broken_by(self))
        if errors := [*violation, *self.validate()]:
            raise Invalid(errors)

    def validate(self) -> Iterator[FieldError]:
        """Yield what is wrong between fields that are each valid alone, beside the rules in `cross_field_rules`."""
        yield from ()

    def sent(self) -> dict[str, Any]:
        """Give the fields of a partial body that the client did send."""
        return {name: value for name in self.__struct_fields__ if (value := getattr(self, name)) is not UNSET}


@cache
def field_rules(kind: type[Struct]) -> tuple[tuple[str, Rule], ...]:
    """Give the rules of a struct's fields, by name."""
    found = ((field.encode_name, rule_from(field.type)) for field in msgspec.structs.fields(kind))
    return tuple((name, rule) for name, rule in found if rule is not None)


def rule_from(annotation: Any) -> Rule | None:
    """Compose the rules in an annotation, innermost first."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        outer = [item for item in arguments[1:] if callable(item)]
        return _chain([rule for rule in (rule_from(arguments[0]), *outer) if rule is not None])
    if origin in (Union, UnionType):
        rules = [rule for rule in map(rule_from, arguments) if rule is not None]
        return _chain(rules)
    if origin is list and (rule := rule_from(arguments[0])):
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
    except RuleViolation as violation:
        raise RuleViolation(str(violation), path + violation.path) from None
