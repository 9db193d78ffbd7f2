"""Positions: strings between any two of which there is room, until there is none."""

from datetime import UTC, datetime
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from app.lib.persistence.fractional_index import (
    DIGITS,
    MAX_POSITION,
    between,
    evenly_spaced,
    position_at,
    safe_lower_bound,
)

positions = st.text(st.sampled_from(DIGITS), min_size=1, max_size=MAX_POSITION)
close = st.tuples(positions, positions).map(lambda pair: (pair[0], (pair[0] + pair[1])[:MAX_POSITION]))
pairs = st.one_of(st.tuples(positions, positions), close, st.tuples(st.just(""), positions)).filter(
    lambda pair: pair[0] < pair[1]
)
END = position_at(datetime(2026, 11, 1, tzinfo=UTC))
LONGEST = MAX_POSITION - 13  # so that the end can be put before it


def test_digits_sort_by_their_bytes() -> None:
    assert sorted(DIGITS.encode()) == list(DIGITS.encode())


@given(pair=pairs)
def test_between_is_strictly_between(pair: tuple[str, str]) -> None:
    low, high = pair
    found = between(low, high)
    if found is not None:
        assert low < found < high
        assert len(found) <= LONGEST
        assert not found.endswith(DIGITS[0])


@given(pair=pairs)
def test_distant_positions_have_a_position_between(pair: tuple[str, str]) -> None:
    low, high = pair
    if low[:30] < high[:30].rstrip(DIGITS[0]) and low.ljust(30, "0")[:30] != high[:30]:
        assert between(low, high) is not None


@given(low=positions)
def test_appended_position_precedes_later_ends(low: str) -> None:
    found = between(low, None)
    if found is not None:
        assert low < found
        assert found.startswith(low)


def test_equal_positions_have_no_position_between() -> None:
    for position in ("V", "V0", "0", "z" * MAX_POSITION):
        assert between(position, position) is None
        assert between(position.rstrip("0"), position) is None or position == "0"


@given(pair=pairs, count=st.integers(1, 200))
def test_evenly_spaced_positions_are_ordered_with_gaps(pair: tuple[str, str], count: int) -> None:
    low, high = pair
    found = evenly_spaced(low, high, count)
    if found is not None:
        whole = [low, *found, high]
        assert len(found) == count
        assert whole == sorted(set(whole))
        assert max(map(len, found)) <= LONGEST // 2
        assert all(between(*two) is not None for two in pairwise(whole))


def test_empty_list_has_room_for_all() -> None:
    found = evenly_spaced("", safe_lower_bound(END), 100_000)
    assert found is not None
    assert max(map(len, found)) <= 6
    assert found[-1] < END


def test_ten_thousand_moves_to_one_place_stay_short() -> None:
    """As the service does it: what is around gets new positions when there is no room."""
    rows = [f"{int(END, 16) - number:x}" for number in (5, 4, 3, 2, 1)]
    moved_up = 0
    for _ in range(10_000):
        reach, position, fresh = 32, between(rows[-2], rows[-1]), None
        while position is None and fresh is None:
            reach *= 2
            start = max(0, len(rows) - 1 - reach)
            fresh = evenly_spaced(rows[start - 1] if start else "", rows[-1], len(rows) - start + 1)
        if fresh is not None:
            position, rows[start:] = fresh.pop(-2), fresh
            moved_up += len(fresh)
        assert position is not None
        rows.insert(-1, position)
        assert len(position) <= LONGEST
    assert rows == sorted(set(rows))
    assert moved_up < 20_000
