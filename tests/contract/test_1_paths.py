"""1. Authentication and authorization: the path's user, and nobody else's rows."""

import secrets
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import httpx
import pytest

from .api import Api, User, body, problem, section
from .routes import ADMIN, CORE, FULL, ON_A_ROW, Route, parameters

says = section("1. Authentication and authorization")

FORBIDDEN = "Forbidden: not authorized to access this resource"
type Anybody = Callable[..., httpx.Response]


@says("Every route requires a JWT, by default and without a list of protected paths")
@pytest.mark.parametrize("route", parameters(*CORE, *FULL, *ADMIN))
def test_every_route_needs_a_token(anybody: Anybody, alice: User, route: Route) -> None:
    todo = alice.create()
    response = anybody(route.method, alice.at(route.path.format(id=todo["id"])), json=route.json)
    problem(response, 401, "Missing authentication token")
    assert alice.page()["items"] == [todo]


@says("a new route is protected without configuration. Unknown paths also answer 401 before 404")
@pytest.mark.core
@pytest.mark.parametrize(
    "path",
    ["/", "/api", "/api/", "/docs", "/openapi.json", "/admin", "/favicon.ico", "/api/alice", "/api/alice/nothing"],
)
def test_unknown_path_without_token_is_401(api: Api, alice: User, path: str) -> None:
    for method in ("GET", "POST", "DELETE"):
        problem(api.http.request(method, path), 401, "Missing authentication token")
        problem(api.http.request(method, path, headers={"Authorization": "Bearer x"}), 401, "Invalid or expired token")
    problem(alice.get("/nothing"), 404)


@says("CORS preflight is the only exception")
@pytest.mark.full
def test_preflight_needs_no_token(anybody: Anybody, alice: User) -> None:
    headers = {"Origin": "https://app.example.com", "Access-Control-Request-Method": "GET"}
    assert anybody("OPTIONS", alice.at("/todos"), headers=headers).status_code in (200, 204)
    problem(anybody("GET", alice.at("/todos"), headers=headers), 401)


@says("It MUST equal the decoded {user_id} byte for byte, before any lookup")
@pytest.mark.parametrize("route", parameters(*CORE, *FULL, *ADMIN))
def test_every_route_refuses_another_users_token(alice: User, bob: User, route: Route) -> None:
    todo = alice.create()
    for key in (todo["id"], uuid4(), "x"):
        response = bob.request(route.method, alice.at(route.path.format(id=key)), json=route.json)
        assert todo["title"] not in response.text
        problem(response, 403, FORBIDDEN)
    problem(bob.get(alice.at("/nothing")), 403, FORBIDDEN)
    assert alice.page()["items"] == [todo]


@says("It MUST equal the decoded {user_id} byte for byte")
@pytest.mark.core
def test_similar_user_id_is_another_user(api: Api, alice: User) -> None:
    others = (alice.id.upper(), alice.id.title(), alice.id[:-1], f"{alice.id}a", f"{alice.id}%20", f"%20{alice.id}")
    for other in (*others, f"{alice.id}%00", alice.id.replace("a", "%D0%B0"), "*", "%25", "_", "me", "null"):
        problem(alice.get(f"/api/{other}/todos"), 403, FORBIDDEN)


@says("the decoded {user_id}")
@pytest.mark.core
def test_path_is_decoded_once(alice: User) -> None:
    todo = alice.create()
    encoded = "".join(f"%{ord(letter):02X}" for letter in alice.id)
    assert body(alice.get(f"/api/{encoded}/todos"))["items"] == [todo]
    problem(alice.get(f"/api/{encoded.replace('%', '%25')}/todos"), 403, FORBIDDEN)


def id_like(pattern: str) -> str:
    """Give a user's id of a pattern that nobody has had before."""
    digits = str(secrets.randbelow(10**20))
    return pattern.replace("*", secrets.token_hex(12)).replace("#", digits).replace("UUID", str(uuid4()))


@says("1 to 128 of A-Z a-z 0-9 . _ ~ : @ | - (Better Auth issues 32 letters and digits; UUIDs, 1 and auth0|… fit)")
@pytest.mark.core
@pytest.mark.parametrize(
    "pattern", ["*", "#", "UUID", "auth0|*", "*@example.com", "urn:user:*", "A.b_C~d-*", "-*", "*" + "x" * 104]
)
def test_user_ids_of_every_allowed_form(api: Api, pattern: str) -> None:
    user = api.user(id_like(pattern))
    todo = user.create()
    assert todo["user_id"] == user.id
    assert user.page()["items"] == [todo]


