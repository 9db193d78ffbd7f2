"""4. Todos: conditional requests, and retries."""

import secrets
from collections import Counter
from functools import partial
from typing import Any

import httpx
import pytest

from .api import User, at_once, body, mistakes, problem, section
from .routes import CORE, Route

pytestmark = pytest.mark.full
says = section("4. Todos /api/{user_id}/todos")

WRITES = [route for route in CORE if "{id}" in route.path and route.method != "GET"]
of_writes = pytest.mark.parametrize("route", WRITES, ids=lambda route: f"{route.method} {route.path}")


class TestConditions:
    @says("a strong ETag from version")
    @says("GET /todos/{id}: 200, ETag")
    def test_etag_is_the_version(self, alice: User) -> None:
        created = alice.post("/todos", json={"title": "x"})
        path = f"/todos/{body(created, 201)['id']}"
        assert alice.get(path).headers["etag"] == created.headers["etag"] == '"1"'
        for version, write in enumerate(WRITES[:2] + WRITES[3:4], 2):
            assert (
                alice.request(write.method, write.path.format(id=path[7:]), json=write.json).headers["etag"]
                == f'"{version}"'
            )
            assert alice.get(path).headers["etag"] == f'"{version}"'

    @says("If-Match on PUT, PATCH, DELETE and the POST actions; a stale ETag gives 412 and changes nothing")
    @pytest.mark.contract("2. Errors", "412 stale If-Match")
    @of_writes
    def test_stale_write_is_412(self, alice: User, route: Route) -> None:
        todo = alice.create()
        todo = body(alice.patch(f"/todos/{todo['id']}", json={"description": "newer"}))
        for stale in ('"1"', '"3"', '"1", "3"', 'W/"2"', '"x"', '""', "2", "x"):
            problem(alice.request(**route.of(todo["id"]), headers={"If-Match": stale}), 412)
        assert alice.read(todo["id"]) == todo

    @says("If-Match on PUT, PATCH, DELETE and the POST actions")
    @of_writes
    @pytest.mark.parametrize("tag", ['"1"', '"7", "1"', '"1","7"', "*"])
    def test_current_if_match_writes(self, alice: User, route: Route, tag: str) -> None:
        todo = alice.create()
        assert alice.request(**route.of(todo["id"]), headers={"If-Match": tag}).status_code in (200, 204)

    @says("If-Match on PUT, PATCH, DELETE and the POST actions")
    @of_writes
    def test_if_match_on_missing_row_is_404(self, alice: User, bob: User, route: Route) -> None:
        todo = bob.create()
        for tag in ('"1"', "*"):
            for key in (todo["id"], None):
                problem(alice.request(**route.of(key), headers={"If-Match": tag}), 404)
        assert bob.read(todo["id"]) == todo

    @says("If-None-Match with an asterisk or the current ETag, on a write of an existing resource, gives 412")
    @of_writes
    def test_if_none_match_on_write_is_412(self, alice: User, route: Route) -> None:
        todo = alice.create()
        for tag in ("*", '"1"', 'W/"1"', '"5", "1"'):
            problem(alice.request(**route.of(todo["id"]), headers={"If-None-Match": tag}), 412)
        assert alice.read(todo["id"]) == todo

    @says("and so does a stale If-Match on GET")
    def test_stale_if_match_on_get_is_412(self, alice: User) -> None:
        path = f"/todos/{alice.create()['id']}"
        problem(alice.get(path, headers={"If-Match": '"2"', "If-None-Match": '"1"'}), 412)
        assert alice.get(path, headers={"If-Match": '"1"'}).status_code == 200

    @says('An ETag that a proxy has weakened or given a suffix (W/"2", "2-gzip") never matches in If-Match')
    @says("and the 412 says so")
    def test_weakened_etag_is_412(self, alice: User) -> None:
        todo = alice.create()
        for tag in ('W/"1"', '"1-gzip"', '"1;br"'):
            answer = problem(alice.patch(f"/todos/{todo['id']}", json={"title": "y"}, headers={"If-Match": tag}), 412)
            assert "proxy" in answer["detail"]

    @says("a stale ETag gives 412 and changes nothing")
    def test_one_of_many_concurrent_writes_wins(self, alice: User) -> None:
        todo = alice.create()
        headers = {"If-Match": '"1"'}
        path = f"/todos/{todo['id']}"
        answers = at_once([partial(alice.patch, path, json={"title": str(each)}, headers=headers) for each in range(8)])
        won = [response.json() for response in answers if response.status_code == 200]
        assert Counter(response.status_code for response in answers) == {200: 1, 412: 7}
        assert alice.read(todo["id"]) == won[0]

    @says("If-None-Match on GET gives 304")
    def test_unchanged_row_is_304(self, alice: User) -> None:
        todo = alice.create()
        path = f"/todos/{todo['id']}"
        for tag in ('"1"', 'W/"1"', '"5", "1"', "*"):
            response = alice.get(path, headers={"If-None-Match": tag})
            assert (response.status_code, response.content, response.headers["etag"]) == (304, b"", '"1"')
        alice.post(f"{path}/toggle-complete")
        for tag in ('"1"', '"x"', ""):
            assert body(alice.get(path, headers={"If-None-Match": tag}))["version"] == 2


