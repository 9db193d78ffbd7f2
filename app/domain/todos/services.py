"""Todos of one user."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import ColumnElement, DateTime, Table, Text, any_, bindparam, case, cast, false, func, null, true
from sqlalchemy.dialects.postgresql import ARRAY
from sqlmodel import col

from app.domain.todos.models import Todo
from app.domain.todos.schemas import DUE_TWICE, PRIORITIES, TodoRead
from app.lib.service import Transition, UserScopedService, value_of


def _instant(name: str) -> ColumnElement[datetime]:
    return bindparam(value_of(name), type_=DateTime(timezone=True))


def _texts(name: str) -> ColumnElement[Any]:
    return bindparam(value_of(name), type_=ARRAY(Text))


# A day is due from its first moment in UTC on.
_day_begins = func.timezone("UTC", cast(col(Todo.due_date), DateTime), type_=DateTime(timezone=True))
_due: ColumnElement[Any] = func.coalesce(col(Todo.due_at), _day_begins)
_rank: ColumnElement[Any] = case({name: rank for rank, name in enumerate(PRIORITIES)}, value=col(Todo.priority))


class TodoService(UserScopedService[Todo, TodoRead]):
    """Todos of one user: the verbs of `UserScopedService`, and completion."""

    model = Todo
    read = TodoRead
    violations: ClassVar = {"ck_todos_due_once": DUE_TWICE}
    filters: ClassVar = {
        "completed": col(Todo.completed) == bindparam(value_of("completed")),
        "priority": col(Todo.priority) == any_(_texts("priority")),
        "tag": col(Todo.tags).contains(_texts("tag")),
        "due_before": _due < _instant("due_before"),
        "due_after": _due > _instant("due_after"),
        "created_before": col(Todo.created_at) < _instant("created_before"),
        "created_after": col(Todo.created_at) > _instant("created_after"),
        "updated_after": col(Todo.updated_at) > _instant("updated_after"),
    }
    sorts: ClassVar = {
        "created_at": col(Todo.created_at),
        "updated_at": col(Todo.updated_at),
        "due_at": _due,
        "priority": _rank,
        "title": col(Todo.title).collate("C"),
        "completed": col(Todo.completed),
    }
    transitions: ClassVar = {
        "toggle": Transition(
            {"completed": ~col(Todo.completed), "completed_at": case((col(Todo.completed), null()), else_=func.now())}
        ),
        "complete": Transition({"completed": true(), "completed_at": func.now()}, unless=col(Todo.completed)),
        "reopen": Transition({"completed": false(), "completed_at": null()}, unless=~col(Todo.completed)),
    }

    @classmethod
    def derive(cls, changes: Mapping[str, ColumnElement[Any]], table: Table | None) -> dict[str, ColumnElement[Any]]:
        """`completed_at` follows `completed`, and keeps its first moment."""
        if "completed" not in changes:
            return {}
        since = func.now() if table is None else func.coalesce(table.c.completed_at, func.now())
        return {"completed_at": case((changes["completed"], since), else_=null())}

    async def toggle_complete(self, todo_id: UUID) -> TodoRead:
        """Flip `completed`; two at once never lose one."""
        return await self.change(todo_id, "toggle")

    async def complete(self, todo_id: UUID) -> TodoRead:
        """Complete; a second call changes nothing."""
        return await self.change(todo_id, "complete")

    async def reopen(self, todo_id: UUID) -> TodoRead:
        """Reopen; a second call changes nothing."""
        return await self.change(todo_id, "reopen")
