"""Behind a real nginx that keeps its connections to the server open and shares them between clients."""

import secrets
from collections.abc import Iterator
from itertools import product

import httpx
import pytest

from app.lib.settings import Settings
from tests.live import Server, environment
from tests.nginx import nginx
from tests.support import SECRET, token_for, url_of
from tests.wire import chunked, converse, request

UPGRADES = {
    "none": [],
    "h2c": ["Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA"],
    "websocket": ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"],
    "unknown": ["Connection: Upgrade", "Upgrade: x/1"],
}
PIECE = 16 * 1024


@pytest.fixture(scope="module")
def server(settings: Settings) -> Iterator[Server]:
    """Run the server on the shared database."""
    assert settings.database_url
    env = environment(database_url=url_of(settings), better_auth_secret=SECRET, trusted_proxies="127.0.0.1")
    with Server(env) as running:
        yield running


@pytest.fixture(scope="module")
def port(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Run nginx in front of it, with one connection to it that all clients share."""
    with nginx(tmp_path_factory.mktemp("nginx"), server.port) as port:
        yield port


@pytest.mark.parametrize("upgrade", UPGRADES)
@pytest.mark.parametrize("size", [0, PIECE, 3 * PIECE])
def test_request_in_a_body_is_not_completed_by_the_next_client(port: int, upgrade: str, size: int) -> None:
    """Somebody without a token prepares the erasure of an account; its owner comes next on the shared connection."""
    user = f"victim-{secrets.token_hex(8)}"
    url = f"http://127.0.0.1:{port}/api/{user}/todos"
    erasure = f"DELETE /api/{user}/account HTTP/1.1\r\nHost: x\r\nX-Request-ID: smuggled\r\nX-Rest: ".encode()
    body = b"\r\n" * (size // 2) + erasure  # empty lines before a request are skipped: it may begin anywhere
    attack = request("attack", "/nothing", *UPGRADES[upgrade], "Connection: close", method="POST", body=body)
    with httpx.Client(headers={"Authorization": f"Bearer {token_for(user)}"}) as victim:
        assert victim.post(url, json={"title": "Stay"}).status_code == 201
        attacked = converse(port, [attack])
        response = victim.get(url, headers={"X-Request-ID": "honest"})
        assert (response.status_code, response.headers["x-request-id"]) == (200, "honest")
        assert response.json()["total"] == 1
    assert [answer.request_id for answer in attacked] == ["attack"]


@pytest.mark.parametrize("upgrade", UPGRADES)
def test_each_request_gets_its_own_response(port: int, upgrade: str) -> None:
    """On one connection to nginx and one from it: bodies of all sizes and framings, answered early and late."""
    token = f"Authorization: Bearer {token_for('nginx')}"
    todo = b'{"title": "x"}'
    sent = b""
    statuses: list[tuple[str, int]] = []
    for size, in_chunks, line in product((0, 14, PIECE, 5 * PIECE, 25 * PIECE), (False, True), (token, "X-No: token")):
        body = todo.ljust(size) if size else b""
        framing = ["Transfer-Encoding: chunked"] if in_chunks else [f"Content-Length: {size}"]
        lines = [*UPGRADES[upgrade], "Content-Type: application/json", line]
        number = len(statuses)
        head = request(f"{number}", "/api/nginx/todos", *lines, method="POST", framing=framing)
        sent += head + (chunked(body) if in_chunks else body)
        statuses.append((f"{number}", 401 if line != token else 201 if size else 400))
    sent += request("last", "/", "Connection: close")
    answers = converse(port, [sent[start : start + 30_000] for start in range(0, len(sent), 30_000)])
    assert [(answer.request_id, answer.status) for answer in answers] == [*statuses, ("last", 401)]


def test_references_have_the_prefix_removed_by_nginx(port: int) -> None:
    user = f"auth0|{secrets.token_hex(8)}"
    base = f"http://127.0.0.1:{port}"
    with httpx.Client(base_url=base, headers={"Authorization": f"Bearer {token_for(user)}"}) as client:
        path = f"/backend/api/{user.replace('|', '%7C')}/todos"
        location = client.post(path, json={"title": "x"}).headers["location"]
        assert location.startswith(f"{path}/")
        assert client.get(location).status_code == 200
        assert client.get(f"{path}/none").json()["instance"] == f"{path}/none"
        document = client.get("/backend/api/schema/openapi.json").json()
        assert document["servers"] == [{"url": "/backend"}]


@pytest.mark.parametrize(("headers", "status"), [({"Authorization": f"Bearer {token_for('plain')}"}, 413), ({}, 401)])
def test_nginx_forwards_refusals_of_unread_bodies(port: int, headers: dict[str, str], status: int) -> None:
    """With its defaults, it asks the server to close each connection."""
    with httpx.Client(headers={"Content-Type": "application/json"} | headers) as client:
        url = f"http://127.0.0.1:{port}/plain/api/plain/todos"
        assert [client.post(url, content=b" " * 3_000_000).status_code for _ in range(10)] == [status] * 10
