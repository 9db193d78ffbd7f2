"""The users themselves: let in when their tokens hold, and what is each one's own."""

import time
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any, ClassVar

from sqlalchemy import Text, bindparam, delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlmodel import col

from app.db.archive import export_lines
from app.domain.users.models import Preferences, User
from app.domain.users.schemas import NOTIFICATIONS, Notifications, PreferencesRead, ProfileRead
from app.lib.auth.tokens import Identity
from app.lib.errors import Deactivated, FieldError, Unavailable
from app.lib.persistence.session import MAX_ATTEMPTS, Session
from app.lib.persistence.singleton import SingletonService

# How long a deactivation may take to be noticed, and how many users are remembered as active.
TRUST_SECONDS = 5.0
MAX_REMEMBERED = 100_000

_STATE = select(col(User.deactivated_at)).where(col(User.id) == bindparam("key"))
_PROVISION = (
    insert(User).values({name: bindparam(name) for name in ("id", "email", "name", "image")}).on_conflict_do_nothing()
)

_owner = bindparam("owner", type_=Text)
# Whether the user may erase themselves is decided by the statement that erases: what admission trusts may be old.
_ERASE = delete(User).where(col(User.id) == _owner, col(User.deactivated_at).is_(None)).returning(col(User.id))
_ERASE_ANY = delete(User).where(col(User.id) == _owner).returning(col(User.deactivated_at))
_MARK = insert(User).values({name: bindparam(name) for name in ("id", "deactivated_at")})


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


class AccountService(SingletonService[ProfileRead]):
    """The user's own row, which admission made, and everything that hangs on it."""

    model = User
    schema = ProfileRead
    owner = "id"
    upsert = False

    def export(self) -> AsyncGenerator[bytes]:
        """Give everything of the user, as JSON Lines."""
        return export_lines(self.session, self._owner)

    async def erase(self, directory: UserDirectory) -> None:
        """Erase everything of the user, in one statement; who comes again starts afresh. Raises `Deactivated`."""
        directory.forget(self._owner)
        for _ in range(MAX_ATTEMPTS):
            if await self.session.write(_ERASE, {"owner": self._owner}) or not await self._is_active():
                directory.forget(self._owner)
                return
        raise Unavailable("The account was changed at the same time, try again later")

    async def _is_active(self) -> bool:
        """Return False where there is no such user. Raises `Deactivated`."""
        rows = await self.session.read(_STATE, {"key": self._owner})
        if rows and rows[0][0] is not None:
            raise Deactivated
        return bool(rows)


async def erase_user(connection: AsyncConnection, user_id: str, *, lift: bool) -> bool:
    """Erase a user as an operator; unless lifted, a deactivation stays as a row of nothing but the id.

    Return whether it stays.
    """
    marks = (await connection.execute(_ERASE_ANY, {"owner": user_id})).scalars().all()
    kept = [{"id": user_id, "deactivated_at": mark} for mark in marks if mark is not None and not lift]
    for row in kept:
        await connection.execute(_MARK, row)
    return bool(kept)


_SWITCHES = [NOTIFICATIONS + name for name in Notifications.__struct_fields__]
_PLAIN = [name for name in PreferencesRead.__struct_fields__ if name != "notifications"]


class PreferencesService(SingletonService[PreferencesRead]):
    """How the user likes it."""

    model = Preferences
    schema = PreferencesRead
    columns = (*_PLAIN, *_SWITCHES)
    violations: ClassVar = {
        "fk_preferences_default_list_id": FieldError("Expected the id of one of your lists", pointer="/default_list_id")
    }

    def row_to_schema(self, row: Sequence[Any]) -> PreferencesRead:
        """Put the switches into an object."""
        plain = len(_PLAIN)
        return super().row_to_schema([*row[:plain], Notifications(*row[plain:])])
