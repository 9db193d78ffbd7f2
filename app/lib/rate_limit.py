"""Rate limits in fixed memory: how many requests of a user, how many failed authentications of an address."""

import math
import time
from collections.abc import Callable

from app.lib.errors import TooManyRequests

WINDOW_SECONDS = 60.0
MAX_KEYS = 50_000


class RateLimit:
    """Lets `limit` through in a minute, all at once or spread out (GCRA: one number for each key).

    Keys that have not been seen for longest are forgotten when there are too many; 0 switches it off.
    """

    def __init__(self, name: str, limit: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._name = name
        self._limit = limit
        self._clock = clock
        self._interval = WINDOW_SECONDS / limit if limit else 0.0
        self._full_at: dict[str, float] = {}  # when a key will have all of its allowance again
        self._policy = f'"{name}";q={limit};w={WINDOW_SECONDS:.0f}'

    def take(self, key: str) -> list[tuple[bytes, bytes]]:
        """Count one, and give the headers that tell what is left.

        Raises `TooManyRequests`.
        """
        if not self._limit:
            return []
        now = self._clock()
        full_at = max(self._full_at.pop(key, now), now) + self._interval
        used = full_at - now
        if used > WINDOW_SECONDS + self._interval / 2:  # half: for the rounding of floats
            self._full_at[key] = full_at - self._interval
            raise TooManyRequests(math.ceil(used - WINDOW_SECONDS), self._headers(0, used))
        self._remember(key, full_at)
        return [
            (name.lower().encode(), value.encode()) for name, value in self._headers(self._left(used), used).items()
        ]

    def _left(self, used: float) -> int:
        return max(0, round((WINDOW_SECONDS - used) / self._interval))

    def _remember(self, key: str, full_at: float) -> None:
        if len(self._full_at) >= MAX_KEYS:
            self._full_at.pop(next(iter(self._full_at)))
        self._full_at[key] = full_at

    def _headers(self, left: int, used: float) -> dict[str, str]:
        """Tell as draft-ietf-httpapi-ratelimit-headers has it: `r` what is left, `t` seconds until all is back."""
        return {"RateLimit-Policy": self._policy, "RateLimit": f'"{self._name}";r={left};t={math.ceil(used)}'}
