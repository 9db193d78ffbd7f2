"""Todos of one user."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

from msgspec import Struct
from sqlalchemy import (
    ColumnElement,
    DateTime,
    Table,
    Text,
    any_,
    bindparam,
    case,
    cast,
    false,
    func,
    null,
    true,
)
from sqlalchemy.dialects.postgresql import ARRAY

from app.db.base import table_of
from app.domain.todos.models import Todo
from app.domain.todos.schemas import DUE_ONCE, PRIORITIES, TodoRead
from app.lib.service import UserScopedService
from app.lib.statements import Transition, value_of


def _instant(name: str) -> ColumnElement[datetime]:
    return bindparam(value_of(name), type_=DateTime(timezone=True))


def _texts(name: str) -> ColumnElement[Any]:
    return bindparam(value_of(name), type_=ARRAY(Text))


_todo = table_of(Todo).c

# A day is due from its first moment in UTC on.
_day_begins = func.timezone("UTC", cast(_todo.due_date, DateTime), type_=DateTime(timezone=True))
_due: ColumnElement[Any] = func.coalesce(_todo.due_at, _day_begins)
_rank: ColumnElement[Any] = case({name: rank for rank, name in enumerate(PRIORITIES)}, value=_todo.priority)


class TodoService[ReadT: Struct = TodoRead](UserScopedService[Todo, ReadT]):
    """Todos of one user: the verbs of `UserScopedService`, and completion."""

    model = Todo
    read: ClassVar[type[Struct]] = TodoRead
    violations: ClassVar = {"ck_todos_due_once": DUE_ONCE.error}
    filters: ClassVar = {
        "completed": _todo.completed == bindparam(value_of("completed")),
        "priority": _todo.priority == any_(_texts("priority")),
        "tag": _todo.tags.contains(_texts("tag")),
        "due_before": _due < _instant("due_before"),
        "due_after": _due > _instant("due_after"),
        "created_before": _todo.created_at < _instant("created_before"),
        "created_after": _todo.created_at > _instant("created_after"),
        "updated_after": _todo.updated_at > _instant("updated_after"),
    }
    sorts: ClassVar = {
        "created_at": _todo.created_at,
        "updated_at": _todo.updated_at,
        "due_at": _due,
        "priority": _rank,
        "title": _todo.title.collate("C"),
        "completed": _todo.completed,
    }
    transitions: ClassVar = {
        "toggle": Transition(
            {
                "completed": ~_todo.completed,
                "completed_at": case((_todo.completed, null()), else_=func.now()),
            }
        ),
        "complete": Transition({"completed": true(), "completed_at": func.now()}, unless=_todo.completed),
        "reopen": Transition({"completed": false(), "completed_at": null()}, unless=~_todo.completed),
    }

    @classmethod
    def derive(cls, changes: Mapping[str, ColumnElement[Any]], table: Table | None) -> dict[str, ColumnElement[Any]]:
        """`completed_at` follows `completed`, and keeps its first moment."""
        if "completed" not in changes:
            return {}
        since = func.now() if table is None else func.coalesce(table.c.completed_at, func.now())
        return {"completed_at": case((changes["completed"], since), else_=null())}

    async def toggle_complete(self, todo_id: UUID) -> ReadT:
        """Flip `completed`; two at once never lose one."""
        return await self.change(todo_id, "toggle")

    async def complete(self, todo_id: UUID) -> ReadT:
        """Complete; a second call changes nothing."""
        return await self.change(todo_id, "complete")

    async def reopen(self, todo_id: UUID) -> ReadT:
        """Reopen; a second call changes nothing."""
        return await self.change(todo_id, "reopen")
