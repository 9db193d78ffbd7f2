"""Load shedding: what would only wait, and hold memory while it does, is answered at once."""

from litestar.types import ASGIApp, Receive, Scope, Send

from app.lib.errors import Overloaded
from app.lib.reply import problem_reply


class LoadShedding:
    """ASGI middleware: with `most` requests in flight, one more is a 503.

    It stands before all that costs something, and behind what marks answers, so that frontends can read this one.
    """

    def __init__(self, app: ASGIApp, most: int) -> None:
        self._app = app
        self._most = most
        self._in_flight = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, or answer 503."""
        if self._in_flight >= self._most:
            await problem_reply(Overloaded(), scope)(scope, receive, send)
            return
        self._in_flight += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._in_flight -= 1
