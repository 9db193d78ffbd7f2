"""The connections of a process: how many an address may hold, and how they are paused and closed."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence

from uvicorn.protocols.http.flow_control import FlowControl

from app.lib.http.client_address import UNKNOWN, ClientAddress, address_in, rate_limit_bucket
from app.lib.http.unread_responses import ReadingWatch

LINGER_SECONDS = 2
LINGER_BYTES = 4 * 1024 * 1024
_MANY = 5000  # stands for "no limit" where lingering connections are bounded


class OpenConnections:
    """Counts connections by site: of the last quarter of `most`, a site that holds a quarter already gets none."""

    def __init__(self, most: int, trusted_proxies: Sequence[str] = ()) -> None:
        self._most = most
        self._proxies = ClientAddress(trusted_proxies)
        self._lingering_of_site = max(16, (most or _MANY) // 16)
        self._open: Counter[str] = Counter()
        self._lingering: Counter[str] = Counter()

    def add(self, address: str | None) -> str:
        """Count a connection; return its site."""
        shortest = address_in(address) if address else None
        site = rate_limit_bucket(shortest) if shortest else UNKNOWN
        self._open[site] += 1
        return site

    def remove(self, site: str) -> None:
        """Forget a connection."""
        _decrease(self._open, site)

    def has_place(self, site: str, address: str | None, total: int) -> bool:
        """Return whether a connection that is counted already may stay."""
        if not self._most or total <= self._most * 3 // 4:
            return True
        if total > self._most:
            return False
        is_shared = address is None or self._proxies.trusts(address)
        return is_shared or self._open[site] <= self._most // 4

    def begin_lingering(self, site: str) -> bool:
        """Count a connection that lingers, unless many of its site, or in all, do."""
        if self._lingering[site] >= self._lingering_of_site or self._lingering.total() >= 2 * self._lingering_of_site:
            return False
        self._lingering[site] += 1
        return True

    def end_lingering(self, site: str) -> None:
        """Forget a connection that lingered."""
        _decrease(self._lingering, site)


def _decrease(counts: Counter[str], site: str) -> None:
    counts[site] -= 1
    if counts[site] <= 0:
        del counts[site]


class Flow(FlowControl):
    """uvicorn's flow control, which a second reason can pause: what was read is not parsed yet."""

    def __init__(self, transport: asyncio.Transport) -> None:
        super().__init__(transport)
        self.is_held = False

    def hold(self) -> None:
        """Read nothing before `release`, whatever uvicorn does meanwhile."""
        if not self.is_held:
            self.is_held = True
            self._apply()

    def release(self) -> None:
        """Read again, unless uvicorn has paused."""
        if self.is_held:
            self.is_held = False
            self._apply()

    def pause_reading(self) -> None:
        """Read nothing before `resume_reading`."""
        if not self.read_paused:
            self.read_paused = True
            self._apply()

    def resume_reading(self) -> None:
        """Read again, unless held."""
        if self.read_paused:
            self.read_paused = False
            self._apply()

    def _apply(self) -> None:
        if self._transport.is_closing():
            return
        if self.is_held or self.read_paused:
            if self._transport.is_reading():
                self._transport.pause_reading()
        elif not self._transport.is_reading():
            self._transport.resume_reading()


class GentleTransport:
    """A transport for responses: `close` lets the client read them while its own bytes are unread (RFC 9112, 9.6).

    Closing a socket with unread bytes resets the connection, and a response that is not read yet is lost. So our side
    is ended first, and what still comes is dropped, until the client closes, for a short time, and for a few megabytes.
    """

    _is_ending = False
    _timer: asyncio.TimerHandle | None = None
    _dropped = 0

    def __init__(
        self, reading: ReadingWatch, flow: Flow, open_: OpenConnections, site: str, is_all_read: Callable[[], bool]
    ) -> None:
        self._transport = reading.transport
        self.write = self._transport.write
        self._flow = flow
        self._open = open_
        self._site = site
        self._is_all_read = is_all_read
        self._reading = reading

    @property
    def is_lingering(self) -> bool:
        """Whether the client is given time to read."""
        return self._timer is not None

    def is_closing(self) -> bool:
        """Return whether nothing can be written any more."""
        return self._is_ending or self._transport.is_closing()

    def close(self) -> None:
        """Close behind what is written."""
        if self.is_closing():
            return
        self._is_ending = True
        if self._is_all_read() or not self._transport.can_write_eof() or not self._open.begin_lingering(self._site):
            self._finish()
            return
        self._timer = asyncio.get_running_loop().call_later(LINGER_SECONDS, self._finish)
        self._flow.resume_reading()
        self._flow.release()
        self._transport.write_eof()

    def _finish(self) -> None:
        self._transport.close()
        if self._transport.get_write_buffer_size():  # asyncio waits without end for it to be read
            self._reading.watch()

    def drop(self, size: int) -> None:
        """Count bytes that are not parsed; beyond the bound close, or read no more until the response is written."""
        self._dropped += size
        if self._dropped > LINGER_BYTES:
            if self.is_lingering:
                self._finish()
            else:
                self._flow.hold()

    def lose(self) -> None:
        """Forget a connection that is closed."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._open.end_lingering(self._site)
