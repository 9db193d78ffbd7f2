"""`/api/{user_id}/tags`: the tags in use."""

from litestar import Controller, get
from litestar.di import NamedDependency
from msgspec import Struct
from sqlalchemy import Integer, Text, bindparam, func, select

from app.db.base import table_of
from app.domain.todos.models import Todo
from app.domain.todos.schemas import TodoRead
from app.domain.todos.services import TodoService
from app.lib.auth.guards import requires_owner
from app.lib.auth.scopes import scopes
from app.lib.http.dependencies import provide
from app.lib.validation.query import Limit, Offset, Page, Query

_tags = select(func.unnest(table_of(Todo).c.tags, type_=Text).label("name")).where(TodoService.statements.mine)
_used = _tags.subquery("tags")
_name, _count = _used.c.name, func.count()
_total = select(func.count(_name.distinct())).scalar_subquery()
PAGE = (
    select(_name, _count, _total)
    .group_by(_name)
    .order_by(_count.desc(), _name.collate("C"))
    .limit(bindparam("page_limit", type_=Integer))
    .offset(bindparam("page_offset", type_=Integer))
)
_TOTAL = select(_total)


class TagRead(Struct):
    """A tag, and how many todos outside the trash have it."""

    name: str
    count: int


class TagQuery(Query):
    """A page of tags."""

    limit: Limit = 20
    offset: Offset = 0


class TagService(TodoService[TodoRead]):
    """The tags of one user's todos."""

    async def list_tags(self, query: TagQuery) -> Page[TagRead]:
        """Give a page of them, the most used first, in one statement."""
        rows = await self._read(PAGE, page_limit=query.limit, page_offset=query.offset)
        found = rows or (query.offset and await self._read(_TOTAL))
        total = found[0][-1] if found else 0
        return Page([TagRead(name, count) for name, count, _ in rows], total, query.limit, query.offset)


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
