"""2. Errors: what a request is, before anybody looks at what it says."""

import secrets

import pytest

from .api import Api, User, body, problem, section

pytestmark = pytest.mark.full
says = section("2. Errors")

JSON = {"Content-Type": "application/json"}


@says("or with a Content-Encoding other than identity (then with Accept-Encoding: identity)")
@pytest.mark.parametrize("coding", ["gzip", "BR", "identity, deflate"])
def test_content_encoding_is_415(alice: User, coding: str) -> None:
    todo = alice.create()
    encoded = JSON | {"Content-Encoding": coding}
    for method, path in (("POST", "/todos"), ("PUT", f"/todos/{todo['id']}"), ("PATCH", f"/todos/{todo['id']}")):
        refused = alice.request(method, path, content=b'{"title": "y"}', headers=encoded)
        problem(refused, 415)
        assert refused.headers["accept-encoding"] == "identity"
    assert alice.page()["items"] == [todo]


@says("A request has one Host, which is a host with an optional port, otherwise 400")
@pytest.mark.parametrize("host", ["", "a b", "user@localhost", "localhost/", "localhost,localhost", "localhost:x"])
def test_invalid_host_is_400(alice: User, host: str) -> None:
    problem(alice.get("/todos", headers={"Host": host}), 400)


@says("the server never switches protocols")
@says("A body is as long as its Content-Length or its chunks, whatever Upgrade asks for")
def test_upgrade_header_does_not_change_the_body(alice: User) -> None:
    """What its last bytes say would be another request, were the body left behind."""
    upgrade = JSON | {"Connection": "Upgrade", "Upgrade": "h2c"}
    todo = b'{"title": "x", "description": "%b"}' % (b"y" * 9_000)
    for content in (todo, todo + b" " * 100_000, b"\r\n" * 10_000 + b"GET / HTTP/1.1\r\nX: "):
        status = 400 if content.startswith(b"\r") else 201
        assert alice.post("/todos", content=content, headers=upgrade).status_code == status
        assert alice.get("/todos").status_code == 200
    assert alice.page()["total"] == 2


@says("Location, Link and instance are URI references (RFC 3986) with the path as clients see it: auth0|abc is")
def test_location_and_instance_are_uris(api: Api) -> None:
    user = api.user(f"auth0|{secrets.token_hex(8)}")
    path = f"/api/{user.id.replace('|', '%7C')}/todos"
    created = [user.post("/todos", json={"title": "x"}) for _ in range(2)]
    assert created[0].headers["location"].endswith(f"{path}/{body(created[0], 201)['id']}")
    link = user.get("/todos?limit=1&sort=title").headers.get("link", f"<{path}?")
    assert f"{path}?" in link
    for name in ("x", "x%2Fy%20z"):
        assert problem(user.get(f"/todos/{name}"), 404)["instance"].endswith(f"{path}/{name}")


@says("or has more than 5,000 values")
def test_json_with_too_many_values_is_refused(alice: User) -> None:
    for values, status in ((5001, 400), (4990, 422)):
        problem(alice.post("/todos", json={"title": "x", "tags": ["a"] * values}), status)
    commas = body(alice.post("/todos", json={"title": "x", "description": ",[" * 5000}), 201)
    assert commas["description"] == ",[" * 5000
