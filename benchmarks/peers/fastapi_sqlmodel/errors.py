"""Problem documents (RFC 9457) for every error."""

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

from asyncpg import InterfaceError
from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic_core import to_json
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.routing import Match
from starlette.types import Scope

DETAILS = {400: "The body is not valid JSON", 404: "Not found", 405: "Method not allowed"}

MISSING_TOKEN = HTTPException(401, "Missing authentication token", {"WWW-Authenticate": "Bearer"})
INVALID_TOKEN = HTTPException(401, "Invalid or expired token", {"WWW-Authenticate": 'Bearer error="invalid_token"'})
FORBIDDEN = HTTPException(403, "Forbidden: not authorized to access this resource")

type Authenticate = Callable[[Request, HTTPAuthorizationCredentials | None], Awaitable[str]]


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
    """Return the error with a JSON pointer into the body, or with the name of a query parameter."""
    detail = printable(error["msg"]).removeprefix("Value error, ")
    place, *path = error["loc"]
    if place == "query":
        return {"parameter": printable(path[0]) if path else "", "detail": detail}
    steps = (printable(step).replace("~", "~0").replace("/", "~1") for step in path)
    return {"pointer": "".join(f"/{step}" for step in steps), "detail": detail}


def printable(value: object) -> str:
    """Replace lone surrogates, which clients can send and UTF-8 cannot encode."""
    return str(value).encode(errors="replace").decode()


class ErrorHandlers:
    """Render every error as a problem document; a caller without access gets the 401 or 403 first."""

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
        # FastAPI raises 404, 405 and errors of the body before it runs the dependencies that authenticate.
        if hasattr(request.state, "user_id"):
            return None
        try:
            await self._authenticate(request, await self._bearer(request))
        except HTTPException as refusal:
            return refusal
        return None


def allowed_methods(app: FastAPI, scope: Scope) -> list[str]:
    """Return the methods of all routes of this path; Starlette's Allow names only those of the first route."""
    matching = (route for route in app.routes if route.matches(dict(scope))[0] is not Match.NONE)
    return sorted({"OPTIONS"}.union(*(getattr(route, "methods", None) or () for route in matching)))


def is_unavailable(error: DBAPIError) -> bool:
    state = getattr(error.orig, "sqlstate", None)
    return error.connection_invalidated or state is None or state.startswith(("08", "57P0", "53"))
