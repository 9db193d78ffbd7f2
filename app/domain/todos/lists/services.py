"""Lists of one user."""

from typing import ClassVar
from uuid import UUID

from sqlalchemy import Executable, Uuid, bindparam, null, update

from app.db.base import table_of
from app.domain.todos.lists.models import TodoList
from app.domain.todos.lists.schemas import ListMove, ListRead
from app.domain.todos.models import Todo
from app.domain.todos.services import EveryTodo
from app.lib.errors import Conflict, NotFound
from app.lib.persistence.fractional_index import behind
from app.lib.persistence.ordered import OrderedService

_list, _todos = table_of(TodoList).c, table_of(Todo)
_end = behind(EveryTodo.order.end({"list_id": null()}), _todos.c.position)
_written = EveryTodo.statements.written({"list_id": null(), "position": _end})
_FREE = (
    update(_todos).where(EveryTodo.statements.mine, _todos.c.list_id == bindparam("key", type_=Uuid)).values(_written)
)


class ListService(OrderedService[TodoList, ListRead]):
    """Lists of one user."""

    model = TodoList
    schema = ListRead
    violations: ClassVar = {"uq_lists_user_id_name": Conflict("There is a list with this name")}
    sorts: ClassVar = {
        "position": _list.position,
        "name": _list.name.collate("C"),
        "created_at": _list.created_at,
        "updated_at": _list.updated_at,
    }
    default_sort = "position:asc"
    held: ClassVar[Executable]

    @classmethod
    def build(cls) -> None:
        """Build the statement that lets no todo come into a list until the transaction ends."""
        super().build()
        cls.held = cls.statements.get.with_for_update()

    async def move(self, list_id: UUID, data: ListMove) -> ListRead:
        """Put a list next to another. Raises `NotFound`, `Invalid`, `PreconditionFailed`."""
        side, other_id = data.target()
        async with self.session.atomic(self.violations):
            await self.lock()
            _, other = await self.places(list_id, other_id, f"/{side}")
            return await self.put(list_id, {"position": await self.position_beside(list_id, other, side)})

    async def remove(self, item_id: UUID) -> None:
        """Remove a list, and leave its todos without one. Raises `NotFound`, `PreconditionFailed`."""
        async with self.session.atomic(self.violations):
            await self.lock()
            held = await self._read(self.held, key=item_id)
            if not held:
                raise NotFound
            self.check_version(self.row_to_schema(held[0]))
            await self.session.write(_FREE, self._key(item_id))
            await super().remove(item_id)
