"""The server's own part of HTTP, over raw sockets."""

import json
import socket
from collections.abc import Iterator

import pytest

from app.lib.settings import Settings
from tests.live import Server, environment
from tests.support import SECRET, token_for


@pytest.fixture(scope="module")
def server(settings: Settings) -> Iterator[Server]:
    """Run the server on the shared database."""
    assert settings.database_url
    env = environment(database_url=settings.database_url.get_secret_value(), better_auth_secret=SECRET)
    with Server(env) as running:
        yield running


def exchange(server: Server, *parts: bytes) -> bytes:
    """Send, and read until the server closes or has nothing more to say."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as client:
        answer = b""
        try:
            for part in parts:
                client.sendall(part)
            client.settimeout(2)
            while received := client.recv(65536):
                answer += received
        except (TimeoutError, ConnectionError):
            pass
        return answer


@pytest.mark.parametrize("request_", [b"nonsense\r\n\r\n", b"GET /\xff HTTP/1.1\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n"])
def test_what_is_no_http_gets_a_problem(server: Server, request_: bytes) -> None:
    head, _, body = exchange(server, request_).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"content-type: application/problem+json" in head
    assert json.loads(body)["detail"] == "Invalid HTTP request received."


@pytest.mark.parametrize("filler", [b"X-Filler: " + b"x" * 10_000 + b"\r\n", b"x" * 10_000])
def test_headers_that_never_end_are_ended(server: Server, filler: bytes) -> None:
    answer = exchange(server, b"GET / HTTP/1.1\r\nHost: x\r\nX: ", *[filler] * 100)
    assert answer == b"" or b"The headers are too large" in answer  # the rest may have met a closed connection
    assert exchange(server, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").startswith(b"HTTP/1.1 401")


def test_a_trailer_is_no_header(server: Server) -> None:
    token = token_for("trailer").encode()
    request = b"POST /api/trailer/todos HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    chunked = b'Transfer-Encoding: chunked\r\nConnection: close\r\n\r\nd\r\n{"title":"x"}\r\n0\r\n'
    answer = exchange(server, request + chunked + b"Authorization: Bearer " + token + b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 401")


def test_large_bodies_and_many_requests_are_no_large_headers(server: Server) -> None:
    head = f"POST /api/bulk/todos HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token_for('bulk')}\r\n"
    body = json.dumps({"title": "x", "tags": [], "padding": "x" * 200_000}).encode()
    one = f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
    assert exchange(server, one * 3).count(b"HTTP/1.1 422") == 3
