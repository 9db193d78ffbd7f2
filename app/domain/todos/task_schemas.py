"""Todos on the wire, in the `tasks` dialect: one due date, and unknown fields of a body are passed over."""

from contextlib import suppress
from datetime import date, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from app.domain.todos.schemas import Priority, Title, TodoCreate, TodoUpdate
from app.lib.body import Body, Broken, Instant, LongText, finite, in_utc
from app.lib.errors import FieldError, Invalid
from app.lib.http import Versioned
from app.lib.query import DAY_OR_INSTANT, Limit, Offset, Query, Sort

MAX_TASK_DESCRIPTION = 1000
DEFAULT_DIRECTIONS = {"created": "desc", "title": "asc", "due_date": "asc", "updated": "desc", "priority": "desc"}


def day_or_instant(text: str) -> date:
    """Read a day, or a timestamp with an offset: the `datetime` of an instant is a `date`, too."""
    with suppress(msgspec.ValidationError):
        return msgspec.convert(text, date)
    with suppress(msgspec.ValidationError):
        return finite(in_utc(msgspec.convert(text, Instant)))
    raise Broken("Expected a date, or an RFC 3339 timestamp with an offset")


def due(text: str) -> str:
    """Refuse what is neither a day nor an instant."""
    day_or_instant(text)
    return text


Due = Annotated[str, due, DAY_OR_INSTANT]
TaskDescription = Annotated[str, LongText(MAX_TASK_DESCRIPTION)]
SortKey = Literal[
    "created",
    "created:asc",
    "created:desc",
    "title",
    "title:asc",
    "title:desc",
    "due_date",
    "due_date:asc",
    "due_date:desc",
    "updated",
    "updated:asc",
    "updated:desc",
    "priority",
    "priority:asc",
    "priority:desc",
]


class TaskRead(Versioned, Struct, dict=True):
    """A todo as a task. Its `due_date` is the day or the instant that the todo is due, whichever is stored."""

    id: UUID
    user_id: str
    title: str
    description: str | None
    completed: bool
    priority: Priority
    due_date: Annotated[date, DAY_OR_INSTANT] | None
    created_at: datetime
    updated_at: datetime


class TaskBody(Body, forbid_unknown_fields=False):
    """Base of tasks that clients send: such clients send back what they got, `id` and `user_id` included."""

    def todo_fields(self) -> dict[str, Any]:
        """Give what was sent as fields of a todo: a due date sets one of the two there, and clears the other."""
        fields = self.sent()
        if "due_date" in fields:
            when = None if fields["due_date"] is None else day_or_instant(fields["due_date"])
            is_instant = isinstance(when, datetime)
            fields |= {"due_date": None if is_instant else when, "due_at": when if is_instant else None}
        return fields


class TaskCreate(TaskBody):
    """A new task: what is left out takes its default."""

    title: Title
    description: TaskDescription | None = None
    completed: bool = False
    priority: Priority = "none"
    due_date: Due | None = None

    def as_todo(self) -> TodoCreate:
        """Say the same as a todo."""
        return TodoCreate(**self.todo_fields())


class TaskUpdate(TaskBody):
    """What is left out stays, `null` clears."""

    title: Title | UnsetType = UNSET
    description: TaskDescription | None | UnsetType = UNSET
    completed: bool | UnsetType = UNSET
    priority: Priority | UnsetType = UNSET
    due_date: Due | None | UnsetType = UNSET

    def as_todo(self) -> TodoUpdate:
        """Say the same as a change of a todo."""
        return TodoUpdate(**self.todo_fields())


class TaskCompletion(Struct, frozen=True):
    """Whether a task is to be completed; toggles when left out."""

    completed: bool | UnsetType = UNSET


class TaskQuery(Query):
    """Filters, all of which must hold; `priority` may be any of those given.

    `sort` may name its direction (`title:desc`) or leave it to `order`. Without either the newest come first, the
    last updated, the highest priority; titles go from A to Z, and due dates from the soonest on.
    """

    status: Literal["all", "pending", "completed"] = "all"
    completed: bool | UnsetType = UNSET
    priority: Annotated[list[Priority], Meta(max_length=4)] | UnsetType = UNSET
    search: str | UnsetType = UNSET
    sort: SortKey = "created"
    order: Literal["asc", "desc"] | UnsetType = UNSET
    limit: Limit | UnsetType = UNSET
    offset: Offset = 0

    def __post_init__(self) -> None:
        """Refuse an `order` that contradicts the direction in `sort`."""
        _, _, direction = self.sort.partition(":")
        if direction and self.order not in (UNSET, direction):
            raise Invalid([FieldError("Expected the direction that sort names, or none", parameter="order")])

    def filters(self) -> dict[str, Any]:
        """Give the values of the filters that were sent."""
        given = {name: getattr(self, name) for name in ("completed", "priority", "search")}
        if self.status != "all":
            given["status"] = self.status == "completed"
        return {name: value for name, value in given.items() if value is not UNSET}

    def ordering(self) -> Sort:
        """Give the sort key and its direction."""
        key, _, direction = self.sort.partition(":")
        return ((key, (direction or self.order or DEFAULT_DIRECTIONS[key]) == "desc"),)
