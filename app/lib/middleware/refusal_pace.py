"""A bound on how often one client is told that it asks too often."""

import asyncio
import time
from collections.abc import Callable, Hashable
from contextlib import suppress

from litestar.types import Receive

from app.lib.http.client_presence import ClientLeft, ClientPresence

PER_SECOND = 50  # responses of 429 to one user or address that come at once
MAX_SECONDS = 5.0  # that one is held back
MAX_KEYS = 50_000


class RefusalPace:
    """Holds back 429 responses: whoever repeats a request as soon as it is refused costs as much as it is served.

    Its connections are not read meanwhile. Clients that keep to `Retry-After` never notice.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._next: dict[Hashable, float] = {}  # when the next response to a holder is due

    async def wait(self, holder: Hashable, receive: Receive) -> None:
        """Return when the holder's response is due, or when the client has left."""
        delay = self._delay(holder)
        if delay > 0:
            with suppress(ClientLeft):
                await ClientPresence(receive).until(asyncio.sleep(delay))

    def _delay(self, holder: Hashable) -> float:
        now = self._clock()
        due = max(self._next.pop(holder, now), now)
        if len(self._next) >= MAX_KEYS:
            self._next.pop(next(iter(self._next)))
        self._next[holder] = min(due + 1 / PER_SECOND, now + MAX_SECONDS)
        return due - now
