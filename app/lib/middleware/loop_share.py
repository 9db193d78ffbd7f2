"""A share of the event loop for each user: a request of one who has used it up goes on in a later iteration."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Generator, Hashable
from typing import Any

from litestar.types import ASGIApp, Receive, Scope, Send

from app.lib.http.client_address import holder_of

SHARE_SECONDS = 0.002  # of an iteration, for all users together who used more than theirs
MIN_SHARE_SECONDS = 0.0005  # for each of them


class LoopShare:
    """ASGI middleware behind authentication that shares out the time of the event loop among users.

    Requests of one user that are always ready to run, as for large pages on many connections, delay all others by each
    of their steps. So the time of each step is charged to its user, each iteration of the loop pays a share of it back,
    and whoever owes more than that runs no step. A loop without other work iterates at once: no time is left unused.
    """

    def __init__(self, app: ASGIApp, clock: Callable[[], float] = time.perf_counter) -> None:
        self._app = app
        self.clock = clock
        self._owed: dict[Hashable, float] = {}  # seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await _Steps(self._app(scope, receive, send), self, holder_of(scope))  # type: ignore[arg-type]

    def is_used_up(self, holder: Hashable) -> bool:
        """Return whether the holder runs no step in this iteration."""
        return self._owed.get(holder, 0.0) > SHARE_SECONDS

    def charge(self, holder: Hashable, seconds: float) -> None:
        """Count the time of a step."""
        if not self._owed:
            asyncio.get_running_loop().call_soon(self._pay_back)
        self._owed[holder] = self._owed.get(holder, 0.0) + seconds

    def _pay_back(self) -> None:
        """Run once in each iteration while anybody owes time."""
        share = max(SHARE_SECONDS / len(self._owed), MIN_SHARE_SECONDS)
        self._owed = {holder: seconds - share for holder, seconds in self._owed.items() if seconds > share}
        if self._owed:
            asyncio.get_running_loop().call_soon(self._pay_back)


class _Steps:
    """Drives a coroutine step by step; while its holder's share is used up, its task only stays ready."""

    __slots__ = ("_coroutine", "_holder", "_share")

    def __init__(self, coroutine: Coroutine[Any, None, None], share: LoopShare, holder: Hashable) -> None:
        self._coroutine = coroutine
        self._share = share
        self._holder = holder

    def __await__(self) -> Generator[Any]:
        error: BaseException | None = None
        while True:
            awaited = None  # asyncio takes it as: run again in the next iteration
            if error is not None or not self._share.is_used_up(self._holder):
                try:
                    awaited = self._step(error)
                except StopIteration:
                    return
                error = None
            try:
                yield awaited
            except GeneratorExit:
                self._coroutine.close()
                raise
            except BaseException as raised:  # noqa: BLE001 - the coroutine handles it, cancellation too
                error = raised

    def _step(self, error: BaseException | None) -> Any:
        started = self._share.clock()
        try:
            return self._coroutine.send(None) if error is None else self._coroutine.throw(error)
        finally:
            self._share.charge(self._holder, self._share.clock() - started)