class TestRetries:
    @pytest.fixture
    def key(self) -> dict[str, str]:
        """Give a key that nobody has used."""
        return {"Idempotency-Key": secrets.token_hex(16)}

    @says("the first response is stored with the write, in its transaction, and replayed for 24 h")
    @says("Idempotency-Replayed: true")
    def test_first_response_is_replayed(self, alice: User, key: dict[str, str]) -> None:
        first = alice.post("/todos", json={"title": "once"}, headers=key)
        assert "idempotency-replayed" not in first.headers
        todo = body(first, 201)
        alice.patch(f"/todos/{todo['id']}", json={"title": "changed"})
        for _ in range(2):
            again = alice.post("/todos", json={"title": "once"}, headers=key)
            assert (again.status_code, again.content) == (201, first.content)
            assert again.headers["idempotency-replayed"] == "true"
            assert [again.headers[name] for name in ("location", "etag")] == [
                first.headers[name] for name in ("location", "etag")
            ]
        assert alice.titles() == ["changed"]

    @says("Idempotency-Key (1..255 visible ASCII) on any POST")
    @pytest.mark.parametrize("action", ["toggle-complete", "complete", "reopen"])
    def test_every_post_accepts_an_idempotency_key(self, alice: User, key: dict[str, str], action: str) -> None:
        todo = alice.create()
        answers = [alice.post(f"/todos/{todo['id']}/{action}", headers=key) for _ in range(3)]
        assert len({response.content for response in answers}) == 1
        assert [response.headers.get("idempotency-replayed") for response in answers] == [None, "true", "true"]
        assert alice.read(todo["id"]) == answers[0].json()

    @says("the same key with another body is 422")
    def test_key_reused_for_another_request_is_refused(self, alice: User, key: dict[str, str]) -> None:
        todo = body(alice.post("/todos", json={"title": "once"}, headers=key), 201)
        problem(alice.post("/todos", json={"title": "twice"}, headers=key), 422)
        problem(alice.post(f"/todos/{todo['id']}/complete", headers=key), 422)
        assert alice.page()["items"] == [todo]

    @says("Idempotency-Key (1..255 visible ASCII)")
    @pytest.mark.parametrize("given", ["a", "~" * 255, "!\"#$%&'()*+,-./:;<=>?@[]^_`{|}"])
    def test_valid_idempotency_keys_are_accepted(self, alice: User, given: str) -> None:
        for replayed in (None, "true"):
            response = alice.post("/todos", json={"title": "x"}, headers={"Idempotency-Key": given})
            assert (body(response, 201)["title"], response.headers.get("idempotency-replayed")) == ("x", replayed)

    @says("Idempotency-Key (1..255 visible ASCII)")
    @pytest.mark.parametrize("given", ["", "a b", "a" * 256, "é"])
    def test_invalid_idempotency_key_is_refused(self, alice: User, given: str) -> None:
        headers: Any = {"Idempotency-Key": given.encode()}
        assert mistakes(alice.post("/todos", json={"title": "x"}, headers=headers)) == {"Idempotency-Key"}
        assert alice.page()["total"] == 0

    @says("Idempotency-Key (1..255 visible ASCII)")
    def test_invalid_header_bytes_are_refused(self, alice: User) -> None:
        """The HTTP server itself may refuse it, and owes the same shape."""
        response = alice.post("/todos", json={"title": "x"}, headers={"Idempotency-Key": "\x7f"})
        assert response.status_code in (400, 422)
        assert alice.page()["total"] == 0

    @says("a second call while the first runs is 409")
    @pytest.mark.contract("2. Errors", "409 conflict")
    def test_concurrent_retries_create_one_row(self, alice: User, key: dict[str, str]) -> None:
        alice.page()
        answers = at_once([partial(alice.post, "/todos", json={"title": "once"}, headers=key)] * 50)
        done = [response for response in answers if response.status_code == 201]
        assert {response.status_code for response in answers} <= {201, 409}
        assert len({response.content for response in done}) == 1
        assert sum("idempotency-replayed" not in response.headers for response in done) == 1
        assert alice.page()["items"] == [done[0].json()]

    @says("Idempotency-Key (1..255 visible ASCII) on any POST")
    def test_idempotency_keys_are_per_user(self, alice: User, bob: User, key: dict[str, str]) -> None:
        answers: list[httpx.Response] = []
        for user in (alice, bob):
            answers.append(user.post("/todos", json={"title": "x"}, headers=key))
            assert body(answers[-1], 201)["user_id"] == user.id
            assert "idempotency-replayed" not in answers[-1].headers
        problem(bob.post(alice.at("/todos"), json={"title": "x"}, headers=key), 403)
        assert (alice.page()["total"], bob.page()["total"]) == (1, 1)
