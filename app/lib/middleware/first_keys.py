"""Requests that come before the first key set was fetched."""

from collections.abc import Sequence

import jwt
from litestar.types import ASGIApp, Receive, Scope, Send

from app.lib.auth.jwks import ALGORITHMS
from app.lib.auth.published_keys import PublishedKeys
from app.lib.auth.tokens import MAX_TOKEN_BYTES
from app.lib.errors import ApiError, Unavailable
from app.lib.http.asgi import problem_response
from app.lib.middleware.authentication import bearer_token


class FirstKeys:
    """ASGI middleware outside of load shedding: a bounded number wait for published keys, without a slot."""

    def __init__(self, app: ASGIApp, published: Sequence[PublishedKeys]) -> None:
        self._app = app
        self._published = published
        self._missing = list(published)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; 503 if there are no keys for its token."""
        app = self._app
        if self._missing:
            self._missing = [keys for keys in self._published if not keys.has_keys]
            if self._missing and _names_published_key(scope):
                try:
                    for keys in self._missing:
                        await keys.wait_for_first()
                except Unavailable as error:
                    app = problem_response(error, scope)
        await app(scope, receive, send)


def _names_published_key(scope: Scope) -> bool:
    """Tell whether published keys alone can verify the request's token, if it has one."""
    try:
        token = bearer_token(scope["headers"])
        header = jwt.get_unverified_header(token) if len(token) <= MAX_TOKEN_BYTES else {}
    except (ApiError, jwt.PyJWTError, ValueError, TypeError, RecursionError):
        return False
    return header.get("alg") in ALGORITHMS
