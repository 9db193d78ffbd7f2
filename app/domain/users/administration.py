"""What administrators and operators see and do: users, and numbers."""

from functools import cache
from typing import Any

from litestar.di import Provide
from msgspec import UNSET
from sqlalchemy import Boolean, Executable, Integer, Select, bindparam, func, null, or_, select, update
from sqlmodel import col

from app.db.archive import kinds
from app.db.base import table_of
from app.domain.users.models import User
from app.domain.users.schemas import UserQuery, UserRead
from app.domain.users.services import UserDirectory
from app.lib.auth.guards import USER_ID
from app.lib.errors import Conflict, NotFound
from app.lib.http.dependencies import session_of
from app.lib.http.requests import ApiRequest
from app.lib.middleware.access_log import AuditLogger, audit_logger
from app.lib.persistence.session import Rows, Session
from app.lib.validation.query import Page

_COLUMNS = [getattr(User, name) for name in UserRead.__struct_fields__]
_deactivated = bindparam("deactivated", type_=Boolean)
_MATCHES = or_(_deactivated.is_(None), col(User.deactivated_at).is_not(None) == _deactivated)
_COUNT = select(func.count()).select_from(User).where(_MATCHES)
_LIST = (
    select(*_COLUMNS, _COUNT.scalar_subquery())
    .where(_MATCHES)
    .order_by(col(User.created_at), col(User.id))
    .limit(bindparam("page_limit", type_=Integer))
    .offset(bindparam("page_offset", type_=Integer))
)
_SHOW = select(*_COLUMNS).where(col(User.id) == bindparam("key"))
_DEACTIVATE = (
    update(User)
    .where(col(User.id) == bindparam("key"))
    .values(deactivated_at=func.coalesce(col(User.deactivated_at), func.now()), updated_at=func.now())
    .returning(*_COLUMNS)
)
_ACTIVATE = (
    update(User)
    .where(col(User.id) == bindparam("key"))
    .values(deactivated_at=null(), updated_at=func.now())
    .returning(*_COLUMNS)
)


class UserAdministration:
    """What administrators and operators do with users; an administrator has an id, and leaves their own row alone."""

    def __init__(
        self,
        session: Session,
        directory: UserDirectory | None = None,
        own_id: str | None = None,
        record: AuditLogger | None = None,
    ) -> None:
        self._session = session
        self._tell = record
        self._directory = directory
        self._own_id = own_id

    @classmethod
    def provide(cls) -> Provide:
        """Give the dependency that makes it for the administrator of a request."""

        def administration(request: ApiRequest) -> UserAdministration:
            state = request.app.state
            session = session_of(request.scope, state.database.session)
            record = audit_logger(state.settings, request.scope, state.deployment_secret)
            return cls(session, state.users, request.user.id, record)

        return Provide(administration, sync_to_thread=False)

    async def list_users(self, query: UserQuery) -> Page[UserRead]:
        """Give a page of users, the oldest first, in one statement."""
        which = None if query.deactivated is UNSET else query.deactivated
        parameters = {"deactivated": which, "page_limit": query.limit, "page_offset": query.offset}
        rows = await self._read(_LIST, parameters)
        total = rows[0][-1] if rows else (await self._read(_COUNT, parameters))[0][0]
        return Page([UserRead(*row[:-1]) for row in rows], total, query.limit, query.offset)

    async def get_user(self, user_id: str) -> UserRead:
        """Raises `NotFound`."""
        return _known(await self._read(_SHOW, {"key": user_id}))

    async def set_active(self, user_id: str, *, active: bool) -> UserRead:
        """Close or reopen a user, at once in this process. Raises `NotFound`, `Conflict`."""
        if user_id == self._own_id:
            raise Conflict("Nobody closes or reopens themselves")
        if not USER_ID.fullmatch(user_id):
            raise NotFound
        with self._session.unscoped("administer users"):
            rows = await self._session.write(_ACTIVATE if active else _DEACTIVATE, {"key": user_id})
        user = _known(rows)
        self._session.once_committed(lambda: self._noticed(user_id, active))
        return user

    def _noticed(self, user_id: str, active: bool) -> None:
        if self._directory:
            self._directory.forget(user_id)
        if self._tell:
            self._tell("user_activated" if active else "user_deactivated", user_id)

    async def count(self) -> dict[str, int]:
        """Count users, and the rows of all of them in each table, in one statement."""
        (row,) = await self._read(_totals(), {})
        return dict(zip(_totals().selected_columns.keys(), row, strict=True))

    async def _read(self, statement: Executable, parameters: dict[str, Any]) -> Rows:
        with self._session.unscoped("look at all users"):
            return await self._session.read(statement, parameters)


def _known(rows: Rows) -> UserRead:
    if not rows:
        raise NotFound
    return UserRead(*rows[0])


@cache
def _totals() -> Select[Any]:
    user = table_of(User)
    active = select(func.count()).select_from(user).where(user.c.deactivated_at.is_(None))
    numbers = {"users": select(func.count()).select_from(user), "active_users": active}
    numbers |= {kind.name: select(func.count()).select_from(kind.table) for kind in kinds() if kind.keys}
    return select(*(number.scalar_subquery().label(name) for name, number in numbers.items()))
