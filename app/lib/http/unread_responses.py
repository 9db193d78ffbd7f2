"""Responses that their clients do not read: how many bytes of them a user may let the process hold."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable

MAX_BYTES_OF_A_USER = 16 * 1024 * 1024


class UnreadResponses:
    """Connections with unread bytes, by whose they are; beyond `most` bytes, the worst of several is ended."""

    def __init__(self, most: int = MAX_BYTES_OF_A_USER) -> None:
        self._most = most
        self._connections: dict[Hashable, dict[asyncio.Transport, None]] = {}

    async def drain(self, holder: Hashable, transport: asyncio.Transport, drain: Callable[[], Awaitable[None]]) -> None:
        """Wait until the client has read, or left."""
        connections = self._connections.setdefault(holder, {})
        connections[transport] = None
        self._end_the_worst(connections)
        try:
            await drain()
        finally:
            connections.pop(transport, None)
            if not connections and self._connections.get(holder) is connections:
                del self._connections[holder]

    def _end_the_worst(self, connections: dict[asyncio.Transport, None]) -> None:
        unread = {each: each.get_write_buffer_size() for each in connections if not each.is_closing()}
        while len(unread) > 1 and sum(unread.values()) > self._most:
            worst = max(unread, key=unread.__getitem__)
            del unread[worst]
            worst.abort()


class ReadingWatch:
    """Aborts a connection whose client reads less than `least` bytes in each period of `patience` seconds."""

    _unread = 0
    _timer: asyncio.TimerHandle | None = None

    def __init__(self, transport: asyncio.Transport, patience: float, least: float) -> None:
        self.transport = transport
        self._patience = patience
        self._least = least

    def watch(self) -> None:
        """Begin a period, if none runs."""
        self._unread = self.transport.get_write_buffer_size()
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._patience, self._check)

    def stop(self) -> None:
        """Look no longer: the client has read, or left."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _check(self) -> None:
        self._timer = None
        if self.transport.get_write_buffer_size() > self._unread - self._least:
            self.transport.abort()
        else:
            self.watch()
