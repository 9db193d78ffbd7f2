"""`/api/{user_id}/tasks`."""

from uuid import UUID

from litestar import Controller, Response, delete, get, patch, post, put
from litestar.datastructures import ResponseHeader
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from app.domain.todos.tasks.schemas import (
    TaskCompletion,
    TaskCreate,
    TaskQuery,
    TaskRead,
    TaskUpdate,
)
from app.domain.todos.tasks.services import TaskService
from app.lib.auth.guards import requires_owner
from app.lib.auth.scopes import scopes
from app.lib.http.dependencies import provide
from app.lib.http.responses import ApiResponse
from app.lib.http.streaming import JsonArray

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
    dependencies = {"tasks": provide(TaskService)}

    @get(response_headers=[TOTAL])
    async def list_tasks(self, tasks: Tasks, criteria: NamedDependency[TaskQuery]) -> Response[list[TaskRead]]:
        """List tasks, all of them unless limited, newest first unless sorted otherwise.

        Sorted without a direction, the newest, the last updated and the highest priority come first, titles go from A
        to Z, and due dates from the soonest on.
        """
        found = await tasks.list_tasks(criteria)
        headers = {"X-Total-Count": str(found.total)}
        return ApiResponse(found.first, headers=headers) if found.further is None else JsonArray(found.further, headers)

    @post()
    async def create_task(self, tasks: Tasks, data: JSONBody[TaskCreate]) -> TaskRead:
        """Create a task."""
        return await tasks.create_task(data)

    @get("/{todo_id:uuid}")
    async def get_task(self, tasks: Tasks, todo_id: TaskId) -> TaskRead:
        """Get one task."""
        return await tasks.fetch(todo_id)

    @put("/{todo_id:uuid}")
    async def replace_task(self, tasks: Tasks, todo_id: TaskId, data: JSONBody[TaskUpdate]) -> TaskRead:
        """Change what is sent: unlike a todo's, this PUT takes a partial body, too."""
        return await tasks.update_task(todo_id, data)

    @patch("/{todo_id:uuid}")
    async def update_task(self, tasks: Tasks, todo_id: TaskId, data: JSONBody[TaskUpdate]) -> TaskRead:
        """Change what is sent."""
        return await tasks.update_task(todo_id, data)

    @delete("/{todo_id:uuid}")
    async def delete_task(self, tasks: Tasks, todo_id: TaskId) -> None:
        """Delete a task."""
        await tasks.remove(todo_id)

    @patch("/{todo_id:uuid}/complete")
    async def complete_task(
        self, tasks: Tasks, todo_id: TaskId, data: JSONBody[TaskCompletion] = NOTHING_SAID
    ) -> TaskRead:
        """Set `completed` to what the body says, safe to repeat; flip it atomically when it says nothing."""
        return await tasks.set_completed(todo_id, data)
