import logging
import re
from uuid import uuid4

from fastapi import HTTPException, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from benchmarks.peers.fastapi_sqlmodel.errors import problem

logger = logging.getLogger("peer")

SAFE_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'"),
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"no-referrer"),
)
SANE_REQUEST_ID = re.compile(rb"[A-Za-z0-9._~:@/+=-]{1,128}")


class EnvelopeMiddleware:
    """Add the request id and security headers, bound the body, and answer 500 for unhandled errors."""

    def __init__(self, app: ASGIApp, body_limit: int) -> None:
        self.app = app
        self.body_limit = body_limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = request_id_of(scope)
        scope.setdefault("state", {})["request_id"] = request_id.decode()
        headers = (*SAFE_HEADERS, (b"x-request-id", request_id))
        started = False
        received = 0

        async def send_with_headers(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message["headers"] = [*message["headers"], *headers]
            await send(message)

        async def receive_within_limit() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self.body_limit:
                raise HTTPException(413, "The body is too large")
            return message

        try:
            await self.app(scope, receive_within_limit, send_with_headers)
        except Exception:
            logger.exception("Unhandled error")
            if started:
                raise
            response = problem(Request(scope), 500, "The server could not answer this request")
            await response(scope, receive, send_with_headers)


def request_id_of(scope: Scope) -> bytes:
    for name, value in scope["headers"]:
        if name == b"x-request-id" and SANE_REQUEST_ID.fullmatch(value):
            return bytes(value)
    return uuid4().hex.encode()
