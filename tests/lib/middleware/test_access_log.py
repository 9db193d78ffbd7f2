"""What is told of requests: a line each, what was refused and why, in so many lines, which nobody can forge."""

import asyncio
import io
import json
import logging
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any, ClassVar

import jwt
import pytest
import structlog
from cryptography.hazmat.primitives.asymmetric import ed25519
from litestar import Litestar

from app.domain.users.administration import UserAdministration
from app.lib import log
from app.lib.http import exception_handlers
from app.lib.middleware import access_log as request_log
from app.lib.middleware.access_log import REFUSALS, REFUSALS_OF_A_CLIENT
from app.lib.settings import Settings
from app.main import create_app
from tests.lib.raw import ask, bearer
from tests.live import call
from tests.support import SECRET, Client, access_token_for, running, token_for

type AppWith = Callable[..., Awaitable[Litestar]]

PATH = "/api/mallory/todos"
HOSTILE = [
    'x"} {"event": "forged"}',
    '\n{"event": "forged"}\n',
    "\r\nforged",
    "\x1b[2J\x1b]0;forged\x07",
    "\x9b31mforged",
    "\u2028forged\u2029\x85\x0b\x0c",
    "\u202eforged",
    "%s %(x)s {event} \\n \\",
    "\x00\x7f\ud800",
    "forged" * 300,
]


class Lines:
    """What was written."""

    def __init__(self) -> None:
        self.buffer = io.StringIO()

    @property
    def text(self) -> str:
        return self.buffer.getvalue()

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text.split("\n")[:-1]]

    def of(self, event: str) -> list[dict[str, Any]]:
        return [line for line in self.events if line["event"] == event]


def write_to(lines: Lines, monkeypatch: pytest.MonkeyPatch, *, pretty: bool = False) -> None:
    """Let the application's loggers render as they do, and write there."""
    wrapper = structlog.make_filtering_bound_logger(logging.INFO)
    for module in (request_log, exception_handlers):
        printer = structlog.PrintLogger(lines.buffer)
        logger = structlog.wrap_logger(printer, processors=log.processors(pretty), wrapper_class=wrapper)
        monkeypatch.setattr(module, "_log", logger)


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Lines:
    lines = Lines()
    write_to(lines, monkeypatch)
    return lines


@pytest.fixture
async def app_with(settings: Settings) -> AsyncIterator[AppWith]:
    """Give a function that runs the application with other settings."""
    async with AsyncExitStack() as stack:

        async def run(**changes: Any) -> Litestar:
            return await stack.enter_async_context(running(create_app(settings.model_copy(update=changes))))

        yield run


@pytest.fixture
async def app(app_with: AppWith) -> Litestar:
    """Give an application whose log has room: other tests fill that of the shared one."""
    return await app_with()


def session_cookie() -> str:
    claims = {"sub": "mallory", "exp": int(time.time()) + 600}
    return jwt.encode(claims, SECRET, "HS256", headers={"typ": "better-auth.session-cache+jwt"})


def foreign() -> str:
    claims = {"sub": "mallory", "exp": int(time.time()) + 600}
    return jwt.encode(claims, ed25519.Ed25519PrivateKey.generate(), "EdDSA", headers={"kid": "unknown"})


ISSUER = "https://app.example.com"
CAUSES: dict[str, Callable[[], str]] = {
    "malformed": lambda: "not-a-token",
    "expired": lambda: token_for("mallory", exp=int(time.time()) - 3600),
    "not_yet_valid": lambda: token_for("mallory", nbf=int(time.time()) + 3600),
    "signature": lambda: token_for("mallory", secret="another-secret-of-at-least-32-bytes!"),
    "key": foreign,
    "algorithm": lambda: token_for("mallory", algorithm="HS512", secret=SECRET * 2),
    "claims": lambda: token_for(None, iss=ISSUER, aud=ISSUER),
    "audience": lambda: token_for("mallory", iss=ISSUER, aud="another"),
    "issuer": lambda: token_for("mallory", iss="https://another.example", aud=ISSUER),
    "header": session_cookie,
}


