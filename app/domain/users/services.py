"""The users themselves: let in when their tokens hold, turned away when an operator closed them."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from sqlalchemy import ColumnElement, bindparam, case, func, null, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import col

from app.domain.users.models import Preferences, User
from app.domain.users.schemas import (
    NOTIFICATIONS,
    UNKNOWN_TIME_ZONE,
    Notifications,
    PreferencesRead,
    ProfileRead,
    UserRead,
)
from app.lib.auth import Identity
from app.lib.errors import FieldError, Forbidden
from app.lib.own_row import OwnRowService
from app.lib.session import Session

# How long a deactivation may take to be noticed, and how many users are remembered as active.
TRUST_SECONDS = 5.0
MAX_REMEMBERED = 100_000


_COLUMNS = [getattr(User, name) for name in UserRead.__struct_fields__]
_STATE = select(col(User.deactivated_at)).where(col(User.id) == bindparam("key"))
_PROVISION = (
    insert(User).values({name: bindparam(name) for name in ("id", "email", "name", "image")}).on_conflict_do_nothing()
)
_LIST = select(*_COLUMNS).order_by(col(User.created_at), col(User.id)).limit(bindparam("n")).offset(bindparam("start"))
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
            raise Forbidden
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
    """What operators do with users."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def list_users(self, limit: int, offset: int) -> list[UserRead]:
        """List users, the oldest first."""
        return [UserRead(*row) for row in await self._session.read(_LIST, {"n": limit, "start": offset})]

    async def get_user(self, user_id: str) -> UserRead | None:
        """Give a user, if there is one."""
        rows = await self._session.read(_SHOW, {"key": user_id})
        return UserRead(*rows[0]) if rows else None

    async def set_active(self, user_id: str, *, active: bool) -> UserRead | None:
        """Close or reopen a user; None if there is none."""
        rows = await self._session.write(_ACTIVATE if active else _DEACTIVATE, {"key": user_id})
        return UserRead(*rows[0]) if rows else None


class ProfileService(OwnRowService[ProfileRead]):
    """The user's own row, which admission made."""

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


_SWITCHES = [NOTIFICATIONS + name for name in Notifications.__struct_fields__]
_PLAIN = [name for name in PreferencesRead.__struct_fields__ if name != "notifications"]


class PreferencesService(OwnRowService[PreferencesRead]):
    """How the user likes it."""

    model = Preferences
    read = PreferencesRead
    columns = (*_PLAIN, *_SWITCHES)
    violations: ClassVar = {
        "fk_preferences_default_list_id": FieldError("Expected one of the user's own lists", pointer="/default_list_id")
    }

    def present(self, row: Sequence[Any]) -> PreferencesRead:
        """Put the switches into an object."""
        plain = len(_PLAIN)
        return super().present([*row[:plain], Notifications(*row[plain:])])
