"""A server under test and its users. Every answer is held to what the contract says of every answer."""

import secrets
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from .description import Description
from .tokens import Tokens

PROBLEM = ("type", "title", "status", "detail", "instance", "request_id")
# What a server would say only by mistake.
INSIDE = ("Traceback (most recent call last)", "SELECT ", "INSERT INTO", "UPDATE ", "sqlalchemy", "asyncpg", 'File "/')


class User:
    """A user of the API; paths are below `/api/{user_id}`, unless they begin with `/api/`."""

    def __init__(self, http: httpx.Client, user_id: str, token: str) -> None:
        self.http, self.id, self.token = http, user_id, token

    def at(self, path: str) -> str:
        """Give the whole path of one below the user's own."""
        return f"/api/{quote(self.id, safe='')}{path}"

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Send a request with the user's token."""
        headers = {"Authorization": f"Bearer {self.token}"} | options.pop("headers", {})
        url = path if path.startswith("/api/") else self.at(path)
        return self.http.request(method, url, headers=headers, **options)

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.request("GET", path, **options)

    def post(self, path: str, **options: Any) -> httpx.Response:
        return self.request("POST", path, **options)

    def put(self, path: str, **options: Any) -> httpx.Response:
        return self.request("PUT", path, **options)

    def patch(self, path: str, **options: Any) -> httpx.Response:
        return self.request("PATCH", path, **options)

    def delete(self, path: str, **options: Any) -> httpx.Response:
        return self.request("DELETE", path, **options)

    def create(self, **fields: Any) -> dict[str, Any]:
        """Create a todo."""
        return json_object(self.post("/todos", json={"title": "Water the plants"} | fields), 201)

    def read(self, todo_id: str) -> dict[str, Any]:
        """Read a todo."""
        return json_object(self.get(f"/todos/{todo_id}"))

    def page(self, **parameters: Any) -> dict[str, Any]:
        """Read a page of todos."""
        return json_object(self.get("/todos", params=parameters))

    def titles(self, **parameters: Any) -> list[str]:
        """Read the titles of a page of todos."""
        return [todo["title"] for todo in self.page(**parameters)["items"]]


class Api:
    """A server, and its users; `wholly` is whether it claims the whole contract."""

    def __init__(self, http: httpx.Client, tokens: Tokens, *, wholly: bool) -> None:
        self.http, self.tokens = http, tokens
        http.event_hooks = {"response": [hold_to_the_contract]}
        if wholly:
            reader = self.user(f"reader-{secrets.token_hex(10)}")
            description = Description(body(reader.get("/api/schema/openapi.json")))
            http.event_hooks = {"response": [hold_to_the_contract, hold_to_the_headers, description.hold]}

    def user(self, user_id: str, role: str | None = None) -> User:
        """Give a user by id."""
        return User(self.http, user_id, self.tokens.mint(user_id, role))

    def bearing(self, token: str, user_id: str) -> User:
        """Give somebody who claims to be a user by a token of any kind."""
        return User(self.http, user_id, token)


def body(response: httpx.Response, status: int = 200) -> Any:
    """Give the JSON of an answer that has this status."""
    said = f"{response.request.method} {response.request.url}: {response.status_code} {response.text[:500]}"
    assert response.status_code == status, f"expected {status} of {said}"
    return response.json() if response.content else None


def json_object(response: httpx.Response, status: int = 200) -> dict[str, Any]:
    """Return the JSON object of a response that must have this status."""
    document = body(response, status)
    assert isinstance(document, dict), document
    return document


def problem(response: httpx.Response, status: int, detail: str | None = None) -> dict[str, Any]:
    """Give the problem document of an error; its shape is held by `hold_to_the_contract`."""
    document = json_object(response, status)
    assert detail is None or document["detail"] == detail, document
    return document


def mistakes(response: httpx.Response) -> set[str]:
    """Give the pointers and parameters that a 422 names."""
    return {error.get("pointer", error.get("parameter")) for error in problem(response, 422)["errors"]}


def section(title: str) -> Callable[[str], pytest.MarkDecorator]:
    """Return a function that marks a test with the sentence of this section of docs/contract.md that it checks."""

    def sentence(text: str) -> pytest.MarkDecorator:
        return pytest.mark.contract(title, text)

    return sentence


def at_once[T](calls: Iterable[Callable[[], T]]) -> list[T]:
    """Make calls at the same time."""
    waiting = list(calls)
    barrier = threading.Barrier(len(waiting))

    def call(function: Callable[[], T]) -> T:
        barrier.wait()
        return function()

    with ThreadPoolExecutor(len(waiting)) as pool:
        return list(pool.map(call, waiting))


def hold_to_the_contract(response: httpx.Response) -> None:
    """Assert sections 2 and 6 on every answer that any test gets."""
    text = response.read().decode(errors="replace")
    said = f"{response.request.method} {response.request.url}: {response.status_code} {text[:500]}"
    token = response.request.headers.get("authorization", "").partition(" ")[2]
    assert len(token) < 40 or token not in text, f"2. Errors: a token appears in {said}"
    assert response.headers.get("x-request-id"), f"2. Errors: every answer has X-Request-ID, but not {said}"
    assert response.status_code < 500 or response.status_code == 503, f"2. Errors: a fault of the server: {said}"
    if response.status_code == 401:
        challenge = response.headers.get("www-authenticate", "")
        assert challenge.startswith("Bearer"), (
            f"1. Authentication and authorization: 401 has WWW-Authenticate: Bearer, but not {said}"
        )
    if response.status_code == 405:
        assert "allow" in response.headers, f"2. Errors: 405 has Allow, but not {said}"
    if response.status_code in (429, 503):
        assert response.headers.get("retry-after", "").isdigit(), f"2. Errors: Retry-After is missing in {said}"
    if response.status_code >= 400 and response.request.method != "HEAD":
        hold_to_the_shape(response, said)


def hold_to_the_headers(response: httpx.Response) -> None:
    """Assert that an answer has the headers that every answer has."""
    said = f"{response.request.method} {response.request.url}: {response.status_code}"
    wanted = {"x-content-type-options": "nosniff", "cache-control": "no-store", "referrer-policy": "no-referrer"}
    if "json" in response.headers.get("content-type", ""):
        wanted["content-security-policy"] = "default-src 'none'"
    for name, value in wanted.items():
        assert response.headers.get(name) == value, f"6. Defaults: every answer has {name}: {value}, but not {said}"


def hold_to_the_shape(response: httpx.Response, said: str) -> None:
    """Assert that an error is a problem document, whole and without a word of the inside."""
    media_type = response.headers.get("content-type")
    assert media_type == "application/problem+json", f"2. Errors: every error has this shape, not {media_type}: {said}"
    document = response.json()
    assert document.keys() >= set(PROBLEM), f"2. Errors: members are missing in {said}"
    assert document["status"] == response.status_code, f"2. Errors: another status in {said}"
    assert document["request_id"] == response.headers["x-request-id"], f"2. Errors: another request_id in {said}"
    assert all(isinstance(document[name], str) for name in PROBLEM if name != "status"), said
    assert not [word for word in INSIDE if word in response.text], f"2. Errors: nothing of the inside, but {said}"
    if response.status_code == 422:
        assert document.get("errors"), f"2. Errors: a 422 has errors, but not {said}"
        for error in document["errors"]:
            assert isinstance(error["detail"], str), said
            assert len(error.keys() & {"pointer", "parameter"}) == 1, f"2. Errors: pointer or parameter in {said}"
