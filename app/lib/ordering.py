"""Positions: strings that are compared byte by byte, with room between any two of them."""

from datetime import datetime

from sqlalchemy import BigInteger, ColumnElement, cast, extract, func

DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"  # in the order of their bytes
MAX_POSITION = 64
_BASE = len(DIGITS)
_VALUES = {digit: value for value, digit in enumerate(DIGITS)}
_WIDTH = 13  # hexadecimal digits of the microseconds since 1970, until the year 2112
_LOWEST_OF_TIME = 2**50  # below all of those since 2005


def position_at_end() -> ColumnElement[str]:
    """Give a position after all that were given before, without a look at them: the microsecond of the statement."""
    microseconds = cast(extract("epoch", func.statement_timestamp()) * 1_000_000, BigInteger)
    return func.lpad(func.to_hex(microseconds), _WIDTH, "0")


def position_at(moment: datetime) -> str:
    """Give the position that a row would have got at the end at a moment."""
    return f"{int(moment.timestamp() * 1_000_000):0{_WIDTH}x}"


def position_of(rank: ColumnElement[int], count: ColumnElement[int]) -> ColumnElement[str]:
    """Give the position of a rank, from 1, among `count` that are spread evenly before all of `position_at_end`."""
    step = cast(_LOWEST_OF_TIME, BigInteger) / (count + 1)
    return func.lpad(func.to_hex(cast(rank * func.trunc(step), BigInteger)), _WIDTH, "0")


def between(low: str, high: str | None) -> str | None:
    """Give the shortest position in the middle between two; None where there is no room.

    Without `high` it follows `low` alone, and comes before what `position_at_end` gives later.
    """
    if high is None:
        longer = low + DIGITS[_BASE // 2]
        return longer if len(longer) <= MAX_POSITION else None
    same = next((at for at, (one, other) in enumerate(zip(low, high, strict=False)) if one != other), len(low))
    for width in range(same + 1, MAX_POSITION + 1):
        first, last = _number(low, width), _number(high, width)
        if not high[width:].strip(DIGITS[0]):
            last -= 1  # the cut is all of it: what is given must be less
        if last > first:
            return _text(first + (last - first + 1) // 2, width)
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
