"""Positions: strings that are compared byte by byte, with room between any two of them."""

from datetime import datetime

from sqlalchemy import BigInteger, ColumnElement, Text, case, cast, extract, func, literal
from sqlalchemy.dialects.postgresql import BIT

DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"  # in the order of their bytes
MAX_POSITION = 64
_BASE = len(DIGITS)
_VALUES = {digit: value for value, digit in enumerate(DIGITS)}
_HEXADECIMAL = "0123456789abcdef"
_WIDTH = 13  # hexadecimal digits of the microseconds since 1970, until the year 2112
_LONGEST_END = _WIDTH * "f"
_IN_FLIGHT = 60_000_000  # microseconds, after which a statement that gave an end is over
_MAX_MADE = MAX_POSITION - _WIDTH  # so that there is room for one before it, see `behind`
_MAX_SPREAD = _MAX_MADE // 2  # so that there is room between them again


def position_of_now() -> ColumnElement[str]:
    """Return the position of a row that is created now in an empty list: the microsecond of the statement."""
    microseconds = cast(extract("epoch", func.statement_timestamp()) * 1_000_000, BigInteger)
    return func.lpad(func.to_hex(microseconds), _WIDTH, "0")


def position_at_end(last: ColumnElement[str]) -> ColumnElement[str]:
    """Return a position behind `last`, the last one of a list, which is null if the list is empty.

    It is that of now, unless the clock was ahead of now when `last` was created: then the next one behind `last`.
    """
    now = position_of_now()
    return case((func.coalesce(last, "").collate("C") < now, now), else_=_next_to(last))


def _next_to(last: ColumnElement[str]) -> ColumnElement[str]:
    """Add one to the first 13 digits. Digits that are not hexadecimal, and all behind them, are rounded up first.

    Where that is too long (no clock gives such positions), a digit is appended; at the limit, the ids break the tie.
    """
    hexadecimal = func.regexp_replace(func.rpad(last, _WIDTH, "0"), "[^0-9a-f].*$", _LONGEST_END)
    digits = func.left(hexadecimal, _WIDTH)
    number = cast(cast(func.concat("x000", digits), BIT(64)), BigInteger) + 1
    following = func.lpad(func.to_hex(number), _WIDTH, "0")
    appended = func.left(func.concat(last, DIGITS[_BASE // 2]), MAX_POSITION)
    return case((digits < literal(_LONGEST_END, Text).collate("C"), following), else_=appended)


def behind(end: ColumnElement[str], position: ColumnElement[str]) -> ColumnElement[str]:
    """Return the position of one of several rows that come to an end together, in the order that they have."""
    return func.left(func.concat(end, func.left(position, _MAX_MADE)), MAX_POSITION)


def safe_lower_bound(end: str) -> str:
    """Return a position behind which all are that are given from now on, or were and are not seen yet."""
    if len(end) != _WIDTH or end.strip(_HEXADECIMAL):
        return end  # not made of a clock's time: see `_next_to`
    return f"{max(int(end, 16) - _IN_FLIGHT, 1):0{_WIDTH}x}"


def position_at(moment: datetime) -> str:
    """Give the position that a row would have got at the end at a moment."""
    return f"{int(moment.timestamp() * 1_000_000):0{_WIDTH}x}"


def between(low: str, high: str | None) -> str | None:
    """Give the shortest position in the middle between two; None where there is no room.

    Without `high` it follows `low` alone, and comes before what `position_at_end` gives later.
    """
    if high is None:
        longer = low + DIGITS[_BASE // 2]
        return longer if len(longer) <= _MAX_MADE else None
    found = _spaced(low, high, 1, 1, _MAX_MADE)
    return found[0] if found else None


def evenly_spaced(low: str, high: str, count: int) -> list[str] | None:
    """Give short positions between two, with room between any two of them; None where that cannot be."""
    return _spaced(low, high, count, _BASE, _MAX_SPREAD)


def _spaced(low: str, high: str, count: int, step: int, longest: int) -> list[str] | None:
    same = next((at for at, (one, other) in enumerate(zip(low, high, strict=False)) if one != other), len(low))
    for width in range(same + 1, longest + 1):
        first, last = _number(low, width), _number(high, width)
        if not high[width:].strip(DIGITS[0]):
            last -= 1  # the cut is all of it: what is given must be less
        room = last - first
        if room >= step * count:
            return [_text(first + (room * number + count) // (count + 1), width) for number in range(1, count + 1)]
    return None


def _number(position: str, width: int) -> int:
    number = 0
    for digit in position[:width].ljust(width, DIGITS[0]):
        number = number * _BASE + _VALUES[digit]
    return number


def _text(number: int, width: int) -> str:
    digits = ""
    for _ in range(width):
        number, value = divmod(number, _BASE)
        digits = DIGITS[value] + digits
    return digits.rstrip(DIGITS[0])
