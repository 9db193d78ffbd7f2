"""Places that are shared out among keys: users, most often."""

import asyncio
import sys
from collections import deque
from collections.abc import Hashable

RESERVE = 4  # a quarter of the places is for keys that hold few

type _Waiter = tuple[asyncio.Future[None], int]


class QueueFull(Exception):
    """Too many of one key wait already."""


class FairQueue:
    """Shares out `total` places: at most `most` to a key, and the last quarter only to keys that hold less than `few`.

    Waiters of one key are served first come, first served; keys are served in turn. A key without places and
    waiters is not kept. `total` None is no bound. Several places at once are only for a queue without a total.
    """

    def __init__(self, most: int, *, total: int | None = None, few: int = 1) -> None:
        self.most = most
        self._few = few
        self._bounded = total is not None
        self._free = sys.maxsize if total is None else total
        self._reserve = 0 if total is None else total // RESERVE
        self._held: dict[Hashable, int] = {}
        self._waiting: dict[Hashable, deque[_Waiter]] = {}

    def take(self, key: Hashable, places: int = 1) -> bool:
        """Take places if they are free now, and nobody of this key waits."""
        if is_free := self.has_room(key, places):
            self.force(key, places)
        return is_free

    def has_room(self, key: Hashable, places: int = 1) -> bool:
        """Tell whether `take` would find places."""
        return key not in self._waiting and self._may_take(key, places)

    def force(self, key: Hashable, places: int = 1) -> None:
        """Take places, even beyond the bounds: for work that cannot be refused any more."""
        self._held[key] = self._held.get(key, 0) + places
        self._free -= places

    async def wait(self, key: Hashable, seconds: float, places: int = 1, most_waiting: int = sys.maxsize) -> None:
        """Wait for places and take them. Raises `TimeoutError`, or `QueueFull` at once."""
        if len(self._waiting.get(key, ())) >= most_waiting:
            raise QueueFull
        waiter = (asyncio.get_running_loop().create_future(), places)
        self._waiting.setdefault(key, deque()).append(waiter)
        try:
            async with asyncio.timeout(seconds):
                await waiter[0]
        except BaseException:
            self._give_up(key, waiter)
            raise

    async def enter(self, key: Hashable, seconds: float, places: int = 1) -> None:
        """Take places, waiting for them if need be. Raises `TimeoutError`."""
        if not self.take(key, places):
            await self.wait(key, seconds, places)

    def leave(self, key: Hashable, places: int = 1) -> None:
        """Give places back, and serve who waits."""
        held = self._held[key] - places
        if held:
            self._held[key] = held
        else:
            del self._held[key]
        self._free += places
        if self._waiting:
            self._serve(key)

    def _may_take(self, key: Hashable, places: int) -> bool:
        held = self._held.get(key, 0)
        return held + places <= self.most and self._free > (self._reserve if held >= self._few else 0)

    def _serve(self, changed: Hashable) -> None:
        """Grant all that can be granted. Without a total, what one key has is nothing to the others."""
        keys = self._waiting if self._bounded else (changed,)
        while (key := next(filter(self._is_next, keys), None)) is not None:
            waiting = self._waiting.pop(key)
            future, places = waiting.popleft()
            if waiting:
                self._waiting[key] = waiting  # behind the others
            if not future.done():  # cancelled, and not removed yet
                self.force(key, places)
                future.set_result(None)

    def _is_next(self, key: Hashable) -> bool:
        waiting = self._waiting.get(key)
        return waiting is not None and self._may_take(key, waiting[0][1])

    def _give_up(self, key: Hashable, waiter: _Waiter) -> None:
        future, places = waiter
        if future.done() and not future.cancelled():  # it was granted meanwhile
            self.leave(key, places)
        elif (waiting := self._waiting.get(key)) and waiter in waiting:
            waiting.remove(waiter)
            if not waiting:
                del self._waiting[key]
            self._serve(key)  # one that asks for less may be next
