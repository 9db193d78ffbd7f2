"""Cross-origin requests: allowed origins can read every answer, others none."""

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
from litestar import Litestar

from app.lib.settings import Settings
from app.main import create_app
from tests.lib.raw import ask, bearer
from tests.support import running

ORIGIN = ("Origin", "https://app.example.com")


@pytest.fixture
async def shared(settings: Settings) -> AsyncIterator[Litestar]:
    async with running(create_app(settings.model_copy(update={"cors_origins": [ORIGIN[1]]}))) as app:
        yield app


class TestAllowedOrigin:
    async def test_allowed_origin_can_read_every_response(self, shared: Litestar) -> None:
        me, json = bearer("alice"), ("Content-Type", "application/json")
        answers = [
            await ask(shared, "/api/alice/todos", ORIGIN),
            await ask(shared, "/api/alice/todos", ORIGIN, ("Authorization", "Bearer x")),
            await ask(shared, "/api/bob/todos", ORIGIN, me),
            await ask(shared, "/nowhere", ORIGIN, me),
            await ask(shared, "/api/health", ORIGIN, me, method="PUT"),
            await ask(shared, "/api/alice/todos", ORIGIN, me, method="POST"),
            await ask(shared, "/api/alice/todos", ORIGIN, me, json, method="POST", body=b"{}"),
            await ask(shared, f"/api/alice/todos/{uuid4()}", ORIGIN, me, method="DELETE"),
            await ask(shared, "/api/alice/todos", ORIGIN, me),
        ]
        assert [answer.status for answer in answers] == [401, 401, 403, 404, 405, 415, 422, 404, 200]
        for answer in answers:
            assert answer.headers["access-control-allow-origin"] == ORIGIN[1]
            assert answer.headers["vary"] == "Origin"

    async def test_preflight_needs_no_token(self, shared: Litestar) -> None:
        headers = (ORIGIN, ("Access-Control-Request-Method", "PATCH"))
        answer = await ask(shared, "/api/alice/todos", *headers, method="OPTIONS")
        assert (answer.status, answer.body) == (204, b"")
        assert answer.headers["access-control-allow-origin"] == ORIGIN[1]
        assert "PATCH" in answer.headers["access-control-allow-methods"]
        assert "Authorization" in answer.headers["access-control-allow-headers"]

    @pytest.mark.parametrize("added", [[], ["X-App-Version", "x-tenant", "IF-MATCH"]])
    async def test_preflight_allows_known_and_configured_headers(self, settings: Settings, added: list[str]) -> None:
        changes = {"cors_origins": [ORIGIN[1]], "cors_allow_headers": added}
        async with running(create_app(settings.model_copy(update=changes))) as app:
            headers = (ORIGIN, ("Access-Control-Request-Method", "PATCH"))
            answer = await ask(app, "/api/alice/todos", *headers, method="OPTIONS")
        names = answer.headers["access-control-allow-headers"].lower().split(", ")
        own = "authorization content-type idempotency-key if-match if-none-match x-request-id"
        tracing = "traceparent tracestate baggage sentry-trace x-requested-with"
        assert sorted(names) == sorted({*own.split(), *tracing.split(), *(name.lower() for name in added)})

    async def test_allowed_origin_has_credentials_and_exposed_headers(self, shared: Litestar) -> None:
        answer = await ask(shared, "/api/alice/todos", ORIGIN, bearer("alice"))
        assert answer.headers["access-control-allow-credentials"] == "true"
        exposed = answer.headers["access-control-expose-headers"].split(", ")
        assert {"ETag", "Location", "Link", "Retry-After", "X-Request-ID", "WWW-Authenticate"} <= set(exposed)

    @pytest.mark.parametrize("origin", ["https://app.example.com", "HTTPS://APP.example.COM"])
    async def test_origin_is_compared_without_case_and_echoed(self, shared: Litestar, origin: str) -> None:
        answer = await ask(shared, "/api/alice/todos", ("Origin", origin), bearer("alice"))
        assert answer.headers["access-control-allow-origin"] == origin

    async def test_allowed_origin_can_read_429_and_503(self, settings: Settings) -> None:
        changes = {"cors_origins": [ORIGIN[1]], "rate_limit_per_minute": 1}
        async with running(create_app(settings.model_copy(update=changes))) as app:
            answers = [await ask(app, "/api/health", ORIGIN, bearer("alice")) for _ in range(2)]
        assert [answer.status for answer in answers] == [200, 429]
        assert {answer.headers["access-control-allow-origin"] for answer in answers} == {ORIGIN[1]}

    @pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
    async def test_responses_vary_by_origin(self, shared: Litestar, method: str) -> None:
        for headers in ((), (bearer("alice"),)):
            answer = await ask(shared, "/api/alice/todos", *headers, method=method)
            assert answer.headers["vary"] == "Origin"
            assert not [name for name in answer.headers if name.startswith("access-control")]


class TestAnyOrigin:
    @pytest.fixture
    async def open_to_all(self, settings: Settings) -> AsyncIterator[Litestar]:
        async with running(create_app(settings.model_copy(update={"cors_origins": ["*"]}))) as app:
            yield app

    async def test_any_origin_has_no_credentials_and_no_vary(self, open_to_all: Litestar) -> None:
        for method in ("GET", "OPTIONS"):
            headers = (("Origin", "https://any.example"), ("Access-Control-Request-Method", "GET"), bearer("alice"))
            answer = await ask(open_to_all, "/api/alice/todos", *headers, method=method)
            assert answer.headers["access-control-allow-origin"] == "*"
            assert not {"access-control-allow-credentials", "vary"} & answer.headers.keys()

    async def test_request_without_origin_has_no_cors_headers(self, open_to_all: Litestar) -> None:
        answer = await ask(open_to_all, "/api/alice/todos", bearer("alice"))
        assert not [name for name in answer.headers if name.startswith("access-control")]


class TestOtherOrigin:
    @pytest.mark.parametrize(
        "origin", ["https://evil.example", "null", "", "https://app.example.com.evil.example", "http://app.example.com"]
    )
    async def test_other_origin_is_not_allowed(self, shared: Litestar, origin: str) -> None:
        for method in ("GET", "OPTIONS"):
            headers = (("Origin", origin), ("Access-Control-Request-Method", "GET"), bearer("alice"))
            answer = await ask(shared, "/api/alice/todos", *headers, method=method)
            assert not [name for name in answer.headers if name.startswith("access-control")]
            assert answer.headers["vary"] == "Origin"

    async def test_no_vary_without_allowed_origins(self, app: Litestar) -> None:
        for headers in ((), (ORIGIN,)):
            answer = await ask(app, "/api/alice/todos", *headers, bearer("alice"))
            assert not [name for name in answer.headers if name == "vary" or name.startswith("access-control")]

    async def test_preflight_of_another_origin_is_refused(self, app: Litestar) -> None:
        headers = (ORIGIN, ("Access-Control-Request-Method", "GET"))
        for path in ("/api/alice/todos", "/nowhere", "/api/health"):
            answer = await ask(app, path, *headers, method="OPTIONS")
            assert (answer.status, answer.body) == (204, b"")
            assert "allow" not in answer.headers

    async def test_options_without_preflight_headers_needs_a_token(self, app: Litestar) -> None:
        assert (await ask(app, "/api/alice/todos", ORIGIN, method="OPTIONS")).status == 401
        assert (await ask(app, "/api/health", ("Access-Control-Request-Method", "GET"), method="OPTIONS")).status == 401
