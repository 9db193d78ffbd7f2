"""The table of todos. Constraints are a second wall behind the schemas."""

from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Date,
    DateTime,
    ForeignKeyConstraint,
    Index,
    Text,
    Uuid,
    column,
    false,
    func,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlmodel import Field

from app.db.base import ROWS_RULE, SCHEMA, WRITTEN_AS, Owned
from app.domain.todos.importing import misplaced
from app.domain.todos.positions import position_field, position_length
from app.domain.todos.schemas import MAX_DESCRIPTION, MAX_TAGS, MAX_TITLE, PRIORITIES, TodoCreate
from app.lib.persistence.full_text_search import search_column, search_index


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
        CheckConstraint(column("parent_id") != column("id"), name="parent_is_another"),
        position_length(),
        CheckConstraint(column("version") >= 1, name="version_positive"),
        ForeignKeyConstraint(
            ["user_id", "list_id"],
            ["lists.user_id", "lists.id"],
            ondelete="SET NULL (list_id)",
            name="fk_todos_list_id",
        ),
        ForeignKeyConstraint(
            ["user_id", "parent_id"], ["todos.user_id", "todos.id"], ondelete="CASCADE", name="fk_todos_parent_id"
        ),
        Index(None, "user_id", "created_at", "id", postgresql_where=column("deleted_at").is_(None)),
        Index(None, "user_id", "list_id", "position", "id"),
        Index(None, "user_id", "parent_id", postgresql_where=column("parent_id").is_not(None)),
        Index("ix_todos_trash", "user_id", "created_at", "id", postgresql_where=column("deleted_at").is_not(None)),
        Index(None, "deleted_at", postgresql_where=column("deleted_at").is_not(None)),
        search_index("todos"),
        {"info": {WRITTEN_AS: TodoCreate, ROWS_RULE: misplaced}},
    )

    title: str = Field(sa_type=Text)
    description: str | None = Field(default=None, sa_type=Text)
    completed: bool = Field(default=False, sa_type=Boolean, sa_column_kwargs={"server_default": false()})
    completed_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
    priority: str = Field(default="none", sa_type=Text, sa_column_kwargs={"server_default": "none"})
    due_date: date | None = Field(default=None, sa_type=Date)
    due_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
    tags: list[str] = Field(default_factory=list, sa_type=ARRAY(Text), sa_column_kwargs={"server_default": "{}"})
    list_id: UUID | None = Field(default=None, sa_type=Uuid)
    parent_id: UUID | None = Field(default=None, sa_type=Uuid)
    position: str = position_field()
    deleted_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
    search: Any = Field(default=None, sa_column=search_column("title", "description", schema=SCHEMA))
