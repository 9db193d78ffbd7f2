"""Several writes of one user's todos in one transaction."""

from msgspec import UNSET

from app.domain.todos.batch.schemas import (
    Batch,
    BatchResult,
    BatchResults,
    CreateOperation,
    DeleteOperation,
    UpdateOperation,
)
from app.domain.todos.schemas import TodoRead
from app.domain.todos.services import TodoService
from app.lib.errors import ApiError


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
