"""The types that a field of a new domain can have, and how each is written in every file."""

import re
from collections.abc import Callable, Mapping

from msgspec import Struct

from app.lib.errors import OperatorError

MAX_STRING, MAX_TEXT, MAX_PRECISION, MAX_SCALE, MAX_VALUES, MAX_VALUE = 1000, 100_000, 38, 6, 50, 50
_VALUE = re.compile(r"[a-z0-9]+([_-][a-z0-9]+)*")

type Bounds = Callable[[str], dict[str, object]]


def _nothing(text: str) -> dict[str, object]:
    if text:
        raise OperatorError("nothing stands in brackets behind this type")
    return {}


def _size(largest: int) -> Bounds:
    def read(text: str) -> dict[str, object]:
        if not re.fullmatch(r"[1-9][0-9]{0,8}", text, re.ASCII) or int(text) > largest:
            raise OperatorError(f"its length is 1 to {largest}")
        return {"size": f"{int(text):_}" if int(text) >= 10_000 else text}

    return read


def _digits(text: str) -> dict[str, object]:
    precision, scale = (int(part) for part in text.split(",")) if re.fullmatch(r"\d{1,3},\s*\d{1,3}", text) else (0, 0)
    if not 1 <= scale <= MAX_SCALE or not scale < precision <= MAX_PRECISION:
        raise OperatorError(
            f"decimal(12, 2) has 12 digits, 2 of them behind the point: up to {MAX_PRECISION}, {MAX_SCALE}"
        )
    return {"precision": precision, "scale": scale}


def _values(text: str) -> dict[str, object]:
    values = [value.strip() for value in text.split(",")]
    wrong = [value for value in values if not _VALUE.fullmatch(value) or len(value) > MAX_VALUE]
    if wrong or len(set(values)) < len(values) or not 2 <= len(values) <= MAX_VALUES:
        raise OperatorError(
            f"enum(open, paid) names 2 to {MAX_VALUES} different values, each of a to z, 0 to 9, _ and -"
        )
    return {"values": ", ".join(f'"{value}"' for value in values)}


class FieldType(Struct, frozen=True, kw_only=True):
    """How a field is written.

    `{name}` stands for its name, `{Name}` for a type of its own, `{NAME}` for a constant, `{time}` for its name without
    `_at` and `_on`, and what `bounds` reads from the brackets for itself.
    """

    bounds: Bounds = _nothing
    default: str = ""
    model: str
    column: str
    read: str = ""
    body: str
    declared: tuple[str, ...] = ()
    check: tuple[str, ...] = ()
    filters: Mapping[str, tuple[str, str]] = {}
    sort: str | None = None
    samples: str


KINDS: Mapping[str, FieldType] = {
    "string": FieldType(
        bounds=_size(MAX_STRING),
        default="200",
        model="str",
        column="Text",
        body="{Name}",
        declared=("MAX_{NAME} = {size}", "{Name} = Annotated[str, Trimmed(1, MAX_{NAME})]"),
        check=("length", 'func.char_length(column("{name}")).between(1, MAX_{NAME})'),
        filters={"{name}": ("str", "==")},
        sort='{column}.collate("C")',
        samples="strings({size})",
    ),
    "text": FieldType(
        bounds=_size(MAX_TEXT),
        default="10000",
        model="str",
        column="Text",
        body="{Name}",
        declared=("MAX_{NAME} = {size}", "{Name} = Annotated[str, LongText(MAX_{NAME})]"),
        check=("length", 'func.char_length(column("{name}")) <= MAX_{NAME}'),
        samples="texts({size})",
    ),
    "integer": FieldType(
        model="int",
        column="Integer",
        body="Int32",
        filters={"{name}_min": ("Number", ">="), "{name}_max": ("Number", "<=")},
        sort="{column}",
        samples="integers()",
    ),
    "decimal": FieldType(
        bounds=_digits,
        default="12, 2",
        model="Decimal",
        column="Numeric({precision}, {scale})",
        body="{Name}",
        declared=("{Name} = Annotated[str, Digits({precision}, {scale})]",),
        filters={"{name}_min": ("{Name}", ">="), "{name}_max": ("{Name}", "<=")},
        sort="{column}",
        samples="decimals({precision}, {scale})",
    ),
    "boolean": FieldType(
        model="bool",
        column="Boolean",
        body="bool",
        filters={"{name}": ("bool", "==")},
        sort="{column}",
        samples="booleans()",
    ),
    "date": FieldType(
        model="date",
        column="Date",
        body="date",
        filters={"{time}_before": ("date", "<"), "{time}_after": ("date", ">")},
        sort="{column}",
        samples="dates()",
    ),
    "datetime": FieldType(
        model="datetime",
        column="DateTime(timezone=True)",
        body="Instant",
        filters={"{time}_before": ("Moment", "<"), "{time}_after": ("Moment", ">")},
        sort="{column}",
        samples="instants()",
    ),
    "enum": FieldType(
        bounds=_values,
        model="str",
        column="Text",
        read="{Name}",
        body="{Name}",
        declared=("{Name} = Literal[{values}]",),
        check=("known", 'column("{name}").in_(get_args({Name}))'),
        filters={"{name}": ("{Name}", "==")},
        sort="in_order({column}, get_args({Name}))",
        samples="choices({values})",
    ),
    "uuid": FieldType(
        model="UUID",
        column="Uuid",
        body="UUID",
        filters={"{name}": ("UUID", "==")},
        samples="uuids()",
    ),
}
