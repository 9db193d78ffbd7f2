"""Authenticate requests before routing, and limit the rate of users and of failures."""

from collections.abc import Hashable, Iterable
from typing import Protocol

from litestar.types import ASGIApp, Receive, Scope, Send

from app.lib.auth.guards import MAX_USER_ID, owns, user_in
from app.lib.auth.tokens import Identity, TokenVerifier
from app.lib.errors import ApiError, Forbidden, InvalidToken, MissingToken, TooManyRequests
from app.lib.http.asgi import problem_response
from app.lib.http.client_address import ClientAddress, rate_limit_bucket
from app.lib.middleware.refusal_pace import RefusalPace
from app.lib.rate_limit import RateLimit, Shared
from app.lib.settings import Settings


class Admission(Protocol):
    async def admit(self, identity: Identity) -> None:
        """Create the row of a new user. Raises `Forbidden` for a deactivated one."""

    async def readmit(self, identity: Identity) -> None:
        """Do it again for a user who was erased since `admit`. Raises `Forbidden`."""


class AuthenticationMiddleware:
    """Rejects requests without a valid token (401) or for another user's path (403), before routing.

    This includes unknown paths. Only the exact paths in `OPEN_PATHS` need no token.
    """

    def __init__(
        self,
        app: ASGIApp,
        verifier: TokenVerifier,
        settings: Settings,
        pace: RefusalPace,
        shared: Shared | None = None,
    ) -> None:
        self._app = app
        self._pace = pace
        self._verifier = verifier
        self._open_paths = frozenset(settings.open_paths)
        self._address = ClientAddress(settings.trusted_proxies)
        self._failures = RateLimit("authentication", settings.auth_failures_per_minute, shared=shared)
        self._requests = RateLimit("user", settings.rate_limit_per_minute, shared=shared)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self._app
        if scope["path"] not in self._open_paths:
            try:
                await self._authorize(scope)
            except (
                ApiError
            ) as error:  # answered here: the middleware around it (CORS) changes responses, not exceptions
                app = problem_response(error, scope)
                if isinstance(error, TooManyRequests):
                    await self._pace.wait(self._refused(scope), receive)
        await app(scope, receive, send)

    async def _authorize(self, scope: Scope) -> None:
        scope["user"] = identity = await self._identify(scope)
        scope["state"]["headers"] = await self._requests.take(identity.id[:MAX_USER_ID])
        user_id = user_in(scope["path"])
        if user_id is not None and not owns(identity, user_id):
            raise Forbidden

    def _refused(self, scope: Scope) -> Hashable:
        user: Identity | None = scope.get("user")
        return user.id if user else (rate_limit_bucket(self._address.of(scope)),)

    async def _identify(self, scope: Scope) -> Identity:
        # Only failures count against an address: other users may share it.
        try:
            return await self._verifier.verify(bearer_token(scope["headers"]))
        except (MissingToken, InvalidToken):
            await self._failures.take(rate_limit_bucket(self._address.of(scope)))
            raise


def bearer_token(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return the token of the Authorization header (RFC 6750, 2.1).

    Raises `MissingToken` if there is no such header, `InvalidToken` for several or another scheme.
    """
    values = [value for name, value in headers if name == b"authorization"]
    if not values:
        raise MissingToken
    scheme, _, token = values[0].partition(b" ")
    if len(values) > 1 or scheme.lower() != b"bearer" or not token:
        raise InvalidToken
    return token.strip(b" ")
