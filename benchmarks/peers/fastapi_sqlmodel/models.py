import time
from datetime import UTC, date, datetime
from enum import StrEnum
from uuid import UUID, uuid4

from sqlalchemy import Index
from sqlalchemy.dialects.postgresql import ARRAY
from sqlmodel import DateTime, Enum, Field, SQLModel, Text

SCHEMA = "peer"


def utc_now() -> datetime:
    return datetime.now(UTC)


def uuid7() -> UUID:
    """Return a UUIDv7 (RFC 9562, 5.7); the standard library has one from Python 3.14 on."""
    random_bits = uuid4().int & ((1 << 76) - 1)
    return UUID(int=(time.time_ns() // 1_000_000) << 80 | 7 << 76 | random_bits)


class Priority(StrEnum):
    none = "none"
    low = "low"
    medium = "medium"
    high = "high"


class User(SQLModel, table=True):
    __tablename__ = "users"
    __table_args__ = {"schema": SCHEMA}

    id: str = Field(primary_key=True, sa_type=Text)
    deactivated_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))


class Todo(SQLModel, table=True):
    __tablename__ = "todos"
    __table_args__ = (
        Index("ix_todos_user_id_created_at_id", "user_id", "created_at", "id"),
        {"schema": SCHEMA},
    )

    user_id: str = Field(primary_key=True, foreign_key=f"{SCHEMA}.users.id", ondelete="CASCADE", sa_type=Text)
    id: UUID = Field(default_factory=uuid7, primary_key=True)
    title: str = Field(sa_type=Text)
    description: str | None = Field(default=None, sa_type=Text)
    completed: bool = False
    completed_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
    priority: Priority = Field(default=Priority.none, sa_type=Enum(Priority, name="priority", schema=SCHEMA))
    due_date: date | None = None
    due_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
    tags: list[str] = Field(default_factory=list, sa_type=ARRAY(Text))
    created_at: datetime = Field(default_factory=utc_now, sa_type=DateTime(timezone=True))
    updated_at: datetime = Field(default_factory=utc_now, sa_type=DateTime(timezone=True))
    version: int = 1
