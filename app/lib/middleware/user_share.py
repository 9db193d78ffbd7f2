"""A share of the process for each user: requests beyond it wait for those of the same user, and for nobody else."""

from litestar.types import ASGIApp, Receive, Scope, Send

from app.lib.errors import TooManyRequests
from app.lib.fair_queue import FairQueue, QueueFull
from app.lib.http.asgi import problem_response
from app.lib.http.client_address import holder_of
from app.lib.http.client_presence import ClientLeft, ClientPresence
from app.lib.middleware.refusal_pace import RefusalPace
from app.lib.setting_types import HEALTH_PATH

WAIT_SECONDS = 5.0
MAX_WAITING = 16  # times the share: a frontend may ask for a hundred things at once
_LIMIT = "requests in progress"


class UserShare:
    """ASGI middleware behind authentication: at most `most` requests of a user are in progress.

    Further ones wait in order, for a bounded time and in bounded number; beyond that they are answered with 429.
    Health checks do not count: they share one question to the database.
    """

    def __init__(self, app: ASGIApp, most: int, pace: RefusalPace) -> None:
        self._app = app
        self._pace = pace
        self._most_waiting = MAX_WAITING * most
        self._places = FairQueue(most)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on when it is the request's turn, or answer 429."""
        if scope["path"] == HEALTH_PATH:
            await self._app(scope, receive, send)
            return
        key = holder_of(scope)
        if not self._places.take(key):
            waiting = ClientPresence(receive)
            try:
                await waiting.until(self._places.wait(key, WAIT_SECONDS, most_waiting=self._most_waiting))
            except (TimeoutError, QueueFull):
                await self._pace.wait(key, waiting.receive)
                error = TooManyRequests(_LIMIT, round(WAIT_SECONDS), {})
                await problem_response(error, scope)(scope, receive, send)
                return
            except ClientLeft:
                return
            receive = waiting.receive
        try:
            await self._app(scope, receive, send)
        finally:
            self._places.leave(key)
