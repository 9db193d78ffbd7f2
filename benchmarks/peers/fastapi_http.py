"""What the contract asks of every answer of the peer: problem documents, request ids, the body limit."""

import logging
import re
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any
from uuid import uuid4

from asyncpg import InterfaceError
from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic_core import to_json
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

logger = logging.getLogger("peer")

SAFE_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'"),
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"no-referrer"),
)
SANE_REQUEST_ID = re.compile(rb"[A-Za-z0-9._~:@/+=-]{1,128}")
DETAILS = {400: "The body is not valid JSON", 404: "Not found", 405: "Method not allowed"}

MISSING_TOKEN = HTTPException(401, "Missing authentication token", {"WWW-Authenticate": "Bearer"})
INVALID_TOKEN = HTTPException(401, "Invalid or expired token", {"WWW-Authenticate": 'Bearer error="invalid_token"'})
FORBIDDEN = HTTPException(403, "Forbidden: not authorized to access this resource")

type Authenticate = Callable[[Request, HTTPAuthorizationCredentials | None], Awaitable[str]]


class Envelope:
    """Pure ASGI, as Starlette's documentation advises where each microsecond counts."""

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
            answer = problem(Request(scope), 500, "The server could not answer this request")
            await answer(scope, receive, send_with_headers)


def request_id_of(scope: Scope) -> bytes:
    for name, value in scope["headers"]:
        if name == b"x-request-id" and SANE_REQUEST_ID.fullmatch(value):
            return bytes(value)
    return uuid4().hex.encode()


def problem(
    request: Request, status: int, detail: str, headers: dict[str, str] | None = None, **members: Any
) -> Response:
    document = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "instance": request.scope["path"],
        "request_id": request.state.request_id,
        **members,
    }
    return Response(to_json(document), status, headers, "application/problem+json")


def invalid(*locations: tuple[str, str], message: str) -> RequestValidationError:
    return RequestValidationError([{"type": "value_error", "loc": loc, "msg": message} for loc in locations])


def field_error(error: dict[str, Any]) -> dict[str, str]:
    """Name the place as the contract does: a JSON pointer into the body, or a query parameter."""
    detail = printable(error["msg"]).removeprefix("Value error, ")
    place, *path = error["loc"]
    if place == "query":
        return {"parameter": printable(path[0]) if path else "", "detail": detail}
    steps = (printable(step).replace("~", "~0").replace("/", "~1") for step in path)
    return {"pointer": "".join(f"/{step}" for step in steps), "detail": detail}


def printable(value: object) -> str:
    """Clients can send lone surrogates, which UTF-8 cannot hold."""
    return str(value).encode(errors="replace").decode()


class Errors:
    """Renders every error as a problem document; whoever may not know of it learns only that."""

    def __init__(self, app: FastAPI, authenticate: Authenticate, bearer: HTTPBearer) -> None:
        self._app = app
        self._authenticate = authenticate
        self._bearer = bearer
        app.add_exception_handler(StarletteHTTPException, self.on_http_error)
        app.add_exception_handler(RequestValidationError, self.on_invalid)
        for kind in (OSError, PoolTimeoutError, DBAPIError, InterfaceError):
            app.add_exception_handler(kind, self.on_database_error)

    async def on_http_error(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, StarletteHTTPException)
        if error.status_code not in (401, 403) and (refusal := await self._refusal(request)):
            error = refusal
        headers = dict(error.headers or {})
        if error.status_code == 405:
            headers["Allow"] = ", ".join(allowed_methods(self._app, request.scope))
            if request.method == "OPTIONS":
                return Response(status_code=204, headers=headers)
        detail = DETAILS.get(error.status_code, error.detail)
        return problem(request, error.status_code, detail, headers)

    async def on_invalid(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        if refusal := await self._refusal(request):
            return await self.on_http_error(request, refusal)
        errors = error.errors()
        if any(item["type"] == "json_invalid" for item in errors):
            return problem(request, 400, DETAILS[400])
        return problem(request, 422, "The request is invalid", errors=[field_error(item) for item in errors])

    async def on_database_error(self, request: Request, error: Exception) -> Response:
        if isinstance(error, DBAPIError) and not is_unavailable(error):
            raise error
        return problem(request, 503, "The database is unavailable, try again later", {"Retry-After": "5"})

    async def _refusal(self, request: Request) -> HTTPException | None:
        # The router's 404 and 405 and a body that cannot be read come before FastAPI's dependencies.
        if hasattr(request.state, "user_id"):
            return None
        try:
            await self._authenticate(request, await self._bearer(request))
        except HTTPException as refusal:
            return refusal
        return None


def allowed_methods(app: FastAPI, scope: Scope) -> list[str]:
    """The methods of all routes of this path; Starlette names only those of the first."""
    matching = (route for route in app.routes if route.matches(dict(scope))[0] is not Match.NONE)
    return sorted({"OPTIONS"}.union(*(getattr(route, "methods", None) or () for route in matching)))


def is_unavailable(error: DBAPIError) -> bool:
    state = getattr(error.orig, "sqlstate", None)
    return error.connection_invalidated or state is None or state.startswith(("08", "57P0", "53"))
