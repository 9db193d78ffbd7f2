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
