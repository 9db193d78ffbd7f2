"""How many rows of a table a user may have: `MAX_ROWS_PER_USER`."""

import time
from collections.abc import Callable
from typing import Protocol

# A user far from the limit may insert so many rows, within so many seconds, before their rows are counted again.
MAX_GRANT = 500
GRANT_SECONDS = 300.0
MAX_REMEMBERED = 100_000


class Counted(Protocol):
    """The rows that a quota counts."""

    @property
    def quota_key(self) -> tuple[str, str]:
        """The user and the table."""

    async def count_up_to(self, limit: int) -> int:
        """Count the user's rows, hidden rows included, at most to the limit."""


class RowQuota:
    """Counts a user's rows before an INSERT, but not before each: it grants inserts to a user far from the limit.

    A grant is kept in the process and is no data: without it, the rows are counted. Near the limit, where no grant is
    possible, the caller counts under the user's lock, which is exact.
    """

    def __init__(self, limit: int, clock: Callable[[], float] = time.monotonic) -> None:
        """`limit` 0 is none."""
        self.limit = limit
        self._near = max(2 * MAX_GRANT, limit // 100)
        self._clock = clock
        self._grants: dict[tuple[str, str], tuple[int, float]] = {}

    async def grants(self, rows: Counted) -> bool:
        """Return whether one more row can be inserted without the lock."""
        if not self.limit or self._take(rows.quota_key):
            return True
        count = await rows.count_up_to(self.limit)
        if count >= self.limit - self._near:
            return False
        self._remember(rows.quota_key)
        return True

    def _take(self, key: tuple[str, str]) -> bool:
        left, until = self._grants.get(key, (0, 0.0))
        if left and until > self._clock():
            self._grants[key] = (left - 1, until)
            return True
        self._grants.pop(key, None)
        return False

    def _remember(self, key: tuple[str, str]) -> None:
        if len(self._grants) >= MAX_REMEMBERED:
            self._grants.pop(next(iter(self._grants)))
        self._grants[key] = (MAX_GRANT - 1, self._clock() + GRANT_SECONDS)


UNLIMITED = RowQuota(0)