class TestFailedAuthentication:
    @pytest.fixture
    async def strict(self, app_with: AppWith) -> Litestar:
        return await app_with(better_auth_issuer=[ISSUER], better_auth_audience=[ISSUER])

    @pytest.mark.parametrize("cause", CAUSES)
    async def test_failed_authentication_is_logged_with_its_cause(
        self, strict: Litestar, lines: Lines, cause: str
    ) -> None:
        token = CAUSES[cause]()
        answer = await ask(strict, PATH, ("Authorization", f"Bearer {token}"), ("X-Request-ID", "abc"))
        assert answer.status == 401
        (event,) = lines.of("authentication_failed")
        assert (event["cause"], event["request_id"], event["client"]) == (cause, "abc", "127.0.0.1")
        assert (event["level"], "user" in event) == ("warning", False)
        assert not any(part in lines.text for part in token.split("."))

    @pytest.mark.parametrize(
        ("headers", "cause"),
        [
            ((), "missing"),
            ((("Authorization", "Basic eHg6eHg="),), "malformed"),
            ((("Authorization", "Bearer "),), "malformed"),
            ((bearer("mallory"), bearer("mallory")), "malformed"),
        ],
    )
    async def test_missing_token_is_logged_with_its_cause(
        self, app: Litestar, lines: Lines, headers: Any, cause: str
    ) -> None:
        assert (await ask(app, PATH, *headers)).status == 401
        assert [event["cause"] for event in lines.of("authentication_failed")] == [cause]

    @pytest.mark.parametrize("claims", [{"sub": 7}, {"sub": ""}, {"sub": ["a"]}, {"exp": None}])
    async def test_unusable_claims_are_logged_as_the_cause(self, app: Litestar, lines: Lines, claims: Any) -> None:
        assert (await ask(app, PATH, bearer("mallory", **claims))).status == 401
        assert [event["cause"] for event in lines.of("authentication_failed")] == ["claims"]


class TestAccessTokens:
    @pytest.fixture
    async def granting(self, app_with: AppWith) -> Litestar:
        return await app_with(better_auth_issuer=[ISSUER], resource=ISSUER)

    @pytest.mark.parametrize("client_id", ["agent", "https://client.example/" + "x" * 300, 'x"} {"event": "forged"}'])
    async def test_access_token_line_names_the_oauth_client(
        self, granting: Litestar, lines: Lines, client_id: str
    ) -> None:
        token = access_token_for("mallory", "todos:read", iss=ISSUER, aud=ISSUER, client_id=client_id)
        assert (await ask(granting, PATH, ("Authorization", f"Bearer {token}"))).status == 200
        (event,) = lines.events
        assert (event["event"], event["client_id"]) == ("request", client_id[:128])

    async def test_session_token_line_names_no_oauth_client(self, granting: Litestar, lines: Lines) -> None:
        assert (await ask(granting, PATH, bearer("mallory", iss=ISSUER))).status == 200
        assert "client_id" not in lines.text

    async def test_missing_scope_is_logged(self, granting: Litestar, lines: Lines) -> None:
        token = access_token_for("mallory", "profile", iss=ISSUER, aud=ISSUER)
        assert (await ask(granting, PATH, ("Authorization", f"Bearer {token}"))).status == 403
        (event,) = lines.of("insufficient_scope")
        assert (event["cause"], event["client_id"], "user" in event) == ("todos:read", "agent", True)

    async def test_account_erasure_line_names_the_oauth_client(self, granting: Litestar, lines: Lines) -> None:
        token = access_token_for("leaver", "account", iss=ISSUER, aud=ISSUER)
        answer = await ask(granting, "/api/leaver/account", ("Authorization", f"Bearer {token}"), method="DELETE")
        assert answer.status == 204
        assert all(event["client_id"] == "agent" for event in lines.events)


