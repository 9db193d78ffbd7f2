"""GET /api/{user_id}/tasks of more than a page: its array is streamed."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from litestar import Litestar
from sqlalchemy import delete, update
from uuid_utils.compat import uuid7

from app.domain.todos.tasks.services import TaskService
from app.lib.errors import Unavailable
from app.lib.persistence import whole_list
from app.lib.persistence.statements import OUTLINE
from app.lib.persistence.whole_list import CHUNK_BYTES, chunks_of
from tests.domain.todos.tasks.dialect import tasks
from tests.factories import insert_todos, todo_row, todos
from tests.readers import Reader
from tests.support import Client, JsonObject, assert_problem

START = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
async def many(app: Litestar, alice: Client, monkeypatch: pytest.MonkeyPatch) -> Client:
    """Return a client of a user with 60 todos, of which a chunk has seven."""
    monkeypatch.setattr(whole_list, "FIRST_ROWS", 10)
    monkeypatch.setattr(whole_list, "CHUNK_ROWS", 7)
    rows = []
    for number in range(60):
        due: list[JsonObject] = [
            {},
            {"due_date": (START + timedelta(days=number)).date()},
            {"due_at": START + timedelta(days=number)},
        ]
        moment = START + timedelta(hours=number // 3)
        done: JsonObject = {"completed": True, "completed_at": moment} if number % 4 == 0 else {}
        priority = ("none", "low", "medium", "high")[number % 4]
        title = f"{number * 37 % 10} {number}"
        times = {"created_at": moment, "updated_at": moment + timedelta(hours=number * 7 % 11)}
        rows.append(todo_row(alice.user_id, title=title, priority=priority, **due[number % 3], **times, **done))
    await insert_todos(app, rows)
    return alice


async def paged(client: Client, query: str) -> list[dict[str, Any]]:
    pages = [(await client.get(f"{tasks(client)}?limit=10&offset={at}{query}")).json() for at in range(0, 60, 10)]
    return [task for page in pages for task in page]


class TestOrder:
    @pytest.mark.parametrize("key", TaskService.sorts)
    async def test_streamed_order_equals_the_pages(self, many: Client, key: str) -> None:
        for direction in ("asc", "desc"):
            query = f"&sort={key}:{direction}"
            response = await many.get(f"{tasks(many)}?{query}")
            assert response.json() == await paged(many, query)
            assert response.headers["x-total-count"] == "60"
            assert "content-length" not in response.headers

    async def test_streamed_list_with_offsets_and_filters(self, many: Client) -> None:
        response = await many.get(f"{tasks(many)}?offset=41&sort=title")
        assert response.json() == (await paged(many, "&sort=title"))[41:]
        response = await many.get(f"{tasks(many)}?status=pending&search=1")
        expected = [task for task in await paged(many, "") if "1" in task["title"] and not task["completed"]]
        assert (response.json(), response.headers["x-total-count"]) == (expected, str(len(expected)))

    async def test_stream_shows_no_row_of_another_user(self, many: Client, bob: Client) -> None:
        assert (await bob.get(tasks(bob))).json() == []
        assert {task["user_id"] for task in (await many.get(tasks(many))).json()} == {many.user_id}

    async def test_rows_changed_while_streaming(self, app: Litestar, many: Client) -> None:
        before = (await many.get(tasks(many))).json()
        reader = Reader(many, "tasks?status=all")
        stream = asyncio.create_task(reader.ask(app))
        reader.more.release()
        while len(reader.taken) < 2:  # noqa: ASYNC110 - the test's own client tells no event
            await asyncio.sleep(0.001)
        async with app.state.database.begin(unscoped="tests") as connection:
            await connection.execute(delete(todos).where(todos.c.id == before[-1]["id"]))
            change = update(todos).values(title="changed", created_at=datetime.now(UTC))
            await connection.execute(change.where(todos.c.id == before[-2]["id"]))
        for _ in range(100):
            reader.more.release()
        await stream
        found = json.loads(b"".join(message.get("body", b"") for message in reader.taken))
        assert [task["id"] for task in found] == [task["id"] for task in before[:-1]]
        assert found[-1]["title"] == "changed"


class TestStream:
    async def test_short_list_is_one_message(self, many: Client) -> None:
        response = await many.get(tasks(many), params={"offset": 50})
        assert len(response.json()) == 10
        assert response.headers["content-length"] == str(len(response.content))

    async def test_head_reads_one_chunk(self, many: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        read = TaskService.list_chosen
        chunks = []

        async def count(*arguments: Any) -> Any:
            chunks.append(arguments)
            return await read(*arguments)

        monkeypatch.setattr(TaskService, "list_chosen", count)
        response = await many.head(tasks(many))
        assert (response.status_code, response.content) == (200, b"")
        assert response.headers["x-total-count"] == "60"
        assert response.headers["content-type"] == "application/json"
        assert len(chunks) == 1

    async def test_slow_reader_holds_no_connection(self, app: Litestar, many: Client) -> None:
        readers = [Reader(many, "tasks") for _ in range(10)]
        streams = [asyncio.create_task(reader.ask(app)) for reader in readers]
        for taken in (1, 2, 3):
            while any(len(reader.taken) < taken for reader in readers):  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.001)
            assert app.state.database.engine.pool.checkedout() == 0
            for reader in readers:
                reader.more.release()
        for reader in readers:
            reader.gone.set()
        await asyncio.gather(*streams)

    async def test_failure_while_streaming_leaves_the_array_incomplete(
        self, app: Litestar, many: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.fail_after(3, monkeypatch)
        reader = Reader(many, "tasks")
        for _ in range(100):
            reader.more.release()
        with pytest.raises(Exception, match="response started"):
            await reader.ask(app)
        assert reader.taken[0]["status"] == 200
        assert all(message["more_body"] for message in reader.taken[1:])
        with pytest.raises(json.JSONDecodeError):
            json.loads(b"".join(message["body"] for message in reader.taken[1:]))

    async def test_failure_before_the_first_chunk_is_a_problem_document(
        self, many: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.fail_after(0, monkeypatch)
        assert_problem(await many.get(tasks(many)), 503)

    @staticmethod
    def fail_after(chunks: int, monkeypatch: pytest.MonkeyPatch) -> None:
        read, done = TaskService.list_chosen, 0

        async def fail(*arguments: Any) -> Any:
            nonlocal done
            done += 1
            if done > chunks:
                raise Unavailable
            return await read(*arguments)

        monkeypatch.setattr(TaskService, "list_chosen", fail)


class TestChunks:
    def test_chunks_are_limited_by_size_and_number(self) -> None:
        ids = [uuid7() for _ in range(2000)]
        sizes = [1024 if number % 3 else 40_000 + number for number in range(2000)]
        outline = b"".join(OUTLINE.pack(key.bytes, size) for key, size in zip(ids, sizes, strict=True))
        size_of = dict(zip((UUID(str(key)) for key in ids), sizes, strict=True))
        chunks = list(chunks_of(outline))
        assert [key for chunk in chunks for key in chunk] == list(size_of)
        assert max(sum(size_of[key] for key in chunk) for chunk in chunks) <= CHUNK_BYTES
        assert max(map(len, chunks)) <= whole_list.CHUNK_ROWS

    def test_single_row_may_exceed_the_chunk_size(self) -> None:
        outline = OUTLINE.pack(uuid7().bytes, 2 * CHUNK_BYTES) * 2
        assert [len(chunk) for chunk in chunks_of(outline)] == [1, 1]
