"""A client that leaves while it sends its body."""

from collections.abc import Iterator

import pytest
from litestar import Litestar
from litestar.types import HTTPReceiveMessage, Message

from tests.asgi import http_scope
from tests.support import Client

HALF_A_BODY: tuple[HTTPReceiveMessage, ...] = (
    {"type": "http.request", "body": b"{", "more_body": True},
    {"type": "http.disconnect"},
)


async def status_of_half_a_body(
    app: Litestar, client: Client, method: str, path: str, *headers: tuple[bytes, bytes]
) -> int:
    """Send the beginning of a body and disconnect; return the status that nobody reads."""
    own = [(b"authorization", client.headers["authorization"].encode()), (b"content-type", b"application/json")]
    messages: Iterator[HTTPReceiveMessage] = iter(HALF_A_BODY)
    sent: list[Message] = []

    async def receive() -> HTTPReceiveMessage:
        return next(messages)

    async def send(message: Message) -> None:
        sent.append(message)

    await app(http_scope(path, *own, *headers, method=method), receive, send)
    first = sent[0]
    assert first["type"] == "http.response.start"
    return first["status"]


@pytest.mark.parametrize("headers", [[], [(b"idempotency-key", b"left")]], ids=["plain", "with a key"])
async def test_disconnect_during_a_required_body_is_no_error_of_the_server(
    app: Litestar, alice: Client, headers: list[tuple[bytes, bytes]], capfd: pytest.CaptureFixture[str]
) -> None:
    assert await status_of_half_a_body(app, alice, "POST", alice.todos(), *headers) == 400
    assert "unhandled" not in capfd.readouterr().err


async def test_disconnect_during_an_optional_body_is_no_error_of_the_server(
    app: Litestar, alice: Client, capfd: pytest.CaptureFixture[str]
) -> None:
    path = alice.path("tasks", (await alice.create())["id"], "complete")
    assert await status_of_half_a_body(app, alice, "PATCH", path) == 400
    assert "unhandled" not in capfd.readouterr().err