class TestRefusals:
    async def test_request_for_another_user_is_logged(self, app: Litestar, alice: Client, lines: Lines) -> None:
        assert (await ask(app, "/api/bob/todos", bearer(alice.user_id))).status == 403
        refused, request = lines.events
        assert (refused["event"], refused["client"], refused["level"]) == ("forbidden", "127.0.0.1", "warning")
        assert refused["request_id"] == request["request_id"]
        assert refused["user"] == request["user"]

    async def test_request_of_a_deactivated_user_is_logged(self, app: Litestar, alice: Client, lines: Lines) -> None:
        await alice.create()
        await UserAdministration(app.state.database.session(unscoped="tests")).set_active(alice.user_id, active=False)
        app.state.users._admitted.clear()
        assert (await alice.get(alice.todos())).status_code == 403
        assert [event["cause"] for event in lines.of("user_deactivated")] == ["refused"]
        assert lines.of("forbidden") == []

    @pytest.mark.parametrize(("verb", "event"), [("deactivate", "user_deactivated"), ("reactivate", "user_activated")])
    async def test_actions_of_administrators_are_logged(
        self, app: Litestar, alice: Client, lines: Lines, verb: str, event: str
    ) -> None:
        await alice.create()
        path = f"/api/the-admin/admin/users/{alice.user_id}/{verb}"
        answer = await ask(app, path, bearer("the-admin", role="admin"), ("X-Request-ID", "abc"), method="POST")
        assert answer.status == 200
        name = log.user_pseudonymizer(app.state.settings)
        assert name is not None
        (told,) = lines.of(event)
        assert told.items() >= {"request_id": "abc", "client": "127.0.0.1", "by": name("the-admin")}.items()
        assert told["user"] == name(alice.user_id)

    @pytest.mark.parametrize(("verb", "event"), [("deactivate", "user_deactivated"), ("activate", "user_activated")])
    async def test_actions_of_operators_are_logged(
        self, settings: Settings, alice: Client, lines: Lines, verb: str, event: str
    ) -> None:
        await alice.create()
        status, said = await asyncio.to_thread(call, settings, "users", verb, alice.user_id)
        assert status == 0, said
        (told,) = lines.of(event)
        assert told["by"] == "command"

    async def test_exceeded_limit_is_logged_by_name(self, app_with: Callable[..., Any], lines: Lines) -> None:
        app = await app_with(rate_limit_per_minute=1, auth_failures_per_minute=1)
        for headers in ((), (), (bearer("limited"),), (bearer("limited"),)):
            await ask(app, "/api/health", *headers)
        assert [(event["cause"], "user" in event) for event in lines.of("rate_limited")] == [
            ("authentication", False),
            ("user", True),
        ]

    async def test_logged_client_is_that_of_a_trusted_proxy(self, app_with: Callable[..., Any], lines: Lines) -> None:
        app = await app_with(trusted_proxies=["127.0.0.1"])
        for hop in ("203.0.113.9", "2001:DB8::1", "::ffff:203.0.113.9", "fe80::1%\x1b[31m", "forged\x1b[31m"):
            await ask(app, PATH, ("X-Forwarded-For", hop))
        clients = [event["client"] for event in lines.of("authentication_failed")]
        assert clients == ["203.0.113.9", "2001:db8::1", "203.0.113.9", "fe80::1", "127.0.0.1"]

    async def test_allowed_request_is_one_line(self, alice: Client, lines: Lines) -> None:
        await alice.create()
        await alice.get(alice.todos())
        assert [event["event"] for event in lines.events] == ["request", "request"]


class TestVolume:
    async def test_lines_of_one_client_are_limited(self, app_with: Callable[..., Any], lines: Lines) -> None:
        app = await app_with(trusted_proxies=["127.0.0.1"])
        for _ in range(3 * REFUSALS_OF_A_CLIENT):
            await ask(app, PATH, ("X-Forwarded-For", "203.0.113.9"))
        told = len(lines.of("authentication_failed"))
        assert REFUSALS_OF_A_CLIENT <= told < 2 * REFUSALS_OF_A_CLIENT  # one more with each second
        assert len(lines.of("request")) == told
        await ask(app, PATH, ("X-Forwarded-For", "203.0.113.10"))
        unlogged = sum(event.get("unlogged", 0) for event in lines.of("authentication_failed"))
        assert told + unlogged == 3 * REFUSALS_OF_A_CLIENT

    async def test_lines_of_one_network_are_limited(self, app_with: Callable[..., Any], lines: Lines) -> None:
        app = await app_with(trusted_proxies=["127.0.0.1"])
        for number in range(3 * REFUSALS_OF_A_CLIENT):
            await ask(app, PATH, ("X-Forwarded-For", f"2001:db8:1:2::{number:x}"))
        assert len(lines.of("authentication_failed")) < 2 * REFUSALS_OF_A_CLIENT

    async def test_lines_of_all_clients_are_limited(self, app_with: Callable[..., Any], lines: Lines) -> None:
        app = await app_with(trusted_proxies=["127.0.0.1"])
        for number in range(2 * REFUSALS):
            await ask(app, PATH, ("X-Forwarded-For", f"203.0.{number // 250}.{number % 250}"))
        assert REFUSALS <= len(lines.of("authentication_failed")) < 2 * REFUSALS

    async def test_served_requests_are_all_logged(self, app_with: Callable[..., Any], lines: Lines) -> None:
        app = await app_with()
        for _ in range(REFUSALS_OF_A_CLIENT + 5):
            await ask(app, PATH)
        before = len(lines.of("request"))
        for _ in range(10):
            assert (await ask(app, "/api/health", bearer("alice"))).status == 200
        assert len(lines.of("request")) == before + 10


