"""Believable todos."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from litestar import Litestar

from app.db.bulk import copy_rows
from app.domain.todos.schemas import TodoReplace
from app.domain.todos.seeding import TodoFactory, TodoSeeder
from app.lib.settings import Settings
from app.lib.validation.json_body import decode
from tests.factories import insert_todos, new_user_id, todo_row, todo_rows
from tests.live import call
from tests.support import Client

COUNT = 500


def seeded(user_id: str, count: int = COUNT) -> list[dict[str, Any]]:
    seeder = TodoSeeder()
    return [dict(zip(seeder.columns, row, strict=True)) for row in seeder.rows(user_id, count)]


class TestTodoFactory:
    def test_todo_factory_builds_valid_bodies(self) -> None:
        for todo in TodoFactory.batch(COUNT):
            assert decode(msgspec.json.encode(todo), TodoReplace) == todo

    def test_todo_factory_builds_different_todos(self) -> None:
        todos = TodoFactory.batch(COUNT)
        assert len({todo.title for todo in todos}) > 100
        for name in ("completed", "priority"):
            assert len({getattr(todo, name) for todo in todos}) == (2 if name == "completed" else 4)
        for name in ("description", "due_date"):
            assert {getattr(todo, name) is None for todo in todos} == {True, False}


class TestTodoSeeder:
    async def test_seeded_rows_satisfy_every_constraint(self, app: Litestar) -> None:
        user_id = new_user_id()
        rows = seeded(user_id)
        await insert_todos(app, rows)
        found = await todo_rows(app, user_id)
        unset = {"version": 1, "list_id": None, "parent_id": None, "deleted_at": None}
        assert found == {row["id"]: unset | row for row in rows}

    async def test_seeded_rows_can_be_copied_in_bulk(self, app: Litestar, alice: Client) -> None:
        await insert_todos(app, [todo_row(alice.user_id)])
        seeder = TodoSeeder()
        async with app.state.database.begin(unscoped="tests") as connection:
            await copy_rows(connection, seeder.table, seeder.columns, seeder.rows(alice.user_id, COUNT))
        page = (await alice.get(alice.todos(), params={"limit": 100})).json()
        assert (page["total"], len(page["items"])) == (COUNT + 1, 100)

    def test_seeder_makes_the_requested_number_of_rows(self) -> None:
        for count in (0, 1, 7):
            assert len(seeded("somebody", count)) == count

    def test_seeded_times_are_ordered(self) -> None:
        now = datetime.now(UTC)
        for row in seeded("somebody"):
            assert now - timedelta(days=366) < row["created_at"] <= row["updated_at"] <= datetime.now(UTC)
            assert (row["completed_at"] is not None) is row["completed"]
            assert row["updated_at"] == (row["completed_at"] or row["created_at"])

    def test_seeded_ids_are_distinct_uuid7(self) -> None:
        ids = [row["id"] for row in seeded("somebody")]
        assert len(set(ids)) == COUNT
        assert {key.version for key in ids} == {7}


def test_seeding_may_take_longer_than_the_statement_timeout(settings: Settings) -> None:
    hasty = settings.model_copy(update={"database_statement_timeout": 0.03})
    status, output = call(hasty, "seed", "--user", "a-large-seed", "--todos", "10000")
    assert status == 0, output
