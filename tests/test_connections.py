"""What one connection, or one address, may cost the server, and that refusals are read before the connection ends."""

import asyncio
import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing

import pytest

from app.lib.settings import Settings
from tests.live import PATIENCE_SECONDS, Server, environment, wait_until
from tests.support import SECRET, token_for, url_of
from tests.wire import chunked, converse, request, responses_in

TODOS = "/api/connections/todos"
JSON = "Content-Type: application/json"
AUTHORIZED = f"Authorization: Bearer {token_for('connections')}"
CHUNKED = ["Transfer-Encoding: chunked"]
MOST = 16
ENDLESS_BYTES = 64 * 1024 * 1024


@pytest.fixture(scope="module")
def server(settings: Settings) -> Iterator[Server]:
    """Run the server on the shared database, with few connections."""
    assert settings.database_url
    env = environment(database_url=url_of(settings), better_auth_secret=SECRET, max_connections=MOST)
    with Server(env) as running:
        yield running


def send_endlessly(server: Server, start: bytes, piece: bytes) -> tuple[int, bytes]:
    """Send pieces, reading meanwhile, until the server closes; return how many bytes were sent, and the answer."""
    answer, sent = b"", 0
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE_SECONDS) as client:
        client.sendall(start)
        client.settimeout(0.01)
        while sent < ENDLESS_BYTES:
            try:
                sent += client.send(piece)
                answer += client.recv(65536)
            except TimeoutError:
                continue
            except ConnectionError:
                break
    return sent, answer


ENDLESS = {
    "chunks": (b"", b"1\r\n \r\n" * 10_000),
    "extensions": (b"", (b"1;" + b"x" * 100 + b"\r\n \r\n") * 1_000),
    "an extension": (b"1;", b"x" * 100_000),
    "trailers": (b"0\r\n", b"X: x\r\n" * 10_000),
    "a trailer": (b"0\r\nX: ", b"x" * 100_000),
}


@pytest.mark.parametrize("kind", ENDLESS)
@pytest.mark.parametrize(("line", "statuses"), [("X-No: token", [401]), (AUTHORIZED, [400, 413])])
def test_endless_refused_body_ends_its_connection(server: Server, kind: str, line: str, statuses: list[int]) -> None:
    begin, piece = ENDLESS[kind]
    head = request("endless", TODOS, JSON, line, method="POST", framing=CHUNKED)
    sent, answer = send_endlessly(server, head + begin, piece)
    assert sent < ENDLESS_BYTES
    assert [each.status in statuses for each in responses_in(answer)] == [True]


def test_small_chunks_extensions_and_trailers_are_accepted(server: Server) -> None:
    body = json.dumps({"title": "x", "description": "y" * 9_000}).encode().ljust(40_000)
    head = request("first", TODOS, JSON, AUTHORIZED, method="POST", framing=CHUNKED)
    last = request("last", TODOS, "Connection: close")
    named = b"".join(b"400;name=value\r\n%s\r\n" % body[at : at + 1024] for at in range(0, 39 * 1024, 1024))
    for content in (chunked(body, 1), named + b"0\r\nX-Trailer: x\r\nY: y\r\n\r\n"):
        responses = converse(server.port, [head + content + last])
        assert [(each.request_id, each.status) for each in responses] == [("first", 201), ("last", 401)]


@pytest.mark.parametrize(("line", "status"), [(AUTHORIZED, 413), ("X-No: token", 401)])
def test_refusal_is_readable_before_the_body_was_sent(server: Server, line: str, status: int) -> None:
    one = request("large", TODOS, JSON, line, "Connection: close", method="POST", body=b" " * 3_000_000)

    async def post() -> list[int]:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        with closing(writer):
            writer.write(one)
            await writer.drain()
            return [response.status for response in responses_in(await reader.read())]

    async def post_often() -> list[list[int]]:
        return [await post() for _ in range(20)]

    assert asyncio.run(post_often()) == [[status]] * 20


def test_one_address_cannot_use_all_connections(server: Server) -> None:
    health = request("health", TODOS, "Connection: close")

    def status_for(address: str) -> int:
        with connection(address) as client:
            client.sendall(health)
            answer = b""
            while received := client.recv(65536):
                answer += received
            return responses_in(answer)[0].status

    def connection(address: str) -> socket.socket:
        return socket.create_connection(
            ("127.0.0.1", server.port), timeout=PATIENCE_SECONDS, source_address=(address, 0)
        )

    with ExitStack() as stack:
        for _ in range(MOST * 3 // 4):
            stack.enter_context(connection("127.0.0.2"))
        for _ in range(10):
            assert status_for("127.0.0.2") == 503
            assert status_for("127.0.0.3") == 401
    wait_until(lambda: status_for("127.0.0.2") == 401)


def test_stop_ends_lingering_connections(settings: Settings) -> None:
    assert settings.database_url
    env = environment(database_url=url_of(settings), better_auth_secret=SECRET)
    head = request("large", TODOS, "Connection: close", method="POST", framing=["Content-Length: 3000000"])
    with Server(env) as server, socket.create_connection(("127.0.0.1", server.port)) as client:
        client.settimeout(PATIENCE_SECONDS)
        client.sendall(head)
        while client.recv(65536):
            pass
        assert server.stop() in (0, -15)
