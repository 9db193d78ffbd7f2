"""CORS (the Fetch standard): let pages of the allowed origins read responses."""

from collections.abc import Sequence

from litestar.types import ASGIApp, Message, Receive, Scope, Send

from app.lib.http.asgi import ASGIResponse

_READ = ("Authorization", "Content-Type", "Idempotency-Key", "If-Match", "If-None-Match", "X-Request-ID")
# Tracing in browsers (W3C Trace Context and Baggage, Sentry) and HTTP clients add these to every request. A preflight
# must allow them, or the request fails.
_ADDED_BY_CLIENTS = ("baggage", "sentry-trace", "traceparent", "tracestate", "X-Requested-With")
_EXPOSED = [
    (
        b"access-control-expose-headers",
        (
            b"Accept-Encoding, Allow, ETag, Idempotency-Replayed, Link, Location, RateLimit, RateLimit-Policy, "
            b"Retry-After, WWW-Authenticate, X-Request-ID, X-Total-Count"
        ),
    )
]


class CORSMiddleware:
    """Adds CORS headers to responses, also to errors, which the page could not read otherwise."""

    def __init__(self, app: ASGIApp, origins: Sequence[str], headers: Sequence[str] = ()) -> None:
        self._app = app
        self._any = "*" in origins
        self._origins = {origin.encode().lower() for origin in origins}
        self._preflight = _for_preflights(headers)
        self._varies = [] if self._any or not origins else [(b"vary", b"Origin")]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not self._origins:
            await self._app(scope, receive, send)
            return
        origin = dict(scope["headers"]).get(b"origin")
        if headers := self._headers(origin, self._preflight if is_preflight(scope) else _EXPOSED):
            await self._app(scope, receive, _adding(send, headers))
        else:
            await self._app(scope, receive, send)

    def _headers(self, origin: bytes | None, allowed: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        # `Vary` is also sent without an origin: a cache may keep that response and send it to a page later.
        if origin is None or not (self._any or origin.lower() in self._origins):
            return self._varies
        if self._any:  # the standard forbids credentials with a wildcard
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
    """Answers preflights, inside of `CORSMiddleware` and before authentication: browsers send no token with them."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = ASGIResponse(204, [], b"") if is_preflight(scope) else self._app
        await app(scope, receive, send)


def is_preflight(scope: Scope) -> bool:
    if scope.get("method") != "OPTIONS":
        return False
    headers = dict(scope["headers"])
    return bool(headers.get(b"origin")) and b"access-control-request-method" in headers


def _adding(send: Send, headers: list[tuple[bytes, bytes]]) -> Send:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], *headers]
        await send(message)

    return send_with_headers
