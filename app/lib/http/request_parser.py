"""Where a request begins and ends in a stream of bytes, decided by its Content-Length or its chunks alone."""

import re
from typing import Any

from httptools import HttpParserUpgrade, HttpRequestParser
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.lib.errors import ApiError, BadRequest

type Headers = list[tuple[bytes, bytes]]

_TARGET = re.compile(rb"/|https?://|\*$", re.IGNORECASE)
_FRAMING = (b"content-length", b"transfer-encoding")


class RequestParser:
    """httptools' parser, for a server that never switches protocols.

    llhttp ends a request that asks for an upgrade at its headers, as if another protocol followed. This server ignores
    such a wish (RFC 9110, 7.8), so the body follows as in any request (RFC 9112, 6). Another parser reads it and all
    that comes after; a head of ours with the same framing headers leads it there. What llhttp reports as the end of the
    request is none: callbacks must ignore `on_message_complete` while `is_cut_short`.
    """

    def __init__(self, callbacks: HttpToolsProtocol) -> None:
        self._callbacks = callbacks
        self._use(callbacks)

    @property
    def is_cut_short(self) -> bool:
        """Whether the body of the current request is yet to come, from another parser."""
        return self._parser.should_upgrade()

    def should_upgrade(self) -> bool:
        """Return False, whatever the request asks for."""
        return False

    def feed_data(self, data: bytes) -> None:
        """Parse; raise `HttpParserError` for what is no HTTP, or not framed as RFC 9112 demands."""
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade as upgrade:
            self._feed_behind_head(memoryview(data)[upgrade.args[0] :])

    def _feed_behind_head(self, data: memoryview) -> None:
        while True:
            self._continue_with_body()
            try:
                self._parser.feed_data(data)
            except HttpParserUpgrade as upgrade:  # another request, in the same data
                data = data[upgrade.args[0] :]
            else:
                return

    def _continue_with_body(self) -> None:
        connection = b"keep-alive" if self.should_keep_alive() else b"close"
        head = [b"POST / HTTP/%b" % self.get_http_version().encode(), b"Connection: " + connection]
        head += [name + b": " + value for name, value in self._callbacks.headers if name in _FRAMING]
        continuation = _Continuation(self._callbacks)
        self._use(continuation)
        self._parser.feed_data(b"\r\n".join(head) + b"\r\n\r\n")
        continuation.reports_head = True

    def _use(self, callbacks: Any) -> None:
        self._parser = parser = HttpRequestParser(callbacks)
        # Requests behind one that closes the connection are passed over: they do not spoil its answer.
        parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self.get_method = parser.get_method
        self.get_http_version = parser.get_http_version
        self.should_keep_alive = parser.should_keep_alive


class _Continuation:
    """Callbacks of a parser whose first head is ours and is not reported."""

    def __init__(self, callbacks: HttpToolsProtocol) -> None:
        self.reports_head = False
        self._callbacks = callbacks
        self.on_body = callbacks.on_body
        self.on_message_complete = callbacks.on_message_complete

    def on_message_begin(self) -> None:
        if self.reports_head:
            self._callbacks.on_message_begin()

    def on_url(self, url: bytes) -> None:
        if self.reports_head:
            self._callbacks.on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.reports_head:
            self._callbacks.on_header(name, value)

    def on_headers_complete(self) -> None:
        if self.reports_head:
            self._callbacks.on_headers_complete()


def is_plain_head(method: bytes, target: bytes, version: str, headers: Headers) -> bool:
    """Return whether there is nothing to look at closely."""
    is_common = version == "1.1" and target.startswith(b"/") and method != b"CONNECT"
    return is_common and b"transfer-encoding" not in dict(headers)


def fault_in_head(method: bytes, target: bytes, version: str, headers: Headers) -> ApiError | None:
    """Return why a request is refused whose end, or whose meaning, others on the way may see elsewhere."""
    if version not in ("1.1", "1.0"):
        return BadRequest("The server speaks HTTP/1.1 and HTTP/1.0")
    if method == b"CONNECT":
        return BadRequest("The server is no proxy: CONNECT is refused")
    if not _TARGET.match(target):
        return BadRequest("The target is neither a path nor an HTTP URL")
    codings = [value for name, value in headers if name == b"transfer-encoding"]
    if codings and (version == "1.0" or codings[0].lower() != b"chunked"):
        return BadRequest("The only Transfer-Encoding is chunked, in HTTP/1.1")
    return None
