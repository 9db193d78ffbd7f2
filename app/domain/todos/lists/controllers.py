"""`/api/{user_id}/lists`: what todos are kept in."""

from typing import ClassVar
from uuid import UUID

from litestar import Controller, delete, get, patch, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from sqlalchemy import Executable, Uuid, bindparam, null, update

from app.db.base import table_of
from app.domain.todos.lists.schemas import ListCreate, ListMove, ListQuery, ListRead, ListUpdate
from app.domain.todos.models import Todo, TodoList
from app.domain.todos.services import EveryTodo
from app.lib.auth.guards import requires_owner
from app.lib.auth.scopes import scopes
from app.lib.errors import Conflict, NotFound
from app.lib.http.dependencies import provide
from app.lib.persistence.fractional_index import behind
from app.lib.persistence.ordered import OrderedService
from app.lib.validation.query import Page

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


Lists = NamedDependency[ListService]
ListId = FromPath[UUID]


class ListController(Controller):
    """Lists of one user."""

    path = "/{user_id:str}/lists"
    tags = ["lists"]
    opt = scopes("todos:read", "todos:write")
    guards = [requires_owner]
    dependencies = {"lists": provide(ListService)}

    @get()
    async def list_lists(self, lists: Lists, criteria: NamedDependency[ListQuery]) -> Page[ListRead]:
        """List the lists, as the user ordered them unless sorted otherwise."""
        return await lists.page(criteria)

    @post()
    async def create_list(self, lists: Lists, data: JSONBody[ListCreate]) -> ListRead:
        """Create a list, after all others; 409 if there is one with this name."""
        return await lists.insert(data)

    @get("/{list_id:uuid}")
    async def get_list(self, lists: Lists, list_id: ListId) -> ListRead:
        """Get one list."""
        return await lists.fetch(list_id)

    @put("/{list_id:uuid}")
    async def replace_list(self, lists: Lists, list_id: ListId, data: JSONBody[ListCreate]) -> ListRead:
        """Replace a list: what is left out goes back to its default."""
        return await lists.patch(list_id, data)

    @patch("/{list_id:uuid}")
    async def update_list(self, lists: Lists, list_id: ListId, data: JSONBody[ListUpdate]) -> ListRead:
        """Change what is sent, as a JSON merge patch."""
        return await lists.patch(list_id, data)

    @delete("/{list_id:uuid}")
    async def delete_list(self, lists: Lists, list_id: ListId) -> None:
        """Delete a list, and leave its todos without one."""
        await lists.remove(list_id)

    @post("/{list_id:uuid}/move", status_code=200)
    async def move_list(self, lists: Lists, list_id: ListId, data: JSONBody[ListMove]) -> ListRead:
        """Put a list right before or after another."""
        return await lists.move(list_id, data)
