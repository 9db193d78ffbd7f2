"""2. Errors. Their shape is held by `api.hold_to_the_contract`, on each answer that any test gets."""

import json
from typing import Any

import pytest

from .api import User, body, mistakes, problem, section
from .routes import CORE, Route

pytestmark = pytest.mark.core
says = section("2. Errors")

JSON = {"Content-Type": "application/json"}
MIB = 1024 * 1024


@says("400 the body is not JSON")
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b" ",
        b"{",
        b"}",
        b'{"title": "x"',
        b"{'title': 'x'}",
        b'{"title": "x",}',
        b'{"title": "x"} {}',
        b'{"title": "a\nb"}',
        b'{"title": NaN}',
        b'{"title": undefined}',
        b"title=x",
        b'{"title": "\xff"}',
        b'{"title": "\xed\xa0\x80"}',
        b"\x00",
    ],
)
def test_invalid_json_is_400(alice: User, content: bytes) -> None:
    todo = alice.create()
    problem(alice.post("/todos", content=content, headers=JSON), 400)
    for method in ("PUT", "PATCH"):
        problem(alice.request(method, f"/todos/{todo['id']}", content=content, headers=JSON), 400)
    assert alice.page()["items"] == [todo]


@says("400 the body is not JSON, is nested more than 32 levels deep")
def test_deep_json_is_accepted_up_to_the_limit(alice: User) -> None:
    for levels, status in ((32, 422), (33, 400)):
        text = '{"tags":' + "[" * (levels - 1) + "]" * (levels - 1) + "}"
        problem(alice.post("/todos", content=text, headers=JSON), status)
    brackets = body(alice.post("/todos", json={"title": "x", "description": "[" * 50}), 201)
    assert brackets["description"] == "[" * 50


