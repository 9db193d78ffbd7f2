"""Responses that the server writes in the application's place."""

from uuid_utils import uuid7
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from app.lib.errors import ApiError, problem_body
from app.lib.http.asgi import PROBLEM_HEADERS, header_pairs


def own_response(error: ApiError, fixed: list[tuple[bytes, bytes]], root: str) -> bytes:
    """Write the last response of a connection."""
    request_id = str(uuid7())
    body = problem_body(error, instance=root, request_id=request_id)
    headers = [
        *PROBLEM_HEADERS,
        *header_pairs(error.headers),
        *fixed,
        (b"content-length", b"%d" % len(body)),
        (b"connection", b"close"),
        (b"x-request-id", request_id.encode()),
    ]
    lines = (name + b": " + value + b"\r\n" for name, value in headers)
    return b"".join((STATUS_LINE[error.status], *lines, b"\r\n", body))
