"""`POST /api/{user_id}/todos/batch`: several writes in one transaction, all or nothing."""

from typing import Annotated
from uuid import UUID

from litestar import Controller, post
from litestar.di import NamedDependency
from litestar.params import JSONBody
from msgspec import UNSET, Meta, Struct, UnsetType

from app.domain.todos.schemas import TodoCreate, TodoRead, TodoUpdate
from app.domain.todos.services import TodoService
from app.lib.auth.guards import requires_owner
from app.lib.auth.scopes import scopes
from app.lib.errors import ApiError
from app.lib.http.dependencies import provide
from app.lib.validation.body import Body

MAX_OPERATIONS = 100

Version = Annotated[int, Meta(ge=1, le=2**31 - 1)]


class CreateOperation(Body, tag_field="op", tag="create"):
    """Create a todo."""

    data: TodoCreate


class UpdateOperation(Body, tag_field="op", tag="update"):
    """Change what is sent of a todo, which must have the `version`, if one is given."""

    id: UUID
    data: TodoUpdate
    version: Version | UnsetType = UNSET


class DeleteOperation(Body, tag_field="op", tag="delete"):
    """Move a todo to the trash, or delete it for good; it must have the `version`, if one is given."""

    id: UUID
    permanent: bool = False
    version: Version | UnsetType = UNSET


class Batch(Body):
    """What is to be done, in this order."""

    operations: Annotated[
        list[CreateOperation | UpdateOperation | DeleteOperation], Meta(min_length=1, max_length=MAX_OPERATIONS)
    ]


class BatchResult(Struct):
    """What an operation alone would have answered."""

    status: int
    todo: TodoRead | None


class BatchResults(Struct):
    """A result for each operation."""

    results: list[BatchResult]


class BatchService(TodoService[TodoRead]):
    """Todos of one user, several at a time."""

    async def run(self, batch: Batch) -> BatchResults:
        """Do all of it. Raises the error of the first that fails, with its index, and then nothing is done."""
        results: list[BatchResult] = []
        async with self.session.atomic(self.violations):
            await self.lock()  # or two that take the same rows in another order would wait for each other
            for index, operation in enumerate(batch.operations):
                try:
                    results.append(await self._do(operation))
                except ApiError as error:
                    raise error.within(index, f"/operations/{index}/data") from error
        return BatchResults(results)

    async def _do(self, operation: CreateOperation | UpdateOperation | DeleteOperation) -> BatchResult:
        if isinstance(operation, CreateOperation):
            return BatchResult(201, await self.insert(operation.data))
        todos = self.service(TodoService, None if operation.version is UNSET else operation.version)
        if isinstance(operation, UpdateOperation):
            return BatchResult(200, await todos.patch(operation.id, operation.data))
        await todos.remove(operation.id, permanent=operation.permanent)
        return BatchResult(204, None)


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
