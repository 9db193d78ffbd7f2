"""How long a client may take for its part of a request."""

import asyncio
from collections.abc import Callable
from enum import Enum, auto

MIN_BYTES_PER_SECOND = 1024  # of a body, and of a response that is read: a bad mobile line has twice that


class Phase(Enum):
    """What of a request is to come."""

    HEADERS = auto()
    BODY = auto()
    NOTHING = auto()


class Patience:
    """Runs a timer while it is the client's turn; in a body each KiB that comes gives it a second more.

    `is_ours` tells whether the client waits for the server. `expire` is called when the client was too slow.
    """

    def __init__(self, seconds: float, is_ours: Callable[[], bool], expire: Callable[[], None]) -> None:
        self._seconds = seconds
        self._is_ours = is_ours
        self._expire = expire
        self._timer: asyncio.TimerHandle | None = None
        self._since: float | None = None  # when the client's turn began
        self.phase = Phase.HEADERS
        self.received = 0  # bytes, in this phase

    @property
    def has_begun(self) -> bool:
        """Whether it was the client's turn in this phase."""
        return self._since is not None

    def enter(self, phase: Phase) -> None:
        """Begin to count anew."""
        self.phase, self.received, self._since = phase, 0, None

    def watch(self) -> None:
        """Let the timer run."""
        loop = asyncio.get_running_loop()
        if self._since is None:
            self._since = loop.time()
        if self._timer is None:
            self._timer = loop.call_later(self._seconds, self._check)

    def stop(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _check(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        if self._since is None or self._is_ours():
            self._since = now
        extra = self.received / MIN_BYTES_PER_SECOND if self.phase is Phase.BODY else 0
        until = self._since + self._seconds + extra
        if now < until:
            self._timer = loop.call_at(until, self._check)
        else:
            self._timer = None
            self._expire()
