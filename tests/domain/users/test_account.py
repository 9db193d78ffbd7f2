"""GET /api/{user_id}/export, DELETE /api/{user_id}/account."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from litestar import Litestar
from sqlalchemy import delete, func, insert, select, text, update
from uuid_utils.compat import uuid7

from app.db import archive
from app.db.base import metadata, owners, table_of
from app.domain.todos.lists.models import TodoList
from app.lib.errors import Unavailable
from app.lib.http import streaming as stream
from app.lib.persistence.session import Session
from app.main import create_app
from tests.asgi import asgi_transport
from tests.factories import insert_todos, new_user_id, todo_row, users
from tests.live import until
from tests.readers import Reader
from tests.support import Client, assert_problem, mistakes, running, token_for

lists = table_of(TodoList)


@pytest.mark.parametrize(("method", "path"), [("GET", "export"), ("DELETE", "account")])
class TestWalls:
    async def test_request_without_token_is_401(
        self, anonymous: httpx.AsyncClient, alice: Client, method: str, path: str
    ) -> None:
        todo = await alice.create()
        assert_problem(await anonymous.request(method, alice.path(path)), 401, "Missing authentication token")
        assert (await alice.get(alice.todos(todo["id"]))).json() == todo

    async def test_path_of_another_user_is_403(self, alice: Client, bob: Client, method: str, path: str) -> None:
        todo = await alice.create()
        assert_problem(await bob.request(method, alice.path(path)), 403)
        assert (await alice.get(alice.todos(todo["id"]))).json() == todo

    async def test_unknown_query_parameter_is_422(self, alice: Client, method: str, path: str) -> None:
        todo = await alice.create()
        assert mistakes(await alice.request(method, alice.path(path) + "?x=1")) == {"x": "Unknown query parameter"}
        assert (await alice.get(alice.todos(todo["id"]))).json() == todo


def lines_of(response: httpx.Response) -> list[dict[str, Any]]:
    assert response.status_code == 200, response.text
    assert response.content.endswith(b"\n")
    return [json.loads(line) for line in response.content.splitlines()]


async def fill(app: Litestar, client: Client) -> list[dict[str, Any]]:
    """Give a user something of everything; the subtask is older than what it belongs to."""
    await client.patch(client.path("profile"), json={"name": "Zoë", "bio": "line\nbreak", "time_zone": "Asia/Tokyo"})
    key, child, parent = uuid7(), uuid7(), uuid7()
    async with app.state.database.begin(unscoped="tests") as connection:
        await connection.execute(insert(lists), {"user_id": client.user_id, "id": key, "name": "Errands"})
    await insert_todos(app, [todo_row(client.user_id, id=parent, list_id=key, tags=['"', "\\", "é"])])
    await insert_todos(app, [todo_row(client.user_id, id=child, parent_id=parent, description="\u2028\n")])
    await client.patch(client.path("preferences"), json={"default_list_id": str(key), "notifications": {"push": True}})
    for number in range(3):
        await client.create(title=f"Todo {number}", due_at="2026-03-01T12:00:00.123456+02:00")
    await client.delete(client.todos(child))
    return lines_of(await client.get(client.path("export")))


class TestExport:
    async def test_export_has_all_data_profile_first(self, app: Litestar, alice: Client) -> None:
        lines = await fill(app, alice)
        assert [line["type"] for line in lines[:3]] == ["profile", "preferences", "lists"]
        assert lines[0].items() >= {"id": alice.user_id, "name": "Zoë", "time_zone": "Asia/Tokyo"}.items()
        assert lines[1]["default_list_id"] == lines[2]["id"]
        assert {line["user_id"] for line in lines[1:]} == {alice.user_id}
        for todo in (await alice.get(alice.todos("?limit=100"))).json()["items"]:
            assert any(line.items() >= todo.items() for line in lines)

    async def test_export_of_a_new_user_is_the_profile(self, alice: Client) -> None:
        response = await alice.get(alice.path("export"))
        assert response.headers["content-type"] == "application/jsonl"
        assert "content-length" not in response.headers
        assert [line["type"] for line in lines_of(response)] == ["profile"]

    async def test_export_has_no_data_of_others(self, app: Litestar, alice: Client, bob: Client) -> None:
        await fill(app, alice)
        await bob.create(title="Bob's")
        exported = (await bob.get(bob.path("export"))).text
        assert alice.user_id not in exported
        assert "Errands" not in exported

    async def test_export_omits_generated_and_transient_columns(self, app: Litestar, alice: Client) -> None:
        await alice.post(alice.todos(), json={"title": "Once"}, headers={"Idempotency-Key": "k"})
        lines = await fill(app, alice)
        assert "idempotency_keys" not in {line["type"] for line in lines}
        assert not any("search" in line for line in lines)

    async def test_export_has_each_row_once(self, alice: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        ids = {(await alice.create())["id"] for _ in range(10)}
        for size in (1, 3, 5, 10, 11):
            monkeypatch.setattr(archive, "BATCH", size)
            found = [line["id"] for line in lines_of(await alice.get(alice.path("export"))) if line["type"] == "todos"]
            assert (len(found), {*found}) == (10, ids)

    async def test_export_after_erasure_elsewhere_has_a_new_profile(self, app: Litestar, alice: Client) -> None:
        await alice.create()
        await erase(app, alice.user_id)
        assert [line["type"] for line in lines_of(await alice.get(alice.path("export")))] == ["profile"]


@pytest.fixture
async def many(alice: Client, app: Litestar, monkeypatch: pytest.MonkeyPatch) -> Client:
    """Give a client whose export takes a hundred reads."""
    await insert_todos(app, [todo_row(alice.user_id) for _ in range(100)])
    monkeypatch.setattr(archive, "BATCH", 1)
    return alice


def checked_out(app: Litestar) -> int:
    return int(app.state.database.engine.pool.checkedout())


class TestStream:
    async def test_slow_export_reader_holds_no_connection(self, app: Litestar, many: Client) -> None:
        reader = Reader(many, "export")
        export = asyncio.create_task(reader.ask(app))
        for taken in range(1, 10):
            while len(reader.taken) < taken:  # noqa: ASYNC110 - the test's own client tells no event
                await asyncio.sleep(0)
            for _ in range(20):
                await asyncio.sleep(0)
            assert (len(reader.taken), checked_out(app)) == (taken, 0)
            reader.more.release()
        reader.gone.set()
        await export

    async def test_export_ends_when_the_client_disconnects(self, app: Litestar, many: Client) -> None:
        reader = Reader(many, "export")
        export = asyncio.create_task(reader.ask(app))
        for _ in range(10):
            reader.more.release()
        while len(reader.taken) < 10:  # noqa: ASYNC110 - the test's own client tells no event
            await asyncio.sleep(0)
        reader.gone.set()
        await export
        assert len(reader.taken) < 100
        assert reader.taken[-1]["more_body"]
        assert checked_out(app) == 0

    async def test_export_ends_for_a_client_that_does_not_read(
        self, app: Litestar, many: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(stream, "MAX_STALL_SECONDS", 0.01)
        reader = Reader(many, "export")
        reader.more.release()
        with pytest.raises(Exception, match="response started"):
            await reader.ask(app)
        assert reader.taken[-1]["more_body"]

    async def test_failure_during_export_leaves_the_body_incomplete(
        self, app: Litestar, many: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.fail_after(5, monkeypatch)
        reader = Reader(many, "export")
        for _ in range(1000):
            reader.more.release()
        with pytest.raises(Exception, match="response started"):
            await reader.ask(app)
        assert reader.taken[0]["status"] == 200
        assert all(message["more_body"] for message in reader.taken[1:])
        assert checked_out(app) == 0

    async def test_failure_before_the_export_is_a_problem_document(
        self, many: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.fail_after(0, monkeypatch)
        assert_problem(await many.get(many.path("export")), 503)

    @staticmethod
    def fail_after(reads: int, monkeypatch: pytest.MonkeyPatch) -> None:
        read, done = Session.read, 0

        async def fail(session: Session, *arguments: Any) -> Any:
            nonlocal done
            done += 1
            if done > reads:
                raise Unavailable
            return await read(session, *arguments)

        monkeypatch.setattr(Session, "read", fail)


async def erase(app: Litestar, user_id: str) -> None:
    async with app.state.database.begin(unscoped="tests") as connection:
        await connection.execute(delete(users).where(users.c.id == user_id))


async def rows_in_every_table(app: Litestar, user_id: str) -> dict[str, int]:
    """Count a user's rows in each table that names an owner."""
    counts = {}
    async with app.state.database.begin(unscoped="tests") as connection:
        for name, column in owners().items():
            table = metadata.tables[name]
            found = await connection.execute(select(func.count()).where(table.c[column] == user_id))
            counts[name] = found.scalar_one()
    return counts


