"""First answers to `Idempotency-Key`s, stored with the writes that they tell of."""

from datetime import datetime, timedelta

from sqlalchemy import DateTime, ForeignKey, Index, LargeBinary, Text, bindparam, delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import Field

from app.db.base import OWNERS_DEACTIVATION, TRANSIENT, Base, table_of
from app.lib.errors import Deactivated
from app.lib.middleware.idempotency import Stored
from app.lib.persistence.session import Session

KEPT_FOR = timedelta(hours=24)


class IdempotencyKey(Base, table=True):
    """A key of one user, with its first answer."""

    __tablename__ = "idempotency_keys"
    __table_args__ = (Index(None, "created_at"), {"info": {TRANSIENT: True}})

    user_id: str = Field(primary_key=True, sa_type=Text, sa_column_args=[ForeignKey("users.id", ondelete="CASCADE")])
    key: str = Field(primary_key=True, sa_type=Text)
    fingerprint: bytes = Field(sa_type=LargeBinary)
    answer: bytes = Field(sa_type=LargeBinary)
    created_at: datetime = Field(sa_type=DateTime(timezone=True), sa_column_kwargs={"server_default": func.now()})


_keys = table_of(IdempotencyKey).c
_owner, _key = bindparam("owner", type_=Text), bindparam("name", type_=Text)
_CLAIM = select(func.pg_try_advisory_xact_lock(func.hashtextextended(func.concat(_owner, " ", _key), 0)))
_FIND = select(_keys.fingerprint, _keys.answer, OWNERS_DEACTIVATION).where(
    _keys.user_id == _owner, _keys.key == _key, _keys.created_at > func.now() - KEPT_FOR
)
_new = {"fingerprint": bindparam("new_fingerprint"), "answer": bindparam("new_answer"), "created_at": func.now()}
_SAVE = (
    insert(table_of(IdempotencyKey))
    .values(user_id=_owner, key=_key, **_new)
    .on_conflict_do_update(index_elements=[_keys.user_id, _keys.key], set_=_new)
)


_PURGE = delete(table_of(IdempotencyKey)).where(_keys.created_at <= func.now() - KEPT_FOR).returning(_keys.created_at)


async def purge_answers(session: Session) -> int:
    """Remove what no longer counts; give how many there were."""
    return len(await session.write(_PURGE, {}))


class DatabaseAnswers:
    """Stores first answers in PostgreSQL; one that is older than a day no longer counts."""

    async def claim(self, session: Session, user_id: str, key: str) -> bool:
        """Take the advisory lock of the key without waiting for it."""
        rows = await session.read(_CLAIM, {"owner": user_id, "name": key})
        return bool(rows[0][0])

    async def find(self, session: Session, user_id: str, key: str) -> Stored | None:
        """Return the first answer of the last day. Raises `Deactivated`, whatever admission still trusts."""
        rows = await session.read(_FIND, {"owner": user_id, "name": key})
        if not rows:
            return None
        fingerprint, answer, deactivated_at = rows[0]
        if deactivated_at is not None:
            raise Deactivated
        return Stored(fingerprint, answer)

    async def save(self, session: Session, user_id: str, key: str, stored: Stored) -> None:
        """Insert it, or replace what no longer counts."""
        new = {"new_fingerprint": stored.fingerprint, "new_answer": stored.answer}
        await session.write(_SAVE, {"owner": user_id, "name": key} | new)
