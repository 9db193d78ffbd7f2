"""`/api/{user_id}/lists`."""

from uuid import UUID

from litestar import Controller, delete, get, patch, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from app.domain.todos.lists.schemas import ListCreate, ListMove, ListQuery, ListRead, ListUpdate
from app.domain.todos.lists.services import ListService
from app.lib.auth.guards import requires_owner
from app.lib.auth.scopes import scopes
from app.lib.http.dependencies import provide
from app.lib.validation.query import Page

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
