"""What every operation owes to its owner. The test class of each operation opens with it."""

from typing import Any, ClassVar
from uuid import UUID, uuid4

import httpx
import pytest
from litestar import Litestar
from uuid_utils.compat import uuid7

from app.db.base import metadata
from tests.factories import rows_of
from tests.support import Client, assert_problem, json_object, mistakes


class Walled:
    """Describes an operation: its method, its collection, and a body that would succeed."""

    method: ClassVar[str]
    collection: ClassVar[str] = "todos"
    action: ClassVar[str] = ""
    body: ClassVar[Any] = None

    async def send(self, client: httpx.AsyncClient, path: str, **headers: str) -> httpx.Response:
        return await client.request(self.method, path, json=self.body, headers=headers)

    async def rows(self, app: Litestar, owner: Client) -> dict[UUID, dict[str, Any]]:
        return await rows_of(app, metadata.tables[f"app.{self.collection}"], owner.user_id)


class Collection(Walled):
    """An operation on all rows of a collection: the last part of its path may be an action."""

    def whole(self, owner: Client) -> str:
        return owner.path(self.collection, self.action) if self.action else owner.path(self.collection)

    async def test_request_without_token_is_401(self, anonymous: httpx.AsyncClient, alice: Client) -> None:
        assert_problem(await self.send(anonymous, self.whole(alice)), 401, "Missing authentication token")

    async def test_path_of_another_user_is_403(self, alice: Client, bob: Client) -> None:
        response = await self.send(bob, self.whole(alice))
        assert_problem(response, 403, "Forbidden: not authorized to access this resource")


class OneRow(Walled):
    """An operation on one row: the last part of its path, if any, is the action; `sample` makes a row."""

    sample: ClassVar[dict[str, Any]] = {"title": "Water the plants"}

    def path(self, owner: Client, key: object) -> str:
        return owner.path(self.collection, key, *([self.action] if self.action else []))

    async def make(self, client: Client) -> dict[str, Any]:
        return json_object(await client.post(client.path(self.collection), json=self.sample), 201)

    async def ask(self, client: Client, row: dict[str, Any], **headers: str) -> httpx.Response:
        return await self.send(client, self.path(client, row["id"]), **headers)

    async def test_request_without_token_is_401(
        self, app: Litestar, anonymous: httpx.AsyncClient, alice: Client
    ) -> None:
        row = await self.make(alice)
        before = await self.rows(app, alice)
        response = await self.send(anonymous, self.path(alice, row["id"]))
        assert_problem(response, 401, "Missing authentication token")
        assert await self.rows(app, alice) == before

    async def test_path_of_another_user_is_403(self, app: Litestar, alice: Client, bob: Client) -> None:
        row = await self.make(alice)
        before = await self.rows(app, alice)
        for path in (self.path(alice, row["id"]), self.path(alice, uuid7())):
            assert_problem(await self.send(bob, path), 403, "Forbidden: not authorized to access this resource")
        assert await self.rows(app, alice) == before

    async def test_row_of_another_user_is_404_like_a_missing_one(
        self, app: Litestar, alice: Client, bob: Client
    ) -> None:
        row = await self.make(alice)
        before = await self.rows(app, alice)
        answers = [await self.send(bob, self.path(bob, key), **{"X-Request-ID": "1"}) for key in (row["id"], uuid7())]
        for answer in answers:
            problem = assert_problem(answer, 404, "Not found")
            assert problem.pop("instance") == answer.request.url.path
        foreign, missing = ({**answer.json(), "instance": ""} for answer in answers)
        assert foreign == missing
        assert answers[0].headers.keys() == answers[1].headers.keys()
        assert await self.rows(app, alice) == before

    @pytest.mark.parametrize("key", ["1", "x", "None", "00000000-0000-0000-0000-00000000000", "%00", "%F0%9F%98%80"])
    async def test_malformed_id_is_404(self, alice: Client, key: str) -> None:
        assert_problem(await self.send(alice, self.path(alice, key)), 404, "Not found")

    async def test_unknown_uuid_is_404(self, alice: Client) -> None:
        for key in (uuid4(), "0" * 8 + "-0000-0000-0000-" + "0" * 12, "f" * 8 + "-ffff-ffff-ffff-" + "f" * 12):
            assert_problem(await self.send(alice, self.path(alice, key)), 404, "Not found")

    async def test_unknown_query_parameter_is_422(self, app: Litestar, alice: Client) -> None:
        row = await self.make(alice)
        before = await self.rows(app, alice)
        response = await self.send(alice, self.path(alice, row["id"]) + "?limit=1&x=y")
        assert mistakes(response) == dict.fromkeys(("limit", "x"), "Unknown query parameter")
        assert await self.rows(app, alice) == before


class OneTodo(OneRow):
    """An operation on one todo."""


class OneList(OneRow):
    """An operation on one list."""

    collection: ClassVar = "lists"
    sample: ClassVar = {"name": "Home"}
