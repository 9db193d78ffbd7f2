"""The todos table: a second wall behind the schemas."""

from datetime import UTC, date, datetime
from typing import Any

import pytest
from litestar import Litestar
from sqlalchemy import Executable, delete, inspect, text
from sqlalchemy.exc import IntegrityError
from uuid_utils.compat import uuid7

from app.lib.persistence.errors import constraint_name, sqlstate
from tests.factories import insert_todos, new_user_id, todo_row, todo_rows, todos, users

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
NULL = "23502"

ALLOWED: list[dict[str, Any]] = [
    {"title": "x"},
    {"title": "\N{PILE OF POO}" * 200},
    {"description": ""},
    {"description": "\N{PILE OF POO}" * 10_000},
    *({"priority": priority} for priority in ("none", "low", "medium", "high")),
    {"tags": [str(number) for number in range(20)]},
    {"completed": True, "completed_at": NOW},
    {"due_date": NOW.date()},
    {"due_at": NOW},
    {"version": 2**31 - 1},
]
REFUSED: dict[str, list[dict[str, Any]]] = {
    "ck_todos_title_length": [{"title": ""}, {"title": "x" * 201}],
    "ck_todos_description_length": [{"description": "x" * 10_001}],
    "ck_todos_priority_known": [{"priority": value} for value in ("", "HIGH", "urgent", "none ")],
    "ck_todos_tags_count": [{"tags": ["x"] * 21}],
    "ck_todos_tags_not_null": [{"tags": ["x", None]}],
    "ck_todos_tags_not_empty": [{"tags": ["", "x"]}],
    "ck_todos_completed_at_follows": [{"completed": True}, {"completed_at": NOW}],
    "ck_todos_due_once": [{"due_date": date(2026, 3, 1), "due_at": NOW}],
    "ck_todos_position_length": [{"position": ""}, {"position": "x" * 65}],
    "fk_todos_list_id": [{"list_id": uuid7()}],
    "fk_todos_parent_id": [{"parent_id": uuid7()}],
    "ck_todos_version_positive": [{"version": 0}, {"version": -1}],
}


async def run(app: Litestar, statement: Executable, values: dict[str, Any]) -> None:
    async with app.state.database.begin(unscoped="tests") as connection:
        await connection.execute(statement, values)


async def refusal(app: Litestar, statement: Executable, values: dict[str, Any]) -> IntegrityError:
    """Run what the database must refuse."""
    with pytest.raises(IntegrityError) as refused:
        await run(app, statement, values)
    return refused.value


class TestConstraints:
    @pytest.mark.parametrize("values", ALLOWED)
    async def test_constraints_allow_what_the_schema_allows(self, app: Litestar, values: dict[str, Any]) -> None:
        row = todo_row(new_user_id(), **values)
        await insert_todos(app, [row])
        assert await todo_rows(app, row["user_id"]) == {row["id"]: row}

    @pytest.mark.parametrize(("name", "values"), [(name, values) for name in REFUSED for values in REFUSED[name]])
    async def test_constraints_refuse_what_the_schema_refuses(
        self, app: Litestar, name: str, values: dict[str, Any]
    ) -> None:
        user_id = new_user_id()
        first = todo_row(user_id)
        await insert_todos(app, [first])
        assert constraint_name(await refusal(app, todos.insert(), todo_row(user_id, **values))) == name
        assert constraint_name(await refusal(app, todos.update().where(todos.c.user_id == user_id), values)) == name
        assert await todo_rows(app, user_id) == {first["id"]: first}

    async def test_todo_id_is_unique_per_user(self, app: Litestar) -> None:
        row = todo_row(new_user_id())
        await insert_todos(app, [row, todo_row(new_user_id(), id=row["id"])])
        assert constraint_name(await refusal(app, todos.insert(), row)) == "pk_todos"

    async def test_todo_cannot_be_its_own_parent(self, app: Litestar) -> None:
        row = todo_row(new_user_id())
        await insert_todos(app, [row])
        statement = todos.update().where(todos.c.user_id == row["user_id"])
        assert constraint_name(await refusal(app, statement, {"parent_id": row["id"]})) == "ck_todos_parent_is_another"

    async def test_foreign_keys_stay_within_one_user(self, app: Litestar) -> None:
        theirs, own = todo_row(new_user_id()), todo_row(new_user_id())
        await insert_todos(app, [theirs, own])
        statement = todos.update().where(todos.c.user_id == own["user_id"])
        assert constraint_name(await refusal(app, statement, {"parent_id": theirs["id"]})) == "fk_todos_parent_id"

    async def test_todo_needs_an_existing_user(self, app: Litestar) -> None:
        error = await refusal(app, todos.insert(), todo_row(new_user_id()))
        assert constraint_name(error) == "fk_todos_user_id"

    async def test_todos_are_deleted_with_their_user(self, app: Litestar) -> None:
        gone, left = todo_row(new_user_id()), todo_row(new_user_id())
        await insert_todos(app, [gone, left])
        await run(app, delete(users).where(users.c.id == gone["user_id"]), {})
        assert await todo_rows(app, gone["user_id"]) == {}
        assert await todo_rows(app, left["user_id"]) == {left["id"]: left}

    @pytest.mark.parametrize("column", [column.name for column in todos.columns if not column.nullable])
    async def test_required_columns_are_not_null(self, app: Litestar, column: str) -> None:
        row = todo_row(new_user_id())
        await insert_todos(app, [row])
        own = todos.c.user_id == row["user_id"]
        error = await refusal(app, todos.update().where(own).values({column: None}), {})
        assert sqlstate(error) == NULL

    async def test_every_constraint_has_a_case(self, app: Litestar) -> None:
        query = text("SELECT conname FROM pg_constraint WHERE conrelid = 'app.todos'::regclass AND contype <> 'n'")
        async with app.state.database.begin(unscoped="tests") as connection:
            found = {name for (name,) in await connection.execute(query)}
        assert found == {*REFUSED, "pk_todos", "fk_todos_user_id", "ck_todos_parent_is_another"}

    async def test_table_has_the_columns_of_its_model(self, app: Litestar) -> None:
        async with app.state.database.begin(unscoped="tests") as connection:
            columns = await connection.run_sync(lambda sync: inspect(sync).get_columns("todos", schema="app"))
        assert {column["name"]: column["nullable"] for column in columns} == {
            column.name: bool(column.nullable) for column in todos.columns
        }
        nullable = {column["name"] for column in columns if column["nullable"]}
        assert nullable == {column.name for column in todos.columns if column.nullable}
        assert nullable >= {"description", "completed_at", "due_date", "due_at", "list_id", "parent_id", "deleted_at"}

    async def test_column_defaults_equal_the_schema(self, app: Litestar) -> None:
        row = todo_row(new_user_id())
        await insert_todos(app, [row])
        bare = todo_row(row["user_id"])
        await run(app, todos.insert().values({name: bare[name] for name in ("user_id", "id", "title")}), {})
        made = (await todo_rows(app, row["user_id"]))[bare["id"]]
        assert made.pop("created_at") == made.pop("updated_at")
        assert len(made.pop("position")) == 13
        assert made.items() <= bare.items()
