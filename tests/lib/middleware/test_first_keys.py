"""A key server that is silent, away or wrong: what is said of it, and who is served meanwhile."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from app.domain.system.checks import run_checks
from app.domain.system.findings import Finding
from app.lib.auth import key_set_loading, published_keys
from app.lib.settings import Settings
from app.main import create_app
from tests.asgi import asgi_transport
from tests.lib.auth.test_jwks import key_set, published, signed
from tests.live import until
from tests.support import assert_problem, running, token_for

OK = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n"


async def about_keys(app: Any) -> list[Finding]:
    """Return the findings about keys: those about rows depend on what other tests stored."""
    return [each for each in await run_checks(app, app.state.database) if each.number.startswith("K")]


class KeyServer:
    """Answers with given bytes; None is silence."""

    def __init__(self) -> None:
        self.answer: bytes | None = OK + key_set(published("EdDSA"))
        self.asked = 0
        self.url = ""

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.asked += 1
        await reader.readuntil(b"\r\n\r\n")
        if self.answer is None:
            await reader.read()  # until the other side gives up
        else:
            writer.write(self.answer)
        writer.close()


@pytest.fixture
async def key_server() -> AsyncIterator[KeyServer]:
    """Give a server of keys on loopback."""
    server = KeyServer()
    listening = await asyncio.start_server(server.handle, "127.0.0.1", 0)
    server.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/jwks"
    yield server
    listening.close()


@pytest.fixture
async def client_with(
    settings: Settings, key_server: KeyServer
) -> AsyncIterator[Callable[..., Awaitable[httpx.AsyncClient]]]:
    """Give a function that makes a client of an application with these keys and further settings."""
    running_apps: list[Any] = []

    async def make(**given: Any) -> httpx.AsyncClient:
        app = create_app(settings.model_copy(update={"better_auth_jwks_url": key_server.url} | given))
        running_apps.append(context := running(app))
        await context.__aenter__()
        transport = asgi_transport(app)
        return httpx.AsyncClient(transport=transport, base_url="http://testserver")

    yield make
    for context in running_apps:
        await context.__aexit__(None, None, None)


def bearer(token: bytes | str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token if isinstance(token, str) else token.decode()}"}


async def test_unknown_key_ids_hold_no_slot_while_the_key_server_is_silent(
    key_server: KeyServer, client_with: Callable[..., Awaitable[httpx.AsyncClient]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(published_keys, "FIRST_INTERVAL_SECONDS", 0.0)
    client = await client_with(max_requests_in_flight=2)
    path = "/api/first-keys/todos"
    assert (await client.get(path, headers=bearer(signed("EdDSA", sub="first-keys")))).status_code == 200
    key_server.answer = None
    for number in range(20):
        made_up = bearer(signed("EdDSA", kid=f"made-up-{number}", sub="first-keys"))
        assert_problem(await client.get(path, headers=made_up), 401)
    await until(lambda: key_server.asked == 2)  # and that fetch still runs
    assert (await client.get(path, headers=bearer(signed("EdDSA", sub="first-keys", n=1)))).status_code == 200


async def test_requests_waiting_for_the_first_keys_hold_no_slot(
    key_server: KeyServer, client_with: Callable[..., Awaitable[httpx.AsyncClient]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(published_keys, "MAX_WAITING", 4)
    key_server.answer = None
    client = await client_with(max_requests_in_flight=1)
    path = "/api/first-keys/todos"
    token = bearer(signed("EdDSA", sub="first-keys", n=2))
    waiting = [asyncio.create_task(client.get(path, headers=token)) for _ in range(4)]
    await until(lambda: key_server.asked == 1)
    await asyncio.sleep(0)
    refused = await client.get(path, headers=token)
    assert_problem(refused, 503)
    assert int(refused.headers["retry-after"]) > 0
    assert not any(task.done() for task in waiting)
    shared = bearer(token_for("first-keys"))
    assert (await client.get(path, headers=shared)).status_code == 200  # of the secret: it needs none of these keys
    assert_problem(await client.get(path, headers=bearer("x.y.z")), 401)
    for task in waiting:
        task.cancel()


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"HTTP/1.1 302 Found\r\nlocation: https://example.com/\r\n\r\n", "302, a redirect"),
        (b"HTTP/1.1 404 Not Found\r\n\r\n", "404"),
        (OK + b"\n<!doctype html><p>Sign in", "HTML"),
        (OK + b'{"keys": []}', "no key"),
        (OK + b'{"keys": [{"kty": "oct", "k": "AAAA"}]}', "no key"),
        (OK + b'{"jwks": {}}', "not a JWK set"),
    ],
)
async def test_wrong_key_url_is_reported_at_startup_and_by_check(
    key_server: KeyServer,
    client_with: Callable[..., Awaitable[httpx.AsyncClient]],
    monkeypatch: pytest.MonkeyPatch,
    answer: bytes,
    reason: str,
) -> None:
    key_server.answer = answer
    events: list[dict[str, Any]] = []
    warn = SimpleNamespace(warning=lambda event, **fields: events.append({"event": event} | fields))
    monkeypatch.setattr(published_keys, "_log", warn)
    client = await client_with()
    await until(lambda: events)
    (event,) = events
    assert event["event"] == "key set not usable"
    assert event["setting"] == "BETTER_AUTH_JWKS_URL"
    assert reason in event["reason"]
    app: Any = client._transport.app  # type: ignore[attr-defined]
    (finding,) = await about_keys(app)
    assert (finding.number, finding.level) == ("K001", "error")
    assert "BETTER_AUTH_JWKS_URL" in finding.message
    assert reason in finding.message


async def test_unreachable_key_server_is_a_warning(
    key_server: KeyServer, client_with: Callable[..., Awaitable[httpx.AsyncClient]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_set_loading, "FETCH_SECONDS", 0.05)
    key_server.answer = None
    client = await client_with()
    app: Any = client._transport.app  # type: ignore[attr-defined]
    (finding,) = await about_keys(app)
    assert (finding.number, finding.level) == ("K002", "warning")
    key_server.url = "http://127.0.0.1:1/jwks"
    client = await client_with()
    app = client._transport.app  # type: ignore[attr-defined]
    assert [finding.number for finding in await about_keys(app)] == ["K002"]
    key_server.answer = OK + key_set(published("EdDSA"))