@says("400 the body is not JSON")
@pytest.mark.parametrize("opening", [b"[", b'{"title":', b'[{"a":'])
def test_unclosed_deep_json_is_400(alice: User, opening: bytes) -> None:
    response = alice.post("/todos", content=opening * (MIB // len(opening) - 1), headers=JSON)
    assert response.status_code in (400, 422), response.status_code
    assert alice.page()["total"] == 0


@says("404")
def test_unknown_path_is_404(alice: User) -> None:
    for path in ("/nothing", "/todos/x/nothing", "/todo", "/Todos", "/todos/1", "/todos/x"):
        problem(alice.get(path), 404)


@says("405 with Allow")
def test_wrong_method_is_405(alice: User) -> None:
    todo = alice.create()
    refused = alice.delete("/todos")
    problem(refused, 405)
    assert {"GET", "POST"} <= set(refused.headers["allow"].replace(" ", "").split(","))
    refused = alice.post(f"/todos/{todo['id']}", json={"title": "x"})
    problem(refused, 405)
    assert {"GET", "PUT", "PATCH", "DELETE"} <= set(refused.headers["allow"].replace(" ", "").split(","))
    problem(alice.get(f"/todos/{todo['id']}/toggle-complete"), 405)
    assert alice.page()["items"] == [todo]


@says("413 body over the limit")
@pytest.mark.contract("6. Defaults that a deployment can set", "1 MiB, 413 beyond")
def test_body_over_the_limit_is_413(alice: User) -> None:
    def padded(size: int) -> bytes:
        whole = b'{"title": "x"}'
        return whole + b" " * (size - len(whole))

    body(alice.post("/todos", content=padded(MIB), headers=JSON), 201)
    problem(alice.post("/todos", content=padded(MIB + 1), headers=JSON), 413)
    problem(alice.post("/todos", content=(padded(MIB) for _ in range(2)), headers=JSON), 413)
    assert alice.page()["total"] == 1


@says("415 not JSON")
@pytest.mark.parametrize(
    "media_type",
    [
        "",
        "text/plain",
        "text/json",
        "application/xml",
        "application/x-www-form-urlencoded",
        "application/jsonx",
        "json",
    ],
)
def test_other_media_types_are_415(alice: User, media_type: str) -> None:
    todo = alice.create()
    headers = {"Content-Type": media_type} if media_type else {}
    problem(alice.post("/todos", content=b'{"title": "x"}', headers=headers), 415)
    for method in ("PUT", "PATCH"):
        problem(alice.request(method, f"/todos/{todo['id']}", content=b'{"title": "x"}', headers=headers), 415)
    assert alice.page()["items"] == [todo]


@says("415 not JSON")
@pytest.mark.parametrize(
    "media_type", ["application/json; charset=utf-8", "Application/JSON", "application/json;charset=UTF-8"]
)
def test_every_json_media_type_is_accepted(alice: User, media_type: str) -> None:
    body(alice.post("/todos", content='{"title": "ü"}'.encode(), headers={"Content-Type": media_type}), 201)


@says('for 422 also errors: [{"pointer": "/title", "detail": "…"}]')
@says("422 well-formed but invalid")
def test_every_body_error_has_a_pointer(alice: User) -> None:
    wrong: dict[str, Any] = {"title": " ", "priority": "urgent", "completed": "yes", "tags": ["a", 1], "colour": "red"}
    assert mistakes(alice.post("/todos", json=wrong)) == {"/title", "/priority", "/completed", "/tags/1", "/colour"}
    assert mistakes(alice.post("/todos", json={"description": "x"})) == {"/title"}
    assert mistakes(alice.post("/todos", json={"title": "x", "a/b": 1, "m~n": 2})) == {"/a~1b", "/m~0n"}
    assert alice.page()["total"] == 0


@says("422 well-formed but invalid")
@pytest.mark.parametrize("value", [None, True, 1, "title", [], [{"title": "x"}]])
def test_body_must_be_an_object(alice: User, value: object) -> None:
    todo = alice.create()
    text = json.dumps(value)
    problem(alice.post("/todos", content=text, headers=JSON), 422)
    for method in ("PUT", "PATCH"):
        problem(alice.request(method, f"/todos/{todo['id']}", content=text, headers=JSON), 422)
    assert alice.page()["items"] == [todo]


@says("parameter in place of pointer for a query parameter")
def test_every_invalid_parameter_is_reported(alice: User) -> None:
    wrong = {
        "limit": "0",
        "offset": "-1",
        "completed": "maybe",
        "priority": "urgent",
        "due_before": "soon",
        "nope": "1",
    }
    assert mistakes(alice.get("/todos", params=wrong)) == set(wrong)


@says("Every error has this shape, including errors of the framework, the router and the server's middleware")
@says("type, title, status, detail, instance, request_id")
def test_error_has_detail_and_instance(alice: User) -> None:
    found = problem(alice.get("/nothing?x=1"), 404)
    assert (found["title"], found["instance"]) == ("Not Found", alice.at("/nothing"))
    assert found["detail"]


@says("Every response has X-Request-ID")
def test_every_response_has_a_unique_request_id(alice: User) -> None:
    ids = [alice.get(path).headers["x-request-id"] for path in ("/todos", "/nothing", "/todos", "/todos?x=1")]
    assert len(set(ids)) == 4


@says("that of the request if it is valid")
@pytest.mark.parametrize("given", ["1", "a" * 64, "0192f5b0-7d4e-7c3a-9d2e-0123456789ab", "req_A.b-C"])
def test_valid_request_id_of_the_client_is_echoed(alice: User, given: str) -> None:
    for path in ("/todos", "/nothing"):
        assert alice.get(path, headers={"X-Request-ID": given}).headers["x-request-id"] == given


@says("otherwise a new one")
@pytest.mark.parametrize("given", ["", "a b", "<script>", '"', "x" * 5000, "é", "a\tb", "{}", "a;b"])
def test_invalid_request_id_is_replaced(alice: User, given: str) -> None:
    for path in ("/todos", "/nothing"):
        assert alice.get(path, headers={"X-Request-ID": given.encode()}).headers["x-request-id"] != given


@says("Stack traces, SQL, tokens and personal data never appear in a response")
@pytest.mark.parametrize("route", CORE, ids=lambda route: f"{route.method} {route.path}")
def test_hostile_text_is_not_executed_as_sql(alice: User, route: Route) -> None:
    todo = alice.create()
    for text in ("'; DROP TABLE todos; --", "%27%20OR%201=1", "${7*7}", "{{7*7}}", "..", "\\"):
        key = text.replace("/", "").replace("%", "%25")
        response = alice.request(**route.of(key), params={"sort": text})
        assert 400 <= response.status_code < 500, (response.status_code, response.text)
    assert alice.read(todo["id"]) == todo