@says("{user_id} is opaque and case-sensitive")
@pytest.mark.core
def test_user_ids_are_case_sensitive(api: Api) -> None:
    lower = api.user(id_like("case-*"))
    upper = api.user(lower.id.upper())
    todo = lower.create()
    assert upper.page()["items"] == []
    assert lower.page()["items"] == [todo]


@says("1 to 128 of A-Z a-z 0-9 . _ ~ : @ | -")
@pytest.mark.core
@pytest.mark.parametrize(
    "pattern", ["*" + "x" * 105, "a b*", "ü*", "a,b*", "a+b*", "a%b*", "a'b*", 'a"b*', "a/b*", "a\\b*"]
)
def test_malformed_id_is_404(api: Api, pattern: str) -> None:
    problem(api.user(id_like(pattern)).get("/todos"), 403, FORBIDDEN)


@says("A row of another user, requested by its id under the caller's own path")
@says("the same body as for an id that never existed")
@pytest.mark.parametrize("route", parameters(*ON_A_ROW))
def test_another_users_row_is_404(alice: User, bob: User, route: Route) -> None:
    todo = alice.create(description="Alice's own", tags=["hers"])
    bodies = []
    for key in (todo["id"], str(uuid4())):
        response = bob.request(**route.of(key), headers={"X-Request-ID": "same"})
        problem(response, 404)
        bodies.append(response.text.replace(key, "ID"))
    assert bodies[0] == bodies[1]
    assert alice.read(todo["id"]) == todo


@says("A row of another user, requested by its id under the caller's own path")
@pytest.mark.core
def test_lists_never_show_another_users_rows(alice: User, bob: User) -> None:
    hers = alice.create(tags=["shared"], priority="high", due_date="2030-01-01")
    his = bob.create(tags=["shared"], priority="high", due_date="2030-01-01")
    filters: list[dict[str, Any]] = [{}, {"tag": "shared"}, {"priority": "high"}, {"completed": "false"}]
    filters += [{"due_after": "2029-01-01"}, {"created_after": "2020-01-01"}, {"sort": "title"}, {"limit": 100}]
    for parameters_ in filters:
        for user, todo in ((alice, hers), (bob, his)):
            page = user.page(**parameters_)
            assert (page["items"], page["total"]) == ([todo], 1), parameters_


@says("Order of checks: 401, 403, 404/405 of the path, 415/413/400, 422, 404 of the row")
@pytest.mark.core
def test_checks_run_in_the_documented_order(anybody: Anybody, alice: User, bob: User) -> None:
    todo = alice.create()
    path = alice.at(f"/todos/{todo['id']}")
    bad: dict[str, Any] = {"content": b"{", "headers": {"Content-Type": "text/plain", "If-Match": '"99"'}}
    bad["params"] = {"nope": "1"}
    problem(anybody("PATCH", path, **bad), 401)
    problem(bob.patch(path, **bad), 403)
    problem(bob.request("POST", path, **bad), 403)
    problem(alice.request("POST", path, **bad), 405)
    problem(alice.patch(f"{path}/nothing", **bad), 404)
    problem(alice.patch(path, **bad), 415)
    bad["headers"] |= {"Content-Type": "application/json"}
    problem(alice.patch(path, **bad), 400)
    problem(alice.patch(path, **bad | {"content": b'{"title": ""}'}), 422)
    bad |= {"content": b'{"title": ""}', "params": {}}
    problem(alice.patch(path, **bad), 422)
    problem(alice.patch(f"/todos/{uuid4()}", **bad), 422)
    bad |= {"content": b'{"title": "x"}'}
    problem(alice.patch(f"/todos/{uuid4()}", **bad), 404)
    assert alice.read(todo["id"]) == todo


@says("409/412")
@pytest.mark.full
def test_stale_version_is_checked_last(alice: User) -> None:
    todo = alice.create()
    stale = {"If-Match": '"99"'}
    problem(alice.patch(f"/todos/{todo['id']}", json={"title": ""}, headers=stale), 422)
    problem(alice.patch(f"/todos/{todo['id']}", json={"title": "x"}, headers=stale), 412)
    assert alice.read(todo["id"]) == todo
