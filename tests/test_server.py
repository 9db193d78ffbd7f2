"""The server's own part of HTTP, over raw sockets."""

import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import ClassVar

import psutil
import pytest

from app.lib.log import SERVER_LINES_PER_MINUTE
from app.lib.settings import Settings
from tests.live import PATIENCE_SECONDS, Server, environment, wait_until
from tests.support import SECRET, token_for, url_of


@pytest.fixture(scope="module")
def server(settings: Settings) -> Iterator[Server]:
    """Run the server on the shared database."""
    assert settings.database_url
    env = environment(database_url=url_of(settings), better_auth_secret=SECRET)
    with Server(env) as running:
        yield running


@pytest.fixture(scope="module")
def impatient(settings: Settings) -> Iterator[Server]:
    """Run a server that waits for nobody, and takes few connections, as in production."""
    assert settings.database_url
    env = environment(
        environment="production",
        database_url=url_of(settings),
        better_auth_secret=SECRET,
        client_timeout=0.3,
        max_connections=20,
    )
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
def test_malformed_http_is_a_problem_document(server: Server, request_: bytes) -> None:
    head, _, body = exchange(server, request_).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"content-type: application/problem+json" in head
    assert json.loads(body)["detail"] == "Invalid HTTP request received."


@pytest.mark.parametrize("filler", [b"X-Filler: " + b"x" * 10_000 + b"\r\n", b"x" * 10_000])
def test_endless_headers_are_refused(server: Server, filler: bytes) -> None:
    answer = exchange(server, b"GET / HTTP/1.1\r\nHost: x\r\nX: ", *[filler] * 100)
    assert answer == b"" or b"The headers are too large" in answer  # the rest may have met a closed connection
    assert exchange(server, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").startswith(b"HTTP/1.1 401")


def test_large_headers_in_one_read_are_refused(server: Server) -> None:
    for size, status in ((60_000, b"401"), (90_000, b"400"), (200_000, b"400")):
        answer = exchange(server, b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * size + b"\r\nConnection: close\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 " + status) or (size > 150_000 and answer == b"")


def test_trailers_are_not_headers(server: Server) -> None:
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


def connect(server: Server) -> socket.socket:
    """Give a connection on which nothing is waited for longer than what is broken takes."""
    return socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE_SECONDS)


def rest_of(client: socket.socket) -> bytes:
    """Read until the server closes."""
    answer = b""
    try:
        while received := client.recv(65536):
            answer += received
    except ConnectionError:
        pass
    return answer


def head(path: str = "/api/slow/todos", *, method: str = "POST", length: int = 0, more: str = "") -> bytes:
    return (
        f"{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token_for('slow')}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {length}\r\n{more}\r\n"
    ).encode()


BODY = b'{"title": "x"}'


