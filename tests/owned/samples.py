"""Values of each type that a field of an owned resource can have: at the edges of its rules, and beyond them."""

import operator
import re
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
from msgspec import Struct

PILE = "\N{PILE OF POO}"

type Compare = Callable[[Any, Any], bool]


class Samples(Struct, frozen=True, kw_only=True):
    """What a field takes, refuses and gives back.

    `ascending` are different values in the order that `sort` gives, as an answer shows them; `valid` are pairs of what
    is sent and what is kept; `beyond` is what the table refuses; `unreadable` is no value of a filter.
    """

    ascending: Sequence[Any]
    valid: Sequence[tuple[Any, Any]] = ()
    invalid: Sequence[Any]
    beyond: Sequence[Any] = ()
    unreadable: Sequence[str] = ("\x00",)
    compared: dict[str, Compare] = {}
    is_sorted: bool = True
    is_nullable: bool = False
    read: Callable[[Any], Any] = lambda value: value

    @property
    def taken(self) -> list[tuple[Any, Any]]:
        """Every pair of what can be sent and what is kept then."""
        null = [(None, None)] if self.is_nullable else []
        return [*((value, value) for value in self.ascending), *self.valid, *null]

    @property
    def refused(self) -> list[Any]:
        """All that cannot be sent."""
        return [*self.invalid, *([] if self.is_nullable else [None])]

    def filters(self, name: str) -> dict[str, Compare]:
        """Give the query parameters of a field, each with how a row's value is compared with it."""
        moment = re.sub("_(at|on)$", "", name)
        return {(moment if how in MOMENTS else name) + how: compare for how, compare in self.compared.items()}


EQUAL = {"": operator.eq}
RANGE = {"_min": operator.ge, "_max": operator.le}
MOMENTS = {"_before": operator.lt, "_after": operator.gt}


def nullable(samples: Samples) -> Samples:
    """Take null as well."""
    return msgspec.structs.replace(samples, is_nullable=True)


def strings(longest: int) -> Samples:
    """Give lines of text, trimmed."""
    full = "x" * longest
    return Samples(
        ascending=["A", "Z", "a", "ä"],
        valid=[(full, full), (f"  {full}\n", full), (PILE * longest, PILE * longest), ("e\u0301", "\u00e9")],
        invalid=["", " \t", full + "x", 1, True, ["x"], {}, "\x00", "\ud83d", "a\x1bb", "\u200b", "\u3164"],
        beyond=["", full + "x"],
        compared=EQUAL,
    )


def texts(longest: int) -> Samples:
    """Give texts, kept in NFC; no list is sorted or filtered by them."""
    full = "x" * longest
    return Samples(
        ascending=["x"],
        valid=[*((value, value) for value in ("", " \n", full, PILE * (longest // 10))), ("e\u0301", "\u00e9")],
        invalid=[full + "x", 1, False, [], "\x00", "\udfff", "\x1b"],
        beyond=[full + "x"],
        is_sorted=False,
    )


def integers() -> Samples:
    """Give integers of 32 bits."""
    top = 2**31
    return Samples(
        ascending=[-top, -1, 0, 7, top - 1],
        invalid=[top, -top - 1, 10**30, 1.5, "1", "", True, []],
        beyond=[top, -top - 1],
        unreadable=["", "x", "1.5", "1e1", str(top), "\x00"],
        compared=RANGE,
    )


def decimals(precision: int, scale: int) -> Samples:
    """Give decimal numbers in strings."""
    whole, zeros = precision - scale, "0" * scale
    top, far, fine = f"{'9' * whole}.{'9' * scale}", f"1{'0' * whole}", f"0.{zeros}1"
    wrong = [
        "",
        "NaN",
        "-NaN",
        "Infinity",
        "-Infinity",
        "1e3",
        "1.",
        ".5",
        "+1",
        "01",
        "1,5",
        "0x1",
        "\u0661",
        far,
        fine,
    ]
    return Samples(
        ascending=[f"-{top}", f"-0.{'1'.rjust(scale, '0')}", f"0.{zeros}", f"1.{zeros}", top],
        valid=[("1", f"1.{zeros}"), ("1.5", f"1.5{zeros[1:]}"), ("-0", f"0.{zeros}")],
        invalid=[*wrong, " 1", "1\n", "1\x00", 1, 1.5, True, []],
        beyond=[Decimal(far), Decimal(f"-{far}")],
        unreadable=[*wrong, "\x00"],
        compared=RANGE,
        read=Decimal,
    )


def booleans() -> Samples:
    """Give truth values."""
    return Samples(
        ascending=[False, True],
        invalid=["true", "", 0, 1, []],
        unreadable=["", "yes", "2", "\x00"],
        compared=EQUAL,
    )


def dates() -> Samples:
    """Give days."""
    wrong = ["", "today", "2026-02-29", "2026-13-01", "0000-01-01", "10000-01-01", "20260301", "2026-03-01T12:00:00Z"]
    return Samples(
        ascending=["0001-01-01", "2024-02-29", "2026-03-01", "9999-12-31"],
        invalid=[*wrong, 20260301, True, "\x00"],
        unreadable=[*wrong, "\x00"],
        compared=MOMENTS,
    )


def instants() -> Samples:
    """Give timestamps, in UTC however they are sent."""
    wrong = ["", "now", "2026-03-01T12:00:00", "2026-03-01T25:00:00Z", "0001-01-01T00:00:00+01:00"]
    return Samples(
        ascending=["0001-01-02T00:00:00Z", "2026-03-01T11:59:59Z", "2026-03-01T12:00:00Z", "9999-12-30T00:00:00Z"],
        valid=[
            ("2026-03-01T00:30:00+02:00", "2026-02-28T22:30:00Z"),
            ("2026-12-31T23:30:00.5-01:00", "2027-01-01T00:30:00.500000Z"),
        ],
        invalid=[*wrong, "2026-03-01", 1767225600, 1.5, "9999-12-31T23:59:59-01:00", "9999-12-31T23:59:59.999999Z"],
        unreadable=[*wrong, "\x00"],
        compared=MOMENTS,
    )


def choices(*values: str) -> Samples:
    """Give the values of an enumeration, in the order in which it declares them."""
    wrong = ["", *(f"{value}!" for value in values), *(f"{value} " for value in values)]
    return Samples(
        ascending=values,
        invalid=[*wrong, 1, True, list(values), "\x00"],
        beyond=wrong,
        unreadable=[*wrong, "\x00"],
        compared=EQUAL,
    )


def uuids() -> Samples:
    """Give UUIDs; no list is sorted by them."""
    some = [str(UUID(int=number)) for number in (1, 2**64, 2**128 - 1)]
    return Samples(
        ascending=some,
        valid=[(value.upper(), value) for value in some],
        invalid=["", "x", some[0][:-1], f"{some[0]}0", 1, [], "\x00"],
        unreadable=["", "x", some[0][:-1], "\x00"],
        compared=EQUAL,
        is_sorted=False,
    )
