"""Render every exception as a problem document."""

from typing import Any

import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException
from litestar.types import ASGIApp, Scope

from app.lib.errors import (
    ApiError,
    BadRequest,
    MethodNotAllowed,
    NotFound,
    OwnerDeleted,
    PayloadTooLarge,
    UnsupportedMediaType,
)
from app.lib.http.asgi import problem_response
from app.lib.log import exception_summary

_log = structlog.get_logger()


class _ErrorResponse(Response[Any]):
    """Carries an error through Litestar's exception handling."""

    def __init__(self, error: ApiError) -> None:
        super().__init__(None)
        self.error = error

    def to_asgi_response(self, request: Request[Any, Any, Any], **_: Any) -> ASGIApp:  # type: ignore[override]
        return problem_response(self.error, request.scope)


def handle_error(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    """Exception handler for everything that is raised inside the router."""
    if isinstance(error, OwnerDeleted):
        raise error  # to who runs the request again
    return _ErrorResponse(as_api_error(error, request.scope))


def as_api_error(error: Exception, scope: Scope) -> ApiError:
    """Turn what Litestar or a bug raised into an answer; an unknown fault is logged, and is a bare 500."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, HTTPException) and (kind := _LITESTAR.get(error.status_code)):
        return kind("Malformed request" if kind is BadRequest else None, headers=error.headers)
    _log.error("unhandled error", request_id=scope["state"]["request_id"], **exception_summary(error))
    return ApiError()


_LITESTAR: dict[int, type[ApiError]] = {
    400: BadRequest,
    404: NotFound,
    405: MethodNotAllowed,
    413: PayloadTooLarge,
    415: UnsupportedMediaType,
}