class TestSlowClients:
    def test_silent_connection_is_closed(self, impatient: Server) -> None:
        with connect(impatient) as client:
            assert rest_of(client) == b""

    @pytest.mark.parametrize("begun", [b"G", b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nHost: x\r\n"])
    def test_missing_headers_are_408(self, impatient: Server, begun: bytes) -> None:
        with connect(impatient) as client:
            client.sendall(begun)
            assert rest_of(client).startswith(b"HTTP/1.1 408 ")

    def test_slow_headers_are_408(self, impatient: Server) -> None:
        with connect(impatient) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n")
            answer = trickle(client, b"X-Filler: x\r\n")
        assert answer.startswith(b"HTTP/1.1 408 ")

    def test_empty_lines_do_not_extend_the_timeout(self, impatient: Server) -> None:
        with connect(impatient) as client:
            client.sendall(head(length=len(BODY)) + BODY)
            assert status_of(client) == 201
            assert trickle(client, b"\r\n") == b""

    @pytest.mark.parametrize("sent", [b"", b'{"title": "never'])
    @pytest.mark.parametrize("more", ["", "Idempotency-Key: slow\r\n"])
    def test_missing_body_is_408(self, impatient: Server, sent: bytes, more: str) -> None:
        with connect(impatient) as client:
            client.sendall(head(length=100, more=more) + sent)
            told, _, body = rest_of(client).partition(b"\r\n\r\n")
        assert told.startswith(b"HTTP/1.1 408 ")
        assert b"connection: close" in told
        assert json.loads(body)["detail"] == "The request did not arrive in time"
        assert json.loads(body)["instance"] == "/api/slow/todos"

    def test_slow_body_is_408(self, impatient: Server) -> None:
        with connect(impatient) as client:
            client.sendall(head(length=1_000_000))
            assert b"HTTP/1.1 408 " in trickle(client, b" ")

    def test_body_refused_early_holds_no_connection(self, impatient: Server) -> None:
        with connect(impatient) as client:
            client.sendall(b"POST /api/x/todos HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n")
            assert trickle(client, b" ").startswith(b"HTTP/1.1 401 ")

    def test_body_in_pieces_is_read(self, impatient: Server) -> None:
        body = json.dumps({"title": "x", "description": "y" * 5000}).encode()
        with connect(impatient) as client:
            client.sendall(head(length=len(body)))
            for start in range(0, len(body), 500):
                client.sendall(body[start : start + 500])
                time.sleep(0.05)
            assert status_of(client) == 201

    def test_consecutive_requests_are_served_on_one_connection(self, impatient: Server) -> None:
        with connect(impatient) as client:
            for _ in range(8):
                client.sendall(head(length=len(BODY)) + BODY)
                assert status_of(client) == 201
                time.sleep(0.1)

    def test_unread_response_is_dropped(self, impatient: Server) -> None:
        self.fill(impatient)
        with connect(impatient) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            pipelined = head("/api/slow/todos?limit=100", method="GET") * 40
            client.sendall(pipelined)
            wait_until(lambda: open_connections(impatient) == 0)

    def fill(self, server: Server) -> None:
        body = json.dumps({"title": "x", "description": "y" * 10_000}).encode()
        answer = exchange(server, (head(length=len(body)) + body) * 60)
        assert answer.count(b"HTTP/1.1 201 ") == 60

    def test_slow_clients_do_not_delay_others(self, impatient: Server) -> None:
        with ExitStack() as stack:
            for _ in range(10):
                stack.enter_context(connect(impatient)).sendall(b"GET / HTTP/1.1\r\n")
            assert exchange(impatient, head("/api/health", method="GET")).startswith(b"HTTP/1.1 200 ")


def status_of(client: socket.socket) -> int:
    """Read one answer whole, and give its status."""
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += client.recv(65536)
    told, _, body = answer.partition(b"\r\n\r\n")
    length = int(told.partition(b"content-length: ")[2].partition(b"\r\n")[0])
    while len(body) < length:
        body += client.recv(65536)
    return int(told.split(b" ")[1])


class TestItsOwnAnswers:
    HEADERS: ClassVar[dict[str, str]] = {
        "content-type": "application/problem+json",
        "content-security-policy": "default-src 'none'",
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
        "cache-control": "no-store",
        "strict-transport-security": "max-age=63072000; includeSubDomains",
        "connection": "close",
    }

    def assert_ours(self, answer: bytes, status: int) -> dict[str, str]:
        told, _, body = answer.partition(b"\r\n\r\n")
        first, *lines = told.decode().split("\r\n")
        assert int(first.split(" ")[1]) == status
        headers = dict(line.split(": ", 1) for line in lines)
        assert headers.items() >= self.HEADERS.items()
        assert len(headers) == len(lines)
        problem = json.loads(body)
        assert (problem["status"], problem["request_id"]) == (status, headers["x-request-id"])
        return headers

    def test_server_responses_have_common_headers(self, impatient: Server) -> None:
        self.assert_ours(exchange(impatient, b"nonsense\r\n\r\n"), 400)
        with connect(impatient) as client:
            client.sendall(b"GET / HTTP/1.1\r\n")
            self.assert_ours(rest_of(client), 408)
        with connect(impatient) as client:
            client.sendall(head(length=100))
            self.assert_ours(rest_of(client), 408)

    def test_too_many_connections_are_503(self, impatient: Server) -> None:
        wait_until(lambda: open_connections(impatient) == 0)
        with ExitStack() as stack:
            clients = [stack.enter_context(connect(impatient)) for _ in range(25)]
            told = [answer for answer in map(rest_of, clients) if answer]
            assert told
            for answer in told:
                assert self.assert_ours(answer, 503)["retry-after"].isdigit()
        wait_until(lambda: open_connections(impatient) == 0)
        assert exchange(impatient, head("/api/health", method="GET")).startswith(b"HTTP/1.1 200 ")

    @pytest.mark.parametrize("nonsense", [b"\x1b[31mnonsense\n\n", b"GET /\x00 HTTP/1.1\r\n\r\n"])
    def test_malformed_requests_do_not_fill_the_log(self, impatient: Server, nonsense: bytes) -> None:
        for _ in range(2 * SERVER_LINES_PER_MINUTE):
            exchange(impatient, nonsense)
        told = [line for line in impatient.output.splitlines() if "Invalid HTTP request" in line]
        assert 0 < len(told) < 2 * SERVER_LINES_PER_MINUTE
        assert impatient.output.isascii()
        assert "\x1b" not in impatient.output
        assert {json.loads(line)["event"] for line in told} == {"Invalid HTTP request received."}


def trickle(client: socket.socket, piece: bytes) -> bytes:
    """Send piece after piece until the server closes; give what it said."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    client.settimeout(0.02)
    answer = b""
    while time.monotonic() < deadline:
        try:
            client.sendall(piece)
            received = client.recv(65536)
        except TimeoutError:
            continue
        except ConnectionError:
            return answer
        if not received:
            return answer
        answer += received
    raise AssertionError("the server keeps waiting")


def open_connections(server: Server) -> int:
    found = psutil.Process(server.process.pid).net_connections("tcp")
    return sum(connection.status == psutil.CONN_ESTABLISHED and bool(connection.raddr) for connection in found)
