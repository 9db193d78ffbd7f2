"""`/api/{user_id}/todos/batch`."""

from litestar import Controller, post
from litestar.di import NamedDependency
from litestar.params import JSONBody

from app.domain.todos.batch.schemas import Batch, BatchResults
from app.domain.todos.batch.services import BatchService
from app.lib.auth.guards import requires_owner
from app.lib.auth.scopes import scopes
from app.lib.http.dependencies import provide


class BatchController(Controller):
    """Several writes at once."""

    path = "/{user_id:str}/todos/batch"
    tags = ["todos"]
    opt = scopes("todos:read", "todos:write")
    guards = [requires_owner]
    dependencies = {"todos": provide(BatchService)}

    @post(status_code=200)
    async def batch_todos(self, todos: NamedDependency[BatchService], data: JSONBody[Batch]) -> BatchResults:
        """Create, change and delete todos in one transaction: all of it or nothing."""
        return await todos.run(data)
