"""What the todos of an imported user must be together."""

from collections.abc import Iterator, Sequence
from typing import Any
from uuid import UUID

from app.domain.todos.schemas import MAX_DEPTH


def misplaced(todos: Sequence[Any]) -> Iterator[tuple[int, str]]:
    """Yield todos that are below themselves or too deep, or outside the trash below one that is in it."""
    by_id = {todo.id: todo for todo in todos}
    depths: dict[UUID, int] = {}
    for index, todo in enumerate(todos):
        if not _fill_depths(todo, by_id, depths):
            yield index, "The todo is below itself - at `$.parent_id`"
        elif todo.deleted_at is None and depths[todo.id] > MAX_DEPTH:
            yield index, f"Expected at most {MAX_DEPTH} levels of todos - at `$.parent_id`"
        elif todo.deleted_at is None and todo.parent_id and by_id[todo.parent_id].deleted_at is not None:
            yield index, "The parent is in the trash, and the todo is not - at `$.parent_id`"


def _fill_depths(todo: Any, by_id: dict[UUID, Any], depths: dict[UUID, int]) -> bool:
    """Set the depth of a todo and of all above it; return False for a cycle."""
    path: dict[UUID, None] = {}
    while todo is not None and todo.id not in depths:
        if todo.id in path:
            return False
        path[todo.id] = None
        todo = by_id.get(todo.parent_id)
    depth = 0 if todo is None else depths[todo.id]
    for number, key in enumerate(reversed(path), 1):
        depths[key] = depth + number
    return True
