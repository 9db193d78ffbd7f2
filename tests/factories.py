"""Rows as the database holds them, put in and read past the API."""

import secrets
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from litestar import Litestar
from sqlalchemy import Dialect, Table, insert, make_url, select
from sqlalchemy.dialects.postgresql import insert as upsert
from uuid_utils.compat import uuid7

from app.db.base import table_of
from app.domain.todos.models import Todo
from app.domain.todos.schemas import TodoReplace
from app.domain.users.models import User

todos = table_of(Todo)
users = table_of(User)
DIALECT: Dialect = make_url("postgresql+asyncpg://").get_dialect()()


def new_user_id() -> str:
    """Give the id of a user that nobody has seen before."""
    return f"user-{secrets.token_hex(8)}"


def todo_row(user_id: str, **values: Any) -> dict[str, Any]:
    """Give a whole row of a todo that satisfies every constraint, but for the given values."""
    defaults = {name: getattr(TodoReplace(title="Row"), name) for name in TodoReplace.__struct_fields__}
    now = datetime.now(UTC)
    made = {
        "completed_at": None,
        "deleted_at": None,
        "position": "V",
        "list_id": None,
        "parent_id": None,
        "user_id": user_id,
        "id": uuid7(),
        "created_at": now,
        "updated_at": now,
        "version": 1,
    }
    return made | defaults | values


async def insert_rows(app: Litestar, table: Table, rows: Iterable[Mapping[str, Any]]) -> None:
    """Insert rows of an owned table by SQL, and their users where they are new."""
    found = [dict(row) for row in rows]
    if not found:
        return
    owners = [{"id": user_id} for user_id in {row["user_id"] for row in found}]
    async with app.state.database.begin(unscoped="tests") as connection:
        await connection.execute(upsert(users).on_conflict_do_nothing(), owners)
        await connection.execute(insert(table), found)


async def rows_of(app: Litestar, table: Table, user_id: str) -> dict[UUID, dict[str, Any]]:
    """Read a user's rows of an owned table by SQL, every column of them that is written, by id."""
    async with app.state.database.begin(unscoped="tests") as connection:
        columns = [column for column in table.columns if column.computed is None]
        rows = await connection.execute(select(*columns).where(table.c.user_id == user_id))
        return {row.id: dict(row._mapping) for row in rows}


async def insert_todos(app: Litestar, rows: Iterable[Mapping[str, Any]]) -> None:
    """Insert todos by SQL, and their users where they are new."""
    await insert_rows(app, todos, rows)


async def todo_rows(app: Litestar, user_id: str) -> dict[UUID, dict[str, Any]]:
    """Read a user's todos by SQL, by id."""
    return await rows_of(app, todos, user_id)
