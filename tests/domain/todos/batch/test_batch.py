"""POST /api/{user_id}/todos/batch: all of it, or nothing."""

import asyncio
import json
from typing import Any, ClassVar

import httpx
import pytest
from litestar import Litestar

from tests.asgi import asgi_transport
from tests.domain.todos.verbs import batch, chain, discard, get, listed, new_list, titles
from tests.domain.todos.walls import Collection
from tests.factories import todo_rows
from tests.support import Client, assert_problem, mistakes, token_for

AN_ID = "0198c2f0-0000-7000-8000-000000000000"
CREATE = {"op": "create", "data": {"title": "New"}}


def create(**data: Any) -> dict[str, Any]:
    return {"op": "create", "data": {"title": "New"} | data}


def update(todo: Any, version: Any = None, **data: Any) -> dict[str, Any]:
    made = {"op": "update", "id": todo["id"] if isinstance(todo, dict) else todo, "data": data}
    return made if version is None else made | {"version": version}


def delete(todo: Any, **more: Any) -> dict[str, Any]:
    return {"op": "delete", "id": todo["id"] if isinstance(todo, dict) else todo} | more


class TestBatch(Collection):
    method: ClassVar = "POST"
    action: ClassVar = "batch"
    body: ClassVar = {"operations": [CREATE]}

    async def test_batch_runs_all_operations(self, app: Litestar, alice: Client) -> None:
        first, second, third = [await alice.create(title=name) for name in "abc"]
        response = await batch(
            alice, create(tags=["x"]), update(first, title="A"), delete(second), delete(third, permanent=True)
        )
        assert response.status_code == 200
        results = response.json()["results"]
        assert [result["status"] for result in results] == [201, 200, 204, 204]
        assert [result["todo"] and result["todo"]["title"] for result in results] == ["New", "A", None, None]
        assert results[0]["todo"] == await get(alice, results[0]["todo"])
        assert results[1]["todo"] == await get(alice, first)
        assert [todo["id"] for todo in await listed(alice, deleted="true")] == [second["id"]]
        assert len(await todo_rows(app, alice.user_id)) == 3

    async def test_batch_operations_run_in_order(self, alice: Client) -> None:
        todo = await alice.create()
        response = await batch(
            alice,
            update(todo, 1, title="one"),
            update(todo, 2, completed=True),
            delete(todo, version=3),
            *(create(title=str(number)) for number in range(5)),
        )
        assert response.status_code == 200
        assert await titles(alice) == ["0", "1", "2", "3", "4"]

    async def test_batch_changes_a_tree_step_by_step(self, alice: Client) -> None:
        one, other = await alice.create(), await alice.create()
        response = await batch(alice, update(one, parent_id=other["id"]), update(other, parent_id=one["id"]))
        assert list(mistakes(response)) == ["/operations/1/data/parent_id"]
        response = await batch(
            alice,
            update(one, parent_id=other["id"]),
            update(one, parent_id=None),
            update(other, parent_id=one["id"]),
            create(parent_id=other["id"]),
        )
        assert response.status_code == 200

    @pytest.mark.parametrize("position", [0, 1, 3])
    @pytest.mark.parametrize("wrong", ["missing", "foreign", "trash", "stale", "list", "parent", "due"])
    async def test_failed_operation_rolls_back_the_batch(
        self, app: Litestar, alice: Client, bob: Client, position: int, wrong: str
    ) -> None:
        first, second, gone = [await alice.create(due_date="2026-01-01") for _ in range(3)]
        foreign = await bob.create()
        await discard(alice, gone)
        failing, status = {
            "missing": (update(AN_ID, title="x"), 404),
            "foreign": (delete(foreign, permanent=True), 404),
            "trash": (delete(gone), 404),
            "stale": (delete(second, version=2), 412),
            "list": (create(list_id=(await new_list(bob))["id"]), 422),
            "parent": (update(second, parent_id=foreign["id"]), 422),
            "due": (update(second, due_at="2026-01-01T00:00:00Z"), 422),
        }[wrong]
        operations = [create(), update(first, title="A"), delete(first)]
        operations.insert(position, failing)
        before = [await todo_rows(app, client.user_id) for client in (alice, bob)]
        problem = assert_problem(await batch(alice, *operations), status)
        assert problem["index"] == position
        if status == 422:
            assert [error["pointer"].rpartition("/")[0] for error in problem["errors"]] == [
                f"/operations/{position}/data"
            ]
        assert [await todo_rows(app, client.user_id) for client in (alice, bob)] == before

    async def test_stale_version_is_412_though_nothing_would_change(self, alice: Client) -> None:
        todo = await alice.create()
        assert (await batch(alice, update(todo, 1))).json()["results"][0]["todo"] == todo
        assert assert_problem(await batch(alice, update(todo, 2)), 412)["index"] == 0

    async def test_version_applies_to_its_own_operation(self, alice: Client) -> None:
        one, other = await alice.create(), await alice.create()
        await alice.patch(alice.todos(other["id"]), json={"title": "x"})
        response = await batch(alice, update(one, 1, title="a"), update(other, title="b"), delete(other, version=3))
        assert response.status_code == 200

    async def test_validation_errors_have_no_operation_index(self, app: Litestar, alice: Client) -> None:
        todo = await alice.create()
        before = await todo_rows(app, alice.user_id)
        operations: list[Any] = [
            {"op": "create", "data": {"title": "", "nope": 1, "tags": ["a", 1], "priority": "x"}},
            {"op": "replace", "id": todo["id"]},
            {"op": "delete", "id": 3},
            4,
            {"op": "create", "data": {"title": "x", "due_at": "2020-01-01T00:00:00Z", "due_date": "2020-01-01"}},
            {"op": "update"},
            {"op": "update", "id": todo["id"], "data": {"title": None}, "version": 0, "permanent": True},
            {"op": "delete", "id": todo["id"], "permanent": "yes"},
            {"id": todo["id"], "data": {}},
            {"op": "create", "data": {"title": "a\x00"}},
            {"op": "create", "data": None},
            {"op": 1},
            {"op": "create", "data": {"title": "x", "id": AN_ID, "version": 2}},
            update(todo, title="valid"),
        ]
        response = await batch(alice, *operations)
        assert "index" not in response.json()
        assert set(mistakes(response)) == {
            "/operations/0/data/title",
            "/operations/0/data/nope",
            "/operations/0/data/tags/1",
            "/operations/0/data/priority",
            "/operations/1/op",
            "/operations/2/id",
            "/operations/3",
            "/operations/4/data/due_date",
            "/operations/5/id",
            "/operations/5/data",
            "/operations/6/data/title",
            "/operations/6/version",
            "/operations/6/permanent",
            "/operations/7/permanent",
            "/operations/8/op",
            "/operations/9/data/title",
            "/operations/10/data",
            "/operations/11/op",
            "/operations/12/data/id",
            "/operations/12/data/version",
        }
        assert await todo_rows(app, alice.user_id) == before

    @pytest.mark.parametrize(
        ("body", "pointer"),
        [
            ({}, "/operations"),
            ({"operations": []}, "/operations"),
            ({"operations": None}, "/operations"),
            ({"operations": {}}, "/operations"),
            ({"operations": [CREATE] * 101}, "/operations"),
            ({"operations": [CREATE], "atomic": False}, "/atomic"),
            ([], ""),
            ([CREATE], ""),
        ],
    )
    async def test_malformed_batch_is_refused(self, alice: Client, body: Any, pointer: str) -> None:
        assert list(mistakes(await alice.post(alice.todos("batch"), json=body))) == [pointer]
        assert await listed(alice) == []

    @pytest.mark.parametrize("version", [0, -1, 2**31, 1.5, "1", None, True, 10**30])
    async def test_malformed_version_is_refused(self, alice: Client, version: Any) -> None:
        todo = await alice.create()
        response = await batch(alice, {"op": "delete", "id": todo["id"], "version": version})
        assert list(mistakes(response)) == ["/operations/0/version"]

    async def test_batch_of_a_hundred_operations(self, alice: Client) -> None:
        response = await batch(alice, *(create(title=str(number)) for number in range(100)))
        assert [result["todo"]["title"] for result in response.json()["results"]] == [str(n) for n in range(100)]
        assert await titles(alice) == [str(number) for number in range(100)]

    async def test_batch_over_the_body_limit_is_413(self, app: Litestar, alice: Client) -> None:
        text = "\N{PILE OF POO}" * 10_000
        body = json.dumps({"operations": [create(description=text)] * 100}, ensure_ascii=False).encode()
        headers = {"Content-Type": "application/json"}
        assert_problem(await alice.post(alice.todos("batch"), content=body, headers=headers), 413)
        assert await todo_rows(app, alice.user_id) == {}

    async def test_batch_refuses_other_methods_and_parameters(self, alice: Client) -> None:
        for method in ("PUT", "PATCH", "DELETE"):
            assert_problem(await alice.request(method, alice.todos("batch"), json={}), 405)
        response = await alice.post(alice.todos("batch"), json=self.body, params={"dry": "true"})
        assert list(mistakes(response)) == ["dry"]


