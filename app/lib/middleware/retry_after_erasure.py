"""Run a request once more if its user was erased while it ran: the user then starts with a new row."""

from litestar.types import ASGIApp, Receive, ReceiveMessage, Scope, Send

from app.lib.auth.guards import user_in
from app.lib.errors import ApiError, Conflict, OwnerDeleted
from app.lib.http.asgi import problem_response
from app.lib.middleware.authentication import Admission


class RetryAfterErasureMiddleware:
    """Admits the user, and admits and runs the request a second time on `OwnerDeleted`.

    Safe to retry: nothing was committed and no response was started. It runs inside of the user's share of the process,
    because admission queries the database.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            if user_in(scope["path"]) is not None:
                await self._admission(scope).admit(scope["user"])
        except ApiError as error:  # answered here: the middleware around it (CORS) changes responses, not exceptions
            await problem_response(error, scope)(scope, receive, send)
            return
        received: list[ReceiveMessage] = []
        state = scope["state"]
        state_before = state.copy()

        async def receive_and_keep() -> ReceiveMessage:
            received.append(message := await receive())
            return message

        try:
            await self._app(scope, receive_and_keep, send)
        except OwnerDeleted:
            state.clear()
            state.update(state_before)
            await self._run_again(scope, _replay(received, receive), send)

    async def _run_again(self, scope: Scope, receive: Receive, send: Send) -> None:
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


def _replay(received: list[ReceiveMessage], receive: Receive) -> Receive:
    messages = iter(received)

    async def replay() -> ReceiveMessage:
        return next(messages, None) or await receive()

    return replay
