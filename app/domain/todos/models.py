"""The todos table. Its constraints are a second wall behind the schemas."""

from datetime import date, datetime

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Date,
    DateTime,
    Index,
    Text,
    column,
    false,
    func,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlmodel import Field

from app.db.base import Owned
from app.domain.todos.schemas import MAX_DESCRIPTION, MAX_TAGS, MAX_TITLE, PRIORITIES


class Todo(Owned, table=True):
    """Something to do."""

    __tablename__ = "todos"
    __table_args__ = (
        CheckConstraint(func.char_length(column("title")).between(1, MAX_TITLE), name="title_length"),
        CheckConstraint(func.char_length(column("description")) <= MAX_DESCRIPTION, name="description_length"),
        CheckConstraint(column("priority").in_(PRIORITIES), name="priority_known"),
        CheckConstraint(func.cardinality(column("tags")) <= MAX_TAGS, name="tags_count"),
        CheckConstraint(func.array_position(column("tags"), None).is_(None), name="tags_not_null"),
        CheckConstraint(func.array_position(column("tags"), "").is_(None), name="tags_not_empty"),
        CheckConstraint(column("completed") == column("completed_at").is_not(None), name="completed_at_follows"),
        CheckConstraint(column("due_date").is_(None) | column("due_at").is_(None), name="due_once"),
        CheckConstraint(column("version") >= 1, name="version_positive"),
        Index(None, "user_id", "created_at", "id"),
    )

    title: str = Field(sa_type=Text)
    description: str | None = Field(default=None, sa_type=Text)
    completed: bool = Field(default=False, sa_type=Boolean, sa_column_kwargs={"server_default": false()})
    completed_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
    priority: str = Field(default="none", sa_type=Text, sa_column_kwargs={"server_default": "none"})
    due_date: date | None = Field(default=None, sa_type=Date)
    due_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
    tags: list[str] = Field(default_factory=list, sa_type=ARRAY(Text), sa_column_kwargs={"server_default": "{}"})
