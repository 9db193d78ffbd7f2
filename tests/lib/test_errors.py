"""Every error is a problem document, every answer has the same frame, and neither tells of the inside."""

import logging
import re
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any, Never
from uuid import UUID, uuid4

import httpx
import pytest
import structlog
from litestar import Litestar
from litestar.exceptions import HTTPException, ImproperlyConfiguredException
from sqlalchemy import text
from structlog.testing import LogCapture

from app.domain.todos.services import TodoService
from app.lib.errors import ApiError, TooManyRequests, problem_body
from app.lib.http import exception_handlers
from app.lib.http.routes import operations
from app.lib.middleware import access_log as request_log
from app.lib.settings import Settings
from app.main import create_app
from tests.asgi import asgi_transport
from tests.lib.raw import ask, bearer
from tests.support import SECRET, Client, assert_problem, mistakes, running, token_for

JSON = {"Content-Type": "application/json"}


@pytest.fixture
async def away(settings: Settings) -> AsyncIterator[Litestar]:
    """Give the application with a database that nobody serves."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"postgresql://someone:hunter2@127.0.0.1:{probe.getsockname()[1]}/nothing"
        here = Settings(environment="test", database_url=url, better_auth_secret=SECRET)
        async with running(create_app(here)) as app:
            yield app


@pytest.fixture(name="logs")
def captured_logs(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Give what is logged; the application's own loggers are bound to standard error once and for all."""
    capture = LogCapture()
    wrapper = structlog.make_filtering_bound_logger(logging.INFO)
    for module in (request_log, exception_handlers):
        logger = structlog.wrap_logger(None, processors=[capture], wrapper_class=wrapper)
        monkeypatch.setattr(module, "_log", logger)
    return capture.entries


class TestRouter:
    async def test_unknown_paths_are_404(self, alice: Client) -> None:
        for path in (alice.path(), alice.path("nowhere"), alice.todos("x"), "/", "/api", "/nowhere"):
            problem = assert_problem(await alice.get(path), 404, "Not found")
            assert (problem["type"], problem["title"], problem["instance"]) == ("about:blank", "Not Found", path)

    async def test_wrong_method_is_405_with_allow(self, alice: Client) -> None:
        cases = {
            ("DELETE", alice.todos()): "GET, HEAD, OPTIONS, POST",
            ("POST", alice.todos(uuid4())): "DELETE, GET, HEAD, OPTIONS, PATCH, PUT",
            ("GET", alice.todos(uuid4(), "complete")): "OPTIONS, POST",
            ("HEAD", alice.todos(uuid4(), "complete")): "OPTIONS, POST",
            ("POST", "/api/health"): "GET, HEAD, OPTIONS",
            ("TRACE", "/api/health"): "GET, HEAD, OPTIONS",
            ("BREW", alice.todos()): "GET, HEAD, OPTIONS, POST",
        }
        for (method, path), allowed in cases.items():
            response = await alice.request(method, path)
            assert (response.status_code, response.headers["allow"]) == (405, allowed), (method, path)
            if method != "HEAD":
                assert_problem(response, 405, "Method not allowed")


