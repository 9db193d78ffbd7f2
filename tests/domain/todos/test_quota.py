"""`MAX_ROWS_PER_USER`."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from litestar import Litestar

from app.lib.persistence.row_quota import GRANT_SECONDS, MAX_GRANT, RowQuota
from app.lib.settings import Settings
from app.main import create_app
from tests.asgi import asgi_transport
from tests.domain.todos.tasks.dialect import tasks
from tests.factories import new_user_id, todo_rows
from tests.support import Client, assert_problem, running, token_for


@pytest.fixture
async def limited(settings: Settings) -> AsyncIterator[Litestar]:
    async with running(create_app(settings.model_copy(update={"max_rows_per_user": 5}))) as app:
        yield app


@pytest.fixture
async def carol(limited: Litestar) -> AsyncIterator[Client]:
    user_id = new_user_id()
    transport = asgi_transport(limited)
    headers = {"Authorization": f"Bearer {token_for(user_id)}"}
    async with Client(user_id, transport=transport, headers=headers) as client:
        yield client


def assert_full(response: httpx.Response) -> dict[str, Any]:
    problem = assert_problem(response, 409)
    assert (problem["type"], problem["limit"]) == ("quota-exceeded", 5)
    return problem


class TestQuota:
    async def test_every_way_to_create_is_refused_at_the_limit(self, limited: Litestar, carol: Client) -> None:
        todos = [await carol.create() for _ in range(5)]
        before = await todo_rows(limited, carol.user_id)
        operations = [{"op": "delete", "id": todos[0]["id"]}, {"op": "create", "data": {"title": "x"}}]
        assert_full(await carol.post(carol.todos(), json={"title": "x"}))
        assert_full(await carol.post(carol.todos(), json={"title": "x", "parent_id": todos[0]["id"]}))
        assert_full(await carol.post(tasks(carol), json={"title": "x"}))
        assert_full(await carol.post(carol.todos(), json={"title": "x"}, headers={"Idempotency-Key": "k"}))
        assert assert_full(await carol.post(carol.todos("batch"), json={"operations": operations}))["index"] == 1
        assert await todo_rows(limited, carol.user_id) == before

    async def test_trash_counts_until_it_is_emptied(self, carol: Client) -> None:
        todos = [await carol.create() for _ in range(5)]
        await carol.delete(carol.todos(todos[0]["id"]))
        assert_full(await carol.post(carol.todos(), json={"title": "x"}))
        assert (await carol.post(carol.todos(todos[0]["id"], "restore"))).status_code == 200
        await carol.delete(carol.todos(todos[0]["id"]), params={"permanent": True})
        await carol.create()

    async def test_batch_may_free_what_it_uses(self, carol: Client) -> None:
        todos = [await carol.create() for _ in range(4)]
        create = {"op": "create", "data": {"title": "x"}}
        free = {"op": "delete", "id": todos[0]["id"], "permanent": True}
        response = await carol.post(carol.todos("batch"), json={"operations": [create, create]})
        assert assert_full(response)["index"] == 1
        response = await carol.post(carol.todos("batch"), json={"operations": [create, free, create]})
        assert response.status_code == 200, response.text

    async def test_quota_is_exact_for_concurrent_requests(self, limited: Litestar, carol: Client) -> None:
        batch = {"operations": [{"op": "create", "data": {"title": "x"}}] * 2}
        requests = [carol.post(carol.todos(), json={"title": "x"}) for _ in range(8)]
        requests += [carol.post(carol.todos("batch"), json=batch) for _ in range(4)]
        statuses = {response.status_code for response in await asyncio.gather(*requests)}
        assert statuses <= {200, 201, 409}
        assert len(await todo_rows(limited, carol.user_id)) == 5

    async def test_quota_is_per_user(self, limited: Litestar, carol: Client) -> None:
        for _ in range(5):
            await carol.create()
        dave = new_user_id()
        headers = {"Authorization": f"Bearer {token_for(dave)}"}
        async with Client(dave, transport=asgi_transport(limited, raises=True), headers=headers) as other:
            await other.create()

    async def test_quota_limits_lists(self, carol: Client) -> None:
        for number in range(5):
            response = await carol.post(carol.path("lists"), json={"name": str(number)})
            assert response.status_code == 201
        assert_full(await carol.post(carol.path("lists"), json={"name": "one more"}))
        await carol.create()


class Rows:
    quota_key = ("alice", "todos")

    def __init__(self, count: int) -> None:
        self.count, self.counted = count, 0

    async def count_up_to(self, limit: int) -> int:
        self.counted += 1
        return min(self.count, limit)


class TestGrants:
    async def test_rows_are_not_counted_for_each_insert(self) -> None:
        rows, moment = Rows(0), [0.0]
        quota = RowQuota(100_000, clock=lambda: moment[0])
        assert all([await quota.grants(rows) for _ in range(MAX_GRANT)])
        assert rows.counted == 1
        assert await quota.grants(rows)
        assert rows.counted == 2
        moment[0] = GRANT_SECONDS + 1
        assert await quota.grants(rows)
        assert rows.counted == 3

    @pytest.mark.parametrize("count", [99_000, 99_999, 100_000, 200_000])
    async def test_near_the_limit_rows_are_counted(self, count: int) -> None:
        assert not await RowQuota(100_000).grants(Rows(count))

    async def test_without_a_limit_nothing_is_counted(self) -> None:
        rows = Rows(10**9)
        assert await RowQuota(0).grants(rows)
        assert rows.counted == 0
