"""Whose turn it is at the database: no user holds so many connections that there are none for the others."""

from collections.abc import Hashable

from app.lib.errors import Busy
from app.lib.fair_queue import FairQueue

SHARE = 2  # a user has at most half of the connections,
WRITERS = 4  # and writes on a quarter of them at a time

type Places = tuple[FairQueue, Hashable, int]


class Turns:
    """Shares out the connections of a pool among users, who queue without holding any.

    What would wait in the database for another request of the same user waits here: a write for one of the same row, a
    transaction for all writes, and the other way round. The last quarter of the connections is for users who hold none.
    """

    def __init__(self, connections: int, seconds: float) -> None:
        self._seconds = seconds
        self._connections = FairQueue(max(1, connections // SHARE), total=connections)
        self._writers = FairQueue(max(1, connections // WRITERS))
        self._rows = FairQueue(1)

    def read(self, user_id: str) -> "Turn":
        """Return the turn of a statement that only reads."""
        return Turn(self._seconds, (self._connections, user_id, 1))

    def write(self, user_id: str, row: Hashable) -> "Turn":
        """Return the turn of one statement that writes one row."""
        places = ((self._rows, (user_id, row), 1), (self._writers, user_id, 1), (self._connections, user_id, 1))
        return Turn(self._seconds, *places)

    def transaction(self, user_id: str) -> "Turn":
        """Return the turn of statements that may write any row of the user."""
        return Turn(self._seconds, (self._writers, user_id, self._writers.most), (self._connections, user_id, 1))


class Turn:
    """Holds its places as a context manager; the last one is a connection's. Raises `Busy`."""

    __slots__ = ("_entered", "_places", "_seconds")

    def __init__(self, seconds: float, *places: Places) -> None:
        self._seconds = seconds
        self._places = places
        self._entered = 0

    async def __aenter__(self) -> None:
        try:
            for queue, key, count in self._places:
                await queue.enter(key, self._seconds, count)
                self._entered += 1
        except BaseException as error:
            self._leave()
            if isinstance(error, TimeoutError):
                raise Busy from None
            raise

    async def __aexit__(self, *_: object) -> None:
        self._leave()

    def _leave(self) -> None:
        for queue, key, count in reversed(self._places[: self._entered]):
            queue.leave(key, count)