class TestBody:
    @pytest.mark.parametrize("content", ["{", "", " ", "[1,]", "{'title': 1}", "\x00", "{}{}", "NaN", '{"title": NaN}'])
    async def test_invalid_json_is_400(self, alice: Client, content: str) -> None:
        assert_problem(await alice.post(alice.todos(), content=content, headers=JSON), 400)

    @pytest.mark.parametrize(
        "content", [b"\xff", b'{"title": "\xff"}', b'{"title": "\xed\xa0\x80"}', b"\xef\xbb\xbf{}"]
    )
    async def test_invalid_utf8_is_400(self, alice: Client, content: bytes) -> None:
        assert_problem(await alice.post(alice.todos(), content=content, headers=JSON), 400)

    @pytest.mark.parametrize("resource", ["todos", "tasks"])
    @pytest.mark.parametrize("depth", [33, 1000, 4000])
    @pytest.mark.parametrize(
        ("start", "end"),
        [(b"[", b"]"), (b'{"a":', b"1}"), (b'{"title": [', b"]}"), (b'{"x": "\\ud800", "y": [', b"]}")],
    )
    async def test_deep_nesting_is_400(
        self, alice: Client, resource: str, depth: int, start: bytes, end: bytes
    ) -> None:
        opened, closed = (b'{"a":', b"}") if end == b"1}" else (b"[", b"]")
        content = start + opened * (depth - 1) + b"1" + closed * (depth - 1) + end.removeprefix(b"1")
        response = await alice.post(alice.path(resource), content=content, headers=JSON)
        assert_problem(response, 400, "The body is nested too deeply: 32 levels are allowed")

    @pytest.mark.parametrize("opened", [b"[", b'{"a":', b'{"title": ['])
    async def test_unclosed_deep_nesting_is_400(self, alice: Client, opened: bytes) -> None:
        assert_problem(await alice.post(alice.todos(), content=opened * 50_000, headers=JSON), 400)

    async def test_nesting_up_to_the_limit_is_validated(self, alice: Client) -> None:
        for content in (b"[" * 32 + b"]" * 32, b'{"title": ' + b"[" * 31 + b"]" * 31 + b"}"):
            assert_problem(await alice.post(alice.todos(), content=content, headers=JSON), 422)

    async def test_nesting_of_a_whole_body_is_400(self, alice: Client) -> None:
        for content in (b"[" * 100_000, b'{"a":' * 100_000, b'{"title": ' + b"[" * 100_000):
            assert_problem(await alice.post(alice.todos(), content=content, headers=JSON), 400)

    @pytest.mark.parametrize(
        "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "", "json"]
    )
    async def test_other_media_types_are_415(self, alice: Client, kind: str) -> None:
        headers = {"Content-Type": kind}
        assert_problem(await alice.post(alice.todos(), content='{"title": "x"}', headers=headers), 415)
        assert_problem(await alice.patch(alice.todos(uuid4()), content=b"\xff" * 2_000_000, headers=headers), 415)

    async def test_missing_media_type_is_415(self, alice: Client) -> None:
        assert_problem(await alice.post(alice.todos(), content=b'{"title": "x"}'), 415)

    async def test_merge_patch_media_type_is_only_for_patch(self, alice: Client) -> None:
        headers = {"Content-Type": "application/merge-patch+json"}
        path = alice.todos((await alice.create())["id"])
        assert (await alice.patch(path, content='{"title": "x"}', headers=headers)).status_code == 200
        for method, where in (("POST", alice.todos()), ("PUT", path)):
            assert_problem(await alice.request(method, where, content='{"title": "x"}', headers=headers), 415)

    @pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "APPLICATION/JSON", " application/json ;"])
    async def test_every_json_media_type_is_accepted(self, alice: Client, kind: str) -> None:
        response = await alice.post(alice.todos(), content='{"title": "x"}', headers={"Content-Type": kind})
        assert response.status_code == 201

    async def test_body_over_the_limit_is_413(self, alice: Client) -> None:
        async def chunks() -> AsyncIterator[bytes]:
            for _ in range(40):
                yield b" " * 50_000

        assert_problem(await alice.post(alice.todos(), content=b" " * 1_048_577, headers=JSON), 413)
        assert_problem(await alice.post(alice.todos(), content=chunks(), headers=JSON), 413)

    async def test_body_up_to_the_limit_is_read(self, alice: Client) -> None:
        body = b'{"title": "x"}'.ljust(1_048_576)
        assert (await alice.post(alice.todos(), content=body, headers=JSON)).status_code == 201

    async def test_body_errors_precede_parameter_errors(self, alice: Client) -> None:
        url = f"{alice.todos()}?unknown=1"
        assert_problem(await alice.post(url, content="{}"), 415)
        assert_problem(await alice.post(url, content=b" " * 1_048_577, headers=JSON), 413)
        assert_problem(await alice.post(url, content="{", headers=JSON), 400)
        assert mistakes(await alice.post(url, json={"title": "x"})) == {"unknown": "Unknown query parameter"}

    async def test_unexpected_body_is_ignored(self, alice: Client) -> None:
        todo = await alice.create()
        for method, path in (("GET", alice.todos()), ("DELETE", alice.todos(todo["id"]))):
            response = await alice.request(method, path, content=b"\xff{", headers={"Content-Type": "x/y"})
            assert response.status_code in (200, 204)