class TestErase:
    async def test_erased_account_has_no_row_in_any_table(self, app: Litestar, alice: Client, bob: Client) -> None:
        for client in (alice, bob):
            await fill(app, client)
            await client.post(client.todos(), json={"title": "Once"}, headers={"Idempotency-Key": "k"})
        before = await rows_in_every_table(app, bob.user_id)
        assert all(before[f"app.{name}"] for name in ("users", "preferences", "lists", "todos", "idempotency_keys"))
        response = await alice.delete(alice.path("account"))
        assert (response.status_code, response.content) == (204, b"")
        assert not any((await rows_in_every_table(app, alice.user_id)).values())
        assert await rows_in_every_table(app, bob.user_id) == before

    async def test_token_after_erasure_creates_a_new_user(
        self, app: Litestar, client_of: Callable[..., Client]
    ) -> None:
        user_id = new_user_id()
        token = token_for(user_id, name="Zoë")
        zoe = client_of(user_id, headers={"Authorization": f"Bearer {token}"})
        await fill(app, zoe)
        before = (await zoe.patch(zoe.path("profile"), json={"name": "Somebody"})).json()
        await zoe.delete(zoe.path("account"))
        profile = (await zoe.get(zoe.path("profile"))).json()
        assert (profile["name"], profile["bio"], profile["time_zone"]) == ("Zoë", None, "UTC")
        assert profile["created_at"] > before["created_at"]
        assert (await zoe.get(zoe.todos())).json()["total"] == 0
        assert (await zoe.create(title="Afresh"))["version"] == 1

    async def test_idempotency_key_is_forgotten_with_erasure(self, alice: Client) -> None:
        sent: dict[str, Any] = {"json": {"title": "Once"}, "headers": {"Idempotency-Key": "k"}}
        first = await alice.post(alice.todos(), **sent)
        await alice.delete(alice.path("account"))
        second = await alice.post(alice.todos(), **sent)
        assert "idempotency-replayed" not in second.headers
        assert first.json()["id"] != second.json()["id"]

    async def test_erase_is_idempotent(self, alice: Client) -> None:
        await alice.create()
        answers = await asyncio.gather(*(alice.delete(alice.path("account")) for _ in range(5)))
        assert {answer.status_code for answer in answers} == {204}

    async def test_erase_with_concurrent_writes(self, app: Litestar, alice: Client) -> None:
        await alice.create()
        posts = [alice.post(alice.todos(), json={"title": str(number)}) for number in range(30)]
        posts.insert(15, alice.delete(alice.path("account")))
        answers = await asyncio.gather(*posts)
        assert {answer.status_code for answer in answers} == {201, 204}
        counts = await rows_in_every_table(app, alice.user_id)
        total = (await alice.get(alice.todos())).json()["total"]
        assert counts["app.todos"] == total <= 30

    async def test_erase_in_another_process_is_no_conflict(self, app: Litestar, alice: Client) -> None:
        headers = {"Authorization": f"Bearer {token_for(alice.user_id)}"}
        async with (
            running(create_app(app.state.settings)) as other,
            Client(alice.user_id, transport=asgi_transport(other, raises=True), headers=headers) as elsewhere,
        ):
            for here, there in ((alice, elsewhere), (elsewhere, alice)):
                await here.create()
                await there.create()
                assert (await there.delete(there.path("account"))).status_code == 204
                assert (await here.create(title="Afresh"))["title"] == "Afresh"
                assert (await there.get(there.todos())).json()["total"] == 1


