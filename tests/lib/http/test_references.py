"""`Location`, `Link` and `instance` are URI references (RFC 3986), whatever the path is."""

import re
import secrets
from urllib.parse import unquote, unquote_to_bytes, urljoin, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from litestar import Litestar

from app.lib.http.references import reference, resource_reference
from tests.asgi import http_scope
from tests.lib.raw import Answer, ask, bearer

JSON = ("Content-Type", "application/json")
REFERENCE = re.compile(r"/(?:[A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-F]{2})*")
USERS = ["auth0|abc", "google-oauth2|1|2", "a:b@c", "plain", "~a.b_c-d"]


def instance(answer: Answer) -> str:
    return re.search(rb'"instance":"([^"]*)"', answer.body)[1].decode()  # type: ignore[index]


@pytest.mark.parametrize("name", USERS)
@pytest.mark.parametrize("written", ["as it is", "escaped"])
async def test_any_user_id_gives_valid_uris(app: Litestar, name: str, written: str) -> None:
    user = f"{name}{secrets.token_hex(6)}"
    path = f"/api/{user.replace('|', '%7C') if written == 'escaped' else user}/todos"
    expected = f"/api/{user.replace('|', '%7C')}/todos"
    location = ""
    for _ in range(2):
        created = await ask(app, path, bearer(user), JSON, method="POST", body=b'{"title": "x"}')
        location = created.headers["location"]
        assert REFERENCE.fullmatch(location)
        assert location.startswith(f"{expected}/")
    assert (await ask(app, location, bearer(user))).status == 200
    page = await ask(app, f"{path}?limit=1&sort=title", bearer(user))
    link = re.fullmatch(r'<([^>]*)>; rel="next"', page.headers["link"])
    assert link
    assert REFERENCE.fullmatch(link[1])
    assert link[1].startswith(f"{expected}?")
    assert (await ask(app, link[1], bearer(user))).status == 200
    for refused in (await ask(app, path), await ask(app, f"{path}/{secrets.token_hex(3)}", bearer(user))):
        assert REFERENCE.fullmatch(instance(refused))
        assert instance(refused).startswith(expected)


@pytest.mark.parametrize(
    "path",
    [
        "/api/a b/x",
        '/api/"<>\\^`{}',
        "/api/%22%3C%3E",
        "/api/%C3%A9/%E2%82%AC",
        "/api/50%25",
        "/api/%3Fq%23f",
        "/api/%ff",
        "/api/[x]",
        "//evil.example/x",
        "///evil.example",
        "//",
        "/%2F/evil.example",
        "*",
        "",
    ],
)
async def test_any_path_gives_an_instance_on_this_server(app: Litestar, path: str) -> None:
    for headers in ((), (bearer("anyone"),)):
        reference = instance(await ask(app, path, *headers))
        assert REFERENCE.fullmatch(reference)
        assert not reference.startswith("//")
        assert urlsplit(urljoin("https://api.example/x", reference)).netloc == "api.example"
        assert not urlsplit(reference).query


async def test_unreserved_characters_are_not_escaped(app: Litestar) -> None:
    path = "/api/a!$&'()*+,;=:@-._~z"
    assert instance(await ask(app, path)) == path


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/api/auth0|abc/todos/x%2Fy%20z", "/api/auth0%7Cabc/todos/x%2Fy%20z"),
        ("/api/a%2Fb/todos", "/api/a%2Fb/todos"),
        ("/api/a%2fb/%c3%a9", "/api/a%2Fb/%C3%A9"),
        ("/api/%61%7E%2d%2c", "/api/a~-%2C"),
        ("/api/50%/%zz/%2", "/api/50%25/%25zz/%252"),
        ("/api/\u00e9/%ff", "/api/%C3%A9/%FF"),
        ("/api/../todos", "/api/%2E%2E/todos"),
        ("/api/./%2e%2E/..", "/api/%2E/%2E%2E/%2E%2E"),
        ("../x", "/%2E%2E/x"),
        ("/api/.../a..b/.c", "/api/.../a..b/.c"),
        ("/%2F/evil.example", "/%2F/evil.example"),
        ("//evil.example/%2e%2e", "/evil.example/%2E%2E"),
    ],
)
async def test_instance_is_the_path_as_sent(app: Litestar, path: str, expected: str) -> None:
    for headers in ((), (bearer("anyone"),)):
        text = instance(await ask(app, path, *headers))
        assert REFERENCE.fullmatch(text)
        assert text == expected
        assert urljoin("https://api.example/x", text) == f"https://api.example{expected}"


@given(path=st.binary(max_size=40) | st.text("/.%2eEfFa|", max_size=20).map(str.encode))
def test_reference_is_the_path_of_the_request(path: bytes) -> None:
    scope = http_scope("/", path=unquote(path.decode("latin-1")), raw_path=path)
    text = reference(scope)
    assert REFERENCE.fullmatch(text)
    assert not text.startswith("//")
    assert unquote_to_bytes(text).lstrip(b"/") == unquote_to_bytes(path).lstrip(b"/")
    assert not {".", ".."} & set(text.split("/"))
    assert reference(http_scope(text)) == text
    segments = [segment for segment in text.split("/") if segment]
    assert resource_reference(scope, "x") == "/" + "/".join([*segments, "x"])


async def test_location_below_double_slashes_is_on_this_server(app: Litestar) -> None:
    user = secrets.token_hex(8)
    for path in (f"//api/{user}/todos", f"/api/{user}/todos/", f"//api//{user}//todos//"):
        answer = await ask(app, path, bearer(user), JSON, method="POST", body=b'{"title": "x"}')
        assert answer.status in (201, 404)
        if answer.status == 201:
            assert unquote(answer.headers["location"]).startswith(f"/api/{user}/todos/")
