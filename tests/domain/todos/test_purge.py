"""`manage.py purge`: the end of what has been in the trash for long enough, whoever's it is."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from litestar import Litestar

from app.domain.todos import purging
from app.domain.todos.purging import TrashPurger
from app.lib.settings import Settings
from tests.domain.todos.verbs import chain, discard, restore
from tests.factories import insert_todos, new_user_id, todo_row, todo_rows
from tests.live import call, fetch
from tests.support import Client, url_of

MONTH = timedelta(days=30)


async def purge(app: Litestar, older_than: timedelta = MONTH) -> int:
    return await TrashPurger().purge(app.state.database.session(unscoped="purge"), older_than)


async def age(settings: Settings, user_id: str, by: timedelta) -> None:
    """Let what a user has in the trash have come there earlier."""
    sql = "UPDATE app.todos SET deleted_at = deleted_at - $2::interval WHERE user_id = $1"
    await fetch(url_of(settings), sql, user_id, by)


@pytest.fixture
async def trash(app: Litestar) -> tuple[str, Callable[..., Awaitable[UUID]]]:
    """Give a new user, and a function that puts a row into their trash as of some time ago."""
    user_id = new_user_id()

    async def put(ago: timedelta | None, **values: Any) -> UUID:
        row = todo_row(user_id, deleted_at=None if ago is None else datetime.now(UTC) - ago, **values)
        await insert_todos(app, [row])
        key: UUID = row["id"]
        return key

    return user_id, put


class TestPurge:
    async def test_purge_removes_old_trash(self, app: Litestar, trash: Any) -> None:
        user_id, put = trash
        await put(MONTH + timedelta(seconds=1))
        kept = {await put(None), await put(timedelta(0)), await put(MONTH - timedelta(minutes=5))}
        assert await purge(app) >= 1
        assert (await todo_rows(app, user_id)).keys() == kept
        assert await purge(app) == 0

    async def test_purge_removes_subtasks(self, app: Litestar, settings: Settings, alice: Client) -> None:
        todos = await chain(alice, 3)
        await discard(alice, todos[2])
        await discard(alice, todos[1])
        await age(settings, alice.user_id, MONTH)
        assert await purge(app) >= 2
        assert {str(key) for key in await todo_rows(app, alice.user_id)} == {todos[0]["id"]}
        assert (await restore(alice, todos[1])).status_code == 404

    async def test_purge_works_in_chunks(self, app: Litestar, trash: Any) -> None:
        user_id, _ = trash
        old = datetime.now(UTC) - 2 * MONTH
        await insert_todos(app, [todo_row(user_id, deleted_at=old) for _ in range(purging.CHUNK + 5)])
        assert await purge(app) >= purging.CHUNK + 5
        assert await todo_rows(app, user_id) == {}

    async def test_purge_does_not_deadlock_with_restores(
        self, app: Litestar, settings: Settings, alice: Client
    ) -> None:
        """Nobody waits for somebody who waits for them; what was restored in time stays."""
        todos = [await alice.create() for _ in range(20)]
        for todo in todos:
            await discard(alice, todo)
        await age(settings, alice.user_id, MONTH)
        purging = asyncio.create_task(purge(app))
        answers = await asyncio.gather(*(restore(alice, todo) for todo in todos))
        await purging
        statuses = [answer.status_code for answer in answers]
        assert set(statuses) <= {200, 404}
        back = {todo["id"] for todo, status in zip(todos, statuses, strict=True) if status == 200}
        assert {str(key) for key in await todo_rows(app, alice.user_id)} == back

    def test_purge_command_reports_the_count(self, settings: Settings) -> None:
        status, said = call(settings, "purge", "--older-than", "52w")
        assert status == 0
        assert said.startswith("Removed ")

    @pytest.mark.parametrize("text", ["", "30", "d", "-1d", "1.5h", "30 d", "1y", "9999999d", "999999w"])
    def test_purge_command_refuses_invalid_time_spans(self, settings: Settings, text: str) -> None:
        status, said = call(settings, "purge", f"--older-than={text}")
        assert status != 0
        assert "Traceback" not in said
        assert "time span" in said
