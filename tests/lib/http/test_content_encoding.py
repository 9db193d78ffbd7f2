"""Bodies are taken as they are: another `Content-Encoding` than identity is 415, before the body is read."""

import gzip
import re
import secrets
from collections.abc import AsyncIterator

import pytest
from litestar import Litestar

from app.lib.http.routes import operations
from tests.lib.raw import ask, bearer
from tests.support import Client, assert_problem

JSON = ("Content-Type", "application/json")
CODED = [["gzip"], ["GZip"], ["br"], ["deflate"], ["zstd"], ["x-gzip"], ["identity, gzip"], ["identity", "br"], ["x"]]
PLAIN = [[], ["identity"], ["Identity"], [""], [" , "], ["identity, IDENTITY"], ["identity", "identity"]]


def encodings(values: list[str]) -> list[tuple[str, str]]:
    return [("Content-Encoding", value) for value in values]


@pytest.mark.parametrize("values", CODED)
async def test_encoded_body_is_415_with_accept_encoding(app: Litestar, values: list[str]) -> None:
    user = secrets.token_hex(8)
    headers = (bearer(user), JSON, *encodings(values))
    for path in ("todos", "tasks"):
        answer = await ask(app, f"/api/{user}/{path}", *headers, method="POST", body=gzip.compress(b'{"title": "x"}'))
        assert (answer.status, answer.headers["accept-encoding"]) == (415, "identity")
        assert b"Content-Encoding" in answer.body
        answer = await ask(app, f"/api/{user}/{path}", bearer(user))
        assert answer.body == b"[]" or b'"total":0' in answer.body


@pytest.mark.parametrize("values", PLAIN)
async def test_identity_encoding_is_accepted(app: Litestar, values: list[str]) -> None:
    headers = (bearer("plain"), JSON, *encodings(values))
    answer = await ask(app, "/api/plain/todos", *headers, method="POST", body=b'{"title": "x"}')
    assert answer.status == 201


@pytest.mark.parametrize("keyed", [False, True], ids=["plain", "idempotent"])
async def test_encoded_body_is_refused_unread_on_every_route(app: Litestar, alice: Client, keyed: bool) -> None:
    """The body never ends: whoever reads it waits in vain."""

    async def endless() -> AsyncIterator[bytes]:
        raise AssertionError("the body was read")
        yield b""

    refused = 0
    for operation in operations(app):
        if "data" not in operation.handler.parsed_fn_signature.parameters:
            continue
        path = re.sub(
            r"\{[^}]+\}", "0199a1f0-5b6e-7cc3-98c4-dc0c0c07398f", operation.path.replace("{user_id}", alice.user_id)
        )
        headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
        headers |= {"Idempotency-Key": secrets.token_hex(8)} if keyed else {}
        answer = await alice.request(operation.method, path, content=endless(), headers=headers)
        assert_problem(answer, 415)
        assert answer.headers["accept-encoding"] == "identity"
        refused += 1
    assert refused > 15


async def test_route_without_body_ignores_content_encoding(alice: Client) -> None:
    path = alice.todos((await alice.create())["id"], "toggle-complete")
    headers = {"Content-Encoding": "gzip", "Idempotency-Key": secrets.token_hex(8)}
    first = await alice.post(path, headers=headers, content=b"\x1f\x8b")
    again = await alice.post(path, headers=headers, content=b"\x1f\x8b")
    assert [answer.json()["completed"] for answer in (first, again)] == [True, True]
    assert again.headers["idempotency-replayed"] == "true"


async def test_wrong_media_type_has_no_accept_encoding(alice: Client) -> None:
    answer = await alice.post(alice.todos(), content=b"x", headers={"Content-Type": "text/plain"})
    assert_problem(answer, 415)
    assert "accept-encoding" not in answer.headers
