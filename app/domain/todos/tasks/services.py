"""Todos of one user, in the `tasks` dialect."""

from collections.abc import Mapping, Sequence
from datetime import UTC, tzinfo
from typing import Any, ClassVar
from unicodedata import normalize
from uuid import UUID

from msgspec import UNSET
from sqlalchemy import ColumnElement, Table, Text, any_, bindparam, case, func, or_, select
from sqlalchemy.dialects.postgresql import ARRAY

from app.db.base import SCHEMA, table_of
from app.domain.todos.models import Todo
from app.domain.todos.schemas import PRIORITIES
from app.domain.todos.services import TodoService
from app.domain.todos.tasks.schemas import (
    DEFAULT_PRIORITY,
    TOO_LONG,
    TaskBody,
    TaskCompletion,
    TaskCreate,
    TaskQuery,
    TaskRead,
    TaskUpdate,
)
from app.lib.errors import Invalid
from app.lib.persistence.full_text_search import fold
from app.lib.persistence.statements import in_order, value_of
from app.lib.persistence.whole_list import WholeList, whole_list

_todo = table_of(Todo).c
_sorts = TodoService.sorts
_priority: ColumnElement[str] = case((_todo.priority == "none", DEFAULT_PRIORITY), else_=_todo.priority)
_searched = select(fold(bindparam(value_of("search"), type_=Text), SCHEMA)).scalar_subquery()
_PRIORITY = TaskRead.__struct_fields__.index("priority")


class TaskService(TodoService[TaskRead]):
    """Todos of one user, read as tasks."""

    schema = TaskRead
    extra_columns = ("due_at", "version")
    filters: ClassVar = {
        **TodoService.filters,
        "priority": _priority == any_(bindparam(value_of("priority"), type_=ARRAY(Text))),
        "status": _todo.completed == bindparam(value_of("status")),
        # No LIKE: nothing in the text is a wildcard.
        "search": or_(*(func.strpos(fold(text, SCHEMA), _searched) > 0 for text in (_todo.title, _todo.description))),
    }
    sorts: ClassVar = {
        "created": _sorts["created_at"],
        "title": _sorts["title"],
        "due_date": _sorts["due_at"],
        "updated": _sorts["updated_at"],
        "priority": in_order(_priority, PRIORITIES),
    }
    default_sort = "created:desc"

    def row_to_schema(self, row: Sequence[Any]) -> TaskRead:
        """Make the task of a row."""
        *shown, due_at, version = row
        task = TaskRead(*shown)
        task.due_date = task.due_date or due_at
        if row[_PRIORITY] == "none":
            task.priority = DEFAULT_PRIORITY
        task.version = version
        return task

    @classmethod
    def computed_columns(
        cls, changes: Mapping[str, ColumnElement[Any]], table: Table | None
    ) -> dict[str, ColumnElement[Any]]:
        """Keep a priority of `none` that is sent back as it is shown."""
        derived = super().computed_columns(changes, table)
        if table is not None and "priority" in changes:
            is_shown = (table.c.priority == "none") & (changes["priority"] == DEFAULT_PRIORITY)
            derived["priority"] = case((is_shown, table.c.priority), else_=changes["priority"])
        return derived

    async def create_task(self, data: TaskCreate) -> TaskRead:
        """Create a task."""
        return await self.insert(data.as_todo(await self._zone(data)))

    async def update_task(self, todo_id: UUID, data: TaskUpdate) -> TaskRead:
        """Set what was sent. Raises `NotFound`, `PreconditionFailed`, `Invalid` for a new long description."""
        if data.has_long_description:
            stored = await self.fetch(todo_id)
            if not _is_same(stored.description, data.description):
                raise Invalid([TOO_LONG])
            data.description = UNSET
        return await self.patch(todo_id, data.as_todo(await self._zone(data)))

    async def _zone(self, data: TaskBody) -> tzinfo:
        return await self.time_zone() if data.needs_time_zone else UTC

    async def list_tasks(self, query: TaskQuery) -> WholeList[TaskRead]:
        """Return the tasks, all of them unless limited, and the number of all that match."""
        if query.limit is UNSET:
            return await whole_list(self, query.filters(), query.ordering(), query.offset)
        return WholeList(*await self.list_from(query.filters(), query.ordering(), query.offset, query.limit), None)

    async def set_completed(self, todo_id: UUID, data: TaskCompletion) -> TaskRead:
        """Complete or reopen, safe to repeat; toggle when nothing is said."""
        if data.completed is UNSET:
            return await self.toggle_complete(todo_id)
        return await (self.complete(todo_id) if data.completed else self.reopen(todo_id))


def _is_same(*texts: Any) -> bool:
    """Compare as people see it: a client, or this server, may have normalised what was stored before."""
    return len({normalize("NFC", text or "") for text in texts}) == 1