class TestDeactivated:
    """Who was deactivated elsewhere is still let in here for some seconds: enough to try."""

    @staticmethod
    async def mark(app: Litestar, user_id: str) -> None:
        async with app.state.database.begin(unscoped="tests") as connection:
            await connection.execute(update(users).where(users.c.id == user_id).values(deactivated_at=func.now()))

    async def test_deactivated_user_cannot_erase_the_deactivation(self, app: Litestar, alice: Client) -> None:
        await alice.create()
        await self.mark(app, alice.user_id)
        for _ in range(2):
            assert_problem(await alice.delete(alice.path("account")), 403)
        assert_problem(await alice.get(alice.todos()), 403)
        assert (await rows_in_every_table(app, alice.user_id))["app.todos"] == 1

    async def test_deactivated_user_cannot_win_a_race(self, app: Litestar, alice: Client) -> None:
        """The mark is not committed yet when the erasing begins: it waits for the row, and looks again."""
        await alice.create()
        async with app.state.database.begin(unscoped="tests") as connection:
            await connection.execute(update(users).where(users.c.id == alice.user_id).values(deactivated_at=func.now()))
            erasing = asyncio.create_task(alice.delete(alice.path("account")))
            await until(lambda: checked_out(app) == 2)
        assert_problem(await erasing, 403)
        assert_problem(await alice.get(alice.todos()), 403)


class TestTables:
    """What every domain's tables must be, those of later domains too."""

    def test_all_owned_tables_cascade_from_the_user(self) -> None:
        for name, column in owners().items():
            table = metadata.tables[name]
            if table is users:
                continue
            rules = {key.ondelete for key in table.c[column].foreign_keys if key.column is users.c.id}
            assert rules == {"CASCADE"}, name

    async def test_foreign_keys_are_indexed(self, app: Litestar) -> None:
        """Every reference begins an index of its table, or is unique with what precedes it: erasing scans nothing."""
        async with app.state.database.begin(unscoped="tests") as connection:
            rows = await connection.execute(text(UNINDEXED))
            assert [tuple(row) for row in rows] == []


UNINDEXED = """
    SELECT conrelid::regclass::text, conname FROM pg_constraint
    WHERE contype = 'f' AND connamespace = 'app'::regnamespace AND NOT EXISTS (
        SELECT FROM pg_index WHERE indrelid = conrelid
        AND ((indkey::int2[])[0:cardinality(conkey) - 1] @> conkey OR (indisunique AND conkey @> indkey::int2[]))
    )
"""
