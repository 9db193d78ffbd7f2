"""`/api/{user_id}/tags`."""

from litestar import Controller, get
from litestar.di import NamedDependency

from app.domain.todos.tags.schemas import TagQuery, TagRead
from app.domain.todos.tags.services import TagService
from app.lib.auth.guards import requires_owner
from app.lib.auth.scopes import scopes
from app.lib.http.dependencies import provide
from app.lib.validation.query import Page


class TagController(Controller):
    """Tags of one user."""

    path = "/{user_id:str}/tags"
    tags = ["tags"]
    opt = scopes("todos:read", "todos:write")
    guards = [requires_owner]
    dependencies = {"service": provide(TagService)}

    @get()
    async def list_tags(
        self, service: NamedDependency[TagService], criteria: NamedDependency[TagQuery]
    ) -> Page[TagRead]:
        """List the tags in use, the most used first."""
        return await service.list_tags(criteria)
