"""`/api/{user_id}/tasks`: the todos in the dialect that many existing Better Auth frontends speak."""

from collections.abc import Sequence
from typing import Any, ClassVar
from uuid import UUID

from litestar import Controller, Response, delete, get, patch, post, put
from litestar.datastructures import ResponseHeader
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from msgspec import UNSET
from sqlalchemy import Text, bindparam, func, or_, select

from app.db.base import SCHEMA, table_of
from app.domain.todos.models import Todo
from app.domain.todos.services import TodoService
from app.domain.todos.task_schemas import TaskCompletion, TaskCreate, TaskQuery, TaskRead, TaskUpdate
from app.lib.auth import requires_owner
from app.lib.http import ApiResponse
from app.lib.scopes import scopes
from app.lib.search import fold
from app.lib.statements import value_of

_todo = table_of(Todo).c
_sorts = TodoService.sorts
_searched = select(fold(bindparam(value_of("search"), type_=Text), SCHEMA)).scalar_subquery()


class TaskService(TodoService[TaskRead]):
    """Todos of one user, read as tasks."""

    read = TaskRead
    beside = ("due_at", "version")
    filters: ClassVar = {
        **TodoService.filters,
        "status": _todo.completed == bindparam(value_of("status")),
        # No LIKE: nothing in the text is a wildcard.
        "search": or_(*(func.strpos(fold(text, SCHEMA), _searched) > 0 for text in (_todo.title, _todo.description))),
    }
    sorts: ClassVar = {
        "created": _sorts["created_at"],
        "title": _sorts["title"],
        "due_date": _sorts["due_at"],
        "updated": _sorts["updated_at"],
        "priority": _sorts["priority"],
    }
    default_sort = "created:desc"

    def present(self, row: Sequence[Any]) -> TaskRead:
        """Make the task of a row."""
        *shown, due_at, version = row
        task = TaskRead(*shown)
        task.due_date = task.due_date or due_at
        task.version = version
        return task

    async def list_tasks(self, query: TaskQuery) -> tuple[list[TaskRead], int]:
        """Give the tasks, all of them unless limited, and the number of all that match."""
        limit = None if query.limit is UNSET else query.limit
        return await self.list_from(query.filters(), query.ordering(), query.offset, limit)

    async def set_completed(self, todo_id: UUID, data: TaskCompletion) -> TaskRead:
        """Complete or reopen, safe to repeat; toggle when nothing is said."""
        if data.completed is UNSET:
            return await self.toggle_complete(todo_id)
        return await (self.complete(todo_id) if data.completed else self.reopen(todo_id))


Tasks = NamedDependency[TaskService]
TaskId = FromPath[UUID]
NOTHING_SAID = TaskCompletion()
TOTAL = ResponseHeader("X-Total-Count", documentation_only=True, description="The number of all that match")


class TaskController(Controller):
    """Todos of one user, as tasks."""

    path = "/{user_id:str}/tasks"
    tags = ["tasks"]
    opt = scopes("todos:read", "todos:write")
    guards = [requires_owner]
    dependencies = {"tasks": TaskService.provide()}

    @get(criteria=TaskQuery, response_headers=[TOTAL])
    async def list_tasks(self, tasks: Tasks, criteria: NamedDependency[TaskQuery]) -> Response[list[TaskRead]]:
        """List tasks, all of them unless limited, newest first unless sorted otherwise.

        Sorted without a direction, the newest, the last updated and the highest priority come first, titles go from A
        to Z, and due dates from the soonest on.
        """
        found, total = await tasks.list_tasks(criteria)
        return ApiResponse(found, headers={"X-Total-Count": str(total)})

    @post()
    async def create_task(self, tasks: Tasks, data: JSONBody[TaskCreate]) -> TaskRead:
        """Create a task."""
        return await tasks.create(data.as_todo())

    @get("/{todo_id:uuid}")
    async def get_task(self, tasks: Tasks, todo_id: TaskId) -> TaskRead:
        """Get one task."""
        return await tasks.get(todo_id)

    @put("/{todo_id:uuid}")
    async def replace_task(self, tasks: Tasks, todo_id: TaskId, data: JSONBody[TaskUpdate]) -> TaskRead:
        """Change what is sent: unlike a todo's, this PUT takes a partial body, too."""
        return await tasks.update(todo_id, data.as_todo())

    @patch("/{todo_id:uuid}")
    async def update_task(self, tasks: Tasks, todo_id: TaskId, data: JSONBody[TaskUpdate]) -> TaskRead:
        """Change what is sent."""
        return await tasks.update(todo_id, data.as_todo())

    @delete("/{todo_id:uuid}")
    async def delete_task(self, tasks: Tasks, todo_id: TaskId) -> None:
        """Delete a task."""
        await tasks.delete(todo_id)

    @patch("/{todo_id:uuid}/complete")
    async def complete_task(
        self, tasks: Tasks, todo_id: TaskId, data: JSONBody[TaskCompletion] = NOTHING_SAID
    ) -> TaskRead:
        """Set `completed` to what the body says, safe to repeat; flip it atomically when it says nothing."""
        return await tasks.set_completed(todo_id, data)
