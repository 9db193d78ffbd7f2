"""The tags of one user's todos."""

from sqlalchemy import Integer, Text, bindparam, func, select

from app.db.base import table_of
from app.domain.todos.models import Todo
from app.domain.todos.schemas import TodoRead
from app.domain.todos.services import TodoService
from app.domain.todos.tags.schemas import TagQuery, TagRead
from app.lib.validation.query import Page

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


class TagService(TodoService[TodoRead]):
    """The tags of one user's todos."""

    async def list_tags(self, query: TagQuery) -> Page[TagRead]:
        """Give a page of them, the most used first, in one statement."""
        rows = await self._read(PAGE, page_limit=query.limit, page_offset=query.offset)
        found = rows or (query.offset and await self._read(_TOTAL))
        total = found[0][-1] if found else 0
        return Page([TagRead(name, count) for name, count, _ in rows], total, query.limit, query.offset)
