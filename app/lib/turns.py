"""Whose turn it is at the database: no user holds so many connections that there are none for the others."""

from app.lib.errors import Busy
from app.lib.fair_queue import FairQueue

SHARE = 4  # a user has at most a quarter of the connections


class Turns:
    """Shares out the connections of a pool among users, who queue without holding any.

    A user's writes go one after the other: where two of them want the same rows or locks, the second waits here and not
    on a connection. Reads take part in the user's quarter; the last quarter of all is for users who hold none.
    """

    def __init__(self, connections: int, seconds: float) -> None:
        self._seconds = seconds
        self._connections = FairQueue(max(1, connections // SHARE), total=connections)
        self._writers = FairQueue(1)

    async def enter(self, user_id: str, *, writes: bool) -> None:
        """Wait for a connection's turn. Raises `Busy`."""
        try:
            if writes:
                await self._writers.enter(user_id, self._seconds)
            try:
                await self._connections.enter(user_id, self._seconds)
            except BaseException:
                if writes:
                    self._writers.leave(user_id)
                raise
        except TimeoutError:
            raise Busy from None

    def leave(self, user_id: str, *, writes: bool) -> None:
        """Let the next one pass."""
        self._connections.leave(user_id)
        if writes:
            self._writers.leave(user_id)
