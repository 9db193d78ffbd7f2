"""Batches on the wire."""

from typing import Annotated
from uuid import UUID

from msgspec import UNSET, Meta, Struct, UnsetType

from app.domain.todos.schemas import TodoCreate, TodoRead, TodoUpdate
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
