"""Whole answers as ASGI apps, for what answers outside of Litestar's router too, and the headers that all have."""

from collections.abc import Iterable, Mapping

from litestar.types import Receive, Scope, Send

from app.lib.errors import PROBLEM_JSON, ApiError, problem_body
from app.lib.http.references import reference
from app.lib.settings import Settings

JSON = b"application/json"
HTML = b"text/html; charset=utf-8"
CONTENT_POLICY = (b"content-security-policy", b"default-src 'none'")  # JSON may load nothing at all
PROBLEM_HEADERS = [(b"content-type", PROBLEM_JSON), CONTENT_POLICY]


class ASGIResponse:
    """A whole answer as an ASGI app."""

    __slots__ = ("body", "headers", "status")

    def __init__(self, status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes) -> None:
        self.status, self.body = status, body
        bodiless = status in (204, 304)
        self.headers = [*headers] if bodiless else [*headers, (b"content-length", b"%d" % len(body))]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI
        """Send it."""
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": False})


def problem_response(error: ApiError, scope: Scope) -> ASGIResponse:
    """Render an error for the request that caused it, and leave word of it for the log."""
    if error.event:
        scope["state"]["refused"] = (error.event, error.cause)
    body = problem_body(error, instance=reference(scope), request_id=scope["state"]["request_id"])
    return ASGIResponse(error.status, [(b"content-type", PROBLEM_JSON), *header_pairs(error.headers)], body)


def header_pairs(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    """Give headers as ASGI has them."""
    return [(name.lower().encode(), value.encode()) for name, value in headers.items()]


def security_headers(settings: Settings) -> list[tuple[bytes, bytes]]:
    """Give the headers of every answer, whoever makes it."""
    headers = [
        (b"x-content-type-options", b"nosniff"),
        (b"referrer-policy", b"no-referrer"),
        (b"cache-control", b"no-store"),
    ]
    if settings.in_production:
        headers.append((b"strict-transport-security", b"max-age=63072000; includeSubDomains"))
    return headers
