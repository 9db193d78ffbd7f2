"""Every operation on a todo, those of tomorrow included: what is another user's is neither seen nor touched."""

import asyncio
from typing import Any

import httpx
import pytest
from litestar import Litestar
from uuid_utils.compat import uuid7

from app.lib.http.routes import operations
from tests.factories import insert_todos, todo_row, todo_rows
from tests.support import Client, assert_problem


def every_verb(app: Litestar, owner: Client, todo_id: object) -> list[tuple[str, str]]:
    """Give method and path of every operation on one todo; HEAD and OPTIONS come with GET."""
    found = [item for item in operations(app) if "{todo_id}" in item.path]
    assert len(found) >= 7
    verbs = [(item.method, item.path.format(user_id=owner.user_id, todo_id=todo_id)) for item in found]
    return [*verbs, ("HEAD", owner.todos(todo_id))]


async def send(client: httpx.AsyncClient, verb: tuple[str, str], **headers: str) -> httpx.Response:
    body = {"after": str(uuid7())} if verb[1].endswith("/move") else {"title": "stolen"}
    return await client.request(*verb, json=body, headers=headers)


@pytest.fixture
async def todo(alice: Client) -> dict[str, Any]:
    """Give a todo of Alice's with something in every field."""
    return await alice.create(description="secret", completed=True, priority="high", tags=["a"], due_date="2026-03-01")


class TestIsolation:
    async def test_another_users_todo_under_own_path_is_404(
        self, app: Litestar, alice: Client, bob: Client, todo: dict[str, Any]
    ) -> None:
        before = await todo_rows(app, alice.user_id)
        pairs = zip(every_verb(app, bob, todo["id"]), every_verb(app, bob, missing := uuid7()), strict=True)
        for foreign, never in pairs:
            answers = [await send(bob, verb, **{"X-Request-ID": "1"}) for verb in (foreign, never)]
            assert [answer.status_code for answer in answers] == [404, 404], foreign
            texts = [
                answer.text.replace(str(key), "") for answer, key in zip(answers, (todo["id"], missing), strict=True)
            ]
            assert texts[0] == texts[1]
        assert await todo_rows(app, alice.user_id) == before
        assert await todo_rows(app, bob.user_id) == {}

    async def test_another_users_todo_under_its_path_is_403(
        self, app: Litestar, alice: Client, bob: Client, todo: dict[str, Any]
    ) -> None:
        before = await todo_rows(app, alice.user_id)
        for verb in every_verb(app, alice, todo["id"]):
            response = await send(bob, verb)
            assert response.status_code == 403, verb
            assert "secret" not in response.text
        assert await todo_rows(app, alice.user_id) == before

    @pytest.mark.parametrize("tag", ['"1"', "*", '"2"'])
    async def test_conditions_do_not_reveal_another_users_todo(
        self, app: Litestar, alice: Client, bob: Client, todo: dict[str, Any], tag: str
    ) -> None:
        before = await todo_rows(app, alice.user_id)
        for verb in every_verb(app, bob, todo["id"]):
            response = await send(bob, verb, **{"If-Match": tag, "If-None-Match": tag})
            assert (response.status_code, response.headers.get("etag")) == (404, None), verb
        assert await todo_rows(app, alice.user_id) == before

    async def test_ids_in_the_body_are_refused(self, alice: Client, bob: Client, todo: dict[str, Any]) -> None:
        for name, value in (("id", todo["id"]), ("user_id", alice.user_id)):
            assert_problem(await bob.post(bob.todos(), json={"title": "x", name: value}), 422)
        mine = await bob.create()
        for method in ("PUT", "PATCH"):
            body = {"title": "x", "user_id": alice.user_id}
            assert_problem(await bob.request(method, bob.todos(mine["id"]), json=body), 422)
        assert (await alice.get(alice.todos())).json()["items"] == [todo]
        assert (await bob.get(bob.todos())).json()["items"] == [mine]

    @pytest.mark.usefixtures("todo")
    async def test_no_filter_or_page_shows_another_users_todo(self, bob: Client) -> None:
        filters: list[dict[str, str | int]] = [
            {"tag": "a"},
            {"completed": True},
            {"priority": "high"},
            {"due_after": "2020-01-01"},
        ]
        filters += [{"created_after": "2020-01-01"}, {"offset": 1}, {"sort": "title"}, {"limit": 100}]
        for parameters in filters:
            page = (await bob.get(bob.todos(), params=parameters)).json()
            assert (page["items"], page["total"]) == ([], 0)


class TestOneIdOfTwoUsers:
    """An id belongs to its owner: the key is both."""

    @pytest.fixture
    async def key(self, app: Litestar, alice: Client, bob: Client) -> object:
        """Give an id under which Alice and Bob have a todo each."""
        key = uuid7()
        await insert_todos(app, [todo_row(client.user_id, id=key, title=client.user_id) for client in (alice, bob)])
        return key

    async def test_same_id_of_two_users_is_read_separately(self, alice: Client, bob: Client, key: object) -> None:
        for client in (alice, bob):
            assert (await client.get(client.todos(key))).json()["title"] == client.user_id
            page = (await client.get(client.todos())).json()
            assert ([item["user_id"] for item in page["items"]], page["total"]) == ([client.user_id], 1)

    async def test_same_id_of_two_users_is_written_separately(
        self, app: Litestar, alice: Client, bob: Client, key: object
    ) -> None:
        before = await todo_rows(app, alice.user_id)
        for verb in every_verb(app, bob, key):
            if verb[0] != "DELETE" and not verb[1].endswith(("/move", "/restore")):
                assert (await send(bob, verb)).status_code == 200
                assert await todo_rows(app, alice.user_id) == before
        assert (await bob.get(bob.todos(key))).json()["title"] == "stolen"

    async def test_same_id_of_two_users_is_deleted_separately(
        self, app: Litestar, alice: Client, bob: Client, key: object
    ) -> None:
        before = await todo_rows(app, alice.user_id)
        assert (await bob.delete(bob.todos(key))).status_code == 204
        assert await todo_rows(app, alice.user_id) == before
        assert (await bob.delete(bob.todos(key), params={"permanent": "true"})).status_code == 204
        assert await todo_rows(app, alice.user_id) == before
        assert await todo_rows(app, bob.user_id) == {}

    async def test_same_id_of_two_users_has_separate_versions(self, alice: Client, bob: Client, key: object) -> None:
        await alice.post(alice.todos(key, "toggle-complete"))
        response = await bob.patch(bob.todos(key), json={"title": "x"}, headers={"If-Match": '"1"'})
        assert (response.status_code, response.json()["version"]) == (200, 2)

    async def test_same_id_of_two_users_is_written_concurrently(self, alice: Client, bob: Client, key: object) -> None:
        calls = [client.post(client.todos(key, "toggle-complete")) for client in (alice, bob, bob) for _ in range(9)]
        assert {response.status_code for response in await asyncio.gather(*calls)} == {200}
        assert (await alice.get(alice.todos(key))).json()["version"] == 10
        assert (await bob.get(bob.todos(key))).json()["version"] == 19
