"""Load shedding: what would only wait, and hold memory while it does, is answered at once."""

import sys
from collections.abc import Hashable
from typing import Any

from litestar.types import ASGIApp, Receive, Scope, Send

from app.lib.errors import Overloaded
from app.lib.fair_queue import FairQueue
from app.lib.http.asgi import problem_response
from app.lib.http.client_address import ClientAddress, holder_of
from app.lib.middleware.pending_bodies import Bodies, Body
from app.lib.setting_types import HEALTH_PATH

FEW = 4  # requests in progress: who has fewer may use the reserve


class LoadSheddingMiddleware:
    """ASGI middleware behind authentication: with `most` requests being worked on, one more is a 503.

    A request that waits for its client, to send the body or to read the response, is not being worked on. The last
    quarter is for users with few requests. Health checks are always served.
    """

    def __init__(self, app: ASGIApp, most: int, address: ClientAddress) -> None:
        self._app = app
        self._places = FairQueue(sys.maxsize, total=most, few=FEW)
        self._bodies = Bodies(most, address.of)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, or answer 503."""
        if scope["path"] == HEALTH_PATH:
            await self._app(scope, receive, send)
            return
        holder = holder_of(scope)
        if not self._places.take(holder):
            await problem_response(Overloaded(), scope)(scope, receive, send)
            return
        work = _Work(self._places, holder, Body(self._bodies, scope, receive), receive, send)
        try:
            await self._app(scope, work.receive, work.send)
        finally:
            work.end()


class _Work:
    """One request: it has its place only while it is the server's turn."""

    __slots__ = ("_body", "_has_begun", "_has_place", "_holder", "_is_complete", "_places", "_receive", "_send")

    def __init__(self, places: FairQueue, holder: Hashable, body: Body, receive: Receive, send: Send) -> None:
        self._places = places
        self._holder = holder
        self._body = body
        self._receive = receive
        self._send = send
        self._has_place = True
        self._is_complete = False  # the body
        self._has_begun = False  # the response

    async def receive(self) -> Any:
        """Receive without a place, until the body is complete. Raises `Overloaded` where there is none left then."""
        if self._is_complete:
            return await self._receive()
        self._leave()
        message = await self._body.receive()
        if not message.get("more_body"):
            self._is_complete = True
            self._body.close()
            if not self._has_begun and not self._places.has_room(self._holder):
                raise Overloaded
            self._return()
        return message

    async def send(self, message: Any) -> None:
        """Send without a place: the client may be slow to read."""
        self._has_begun = True
        had_place = self._has_place
        self._leave()
        await self._send(message)
        if had_place and (message.get("more_body") or message["type"] == "http.response.start"):
            self._return()

    def end(self) -> None:
        """Leave for good."""
        self._leave()
        self._body.close()

    def _leave(self) -> None:
        if self._has_place:
            self._has_place = False
            self._places.leave(self._holder)

    def _return(self) -> None:
        if not self._has_place:
            self._has_place = True
            self._places.force(self._holder)