class TestRetries:
    async def test_concurrent_batches_with_one_key_run_once(self, alice: Client) -> None:
        todo = await alice.create()
        operations = [create(), update(todo, title="Changed"), create(parent_id=todo["id"])]
        calls = (batch(alice, *operations, headers={"Idempotency-Key": "one"}) for _ in range(50))
        answers = await asyncio.gather(*calls)
        assert {answer.status_code for answer in answers} <= {200, 409}
        assert len({answer.text for answer in answers if answer.status_code == 200}) == 1
        assert len(await listed(alice)) == 3
        again = await batch(alice, *operations, headers={"Idempotency-Key": "one"})
        assert again.headers["idempotency-replayed"] == "true"
        assert (await get(alice, todo))["version"] == 2

    async def test_failed_batch_may_be_retried_with_its_key(self, alice: Client) -> None:
        todo, headers = await alice.create(), {"Idempotency-Key": "one"}
        assert_problem(await batch(alice, create(), delete(todo, version=2), headers=headers), 412)
        assert await listed(alice) == [todo]
        await alice.patch(alice.todos(todo["id"]), json={"title": "x"})
        assert (await batch(alice, create(), delete(todo, version=2), headers=headers)).status_code == 200


class TestAtOnce:
    async def test_concurrent_batches_on_the_same_rows(self, alice: Client) -> None:
        """No deadlock: each is done, one after the other."""
        todos = [await alice.create() for _ in range(10)]
        there, back = ([update(todo, title="x") for todo in order] for order in (todos, todos[::-1]))
        answers = await asyncio.gather(*(batch(alice, *order) for order in (there, back) * 10))
        assert {answer.status_code for answer in answers} == {200}
        assert {todo["version"] for todo in await listed(alice)} == {21}

    async def test_concurrent_batches_and_single_writes(self, alice: Client) -> None:
        home = await new_list(alice)
        todos = [*await chain(alice, 5), *[await alice.create(list_id=home["id"]) for _ in range(5)]]
        order = [update(todo, title="x") for todo in todos]
        calls: list[Any] = []
        for number in range(6):
            calls += [batch(alice, *order), batch(alice, *order[::-1])]
            calls += [alice.post(alice.todos(todos[number]["id"], "move"), json={"before": todos[9]["id"]})]
            calls += [alice.patch(alice.todos(todos[number]["id"]), json={"list_id": home["id"]})]
            calls += [alice.post(alice.todos(todos[9]["id"], "toggle-complete"))]
        calls.insert(20, alice.delete(alice.path("lists", home["id"])))
        answers = await asyncio.gather(*calls)
        assert {answer.status_code for answer in answers} <= {200, 204, 422}
        assert all("list_id" in answer.text for answer in answers if answer.status_code == 422)

    async def test_disconnected_client_leaves_no_partial_batch(self, app: Litestar, alice: Client) -> None:
        """Whenever the request is broken off: all is done or nothing, and the connection is given back."""
        headers = {"Authorization": f"Bearer {token_for(alice.user_id)}"}
        await listed(alice)
        for delay in range(12):
            async with httpx.AsyncClient(
                transport=asgi_transport(app, raises=True), base_url="http://testserver"
            ) as client:
                body = {"operations": [create(title=str(delay))] * 20}
                call = asyncio.create_task(client.post(alice.todos("batch"), json=body, headers=headers))
                await asyncio.sleep(delay / 200)
                call.cancel()
                await asyncio.gather(call, return_exceptions=True)
        counts = [sum(todo["title"] == str(delay) for todo in await pages(alice)) for delay in range(12)]
        assert set(counts) <= {0, 20}
        assert app.state.database.engine.pool.checkedout() == 0
        assert (await batch(alice, CREATE)).status_code == 200


async def pages(client: Client) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while items := (await client.get(client.todos(), params={"limit": 100, "offset": len(found)})).json()["items"]:
        found += items
    return found
