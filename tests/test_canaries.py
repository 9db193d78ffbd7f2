"""What a server says of all that is sent to it, and what it never does."""

import json
import secrets
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import jwt
import pytest

from app.lib.settings import Settings
from tests.canaries import leaks
from tests.live import Server, environment, free_port
from tests.support import SECRET, token_for, url_of

CANARY = "canary-of-"
STORE_PASSWORD = f"{CANARY}the-store"
CLAIMS = {"email": f"{CANARY}email@leak.example", "name": f"{CANARY}name", "image": f"https://{CANARY}image.example/"}
EVIL = f'{CANARY}evil\\u001b[2J\\u0085\\u202e"}}'
JSON = {"Content-Type": "application/json"}
OWN = ("event", "level", "timestamp")

type Send = Callable[..., httpx.Response]


@pytest.fixture(scope="module", params=["hashed", "plain", "none"])
def server(settings: Settings, request: pytest.FixtureRequest) -> Iterator[Server]:
    """Run a server that tells as much as it can, of a store that is away, with a small limit for failures."""
    assert settings.database_url
    env = environment(
        environment="production",
        database_url=url_of(settings),
        better_auth_secret=SECRET,
        better_auth_secret_previous=f"{CANARY}the-previous-secret-of-the-server",
        rate_limit_per_minute=100,
        auth_failures_per_minute=30,
        rate_limit_store_url=f"redis://user:{STORE_PASSWORD}@127.0.0.1:{free_port()}/0",
        better_auth_jwks_url=f"https://127.0.0.1:{free_port()}/{CANARY}path?{CANARY}query",
        cors_origins="https://app.example.com",
        log_level="debug",
        log_user_ids=request.param,
        client_timeout=0.5,
    )
    with Server(env) as running:
        yield running


@pytest.fixture
def user() -> str:
    return f"told-{secrets.token_hex(8)}"


@pytest.fixture
def send(server: Server, user: str) -> Iterator[Send]:
    """Give a function that sends what is hidden in every place of a request that has room for it."""
    headers = {
        "Authorization": f"Bearer {token_for(user, **CLAIMS)}",
        "Cookie": f"session={CANARY}cookie",
        "User-Agent": f"{CANARY}agent",
        "Referer": f"https://{CANARY}referer.example/",
        "Origin": f"https://{CANARY}origin.example",
        "X-Forwarded-For": f"{CANARY}forwarded",
        "X-Request-ID": f"{CANARY} request id",
        "Idempotency-Key": f"{CANARY}key",
        "If-Match": f'"{CANARY}tag"',
    }
    with httpx.Client(base_url=server.url, headers=headers) as client:

        def request(method: str, path: str, drop: tuple[str, ...] = (), **options: Any) -> httpx.Response:
            prepared = client.build_request(method, path, **options)
            for name in drop:
                del prepared.headers[name]
            return client.send(prepared)

        yield request


def lines_of(server: Server, mark: int) -> list[dict[str, Any]]:
    """Give what a server has told since, whole: whatever is no JSON of ours is none of its lines."""
    lines = server.output[mark:].splitlines()
    return [json.loads(line) for line in lines if not line.startswith(("Listening on", "INFO"))]


def session_of(user: str) -> str:
    return jwt.encode({"user": {"id": user} | CLAIMS, "exp": int(time.time()) + 60}, SECRET, "HS256")


