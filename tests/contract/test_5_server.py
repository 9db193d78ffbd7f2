"""5. Other resources: what the server says of itself, and the methods that come with GET; 6: what every answer has."""

from collections.abc import Callable
from functools import partial
from typing import Any

import httpx
import pytest

from .api import Api, User, at_once, body, json_object, problem, section
from .routes import ADMIN, CORE, FULL

pytestmark = pytest.mark.full
says = section("5. Other resources")
defaults = section("6. Defaults that a deployment can set")

READ = ("/todos", "/todos?limit=1", "/tasks", "/nothing")


@says("The first valid token of a user creates the user's row, without a sign-up call (atomically: a hundred")
def test_hundred_concurrent_first_requests_succeed(alice: User) -> None:
    answers = at_once([partial(alice.post, "/todos", json={"title": "first"})] * 100)
    assert {response.status_code for response in answers} == {201}
    assert alice.page()["total"] == 100


@says("HEAD works wherever GET does")
def test_head_equals_get_without_body(alice: User) -> None:
    todo = alice.create()
    for path in (*READ, f"/todos/{todo['id']}", f"/tasks/{todo['id']}"):
        whole = alice.get(path, headers={"X-Request-ID": "same"})
        head = alice.request("HEAD", path, headers={"X-Request-ID": "same"})
        assert (head.status_code, head.content) == (whole.status_code, b"")
        varying = {"date", "ratelimit", "transfer-encoding"}
        kept = [{*response.headers.items()} for response in (whole, head)]
        assert {name for name, _ in kept[0] ^ kept[1]} <= varying
    problem(alice.http.get(alice.at("/todos")), 401)
    assert alice.http.head(alice.at("/todos")).status_code == 401


@says("OPTIONS and 405 have Allow")
def test_options_names_the_methods(alice: User) -> None:
    todo = alice.create()
    for path, methods in (
        ("/todos", {"GET", "HEAD", "POST"}),
        (f"/todos/{todo['id']}", {"GET", "HEAD", "PUT", "PATCH", "DELETE"}),
        (f"/todos/{todo['id']}/complete", {"POST"}),
    ):
        response = alice.request("OPTIONS", path)
        assert response.status_code in (200, 204)
        refused = alice.request("TRACE", path)
        problem(refused, 405)
        for answer in (response, refused):
            assert set(answer.headers["allow"].split(", ")) - {"OPTIONS"} == methods


@pytest.mark.contract(
    "1. Authentication and authorization",
    "a deployment can open named operational paths by a setting that is empty by default",
)
@says(
    "Two have no user in their path, and no user data in their responses: GET /api/health (200, or 503, with the state"
)
def test_health_needs_a_token(api: Api, alice: User) -> None:
    response = alice.get("/api/health")
    found = body(response)
    assert found.keys() >= {"status", "database", "migrations"}
    assert alice.id not in response.text
    if api.http.get("/api/health").status_code != 200:  # which a deployment may open
        problem(api.http.get("/api/health"), 401)


@pytest.fixture
def document(alice: User) -> dict[str, Any]:
    """Give the OpenAPI document."""
    return json_object(alice.get("/api/schema/openapi.json"))


@says("The OpenAPI 3.1 document at /api/schema/openapi.json")
@says("lists every route")
def test_openapi_lists_every_route(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1")
    listed = {
        (method.upper(), "/".join("{}" if part.startswith("{") else part for part in path.split("/")))
        for path, operations in document["paths"].items()
        for method in operations
    }
    wanted = {(route.method, f"/api/{{}}{route.path.replace('{id}', '{}')}") for route in CORE + FULL + ADMIN}
    assert wanted - listed == set()


@says("protected by the JWT, or opened by the setting")
def test_openapi_needs_a_token(api: Api) -> None:
    for path in ("/api/schema/openapi.json", "/api/schema"):
        response = api.http.get(path)
        if response.status_code != 200:
            problem(response, 401)


@defaults("RATE_LIMIT_PER_MINUTE (a user), AUTH_FAILURES_PER_MINUTE (an address): 600, 60; 429 beyond")
@pytest.mark.contract("2. Errors", "429 with Retry-After")
def test_rate_limit_is_429_with_retry_after(alice: User, bob: User) -> None:
    ask: Callable[[], httpx.Response] = partial(alice.request, "HEAD", "/todos", params={"limit": 1})
    if not (ask().headers.get("ratelimit-policy")):
        pytest.skip("the server limits nothing")
    statuses = [ask().status_code for _ in range(599)]
    assert {*statuses} == {200}
    while (refused := alice.get("/todos")).status_code == 200:
        statuses.append(200)
        assert len(statuses) < 1200, "600 in a minute are allowed"
    problem(refused, 429)
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    body(bob.get("/todos"))


@defaults(
    "Every response: HSTS in production, X-Content-Type-Options: nosniff, Content-Security-Policy: default-src 'none'"
)
def test_every_response_status_is_documented(alice: User, bob: User) -> None:
    """`api.hold_to_the_headers` holds each of them to it, as it does every answer that any test gets."""
    created = alice.post("/todos", json={"title": "x"})
    path = f"/todos/{body(created, 201)['id']}"
    answers = [
        created,
        alice.get(path),
        alice.get(path, headers={"If-None-Match": '"1"'}),
        alice.http.get(alice.at(path)),
        bob.get(alice.at(path)),
        bob.get(path),
        alice.post(path),
        alice.patch(path, json={"title": "x"}, headers={"If-Match": '"9"'}),
        alice.patch(path, content=b"x" * 2**21, headers={"Content-Type": "application/json"}),
        alice.patch(path, content=b"x"),
        alice.patch(path, json={"title": ""}),
        alice.request("OPTIONS", path),
        alice.delete(path),
    ]
    statuses = [response.status_code for response in answers]
    assert statuses[:-2] == [201, 200, 304, 401, 403, 404, 405, 412, 413, 415, 422]
    assert statuses[-1] == 204
