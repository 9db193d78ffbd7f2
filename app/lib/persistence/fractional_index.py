"""Positions of rows in a list: strings in base 62, compared byte by byte, with room between any two (fractional index).

A new row gets the time of its creation as 13 hexadecimal digits, so it comes last without reading the list.
"""

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
_IN_FLIGHT = 60_000_000  # microseconds, longer than a statement that computed a position can take
_MAX_COMPUTED = MAX_POSITION - _WIDTH  # leaves room for the prefix that `behind` adds
_MAX_SPREAD = _MAX_COMPUTED // 2  # leaves room for many moves between two of them


def position_of_now() -> ColumnElement[str]:
    """Return the start of the statement in microseconds since 1970, as 13 hexadecimal digits."""
    microseconds = cast(extract("epoch", func.statement_timestamp()) * 1_000_000, BigInteger)
    return func.lpad(func.to_hex(microseconds), _WIDTH, "0")


def position_at_end(last: ColumnElement[str]) -> ColumnElement[str]:
    """Return a position after `last`, the greatest of the list, which is null for an empty list."""
    # `last` is greater than now if the clock was ahead when that row was created.
    now = position_of_now()
    return case((func.coalesce(last, "").collate("C") < now, now), else_=_next_to(last))


def _next_to(last: ColumnElement[str]) -> ColumnElement[str]:
    """Add one to the first 13 digits, from the first digit that is not hexadecimal on rounded up to `f`.

    If that overflows, which no clock reaches, append a digit. At `MAX_POSITION` positions are equal and ids decide.
    """
    hexadecimal = func.regexp_replace(func.rpad(last, _WIDTH, "0"), "[^0-9a-f].*$", _LONGEST_END)
    digits = func.left(hexadecimal, _WIDTH)
    number = cast(cast(func.concat("x000", digits), BIT(64)), BigInteger) + 1
    following = func.lpad(func.to_hex(number), _WIDTH, "0")
    appended = func.left(func.concat(last, DIGITS[_BASE // 2]), MAX_POSITION)
    return case((digits < literal(_LONGEST_END, Text).collate("C"), following), else_=appended)


def behind(end: ColumnElement[str], position: ColumnElement[str]) -> ColumnElement[str]:
    """Return a position at `end` for each of several rows that are appended together in their present order."""
    return func.left(func.concat(end, func.left(position, _MAX_COMPUTED)), MAX_POSITION)


def safe_lower_bound(end: str) -> str:
    """Return a position below all that running or future statements append, committed or not."""
    if len(end) != _WIDTH or end.strip(_HEXADECIMAL):
        return end  # computed by `_next_to`, not from a time
    return f"{max(int(end, 16) - _IN_FLIGHT, 1):0{_WIDTH}x}"


def position_at(moment: datetime) -> str:
    """Return the position of a row that was appended at a past `moment`."""
    return f"{int(moment.timestamp() * 1_000_000):0{_WIDTH}x}"


def between(low: str, high: str | None) -> str | None:
    """Return the shortest position in the middle between two; None if there is no room.

    Without `high` it is after `low`, and before all that `position_at_end` returns later.
    """
    if high is None:
        longer = low + DIGITS[_BASE // 2]
        return longer if len(longer) <= _MAX_COMPUTED else None
    positions = _spaced(low, high, 1, 1, _MAX_COMPUTED)
    return positions[0] if positions else None


def evenly_spaced(low: str, high: str, count: int) -> list[str] | None:
    """Return `count` short positions between two, with room between any two of them; None if there is no room."""
    return _spaced(low, high, count, _BASE, _MAX_SPREAD)


def _spaced(low: str, high: str, count: int, gap: int, longest: int) -> list[str] | None:
    digits = enumerate(zip(low, high, strict=False))
    common = next((index for index, (one, other) in digits if one != other), len(low))  # length of the common prefix
    for width in range(common + 1, longest + 1):
        first, last = _number(low, width), _number(high, width)
        if not high[width:].strip(DIGITS[0]):
            last -= 1  # `high` has no more digits, and the positions must be less
        room = last - first
        if room >= gap * count:
            return [_text(first + (room * step + count) // (count + 1), width) for step in range(1, count + 1)]
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
