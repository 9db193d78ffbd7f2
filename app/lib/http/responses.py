"""What crosses the wire, on top of Litestar: JSON bodies in, JSON or problems out, versions as ETags."""

from typing import Any
from urllib.parse import parse_qsl, urlencode

import msgspec
from litestar import Response
from litestar.types import ASGIApp, Scope

from app.lib.http.asgi import HTML, JSON, ASGIResponse, problem_response
from app.lib.http.references import resource_reference
from app.lib.http.requests import ApiRequest
from app.lib.validation.conditions import condition_of, matches
from app.lib.validation.query import Page

_encoder = msgspec.json.Encoder()


class _Ready(Response[Any]):
    """Carries a reply that is made already through Litestar."""

    def __init__(self, reply: ASGIApp) -> None:
        super().__init__(None)
        self._reply = reply

    def to_asgi_response(self, request: ApiRequest, **_: Any) -> ASGIApp:  # type: ignore[override]  # noqa: ARG002
        """Return it as it is."""
        return self._reply


class Versioned:
    """Mixed into a struct with `dict=True`: a version that makes its ETag and is not on the wire."""

    version: int


class ApiResponse(Response[Any]):
    """Renders a handler's struct: its `version` becomes the ETag, a created one gets its `Location`."""

    def to_asgi_response(self, request: ApiRequest, **_: Any) -> ASGIApp:  # type: ignore[override]
        """Build the ASGI app that sends it."""
        headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in self.headers.items()]
        if self.content is None:
            return ASGIResponse(self.status_code or 204, headers, b"")
        version = getattr(self.content, "version", None)
        if version is not None:
            headers.append((b"etag", tag := etag(version)))
            if request.method == "GET":
                condition = condition_of(request.headers.getall("if-match", []), ())
                if condition is not None and not condition.holds(version):
                    return problem_response(condition.failure(), request.scope)
                if matches(request.headers.getall("if-none-match", []), tag):
                    return ASGIResponse(304, headers, b"")
        if isinstance(self.content, Page):
            if self.content.next_cursor:
                headers.append((b"link", _next_page(request.scope, self.content.next_cursor)))
        elif self.status_code == 201:
            headers.append((b"location", _location(request.scope, self.content.id)))
        if isinstance(self.content, bytes):  # a page
            return ASGIResponse(self.status_code or 200, [(b"content-type", HTML), *headers], self.content)
        return ASGIResponse(self.status_code or 200, [(b"content-type", JSON), *headers], _encoder.encode(self.content))


def etag(version: int) -> bytes:
    """Give the strong ETag of a version."""
    return b'"%d"' % version


def _next_page(scope: Scope, cursor: str) -> bytes:
    """Return the `Link` to the next page (RFC 8288): this request with the cursor in place of the offset."""
    kept = [
        (name, value) for name, value in parse_qsl(scope["query_string"].decode()) if name not in ("offset", "cursor")
    ]
    query = urlencode([*kept, ("cursor", cursor)])
    return f'<{resource_reference(scope)}?{query}>; rel="next"'.encode()


def _location(scope: Scope, item_id: object) -> bytes:
    return resource_reference(scope, item_id).encode()
