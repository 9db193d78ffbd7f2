"""Where a request ends is decided by its Content-Length or its chunks alone: one response for each, in order."""

from collections.abc import Iterator
from itertools import product

import pytest

from app.lib.settings import Settings
from tests.live import Server, environment
from tests.support import SECRET, token_for, url_of
from tests.wire import chunked, converse, request

USER = "framing"
TODOS = f"/api/{USER}/todos"
AUTHORIZED = f"Authorization: Bearer {token_for(USER)}"
JSON = "Content-Type: application/json"
LAST = request("last", "/api/health", "Connection: close")
SMUGGLED = request("smuggled", f"/api/{USER}/account", AUTHORIZED, method="DELETE")

UPGRADES = {
    "none": [],
    "h2c": ["Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA"],
    "websocket": ["Connection: keep-alive, Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"],
    "unknown": ["Connection: UPGRADE", "Upgrade: x/1, y"],
    "two lines": ["Connection: keep-alive", "Connection: upgrade", "Upgrade: a"],
    "of a proxy": ["Proxy-Connection: Upgrade", "Upgrade: a"],
}
BODIES = {
    "none": b"",
    "todo": b'{"title": "x"}',
    "request": SMUGGLED,
    "request in the next piece": b"\r\n" * (8 * 1024) + SMUGGLED,
    "large": b'{"title": "x", "description": "' + b"y" * 9_900 + b'"}' + b" " * 30_000,
}
STATUSES = {"none": 400, "todo": 201, "request": 400, "request in the next piece": 400, "large": 201}


@pytest.fixture(scope="module")
def server(settings: Settings) -> Iterator[Server]:
    """Run the server on the shared database."""
    assert settings.database_url
    env = environment(database_url=url_of(settings), better_auth_secret=SECRET)
    with Server(env) as running:
        yield running


def answers(server: Server, *parts: bytes) -> list[tuple[str, int]]:
    """Give the request id and the status of each response; the server's own responses have an id of their own."""
    own = ("before", "first", "after", "last", "smuggled")
    responses = converse(server.port, parts)
    return [(each.request_id if each.request_id in own else "server", each.status) for each in responses]


