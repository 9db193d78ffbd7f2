"""Cross-origin requests: browsers of the allowed origins, and of no other, may read the answers."""

from collections.abc import Sequence
from typing import Any

from litestar.types import ASGIApp, Receive, Scope, Send

from app.lib.http.asgi import ASGIResponse

_READ = ("Authorization", "Content-Type", "Idempotency-Key", "If-Match", "If-None-Match", "X-Request-ID")
# Tracing in the browser (W3C Trace Context and Baggage, Sentry) and HTTP clients add these to every request.
_ADDED_BY_CLIENTS = ("baggage", "sentry-trace", "traceparent", "tracestate", "X-Requested-With")
_ANSWER = [
    (
        b"access-control-expose-headers",
        (
            b"Accept-Encoding, Allow, ETag, Idempotency-Replayed, Link, Location, RateLimit, RateLimit-Policy, "
            b"Retry-After, WWW-Authenticate, X-Request-ID, X-Total-Count"
        ),
    )
]


class CORSMiddleware:
    """ASGI middleware: marks the answers to allowed origins, those to preflights too (the Fetch standard)."""

    def __init__(self, app: ASGIApp, origins: Sequence[str], headers: Sequence[str] = ()) -> None:
        self._app = app
        self._any = "*" in origins
        self._origins = {origin.encode().lower() for origin in origins}
        self._preflight = _for_preflights(headers)
        self._varies = [] if self._any or not origins else [(b"vary", b"Origin")]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass everything on."""
        if not self._origins:
            await self._app(scope, receive, send)
            return
        origin = dict(scope["headers"]).get(b"origin")
        if marks := self._marks(origin, self._preflight if is_preflight(scope) else _ANSWER):
            await self._app(scope, receive, _marking(send, marks))
        else:
            await self._app(scope, receive, send)

    def _marks(self, origin: bytes | None, allowed: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        """A listed origin goes with credentials; a wildcard without them, as the standard demands.

        Where the answer depends on the origin, it says so without one too: caches keep it for everybody.
        """
        if origin is None or not (self._any or origin.lower() in self._origins):
            return self._varies
        if self._any:
            return [(b"access-control-allow-origin", b"*"), *allowed]
        return [
            *self._varies,
            (b"access-control-allow-origin", origin),
            (b"access-control-allow-credentials", b"true"),
            *allowed,
        ]


def _for_preflights(headers: Sequence[str]) -> list[tuple[bytes, bytes]]:
    names = {name.lower(): name for name in (*_READ, *_ADDED_BY_CLIENTS, *headers)}
    return [
        (b"access-control-allow-methods", b"GET, HEAD, POST, PUT, PATCH, DELETE"),
        (b"access-control-allow-headers", ", ".join(names.values()).encode()),
        (b"access-control-max-age", b"600"),
    ]


class Preflight:
    """ASGI middleware inside `CORSMiddleware`: answers preflights, which have no token."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a preflight; pass everything else on."""
        app = ASGIResponse(204, [], b"") if is_preflight(scope) else self._app
        await app(scope, receive, send)


def is_preflight(scope: Scope) -> bool:
    """Return whether a browser asks before it sends the request itself."""
    if scope.get("method") != "OPTIONS":
        return False
    headers = dict(scope["headers"])
    return bool(headers.get(b"origin")) and b"access-control-request-method" in headers


def _marking(send: Send, marks: list[tuple[bytes, bytes]]) -> Any:
    async def marked(message: Any) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], *marks]
        await send(message)

    return marked
