"""Users are admitted before their requests run; one who was erased while a request ran starts afresh with it."""

from typing import Any

from litestar.types import ASGIApp, Receive, Scope, Send

from app.lib.auth.guards import user_in
from app.lib.errors import ApiError, Conflict, OwnerDeleted
from app.lib.http.asgi import problem_response
from app.lib.middleware.authentication import Admission


class RetryAfterErasureMiddleware:
    """ASGI middleware behind the wall: admits the user, and once more with a second run where they were erased.

    Nothing was done and nothing answered then: what could not be written was the request's first word. It stands behind
    the user's share of the process, for admission asks the database.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Remember what was received, for the second time."""
        try:
            if user_in(scope["path"]) is not None:
                await self._admission(scope).admit(scope["user"])
        except ApiError as error:  # answered here, for what stands outside marks answers, not exceptions
            await problem_response(error, scope)(scope, receive, send)
            return
        received: list[Any] = []
        state: dict[str, Any] = scope["state"]
        before = state.copy()

        async def listen() -> Any:
            received.append(message := await receive())
            return message

        try:
            await self._app(scope, listen, send)
        except OwnerDeleted:
            state.clear()
            state.update(before)
            await self._again(scope, _replay(received, receive), send)

    async def _again(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self._app
        try:
            await self._admission(scope).readmit(scope["user"])
            await app(scope, receive, send)
        except OwnerDeleted:  # erased a second time
            await problem_response(Conflict(), scope)(scope, receive, send)

    @staticmethod
    def _admission(scope: Scope) -> Admission:
        users: Admission = scope["litestar_app"].state.users
        return users


def _replay(received: list[Any], receive: Receive) -> Receive:
    rest = iter(received)

    async def replay() -> Any:
        return next(rest, None) or await receive()

    return replay
