"""The users themselves: let in when their tokens hold, turned away when an operator closed them."""

import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from functools import cache
from typing import Any, ClassVar

from litestar.di import Provide
from msgspec import UNSET
from sqlalchemy import (
    Boolean,
    ColumnElement,
    Executable,
    Integer,
    Select,
    bindparam,
    case,
    func,
    null,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import col

from app.db.archive import export_lines, kinds
from app.db.base import table_of
from app.domain.users.models import Preferences, User
from app.domain.users.schemas import (
    NOTIFICATIONS,
    UNKNOWN_TIME_ZONE,
    Notifications,
    PreferencesRead,
    ProfileRead,
    UserQuery,
    UserRead,
)
from app.lib.auth import USER_ID, Identity
from app.lib.errors import Conflict, Deactivated, FieldError, NotFound
from app.lib.http import ApiRequest
from app.lib.idempotency import session_of
from app.lib.own_row import OwnRowService
from app.lib.query import Page
from app.lib.request_log import Witness, witness
from app.lib.session import Rows, Session

# How long a deactivation may take to be noticed, and how many users are remembered as active.
TRUST_SECONDS = 5.0
MAX_REMEMBERED = 100_000


_COLUMNS = [getattr(User, name) for name in UserRead.__struct_fields__]
_STATE = select(col(User.deactivated_at)).where(col(User.id) == bindparam("key"))
_PROVISION = (
    insert(User).values({name: bindparam(name) for name in ("id", "email", "name", "image")}).on_conflict_do_nothing()
)
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


class UserDirectory:
    """Admission to the API: a user's row is made at first sight, and looked at again every few seconds."""

    def __init__(self, session: Callable[[str], Session], clock: Callable[[], float] = time.monotonic) -> None:
        self._session = session
        self._clock = clock
        self._admitted: dict[str, float] = {}
        self._forgotten = 0

    async def admit(self, identity: Identity) -> None:
        """Raises `Forbidden` for a deactivated user."""
        now = self._clock()
        if self._admitted.get(identity.id, 0.0) > now:
            return
        session, forgotten = self._session(identity.id), self._forgotten
        rows = await session.read(_STATE, {"key": identity.id})
        if not rows:
            values = {name: getattr(identity, name) for name in ("id", "email", "name", "image")}
            await session.write(_PROVISION, values)
        elif rows[0][0] is not None:
            self._admitted.pop(identity.id, None)
            raise Deactivated
        if self._forgotten == forgotten:  # else what was read may be older than what was forgotten
            self._remember(identity.id, now + TRUST_SECONDS)

    async def readmit(self, identity: Identity) -> None:
        """Look again at once, and make the row of a user who was erased. Raises `Forbidden`."""
        self.forget(identity.id)
        await self.admit(identity)

    def forget(self, user_id: str) -> None:
        """Look at a user again when they come next: something was done to them."""
        self._admitted.pop(user_id, None)
        self._forgotten += 1

    def _remember(self, user_id: str, until: float) -> None:
        self._admitted.pop(user_id, None)  # to the end: the first is then the one that expires first
        if len(self._admitted) >= MAX_REMEMBERED:
            self._admitted.pop(next(iter(self._admitted)))
        self._admitted[user_id] = until


class UserAdministration:
    """What administrators and operators do with users; an administrator has an id, and leaves their own row alone."""

    def __init__(
        self,
        session: Session,
        directory: UserDirectory | None = None,
        own_id: str | None = None,
        tell: Witness | None = None,
    ) -> None:
        self._session = session
        self._tell = tell
        self._directory = directory
        self._own_id = own_id

    @classmethod
    def provide(cls) -> Provide:
        """Give the dependency that makes it for the administrator of a request."""

        def administration(request: ApiRequest) -> UserAdministration:
            state = request.app.state
            session = session_of(request.scope, state.database.session)
            return cls(session, state.users, request.user.id, witness(state.settings, request.scope))

        return Provide(administration, sync_to_thread=False)

    async def list_page(self, query: UserQuery) -> Page[UserRead]:
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
        with self._session.widened(unscoped="administer users"):
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
        with self._session.widened(unscoped="look at all users"):
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


class AccountService(OwnRowService[ProfileRead]):
    """The user's own row, which admission made, and everything that hangs on it."""

    model = User
    read = ProfileRead
    owner = "id"
    made_on_write = False
    violations: ClassVar = {"22023": FieldError(UNKNOWN_TIME_ZONE, pointer="/time_zone")}

    @classmethod
    def derive(cls, changes: Mapping[str, ColumnElement[Any]]) -> Mapping[str, ColumnElement[Any]]:
        """PostgreSQL, which will compute with the time zone, must know it too: it raises SQLSTATE 22023 if not."""
        if (zone := changes.get("time_zone")) is None:
            return changes
        return {**changes, "time_zone": case((func.timezone(zone, func.now()).is_not(None), zone))}

    def export(self) -> AsyncGenerator[bytes]:
        """Give everything of the user, as JSON Lines."""
        return export_lines(self.session, self._owner)

    async def erase(self, directory: UserDirectory) -> None:
        """Erase everything of the user, in one statement; who comes again starts afresh."""
        await self.delete()
        directory.forget(self._owner)


_SWITCHES = [NOTIFICATIONS + name for name in Notifications.__struct_fields__]
_PLAIN = [name for name in PreferencesRead.__struct_fields__ if name != "notifications"]


class PreferencesService(OwnRowService[PreferencesRead]):
    """How the user likes it."""

    model = Preferences
    read = PreferencesRead
    columns = (*_PLAIN, *_SWITCHES)
    violations: ClassVar = {
        "fk_preferences_default_list_id": FieldError("Expected the id of one of your lists", pointer="/default_list_id")
    }

    def present(self, row: Sequence[Any]) -> PreferencesRead:
        """Put the switches into an object."""
        plain = len(_PLAIN)
        return super().present([*row[:plain], Notifications(*row[plain:])])
