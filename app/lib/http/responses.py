"""What crosses the wire, on top of Litestar: JSON bodies in, JSON or problems out, versions as ETags."""

from typing import Any, cast
from urllib.parse import parse_qsl, urlencode

import msgspec
import structlog
from litestar import Request, Response
from litestar.datastructures import State
from litestar.exceptions import HTTPException, InternalServerException
from litestar.routes import HTTPRoute
from litestar.types import ASGIApp, Scope
from litestar.typing import FieldDefinition

from app.lib.auth.tokens import Identity
from app.lib.errors import (
    ApiError,
    BadRequest,
    MethodNotAllowed,
    NotFound,
    OwnerGone,
    PayloadTooLarge,
    UnsupportedContentEncoding,
    UnsupportedMediaType,
)
from app.lib.http.asgi import HTML, JSON, Reply, problem_reply
from app.lib.http.references import resource_reference
from app.lib.log import where
from app.lib.middleware.idempotency import reply_in_place_of_the_handler
from app.lib.validation.conditions import condition_of, matches
from app.lib.validation.json_body import decode, is_encoded
from app.lib.validation.query import Page, Query, parse_query, refuse_parameters

JSON_TYPES = ("application/json",)
PATCH_TYPES = (*JSON_TYPES, "application/merge-patch+json")

_encoder = msgspec.json.Encoder()
_log = structlog.get_logger()


class ApiRequest(Request[Identity, None, State]):
    """A request whose body must be JSON and is decoded straight into the handler's struct.

    Where the handler's `data` has a default, there may be no body.
    """

    async def body(self) -> bytes:
        """Read the body. Raises 415 before reading, 413 over the limit, 400 when there is none and must be one."""
        if is_encoded(self.scope["headers"]):
            raise UnsupportedContentEncoding
        if self._data.has_default and not await self._whole():
            return b""
        kind = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind not in body_types(str(self.method)):
            raise UnsupportedMediaType
        if not (body := await self._whole()):
            raise BadRequest("The body is empty, JSON is expected")
        return body

    async def _whole(self) -> bytes:
        try:
            return await super().body()
        except InternalServerException:  # Litestar's word for a client that has left
            raise BadRequest("The client left before the body was complete") from None

    async def json(self) -> Any:
        """Decode the body into the type of the handler's `data`."""
        body = await self.body()
        return decode(body, self._data.annotation) if body else self._data.default

    @property
    def _data(self) -> FieldDefinition:
        return self.route_handler.parsed_fn_signature.parameters["data"]


def body_types(method: str) -> tuple[str, ...]:
    """Name the media types of the bodies that a method takes (RFC 7396: a merge patch is one of PATCH)."""
    return PATCH_TYPES if method == "PATCH" else JSON_TYPES


def criteria_of(request: ApiRequest) -> Any:
    """Dependency: the query string as the struct that the handler names by `criteria=`."""
    return parse_query(request.scope["query_string"], cast(type[Query], request.route_handler.opt["criteria"]))


async def before_handler(request: Request[Any, Any, Any]) -> Response[Any] | None:
    """Answer OPTIONS and what is not run again, and refuse parameters where a handler takes none.

    It runs behind the guards of the route.
    """
    if reply := reply_in_place_of_the_handler(request.scope):
        return _Ready(reply)
    if request.method == "OPTIONS":
        return ApiResponse(None, headers={"Allow": ", ".join(_methods(request))})
    if request.scope["query_string"] and "criteria" not in request.route_handler.opt:
        if "data" in request.route_handler.parsed_fn_signature.parameters:
            await request.json()
        refuse_parameters(request.scope["query_string"])
    return None


class _Ready(Response[Any]):
    """Carries a reply that is made already through Litestar."""

    def __init__(self, reply: ASGIApp) -> None:
        super().__init__(None)
        self._reply = reply

    def to_asgi_response(self, request: ApiRequest, **_: Any) -> ASGIApp:  # type: ignore[override]  # noqa: ARG002
        """Return it as it is."""
        return self._reply


def _methods(request: Request[Any, Any, Any]) -> list[str]:
    """Litestar's own OPTIONS knows the methods of one handler only."""
    template = request.scope["path_template"]
    routes = [route for route in request.app.routes if isinstance(route, HTTPRoute) and route.path_format == template]
    return sorted({method for route in routes for method in route.methods})


class Versioned:
    """Mixed into a struct with `dict=True`: a version that makes its ETag and is not on the wire."""

    version: int


class ApiResponse(Response[Any]):
    """Renders a handler's struct: its `version` becomes the ETag, a created one gets its `Location`."""

    def to_asgi_response(self, request: ApiRequest, **_: Any) -> ASGIApp:  # type: ignore[override]
        """Build the ASGI app that sends it."""
        headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in self.headers.items()]
        if self.content is None:
            return Reply(self.status_code or 204, headers, b"")
        version = getattr(self.content, "version", None)
        if version is not None:
            headers.append((b"etag", tag := etag(version)))
            if request.method == "GET":
                condition = condition_of(request.headers.getall("if-match", []), ())
                if condition is not None and not condition.holds(version):
                    return problem_reply(condition.failure(), request.scope)
                if matches(request.headers.getall("if-none-match", []), tag):
                    return Reply(304, headers, b"")
        if isinstance(self.content, Page):
            if self.content.next_cursor:
                headers.append((b"link", _next_page(request.scope, self.content.next_cursor)))
        elif self.status_code == 201:
            headers.append((b"location", _location(request.scope, self.content.id)))
        if isinstance(self.content, bytes):  # a page
            return Reply(self.status_code or 200, [(b"content-type", HTML), *headers], self.content)
        return Reply(self.status_code or 200, [(b"content-type", JSON), *headers], _encoder.encode(self.content))


def etag(version: int) -> bytes:
    """Give the strong ETag of a version."""
    return b'"%d"' % version


class _ErrorResponse(Response[Any]):
    """Carries an error through Litestar's exception handling."""

    def __init__(self, error: ApiError) -> None:
        super().__init__(None)
        self.error = error

    def to_asgi_response(self, request: Request[Any, Any, Any], **_: Any) -> ASGIApp:  # type: ignore[override]
        return problem_reply(self.error, request.scope)


def handle_error(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    """Exception handler for everything that is raised inside the router."""
    if isinstance(error, OwnerGone):
        raise error  # to who runs the request again
    return _ErrorResponse(as_api_error(error, request.scope))


def as_api_error(error: Exception, scope: Scope) -> ApiError:
    """Turn what Litestar or a bug raised into an answer; an unknown fault is logged, and is a bare 500."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, HTTPException) and (kind := _LITESTAR.get(error.status_code)):
        return kind("Malformed request" if kind is BadRequest else None, headers=error.headers)
    _log.error("unhandled error", request_id=scope["state"]["request_id"], **where(error))
    return ApiError()


_LITESTAR: dict[int, type[ApiError]] = {
    400: BadRequest,
    404: NotFound,
    405: MethodNotAllowed,
    413: PayloadTooLarge,
    415: UnsupportedMediaType,
}


def _next_page(scope: Scope, cursor: str) -> bytes:
    """Return the `Link` to the next page (RFC 8288): this request with the cursor in place of the offset."""
    kept = [
        (name, value) for name, value in parse_qsl(scope["query_string"].decode()) if name not in ("offset", "cursor")
    ]
    query = urlencode([*kept, ("cursor", cursor)])
    return f'<{resource_reference(scope)}?{query}>; rel="next"'.encode()


def _location(scope: Scope, item_id: object) -> bytes:
    return resource_reference(scope, item_id).encode()
