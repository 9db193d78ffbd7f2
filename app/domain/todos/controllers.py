"""`/api/{user_id}/todos`."""

from uuid import UUID

from litestar import Controller, delete, get, patch, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from app.domain.todos.schemas import TodoCreate, TodoMove, TodoQuery, TodoRead, TodoRemoval, TodoReplace, TodoUpdate
from app.domain.todos.services import TodoService
from app.lib.auth.guards import requires_owner
from app.lib.auth.scopes import scopes
from app.lib.http.dependencies import provide
from app.lib.validation.query import Page

Todos = NamedDependency[TodoService]
TodoId = FromPath[UUID]


class TodoController(Controller):
    """Todos of one user."""

    path = "/{user_id:str}/todos"
    tags = ["todos"]
    opt = scopes("todos:read", "todos:write")
    guards = [requires_owner]
    dependencies = {"todos": provide(TodoService)}

    @get()
    async def list_todos(self, todos: Todos, criteria: NamedDependency[TodoQuery]) -> Page[TodoRead]:
        """List todos, newest first unless sorted otherwise."""
        return await todos.list_todos(criteria)

    @post()
    async def create_todo(self, todos: Todos, data: JSONBody[TodoCreate]) -> TodoRead:
        """Create a todo; priority and list are those of the preferences, unless said."""
        return await todos.insert(data)

    @get("/{todo_id:uuid}")
    async def get_todo(self, todos: Todos, todo_id: TodoId) -> TodoRead:
        """Get one todo."""
        return await todos.fetch(todo_id)

    @put("/{todo_id:uuid}")
    async def replace_todo(self, todos: Todos, todo_id: TodoId, data: JSONBody[TodoReplace]) -> TodoRead:
        """Replace a todo: what is left out goes back to its default."""
        return await todos.patch(todo_id, data)

    @patch("/{todo_id:uuid}")
    async def update_todo(self, todos: Todos, todo_id: TodoId, data: JSONBody[TodoUpdate]) -> TodoRead:
        """Change what is sent, as a JSON merge patch."""
        return await todos.patch(todo_id, data)

    @delete("/{todo_id:uuid}")
    async def delete_todo(self, todos: Todos, todo_id: TodoId, criteria: NamedDependency[TodoRemoval]) -> None:
        """Move a todo with its subtasks to the trash, or delete it for good."""
        await todos.remove(todo_id, permanent=criteria.permanent)

    @post("/{todo_id:uuid}/restore", status_code=200)
    async def restore_todo(self, todos: Todos, todo_id: TodoId) -> TodoRead:
        """Take a todo, with what went with it, out of the trash; 409 if it is not there."""
        return await todos.restore(todo_id)

    @post("/{todo_id:uuid}/move", status_code=200)
    async def move_todo(self, todos: Todos, todo_id: TodoId, data: JSONBody[TodoMove]) -> TodoRead:
        """Put a todo right before or after another, or below it as its last subtask."""
        return await todos.move(todo_id, data)

    @post("/{todo_id:uuid}/toggle-complete", status_code=200)
    async def toggle_complete(self, todos: Todos, todo_id: TodoId) -> TodoRead:
        """Flip `completed` atomically."""
        return await todos.toggle_complete(todo_id)

    @post("/{todo_id:uuid}/complete", status_code=200)
    async def complete_todo(self, todos: Todos, todo_id: TodoId) -> TodoRead:
        """Complete a todo; safe to repeat."""
        return await todos.complete(todo_id)

    @post("/{todo_id:uuid}/reopen", status_code=200)
    async def reopen_todo(self, todos: Todos, todo_id: TodoId) -> TodoRead:
        """Reopen a todo; safe to repeat."""
        return await todos.reopen(todo_id)
