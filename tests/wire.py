"""HTTP/1.1 as bytes: requests that no client library would send, and the responses on a connection, counted."""

import re
import socket
from collections.abc import Iterable, Sequence

from msgspec import Struct

from tests.live import PATIENCE_SECONDS


class Response(Struct):
    """One response as it was on the wire."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def request_id(self) -> str:
        """The id of the request that it belongs to."""
        return self.headers.get("x-request-id", "")


def responses_in(received: bytes) -> list[Response]:
    """Split a connection's bytes into responses (RFC 9112, section 6), interim ones left out; fail on anything else."""
    responses: list[Response] = []
    while received:
        head, end, received = received.partition(b"\r\n\r\n")
        status_line, *lines = head.decode("latin-1").split("\r\n")
        match = re.fullmatch(r"HTTP/1\.1 (\d{3}) [ -~]*", status_line)
        assert end, f"cut off: {head[:200]!r}"
        assert match, f"not a response: {head[:200]!r}"
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        status = int(match[1])
        if status < 200:
            continue
        body, received = _body(headers, received)
        responses.append(Response(status, headers, body))
    return responses


def _body(headers: dict[str, str], received: bytes) -> tuple[bytes, bytes]:
    if headers.get("transfer-encoding") == "chunked":
        return _chunks(received)
    length = int(headers.get("content-length", "0"))
    assert len(received) >= length, "the body is cut off"
    return received[:length], received[length:]


def _chunks(received: bytes) -> tuple[bytes, bytes]:
    body = b""
    while True:
        size, _, received = received.partition(b"\r\n")
        length = int(size, 16)
        body += received[:length]
        received = received[length + 2 :]
        if not length:
            return body, received


def converse(port: int, parts: Sequence[bytes]) -> list[Response]:
    """Send the parts, each in a read of its own as far as that can be had; read until the server closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        received = b""
        try:
            for part in parts:
                client.sendall(part)
                received += _what_is_there(client)
            while data := client.recv(65536):
                received += data
        except ConnectionError:
            pass
    return responses_in(received)


def _what_is_there(client: socket.socket) -> bytes:
    """Wait a moment, so that the next part arrives later; the test holds without it, too."""
    client.settimeout(0.02)
    try:
        return client.recv(65536)
    except TimeoutError:
        return b""
    finally:
        client.settimeout(PATIENCE_SECONDS)


def request(
    request_id: str,
    target: str = "/api/health",
    *lines: str,
    method: str = "GET",
    body: bytes = b"",
    framing: Iterable[str] | None = None,
    version: str = "1.1",
) -> bytes:
    """Write a request; `framing` are its lines in place of a Content-Length."""
    framing = ([f"Content-Length: {len(body)}"] if body else []) if framing is None else framing
    head = [f"{method} {target} HTTP/{version}", "Host: localhost", f"X-Request-ID: {request_id}", *lines, *framing]
    return ("\r\n".join(head) + "\r\n\r\n").encode("latin-1") + body


def chunked(body: bytes, size: int = 10_000) -> bytes:
    """Write a body in chunks."""
    chunks = [body[start : start + size] for start in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"


def listens(port: int) -> bool:
    """Return whether somebody takes connections on a port of loopback."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
