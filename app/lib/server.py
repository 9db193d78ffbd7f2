"""The HTTP protocol of the server: uvicorn's, with a bound on headers and errors in our shape."""

from uuid_utils import uuid7
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.lib.errors import PROBLEM_JSON, BadRequest, problem_body

MAX_HEADER_BYTES = 64 * 1024


class BoundedHttp(HttpToolsProtocol):
    """Ends connections whose headers never end, and keeps the trailers of a body from being taken for headers."""

    _in_headers = True
    _header_bytes = 0

    def data_received(self, data: bytes) -> None:
        """Parse, then count what has not led to the end of the headers."""
        super().data_received(data)
        if self._in_headers and not self.transport.is_closing():
            self._header_bytes += len(data)
            if self._header_bytes > MAX_HEADER_BYTES:
                self.send_400_response("The headers are too large")

    def on_message_begin(self) -> None:
        """Begin to count."""
        super().on_message_begin()
        self._in_headers, self._header_bytes = True, 0

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header, and no trailer."""
        if self._in_headers:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Hand the request over."""
        self._in_headers = False
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP, and close."""
        request_id = str(uuid7())
        body = problem_body(BadRequest(msg), instance="/", request_id=request_id)
        headers = [
            (b"content-type", PROBLEM_JSON),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
            (b"cache-control", b"no-store"),
            (b"content-security-policy", b"default-src 'none'"),
            (b"referrer-policy", b"no-referrer"),
            (b"x-content-type-options", b"nosniff"),
            (b"x-request-id", request_id.encode()),
        ]
        lines = [b"HTTP/1.1 400 Bad Request", *(name + b": " + value for name, value in headers), b"", body]
        self.transport.write(b"\r\n".join(lines))
        self.transport.close()