class TestInvalid:
    async def test_all_errors_are_reported_at_once(self, alice: Client) -> None:
        response = await alice.post(alice.todos(), json={"title": "", "priority": "x", "tags": ["a", 1], "id": 1})
        assert mistakes(response).keys() == {"/title", "/priority", "/tags/1", "/id"}

    async def test_invalid_parameter_is_reported(self, alice: Client) -> None:
        response = await alice.get(f"{alice.todos()}?limit=0&offset=x&nope=1")
        assert mistakes(response).keys() == {"limit", "offset", "nope"}
        assert all("pointer" not in error for error in response.json()["errors"])

    async def test_numbers_out_of_range_are_well_formed(self, alice: Client) -> None:
        for number in ("1e999", "-1e999", "1" * 400, "1" * 5000, "0." + "1" * 400):
            for field in ("title", "completed", "unknown"):
                content = f'{{"title": "x", "{field}": {number}}}'
                assert_problem(await alice.post(alice.todos(), content=content, headers=JSON), 422)


class TestCrash:
    @staticmethod
    def crash(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
        async def fails(self: Any, item_id: UUID) -> Never:
            raise error

        monkeypatch.setattr(TodoService, "fetch", fails)

    @pytest.mark.parametrize(
        "error",
        [
            RuntimeError("hunter2 at 10.0.0.1"),
            KeyError("hunter2"),
            RecursionError("hunter2"),
            UnicodeEncodeError("utf-8", "hunter2", 0, 1, "hunter2"),
            AssertionError("hunter2"),
            ExceptionGroup("hunter2", [ValueError("hunter2")]),
            HTTPException("hunter2", status_code=500),
            HTTPException("hunter2", status_code=418),
            ImproperlyConfiguredException("hunter2"),
        ],
    )
    async def test_unexpected_error_is_500_without_details(
        self, alice: Client, monkeypatch: pytest.MonkeyPatch, error: Exception, logs: list[Any]
    ) -> None:
        self.crash(monkeypatch, error)
        response = await alice.get(alice.todos(uuid4()))
        assert_problem(response, 500, "The server could not answer this request")
        assert "errors" not in response.json()
        assert "hunter2" not in response.text + str(response.headers) + str(logs)
        assert "Traceback" not in response.text + str(logs)

    async def test_unexpected_error_is_logged_with_request_and_place(
        self, alice: Client, monkeypatch: pytest.MonkeyPatch, logs: list[Any]
    ) -> None:
        self.crash(monkeypatch, RuntimeError("hunter2"))
        response = await alice.get(alice.todos(uuid4()))
        fault = next(entry for entry in logs if entry["log_level"] == "error")
        assert fault["request_id"] == response.headers["x-request-id"]
        assert fault["error"] == ["builtins.RuntimeError"]

    async def test_sql_is_neither_returned_nor_logged(
        self, alice: Client, monkeypatch: pytest.MonkeyPatch, logs: list[Any]
    ) -> None:
        async def fails(self: Any, item_id: UUID) -> None:
            await self.session.read(text("SELECT * FROM missing WHERE secret = :x"), {"x": "hunter2"})

        monkeypatch.setattr(TodoService, "fetch", fails)
        response = await alice.get(alice.todos(uuid4()))
        assert_problem(response, 500)
        for word in ("missing", "SELECT", "hunter2", "42P01"):
            assert word not in response.text + str(logs)

    async def test_request_after_an_unexpected_error_is_served(
        self, alice: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        todo = await alice.create()
        with monkeypatch.context() as patched:
            self.crash(patched, MemoryError())
            assert_problem(await alice.get(alice.todos(todo["id"])), 500)
        assert (await alice.get(alice.todos(todo["id"]))).status_code == 200


class TestDatabaseAway:
    async def test_every_operation_is_503_without_database(self, away: Litestar) -> None:
        transport = asgi_transport(away)
        headers = {"Authorization": f"Bearer {token_for('alice')}"}
        async with httpx.AsyncClient(transport=transport, base_url="http://x", headers=headers) as client:
            for item in operations(away):
                if "{user_id}" in item.path:
                    path = item.path.replace("{user_id}", "alice").replace("{todo_id}", str(uuid4()))
                    response = await client.request(item.method, path, json={"title": "x"})
                    assert_problem(response, 503, "The database is unavailable, try again later")
                    assert response.headers["retry-after"].isdigit()

    async def test_unavailable_database_is_not_described(self, away: Litestar, logs: list[Any]) -> None:
        answer = await ask(away, "/api/alice/todos", bearer("alice"))
        assert answer.status == 503
        for word in ("hunter2", "someone", "127.0.0.1", "nothing", "refused"):
            assert word not in answer.body.decode() + str(answer.headers) + str(logs)

    async def test_authentication_precedes_503(self, away: Litestar) -> None:
        assert (await ask(away, "/api/alice/todos")).status == 401
        assert (await ask(away, "/api/alice/todos", bearer("bob"))).status == 403
        assert (await ask(away, "/nowhere", bearer("bob"))).status == 404


class TestRequestId:
    @pytest.mark.parametrize(
        "given",
        ["1", "abc-123", "7c9e6679-7425-40de-944b-e07fc1f90ae7", "a/b+c=", "x" * 128, "Root=1-67891233-abc:~@."],
    )
    async def test_valid_request_id_is_echoed(self, anonymous: httpx.AsyncClient, given: str) -> None:
        response = await anonymous.get("/api/health", headers={"X-Request-ID": given})
        assert assert_problem(response, 401)["request_id"] == given

    @pytest.mark.parametrize("given", ["", " ", "a b", "x" * 129, "ä", "<script>", "a,b", 'a"b', "a\tb", "\x00", "a\n"])
    async def test_invalid_request_id_is_replaced(self, app: Litestar, given: str) -> None:
        answer = await ask(app, "/api/health", ("X-Request-ID", given))
        assert UUID(answer.headers["x-request-id"]).version == 7

    async def test_request_id_is_unique(self, alice: Client) -> None:
        ids = {(await alice.get(alice.todos())).headers["x-request-id"] for _ in range(5)}
        assert len(ids) == 5

    async def test_request_id_is_logged(self, alice: Client, logs: list[Any]) -> None:
        await alice.get(alice.todos(), headers={"X-Request-ID": "abc"})
        (line,) = logs
        assert (line["request_id"], line["method"], line["status"]) == ("abc", "GET", 200)
        assert line["route"] == "/api/{user_id}/todos"


class TestFrame:
    @pytest.fixture
    def all_kinds(self, alice: Client, bob: Client, anonymous: httpx.AsyncClient) -> Callable[[], Any]:
        async def send() -> dict[int, httpx.Response]:
            todo = await alice.create()
            one = alice.todos(todo["id"])
            answers = [
                await alice.get(one),
                await alice.get(one, headers={"If-None-Match": '"1"'}),
                await alice.post(alice.todos(), json={"title": "x"}),
                await alice.patch(one, json={"title": "y"}, headers={"If-Match": '"9"'}),
                await alice.delete(one),
                await alice.get(one),
                await alice.post(one),
                await alice.post(alice.todos(), content="{", headers=JSON),
                await alice.post(alice.todos(), content="{"),
                await alice.post(alice.todos(), content=b" " * 2_000_000, headers=JSON),
                await alice.post(alice.todos(), json={}),
                await bob.get(one),
                await anonymous.get(one),
            ]
            return {answer.status_code: answer for answer in answers}

        return send

    async def test_every_response_has_security_headers(self, all_kinds: Callable[[], Any]) -> None:
        answers = await all_kinds()
        assert sorted(answers) == [200, 201, 204, 304, 400, 401, 403, 404, 405, 412, 413, 415, 422]
        for answer in answers.values():
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["referrer-policy"] == "no-referrer"
            assert answer.headers["cache-control"] == "no-store"
            assert answer.headers["x-request-id"]
            assert "strict-transport-security" not in answer.headers
            assert "server" not in answer.headers

    async def test_json_has_a_strict_csp(self, all_kinds: Callable[[], Any]) -> None:
        for status, answer in (await all_kinds()).items():
            if status not in (204, 304):
                assert answer.headers["content-security-policy"] == "default-src 'none'"

    async def test_no_header_is_repeated(self, all_kinds: Callable[[], Any]) -> None:
        for answer in (await all_kinds()).values():
            names = [name.lower() for name, _ in answer.headers.raw]
            assert len(names) == len(set(names))

    async def test_response_without_content_has_no_content_headers(self, all_kinds: Callable[[], Any]) -> None:
        answers = await all_kinds()
        for status in (204, 304):
            assert answers[status].content == b""
            assert not {"content-type", "content-length"} & answers[status].headers.keys()
        assert answers[304].headers["etag"] == '"1"'

    async def test_production_sends_hsts(self, settings: Settings) -> None:
        app = create_app(settings.model_copy(update={"environment": "production"}))
        async with running(app):
            for headers in ((), (bearer("alice"),)):
                answer = await ask(app, "/api/health", *headers)
                expected = "max-age=63072000; includeSubDomains" if app.state.settings.in_production else None
                assert answer.headers.get("strict-transport-security") == expected


class TestLog:
    async def test_log_has_no_path_token_or_body(self, alice: Client, logs: list[Any]) -> None:
        await alice.create(title="my private matter")
        await alice.get(f"{alice.todos()}?tag=intimate")
        await alice.post(alice.todos(), json={"title": 1, "very private": 2})
        assert len(logs) == 3
        for word in ("private", "intimate", "Bearer", "eyJ", alice.user_id):
            assert word not in str(logs)

    async def test_log_is_silent_below_its_level(self, settings: Settings, logs: list[Any]) -> None:
        app = create_app(settings.model_copy(update={"log_level": "error"}))
        async with running(app):
            assert (await ask(app, "/api/health")).status == 401
            assert (await ask(app, "/api/health", bearer("alice"))).status == 200
        create_app(settings)  # logging is global: back to what it was
        assert logs == []

    async def test_log_at_warning_has_only_refusals(self, settings: Settings, logs: list[Any]) -> None:
        app = create_app(settings.model_copy(update={"log_level": "warning"}))
        async with running(app):
            assert (await ask(app, "/api/health")).status == 401
            assert (await ask(app, "/api/health", bearer("alice"))).status == 200
        create_app(settings)
        assert [line["event"] for line in logs] == ["authentication_failed"]


def _filled(path: str, client: Client, todo: dict[str, Any]) -> str:
    path = path.replace("{user_id}", client.user_id).replace("{path}", "openapi.json")
    return re.sub(r"\{\w+\}", todo["id"], path)


class TestHead:
    async def test_head_equals_get_without_body(self, app: Litestar, alice: Client) -> None:
        todo = await alice.create()
        paths = [item.path for item in operations(app) if item.method == "GET"]
        filled = [_filled(path, alice, todo) for path in paths]
        assert len(filled) >= 4
        for path in filled:
            got, head = await alice.get(path), await alice.head(path)
            assert (head.status_code, head.content) == (got.status_code, b"")
            for answer in (got, head):
                del answer.headers["x-request-id"]
            assert head.headers == got.headers

    async def test_head_checks_conditions(self, alice: Client) -> None:
        todo = await alice.create()
        response = await alice.head(alice.todos(todo["id"]), headers={"If-None-Match": '"1"'})
        assert response.status_code == 304

    async def test_head_errors_equal_those_of_get(self, alice: Client) -> None:
        missing = await alice.head(alice.todos(uuid4()))
        assert (missing.status_code, missing.content) == (404, b"")
        assert missing.headers["content-type"] == "application/problem+json"
        assert (await alice.head(f"{alice.todos()}?limit=0")).status_code == 422

    async def test_head_is_logged_as_head(self, alice: Client, logs: list[Any]) -> None:
        await alice.head(alice.todos())
        assert logs[0]["method"] == "HEAD"


class TestOptions:
    async def test_options_names_the_methods(self, alice: Client) -> None:
        cases = {
            alice.todos(): "GET, HEAD, OPTIONS, POST",
            alice.todos(uuid4()): "DELETE, GET, HEAD, OPTIONS, PATCH, PUT",
            alice.todos(uuid4(), "reopen"): "OPTIONS, POST",
            "/api/health": "GET, HEAD, OPTIONS",
        }
        for path, allowed in cases.items():
            response = await alice.options(path)
            assert (response.status_code, response.headers["allow"]) == (204, allowed)

    async def test_options_of_an_unknown_path_is_404(self, alice: Client) -> None:
        assert_problem(await alice.options(alice.path("nowhere")), 404)


class TestProblem:
    def test_every_error_has_a_status_and_a_detail_of_its_own(self) -> None:
        kinds = ApiError.__subclasses__()
        assert len(kinds) >= 10
        for kind in kinds:
            assert kind.status >= 400
            assert kind.detail != ApiError.detail
            error = kind("user", 1, {}) if kind is TooManyRequests else kind()
            assert b"request_id" in problem_body(error, instance="/", request_id="x")
