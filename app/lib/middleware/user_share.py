"""A share of the process for each user: requests beyond it wait for those of the same user, and for nobody else."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from litestar.types import ASGIApp, Receive, Scope, Send

from app.lib.errors import TooManyRequests
from app.lib.fair_queue import FairQueue, QueueFull
from app.lib.http.asgi import problem_response
from app.lib.http.client_address import holder_of
from app.lib.settings import HEALTH_PATH

WAIT_SECONDS = 5.0
MAX_WAITING = 16  # times the share: a frontend may ask for a hundred things at once
_LIMIT = "requests in progress"


class ClientLeft(Exception):
    """The client has closed the connection."""


class UserShare:
    """ASGI middleware behind authentication: at most `most` requests of a user are in progress.

    Further ones wait in order, for a bounded time and in bounded number; beyond that they are answered with 429.
    Health checks do not count: they share one question to the database.
    """

    def __init__(self, app: ASGIApp, most: int) -> None:
        self._app = app
        self._most_waiting = MAX_WAITING * most
        self._places = FairQueue(most)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on when it is the request's turn, or answer 429."""
        if scope["path"] == HEALTH_PATH:
            await self._app(scope, receive, send)
            return
        key = holder_of(scope)
        if not self._places.take(key):
            waiting = _Listener(receive)
            try:
                await waiting.until(self._places.wait(key, WAIT_SECONDS, most_waiting=self._most_waiting))
            except (TimeoutError, QueueFull):
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


class _Listener:
    """Notices that a client leaves while its request waits; what is received before that is kept."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._kept: list[Any] = []
        self._has_left = False

    async def receive(self) -> Any:
        """Receive what was kept, then what follows."""
        if not self._kept:
            return await self._receive()
        message = self._kept.pop(0)
        if isinstance(message, Exception):
            raise message
        return message

    async def until(self, turn: Coroutine[Any, Any, None]) -> None:
        """Wait for the turn. Raises `ClientLeft`, and what waiting for the turn raises."""
        try:
            async with asyncio.timeout(None) as patience:
                task = asyncio.create_task(self._listen(patience))
                try:
                    await turn
                finally:
                    task.cancel()  # not awaited: nothing may come between a place that is taken and its use
        except TimeoutError:
            if self._has_left:
                raise ClientLeft from None
            raise

    async def _listen(self, patience: asyncio.Timeout) -> None:
        try:
            message = await self._keep()
            if not message.get("more_body"):
                message = await self._keep()
        except Exception as error:  # noqa: BLE001 - it is whoever reads the body to whom it matters
            self._kept.append(error)
            return
        if message["type"] == "http.disconnect":
            self._has_left = True
            patience.reschedule(asyncio.get_running_loop().time())

    async def _keep(self) -> Any:
        message: Any = await self._receive()
        self._kept.append(message)
        return message
