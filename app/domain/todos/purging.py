"""The end of what is in the trash."""

from datetime import timedelta

from sqlalchemy import Interval, bindparam, delete, func, select, tuple_

from app.db.base import table_of
from app.domain.todos.models import Todo
from app.lib.persistence.session import Session

CHUNK = 1000  # removed in one transaction, so that nobody waits long

_todos = table_of(Todo)
_key = tuple_(_todos.c.user_id, _todos.c.id)
_old = _todos.c.deleted_at <= func.now() - bindparam("older_than", type_=Interval)
_due = select(_todos.c.user_id, _todos.c.id).where(_old).order_by(_todos.c.deleted_at).limit(CHUNK)
# What a user is restoring at this moment is left alone, and not waited for.
_REMOVE = delete(_todos).where(_key.in_(_due.with_for_update(skip_locked=True))).returning(_todos.c.id)


class TrashPurger:
    """Removes todos that have been in the trash for long enough."""

    what = "todos"

    async def purge(self, session: Session, older_than: timedelta) -> int:
        """Remove them for good, some at a time; subtasks that went with a todo go with it."""
        count = 0
        while gone := len(await session.write(_REMOVE, {"older_than": older_than})):
            count += gone
        return count
