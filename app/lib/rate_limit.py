"""Rate limits in fixed memory: how many requests of a user, how many failed authentications of an address."""

import math
import time
from collections.abc import Callable
from typing import Protocol

from litestar.stores.base import Store

from app.lib.errors import TooManyRequests

WINDOW_SECONDS = 60.0
MAX_KEYS = 50_000
MAX_ROUNDING_SECONDS = 0.001

type Use = tuple[bool, float]
"""Whether one more was let through, and how many seconds' worth of the allowance is used."""


class Shared(Protocol):
    """Counts for all processes of a deployment, in a store that is closed with the application."""

    @property
    def store(self) -> Store:
        """The store."""

    async def use(self, limit: "RateLimit", key: str) -> Use:
        """Count one, if there is allowance for it."""


class RateLimit:
    """Lets `limit` through in a minute, all at once or spread out (GCRA: one number for each key).

    Keys that have not been seen for longest are forgotten when there are too many; 0 switches it off.
    """

    def __init__(
        self, name: str, limit: int, clock: Callable[[], float] = time.monotonic, shared: Shared | None = None
    ) -> None:
        self.name = name
        self.limit = limit
        self.interval = WINDOW_SECONDS / limit if limit else 0.0  # seconds of allowance that one request uses
        self._clock = clock
        self._shared = shared
        self._full_at: dict[str, float] = {}  # when a key will have all of its allowance again
        self._policy = f'"{name}";q={limit};w={WINDOW_SECONDS:.0f}'

    async def take(self, key: str) -> list[tuple[bytes, bytes]]:
        """Count one, and give the headers that tell what is left.

        Raises `TooManyRequests`.
        """
        if not self.limit:
            return []
        return self._told(self.use(key) if self._shared is None else await self._shared.use(self, key))

    def use(self, key: str) -> Use:
        """Count one in this process, if there is allowance for it."""
        now = self._clock()
        full_at = max(self._full_at.pop(key, now), now) + self.interval
        used = full_at - now
        is_allowed = used <= self.most_used
        self._remember(key, full_at if is_allowed else full_at - self.interval)
        return is_allowed, used

    @property
    def most_used(self) -> float:
        """The allowance in seconds; a little more is for the rounding of floats."""
        return WINDOW_SECONDS + min(self.interval / 2, MAX_ROUNDING_SECONDS)

    def _told(self, use: Use) -> list[tuple[bytes, bytes]]:
        is_allowed, used = use
        if not is_allowed:
            raise TooManyRequests(self.name, _seconds(used - WINDOW_SECONDS), self._headers(0, used - self.interval))
        return [
            (name.lower().encode(), value.encode()) for name, value in self._headers(self._left(used), used).items()
        ]

    def _left(self, used: float) -> int:
        return max(0, round((WINDOW_SECONDS - used) / self.interval))

    def _remember(self, key: str, full_at: float) -> None:
        if len(self._full_at) >= MAX_KEYS:
            self._full_at.pop(next(iter(self._full_at)))
        self._full_at[key] = full_at

    def _headers(self, left: int, used: float) -> dict[str, str]:
        """Tell as draft-ietf-httpapi-ratelimit-headers has it: `r` what is left, `t` seconds until all is back."""
        return {"RateLimit-Policy": self._policy, "RateLimit": f'"{self.name}";r={left};t={_seconds(used)}'}


def _seconds(seconds: float) -> int:
    """Round up for a header; rounding must not lead beyond the window."""
    return min(max(1, math.ceil(seconds)), int(WINDOW_SECONDS))