def in_parts(head: bytes, body: bytes, before: bytes, after: bytes) -> Iterator[tuple[bytes, ...]]:
    """Cut a conversation where reads may end."""
    yield before, head, body, after
    yield (before + head + body + after,)
    yield before + head[:-30], head[-30:] + body[:5], body[5:] + after
    yield before + head + body[: len(body) // 2], body[len(body) // 2 :] + after


@pytest.mark.parametrize("upgrade", UPGRADES)
@pytest.mark.parametrize("in_chunks", [False, True], ids=["length", "chunks"])
def test_upgrade_header_changes_no_response(server: Server, upgrade: str, in_chunks: bool) -> None:
    before, after = request("before"), request("after") + LAST
    for (name, body), line in product(BODIES.items(), (AUTHORIZED, "X-No: token")):
        framing = ["Transfer-Encoding: chunked"] if in_chunks else [f"Content-Length: {len(body)}"]
        head = request("first", TODOS, *UPGRADES[upgrade], JSON, line, method="POST", framing=framing)
        status = STATUSES[name] if line == AUTHORIZED else 401
        for parts in in_parts(head, chunked(body) if in_chunks else body, before, after):
            expected = [("before", 401), ("first", status), ("after", 401), ("last", 401)]
            assert answers(server, *parts) == expected, (name, line)


@pytest.mark.parametrize("connection", ["close, Upgrade", "Upgrade, close"])
@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_last_request_may_ask_for_an_upgrade(server: Server, connection: str, version: str) -> None:
    lines = [f"Connection: {connection}", "Upgrade: h2c", JSON, AUTHORIZED]
    for body in BODIES.values():
        one = request("first", TODOS, *lines, method="POST", body=body, version=version)
        assert [name for name, _ in answers(server, one + SMUGGLED)] == ["first"]


def test_http_1_0_keep_alive_is_closed_after_its_response(server: Server) -> None:
    lines = ["Connection: keep-alive, Upgrade", "Upgrade: h2c", "Expect: 100-continue", JSON, AUTHORIZED]
    one = request("first", TODOS, *lines, method="POST", body=BODIES["todo"], version="1.0")
    assert answers(server, one + SMUGGLED) == [("first", 201)]


@pytest.mark.parametrize("upgrade", ["none", "h2c"])
def test_expect_100_continue_gets_100_or_a_final_response(server: Server, upgrade: str) -> None:
    """Whoever is refused in place of 100 may send the body or not: what comes is not parsed."""
    lines = [*UPGRADES[upgrade], JSON, "Expect: 100-continue"]
    framing = [f"Content-Length: {len(SMUGGLED)}"]
    head = request("first", TODOS, *lines, method="POST", framing=framing)
    assert answers(server, head, SMUGGLED + LAST) == [("first", 401)]
    assert answers(server, head, LAST) == [("first", 401)]
    head = request("first", TODOS, *lines, AUTHORIZED, method="POST", framing=framing)
    assert answers(server, head, SMUGGLED, LAST) == [("first", 400), ("last", 401)]


POST = f"POST {TODOS} HTTP/1.1\r\nHost: x\r\nX-Request-ID: first\r\n{JSON}\r\n{AUTHORIZED}\r\n"
UPGRADE = "Connection: Upgrade\r\nUpgrade: h2c\r\n"


@pytest.mark.parametrize(
    "ambiguous",
    [
        "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
        "Content-Length: 0\r\nContent-Length: 0\r\n\r\n",
        "Content-Length: 0, 0\r\n\r\n",
        "Content-Length: +0\r\n\r\n",
        "Content-Length: 0x0\r\n\r\n",
        "Content-Length: -1\r\n\r\n",
        "Content-Length:\r\n\r\n",
        "Content-Length: 18446744073709551616\r\n\r\n",
        "Content-Length : 0\r\n\r\n",
        "Content-Length: 0\r\n 1\r\n\r\n",
        "Transfer-Encoding: gzip\r\n\r\n",
        "Transfer-Encoding: identity\r\n\r\n",
        "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding:\r\n\r\n0\r\n\r\n",
        "X: y\r\n z\r\n\r\n",
        "X: y\n\n",
        "X: y\rZ: z\r\n\r\n",
        "X: y\r\n\n",
        "X\x00: y\r\n\r\n",
        "X : y\r\n\r\n",
        "no colon\r\n\r\n",
    ],
)
def test_nothing_is_parsed_after_an_ambiguous_head(server: Server, ambiguous: str) -> None:
    for upgrade in ("", UPGRADE):
        refused = (POST + upgrade + ambiguous).encode("latin-1") + SMUGGLED
        assert answers(server, request("before") + refused + LAST) == [("before", 401), ("server", 400)]
        assert answers(server, request("before"), refused, LAST) == [("before", 401), ("server", 400)]


@pytest.mark.parametrize(
    "line",
    [
        "CONNECT x:80 HTTP/1.1",
        "CONNECT localhost HTTP/1.1",
        "CONNECT /path HTTP/1.1",
        "PRI * HTTP/2.0",
        "GET / HTTP/2.0",
        "GET / HTTP/1.2",
        "GET / HTTP/0.9",
        "GET /",
        "GET / HTTP/1.1 ",
        "GET / http/1.1",
        "G@T / HTTP/1.1",
    ],
)
def test_nothing_is_parsed_after_another_protocol(server: Server, line: str) -> None:
    refused = f"{line}\r\nHost: x\r\nContent-Length: {len(SMUGGLED)}\r\n\r\n".encode() + SMUGGLED
    assert answers(server, request("before") + refused + LAST) == [("before", 401), ("server", 400)]
    assert answers(server, refused, SMUGGLED + LAST) == [("server", 400)]


@pytest.mark.parametrize(
    "chunks", [b"zz\r\n", b"5\nhello\r\n", b"1 \r\n", b"0x1\r\nx\r\n", b"1\r\nxx\r\n", b"1;a\nb\r\n", b"-1\r\n"]
)
@pytest.mark.parametrize("upgrade", [[], UPGRADES["h2c"]], ids=["plain", "upgrade"])
def test_broken_chunk_ends_its_request(server: Server, chunks: bytes, upgrade: list[str]) -> None:
    framing = ["Transfer-Encoding: chunked"]
    before, rest = request("before"), chunks + SMUGGLED + LAST
    head = request("first", TODOS, JSON, AUTHORIZED, *upgrade, method="POST", framing=framing)
    for parts in ((before, head, rest), (before + head + rest,), (before + head + b"1\r\nx\r\n", rest)):
        assert answers(server, *parts) == [("before", 401), ("first", 400)]
    head = request("first", TODOS, JSON, *upgrade, method="POST", framing=framing)
    assert answers(server, head, rest) == [("first", 401)]


def test_requests_before_an_error_are_answered(server: Server) -> None:
    before = request("before") * 20
    for error in (b"nonsense\r\n\r\n", b"GET / HTTP/1.1\r\nX: " + b"x" * 100_000):
        for parts in ((before + error,), (before, error)):
            got = answers(server, *parts)
            assert got[:20] == [("before", 401)] * 20
            assert got[20:] in ([("server", 400)], [])  # an unread rest may reset the connection