class TestUserIds:
    NAMES: ClassVar[dict[str, str]] = {"hashed": r"[0-9a-f]{16}", "plain": r"named-user"}

    @pytest.mark.parametrize("mode", NAMES)
    async def test_user_ids_are_logged_as_configured(
        self, app_with: Callable[..., Any], lines: Lines, mode: str
    ) -> None:
        app = await app_with(log_user_ids=mode)
        await ask(app, "/api/health", bearer("named-user"))
        (event,) = lines.events
        assert re.fullmatch(self.NAMES[mode], event["user"])

    async def test_user_ids_can_be_left_out_of_the_log(self, app_with: Callable[..., Any], lines: Lines) -> None:
        await ask(await app_with(log_user_ids="none"), "/api/health", bearer("named-user"))
        assert "user" not in lines.events[0]
        assert "named-user" not in lines.text

    def test_hashed_user_id_is_stable_within_a_deployment(self, settings: Settings) -> None:
        here, there = (log.user_pseudonymizer(settings.model_copy()) for _ in range(2))
        other = log.user_pseudonymizer(
            Settings(_env_file=None, better_auth_secret="another-secret-of-at-least-32-bytes!")
        )
        assert here is not None
        assert there is not None
        assert other is not None
        assert here("alice") == there("alice") != other("alice")
        assert here("alice") != here("Alice")

    def test_long_user_id_is_shortened_in_the_log(self, settings: Settings) -> None:
        for mode in ("hashed", "plain"):
            name = log.user_pseudonymizer(settings.model_copy(update={"log_user_ids": mode}))
            assert name is not None
            assert len(name("x\ud800" * 10_000)) <= 128


class TestForgery:
    @pytest.mark.parametrize("text", HOSTILE)
    async def test_client_input_cannot_forge_a_log_line(
        self, app_with: Callable[..., Any], lines: Lines, text: str
    ) -> None:
        app = await app_with(log_user_ids="plain", trusted_proxies=["127.0.0.1"])
        latin = text.encode("latin-1", "replace").decode("latin-1")
        hostile_headers = [(name, latin) for name in ("X-Request-ID", "X-Forwarded-For", "User-Agent", "Origin")]
        await ask(app, PATH, *hostile_headers, ("Host", f"{latin} x"), ("Authorization", latin))
        await ask(app, PATH, *hostile_headers, ("Authorization", latin))
        await ask(app, f"/{latin}?{latin}", *hostile_headers)
        await ask(app, "/api/health", bearer(text), *hostile_headers)
        await ask(app, "/api/health", bearer("x", role=text, email=text, name=text), *hostile_headers, method=text)
        assert [event["event"] for event in lines.events if event["event"] != "request"] == 2 * [
            "authentication_failed"
        ]
        assert len(lines.of("request")) == 5
        assert lines.text.isascii()
        assert lines.text.count("\n") == 7
        assert re.sub(r"[\n\x20-\x7e]", "", lines.text) in ("", "\x7f")
        assert max(map(len, lines.text.splitlines())) < 3000

    @pytest.mark.parametrize("text", HOSTILE)
    async def test_client_input_cannot_control_a_terminal(
        self, app_with: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, text: str
    ) -> None:
        lines = Lines()
        write_to(lines, monkeypatch, pretty=True)
        app = await app_with(log_user_ids="plain")
        await ask(app, "/api/health", bearer(text))
        (line,) = lines.text.splitlines()
        styles = re.compile(r"\x1b\[[0-9;]*m")
        assert styles.sub("", line).isprintable()
        assert "\x1b[2J" not in line
