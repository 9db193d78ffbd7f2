"""Todos on the wire."""

from datetime import date, datetime
from typing import Annotated, Literal
from uuid import UUID

from msgspec import UNSET, Meta, Struct, UnsetType

from app.lib.persistence.full_text_search import MAX_QUERY
from app.lib.validation.body import AtMostOne, Body, ExactlyOne, Instant, LongText, Trimmed, distinct
from app.lib.validation.query import Moment, PageQuery, Query, Reference

MAX_TITLE, MAX_DESCRIPTION, MAX_TAG, MAX_TAGS = 200, 10_000, 50, 20
MAX_DEPTH = 5  # levels of todos, the top one included
PRIORITIES = ("none", "low", "medium", "high")
DUE_ONCE = AtMostOne("due_date", "due_at")  # a day or an instant; the database knows the one that is not sent

Title = Annotated[str, Trimmed(1, MAX_TITLE), Meta(examples=["Plan the trip"])]
Description = Annotated[str, LongText(MAX_DESCRIPTION)]
Priority = Literal["none", "low", "medium", "high"]
Tag = Annotated[str, Trimmed(1, MAX_TAG), Meta(examples=["travel"])]
Tags = Annotated[list[Tag], distinct, Meta(max_length=MAX_TAGS)]


class TodoRead(Struct):
    """A todo, as the server keeps it."""

    id: UUID
    user_id: str
    title: str
    description: str | None
    completed: bool
    completed_at: datetime | None
    priority: Priority
    due_date: date | None
    due_at: datetime | None
    tags: list[str]
    list_id: UUID | None
    parent_id: UUID | None
    position: str
    deleted_at: datetime | None
    created_at: datetime
    updated_at: datetime
    version: int


class TodoCreate(Body):
    """A whole todo: what is left out takes its default, which the user's preferences may name."""

    title: Title
    description: Description | None = None
    completed: bool = False
    priority: Priority | UnsetType = UNSET
    due_date: date | None = None
    due_at: Instant | None = None
    tags: Tags = []
    list_id: UUID | None | UnsetType = UNSET
    parent_id: UUID | None = None
    cross_field_rules = (DUE_ONCE,)


class TodoReplace(TodoCreate):
    """A whole todo: what is left out goes back to its default, whatever the preferences say of new ones."""

    priority: Priority = "none"
    list_id: UUID | None = None


class TodoUpdate(Body, patch_of=TodoCreate):
    """A JSON merge patch (RFC 7396): what is left out stays, `null` clears."""


class TodoMove(Body):
    """Where a todo goes: right before or after another, or into another, as its last subtask."""

    before: UUID | UnsetType = UNSET
    after: UUID | UnsetType = UNSET
    into: UUID | UnsetType = UNSET
    cross_field_rules = (ExactlyOne("before", "after", "into"),)

    def target(self) -> tuple[Literal["before", "after", "into"], UUID]:
        """Give what is said, and of which todo."""
        (target,) = self.sent().items()
        return target  # type: ignore[return-value]


class TodoRemoval(Query):
    """Whether a todo skips the trash."""

    permanent: bool = False


class TodoQuery(PageQuery):
    """Filters, all of which must hold; `priority` may be any of those given, `tag` must be all.

    `list_id` and `parent_id` may be `none`. `q` is full text, and `deleted` asks for the trash.
    """

    completed: bool | UnsetType = UNSET
    priority: Annotated[list[Priority], Meta(max_length=4)] | UnsetType = UNSET
    tag: Annotated[list[str], Meta(max_length=MAX_TAGS)] | UnsetType = UNSET
    list_id: Reference | UnsetType = UNSET
    parent_id: Reference | UnsetType = UNSET
    q: Annotated[str, Meta(min_length=1, max_length=MAX_QUERY)] | UnsetType = UNSET
    due: Literal["overdue", "today", "upcoming", "none"] | UnsetType = UNSET
    due_before: Moment | UnsetType = UNSET
    due_after: Moment | UnsetType = UNSET
    created_before: Moment | UnsetType = UNSET
    created_after: Moment | UnsetType = UNSET
    updated_after: Moment | UnsetType = UNSET
    deleted: bool = False
