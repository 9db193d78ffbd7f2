"""What every operation on one todo owes to its owner. The test class of each operation opens with it."""

from typing import Any, ClassVar
from uuid import uuid4

import httpx
import pytest
from litestar import Litestar
from uuid_utils.compat import uuid7

from tests.factories import todo_rows
from tests.support import Client, assert_problem, mistakes


class OneTodo:
    """Describes an operation: its method, the last part of its path, if any, and a body that would succeed."""

    method: ClassVar[str]
    action: ClassVar[str] = ""
    body: ClassVar[Any] = None

    def path(self, owner: Client, todo_id: object) -> str:
        return owner.todos(todo_id, self.action) if self.action else owner.todos(todo_id)

    async def send(self, client: httpx.AsyncClient, path: str, **headers: str) -> httpx.Response:
        return await client.request(self.method, path, json=self.body, headers=headers)

    async def ask(self, client: Client, todo: dict[str, Any], **headers: str) -> httpx.Response:
        return await self.send(client, self.path(client, todo["id"]), **headers)

    async def test_needs_a_token(self, anonymous: httpx.AsyncClient, alice: Client) -> None:
        todo = await alice.create()
        response = await self.send(anonymous, self.path(alice, todo["id"]))
        assert_problem(response, 401, "Missing authentication token")
        assert (await alice.get(alice.todos(todo["id"]))).json() == todo

    async def test_belongs_to_the_path(self, app: Litestar, alice: Client, bob: Client) -> None:
        todo = await alice.create()
        before = await todo_rows(app, alice.user_id)
        for path in (self.path(alice, todo["id"]), self.path(alice, uuid7())):
            assert_problem(await self.send(bob, path), 403, "Forbidden: not authorized to access this resource")
        assert await todo_rows(app, alice.user_id) == before

    async def test_another_users_todo_is_404_like_one_that_never_was(
        self, app: Litestar, alice: Client, bob: Client
    ) -> None:
        todo = await alice.create(description="mine", tags=["a"])
        before = await todo_rows(app, alice.user_id)
        answers = [await self.send(bob, self.path(bob, key), **{"X-Request-ID": "1"}) for key in (todo["id"], uuid7())]
        for answer in answers:
            problem = assert_problem(answer, 404, "Not found")
            assert problem.pop("instance") == answer.request.url.path
        foreign, missing = ({**answer.json(), "instance": ""} for answer in answers)
        assert foreign == missing
        assert answers[0].headers.keys() == answers[1].headers.keys()
        assert await todo_rows(app, alice.user_id) == before

    @pytest.mark.parametrize(
        "todo_id", ["1", "x", "None", "00000000-0000-0000-0000-00000000000", "%00", "%F0%9F%98%80"]
    )
    async def test_what_is_no_id_is_404(self, alice: Client, todo_id: str) -> None:
        assert_problem(await self.send(alice, self.path(alice, todo_id)), 404, "Not found")

    async def test_any_uuid_is_404(self, alice: Client) -> None:
        for todo_id in (uuid4(), "0" * 8 + "-0000-0000-0000-" + "0" * 12, "f" * 8 + "-ffff-ffff-ffff-" + "f" * 12):
            assert_problem(await self.send(alice, self.path(alice, todo_id)), 404, "Not found")

    async def test_takes_no_parameters(self, alice: Client) -> None:
        todo = await alice.create()
        response = await self.send(alice, self.path(alice, todo["id"]) + "?limit=1&x=y")
        assert mistakes(response) == dict.fromkeys(("limit", "x"), "Unknown query parameter")
        assert (await alice.get(alice.todos(todo["id"]))).json() == todo
