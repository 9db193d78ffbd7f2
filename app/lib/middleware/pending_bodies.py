"""Requests that wait for their bodies: they hold no place among those that are worked on, but are bounded, too."""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

from litestar.types import Receive, Scope

from app.lib.errors import RequestTimeout
from app.lib.http.client_address import rate_limit_bucket

MAX_OF_AN_ADDRESS = 64


class Bodies:
    """Who waits for a body, in the order in which they began.

    With more than `most` in all, or `most_of_an_address`, the one that has waited longest is answered with 408.
    """

    def __init__(
        self, most: int, address_of: Callable[[Scope], str], most_of_an_address: int = MAX_OF_AN_ADDRESS
    ) -> None:
        self._most = most
        self._address_of = address_of
        self._most_of_an_address = most_of_an_address
        self._waiting: dict[Body, None] = {}
        self._of_address: Counter[str] = Counter()

    def add(self, body: "Body") -> None:
        """Count one more, and give up on the oldest if there are too many."""
        body.address = rate_limit_bucket(self._address_of(body.scope))
        self._waiting[body] = None
        self._of_address[body.address] += 1
        if self._of_address[body.address] > self._most_of_an_address:
            self._give_up(next(each for each in self._waiting if each.address == body.address))
        elif len(self._waiting) > self._most:
            self._give_up(next(iter(self._waiting)))

    def discard(self, body: "Body") -> None:
        """Count one less."""
        if body in self._waiting:
            del self._waiting[body]
            self._of_address[body.address] -= 1
            if not self._of_address[body.address]:
                del self._of_address[body.address]

    def _give_up(self, body: "Body") -> None:
        self.discard(body)
        body.give_up()


class Body:
    """The body of one request. It counts from when the server has to wait for it until all of it is there."""

    __slots__ = ("_bodies", "_is_counted", "_is_given_up", "_patience", "_receive", "address", "scope")

    def __init__(self, bodies: Bodies, scope: Scope, receive: Receive) -> None:
        self._bodies = bodies
        self._receive = receive
        self._is_counted = self._is_given_up = False
        self._patience: asyncio.Timeout | None = None
        self.scope = scope
        self.address = ""

    async def receive(self) -> Any:
        """Receive a piece. Raises `RequestTimeout` where the server has given up."""
        if self._is_given_up:
            raise _too_slow()
        try:
            async with asyncio.timeout(None) as patience:
                self._patience = patience
                # Called only if the piece is not there at once: most bodies come with their headers.
                waiting = asyncio.get_running_loop().call_soon(self._count)
                try:
                    return await self._receive()
                finally:
                    waiting.cancel()
                    self._patience = None
        except TimeoutError:
            raise _too_slow() from None

    def close(self) -> None:
        """Count no longer."""
        if self._is_counted:
            self._bodies.discard(self)

    def give_up(self) -> None:
        """End the wait, or the next one."""
        self._is_given_up = True
        if self._patience is not None:
            self._patience.reschedule(asyncio.get_running_loop().time())

    def _count(self) -> None:
        if not self._is_counted:
            self._is_counted = True
            self._bodies.add(self)


def _too_slow() -> RequestTimeout:
    return RequestTimeout(headers={"Connection": "close"})
