"""Turns of parsing: what one connection, or one address, sends is parsed in parts, with others in between."""

import asyncio
import time
from collections import deque
from collections.abc import Callable

from app.lib.http.connections import Flow

PIECE_BYTES = 4 * 1024
TURN_SECONDS = 0.001
MAX_TURNS = 16  # of a site in one iteration of the event loop: each may begin a request


class SiteTurns:
    """Gives each site a bounded number of turns in an iteration of the loop; further ones come later, in order.

    Without it, requests that arrive together on a thousand connections of one client run before anything else.
    """

    def __init__(self, most: int = MAX_TURNS) -> None:
        self._most = most
        self._taken: dict[str, int] = {}  # while there are any, `_begin_iteration` is scheduled
        self._waiting: dict[str, deque[Callable[[], None]]] = {}

    def take(self, site: str) -> bool:
        """Take a turn in this iteration, if there is one left."""
        taken = self._taken.get(site, 0)
        if taken >= self._most:
            return False
        if not self._taken:
            asyncio.get_running_loop().call_soon(self._begin_iteration)
        self._taken[site] = taken + 1
        return True

    def wait(self, site: str, turn: Callable[[], None]) -> None:
        """Call `turn` in a later iteration. The site must have taken a turn, or have none left, in this one."""
        self._waiting.setdefault(site, deque()).append(turn)

    def end(self, site: str) -> None:
        """Leave no more turns in this iteration: the last one was long."""
        self._taken[site] = self._most

    def _begin_iteration(self) -> None:
        self._taken = {}
        for site in [*self._waiting]:
            waiting = self._waiting[site]
            for _ in range(len(waiting)):  # a turn may end with another wait
                if not self.take(site):
                    break
                waiting.popleft()()
            if not waiting:
                del self._waiting[site]


class PieceReader:
    """Hands on what a connection receives in small pieces, for bounds are checked after each of them."""

    def __init__(self, parse: Callable[[bytes], None], flow: Flow, turns: SiteTurns, site: str) -> None:
        self._parse = parse
        self._flow = flow
        self._turns = turns
        self._site = site
        self._unparsed = b""

    @property
    def has_unparsed(self) -> bool:
        """Whether bytes wait for a turn."""
        return bool(self._unparsed)

    def receive(self, data: bytes) -> None:
        """Parse now, or when it is this connection's turn."""
        if self._unparsed:
            self._unparsed += data  # a turn is waited for already
        elif not self._turns.take(self._site):
            self._wait(data)
        elif len(data) <= PIECE_BYTES:
            self._parse(data)
        else:
            self._parse_for_a_turn(data)

    def _parse_for_a_turn(self, data: bytes) -> None:
        until = time.monotonic() + TURN_SECONDS
        for start in range(0, len(data), PIECE_BYTES):
            if start and time.monotonic() > until:
                self._turns.end(self._site)
                self._wait(data[start:])
                return
            self._parse(data[start : start + PIECE_BYTES])

    def _wait(self, data: bytes) -> None:
        self._unparsed = data
        self._flow.hold()
        self._turns.wait(self._site, self._go_on)

    def _go_on(self) -> None:
        data, self._unparsed = self._unparsed, b""
        if data:
            self._parse_for_a_turn(data)
        if not self._unparsed:
            self._flow.release()
