"""Whole answers as ASGI apps, for what answers outside of Litestar's router too."""

from collections.abc import Iterable

from litestar.types import Receive, Scope, Send

from app.lib.errors import PROBLEM_JSON, ApiError, problem_body

JSON = b"application/json"
HTML = b"text/html; charset=utf-8"


class Reply:
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


def problem_reply(error: ApiError, scope: Scope) -> Reply:
    """Render an error for the request that caused it."""
    body = problem_body(error, instance=scope["path"], request_id=scope["state"]["request_id"])
    headers = [(name.lower().encode(), value.encode()) for name, value in error.headers.items()]
    return Reply(error.status, [(b"content-type", PROBLEM_JSON), *headers], body)
