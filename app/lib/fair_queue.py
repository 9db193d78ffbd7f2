"""Places that are shared out among keys: users, most often."""

import asyncio
import sys
from collections import deque
from collections.abc import Hashable

RESERVE = 4  # a quarter of the places is for keys that hold few


class QueueFull(Exception):
    """Too many of one key wait already."""


class FairQueue:
    """Shares out `total` places: at most `most` to a key, and the last quarter only to keys that hold less than `few`.

    Waiters of one key are served first come, first served; keys are served in turn. A key without places and
    waiters is not kept. `total` None is no bound.
    """

    def __init__(self, most: int, *, total: int | None = None, few: int = 1) -> None:
        self._most = most
        self._few = few
        self._bounded = total is not None
        self._free = sys.maxsize if total is None else total
        self._reserve = 0 if total is None else total // RESERVE
        self._held: dict[Hashable, int] = {}
        self._waiting: dict[Hashable, deque[asyncio.Future[None]]] = {}

    def held(self, key: Hashable) -> int:
        """Return how many places a key has."""
        return self._held.get(key, 0)

    def take(self, key: Hashable) -> bool:
        """Take a place if there is one now, and nobody of this key waits for it."""
        if is_free := self.has_room(key):
            self.force(key)
        return is_free

    def has_room(self, key: Hashable) -> bool:
        """Tell whether `take` would find a place."""
        return self._may_hold_more(self._held.get(key, 0)) and key not in self._waiting

    def force(self, key: Hashable) -> None:
        """Take a place, even beyond the bounds: for work that cannot be refused any more."""
        self._held[key] = self._held.get(key, 0) + 1
        self._free -= 1

    async def wait(self, key: Hashable, seconds: float, most_waiting: int = sys.maxsize) -> None:
        """Wait for a place and take it. Raises `TimeoutError`, or `QueueFull` at once."""
        if len(self._waiting.get(key, ())) >= most_waiting:
            raise QueueFull
        waiting = self._waiting.setdefault(key, deque())
        place = asyncio.get_running_loop().create_future()
        waiting.append(place)
        try:
            async with asyncio.timeout(seconds):
                await place
        except BaseException:
            self._give_up(key, place)
            raise

    async def enter(self, key: Hashable, seconds: float) -> None:
        """Take a place, waiting for it if need be. Raises `TimeoutError`."""
        if not self.take(key):
            await self.wait(key, seconds)

    def leave(self, key: Hashable) -> None:
        """Give a place back, and serve who waits."""
        held = self._held[key] - 1
        if held:
            self._held[key] = held
        else:
            del self._held[key]
        self._free += 1
        if self._waiting:
            self._serve(key)

    def _may_hold_more(self, held: int) -> bool:
        return held < self._most and self._free > (self._reserve if held >= self._few else 0)

    def _serve(self, left: Hashable) -> None:
        """Grant all that can be granted. Without a total, one key's place is nothing to the others."""
        while (key := next(filter(self._is_next, self._waiting if self._bounded else (left,)), None)) is not None:
            waiting = self._waiting.pop(key)
            place = waiting.popleft()
            if waiting:
                self._waiting[key] = waiting  # behind the others
            if not place.done():  # cancelled, and not removed yet
                self.force(key)
                place.set_result(None)

    def _is_next(self, key: Hashable) -> bool:
        return key in self._waiting and self._may_hold_more(self.held(key))

    def _give_up(self, key: Hashable, place: asyncio.Future[None]) -> None:
        if place.done() and not place.cancelled():  # it was granted meanwhile
            self.leave(key)
        elif (waiting := self._waiting.get(key)) and place in waiting:
            waiting.remove(place)
            if not waiting:
                del self._waiting[key]