class TestOfAServer:
    def test_request_contents_do_not_appear_in_output(self, server: Server, user: str, send: Send) -> None:
        mark = len(server.output)
        todos, body = f"/api/{user}/todos", {"title": f"{CANARY}title", "description": EVIL, "tags": [f"{CANARY}tag"]}
        free = ("Idempotency-Key", "If-Match")
        created = send("POST", todos, ("If-Match",), json=body)
        one = f"{todos}/{created.json()['id']}"
        key, match = ("Idempotency-Key",), ("If-Match",)
        expected = [
            (created, 201),
            (send("POST", todos, match, json=body), 201),
            (send("POST", todos, match, json=body | {"title": f"{CANARY}other"}), 422),
            (send("GET", one), 412),
            (send("GET", one, match), 200),
            (send("GET", f"{todos}?q={CANARY}q&tag={CANARY}tag"), 200),
            (send("GET", f"{todos}?{CANARY}parameter={CANARY}value"), 422),
            (send("GET", f"{todos}?cursor={CANARY}cursor"), 422),
            (send("PATCH", one, key, json=body), 412),
            (send("PUT", one, free, json=body), 200),
            (send("POST", todos, free, json={"title": 1, f"{CANARY}field": f"{CANARY}value"}), 422),
            (
                send("POST", todos, free, content=f'{{"title": "{CANARY}', headers=JSON),
                400,
            ),
            (send("POST", todos, free, content=f"{CANARY}body", headers={"Content-Type": f"text/{CANARY}type"}), 415),
            (send("POST", todos, free, json={"title": f"{CANARY}large" * 200_000}), 413),
            (send("GET", f"/api/{user}/{CANARY}path"), 404),
            (send("BREW", todos), 400),
            (send("DELETE", todos), 405),
            (send("GET", f"/api/{CANARY}user/todos"), 403),
            (send("OPTIONS", todos, headers={"Access-Control-Request-Method": f"{CANARY}method"}), 204),
            (send("DELETE", one, key), 412),
        ]
        assert [answer.status_code for answer, _ in expected] == [status for _, status in expected]
        self.assert_told(server, mark, {"request", "forbidden"})

    def test_tokens_and_claims_do_not_appear_in_output(self, server: Server, user: str, send: Send) -> None:
        mark = len(server.output)
        now = int(time.time())
        tokens = [
            f"{CANARY}token",
            session_of(user),
            token_for(user, exp=now - 600, **CLAIMS),
            token_for(user, nbf=now + 600, **CLAIMS),
            token_for(user, secret=f"{CANARY}another-secret-of-32-bytes-or-so", **CLAIMS),
            token_for({f"{CANARY}sub": 1}, **CLAIMS),
            jwt.encode({"sub": user, "exp": now + 60}, SECRET, "HS256", headers={"crit": [f"{CANARY}crit"]}),
            jwt.encode({"sub": user, "exp": now + 60}, SECRET * 2, "HS512", headers={"kid": f"{CANARY}kid"}),
        ]
        answers = [
            send("GET", f"/api/{user}/todos", headers={"Authorization": f"{scheme} {token}"})
            for token in tokens
            for scheme in ("Bearer", CANARY)
        ]
        answers += [send("GET", f"/api/{user}/todos?access_token={tokens[-1]}", ("Authorization",)) for _ in range(40)]
        assert {answer.status_code for answer in answers} == {401, 429}
        self.assert_told(server, mark, {"request", "authentication_failed", "rate_limited"})

    def test_malformed_and_slow_requests_do_not_appear_in_output(self, server: Server) -> None:
        mark = len(server.output)
        token, json_type = f"Authorization: Bearer {token_for('x')}\r\n", "Content-Type: application/json\r\n"
        for sent in (
            f"{CANARY}line\r\n\r\n",
            f"GET /{CANARY}\x00 HTTP/1.1\r\n\r\n",
            f"GET /{CANARY}path HTTP/1.1\r\n{CANARY}header: {CANARY}",
            f"GET / HTTP/1.1\r\nX: {CANARY * 10_000}\r\n\r\n",
            f"POST /api/x/todos HTTP/1.1\r\n{token}{json_type}Content-Length: 1000\r\n\r\n{CANARY}body",
        ):
            with socket.create_connection(("127.0.0.1", server.port), timeout=60) as client:
                client.sendall(sent.encode())
                try:
                    while client.recv(65536):
                        pass
                except ConnectionError:
                    pass
        assert not leaks(server.output[mark:])
        assert all(isinstance(line["event"], str) for line in lines_of(server, mark))

    def assert_told(self, server: Server, mark: int, events: set[str]) -> None:
        told = lines_of(server, mark)
        assert {line["event"] for line in told} >= events
        assert server.output.isascii()
        assert all(line.keys() >= set(OWN) for line in told)
        assert not leaks(server.output)

    def test_secrets_of_the_configuration_do_not_appear_in_output(self, server: Server) -> None:
        assert "rate limit store is away" in server.output
        assert not leaks(server.output)


class TestTheSearch:
    @pytest.mark.parametrize(
        "text", [SECRET, token_for("alice"), f"x {CANARY}y", "hunter2", f'{{"token": "{token_for("alice")}"}}']
    )
    def test_canary_search_finds_planted_text(self, text: str) -> None:
        assert leaks(f"a line\n and {text}\n")

    def test_canary_search_ignores_announced_text(self) -> None:
        assert not leaks(
            f"A token:\n\n{token_for('demo')}\n\ncurl -X POST x -H 'Authorization: Bearer {token_for('x')}'"
        )
