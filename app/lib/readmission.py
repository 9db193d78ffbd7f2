"""A user who was erased while a request ran, by another process or in another request, starts afresh with it."""

from typing import Any

from litestar.types import ASGIApp, Receive, Scope, Send

from app.lib.auth import Admission
from app.lib.errors import Conflict, OwnerGone
from app.lib.reply import problem_reply


class Readmission:
    """ASGI middleware behind the wall: admits the user anew and runs the request once more.

    Nothing was done and nothing answered then: what could not be written was the request's first word.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Remember what was received, for the second time."""
        received: list[Any] = []
        state: dict[str, Any] = scope["state"]
        before = state.copy()

        async def listen() -> Any:
            received.append(message := await receive())
            return message

        try:
            await self._app(scope, listen, send)
        except OwnerGone:
            state.clear()
            state.update(before)
            await self._again(scope, _replay(received, receive), send)

    async def _again(self, scope: Scope, receive: Receive, send: Send) -> None:
        admission: Admission = scope["litestar_app"].state.users
        app = self._app
        try:
            await admission.readmit(scope["user"])
            await app(scope, receive, send)
        except OwnerGone:  # erased a second time
            await problem_reply(Conflict(), scope)(scope, receive, send)


def _replay(received: list[Any], receive: Receive) -> Receive:
    rest = iter(received)

    async def replay() -> Any:
        return next(rest, None) or await receive()

    return replay
