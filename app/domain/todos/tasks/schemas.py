"""Todos on the wire, in the `tasks` dialect: one due date, and unknown fields of a body are passed over."""

import re
from contextlib import suppress
from datetime import date, datetime, tzinfo
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from app.domain.todos.schemas import MAX_DESCRIPTION, Tags, Title, TodoCreate, TodoUpdate
from app.lib.errors import FieldError, Invalid
from app.lib.http.responses import Versioned
from app.lib.validation.body import Body, Instant, JsonSchema, LongText, RuleViolation, finite, in_utc
from app.lib.validation.query import DAY_OR_INSTANT, Limit, Offset, Query, Sort

MAX_TASK_DESCRIPTION = 1000
DEFAULT_PRIORITY: Literal["medium"] = "medium"  # as which the dialect shows a todo's `none`
_STORED = {"urgent": "high"}
_WITHOUT_OFFSET = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d{1,6}\d*)?)?", re.ASCII)
DEFAULT_DIRECTIONS = {"created": "desc", "title": "asc", "due_date": "asc", "updated": "desc", "priority": "desc"}


def day_or_instant(text: str) -> date:
    """Read a day, or a timestamp: a `datetime`, which is a `date`, too; a naive one where there is no offset."""
    with suppress(msgspec.ValidationError):
        return msgspec.convert(text, date)
    with suppress(msgspec.ValidationError):
        return finite(in_utc(msgspec.convert(text, Instant)))
    if _WITHOUT_OFFSET.fullmatch(text):
        with suppress(ValueError):
            return datetime.fromisoformat(text)
    raise RuleViolation("Expected a date, or a timestamp as in RFC 3339, whose offset may be left out")


def due(text: str) -> str:
    """Refuse what is neither empty, nor a day, nor a timestamp."""
    if text:
        day_or_instant(text)
    return text


_SENT_DUE = JsonSchema(
    anyOf=[
        {"type": "string", "format": "date"},
        {"type": "string", "format": "date-time"},
        {"type": "string", "const": ""},
    ],
    description="A day, or an instant: without an offset, of the profile's time zone; an empty string is null",
)
Due = Annotated[str, due, _SENT_DUE]
TaskPriority = Literal["low", "medium", "high"]
SentPriority = Annotated[
    Literal["low", "medium", "high", "urgent", "none"],
    Meta(description="`urgent` is taken as `high`; `none` is shown as `medium`"),
]
TaskDescription = Annotated[str, LongText(MAX_TASK_DESCRIPTION)]
StoredDescription = Annotated[
    str,
    LongText(MAX_DESCRIPTION),
    Meta(
        description=f"At most {MAX_TASK_DESCRIPTION:,} characters, or the one that is stored, which may be longer",
    ),
]
TOO_LONG = FieldError(
    f"Expected at most {MAX_TASK_DESCRIPTION:,} characters, unless it is the stored one", pointer="/description"
)
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
    priority: TaskPriority
    due_date: Annotated[date, DAY_OR_INSTANT] | None
    tags: list[str]
    created_at: datetime
    updated_at: datetime


class TaskBody(Body, forbid_unknown_fields=False):
    """Base of tasks that clients send: such clients send back what they got, `id` and `user_id` included."""

    @property
    def needs_time_zone(self) -> bool:
        """Whether its due date is an instant without an offset."""
        text = self.sent().get("due_date")
        when = day_or_instant(text) if text else None
        return isinstance(when, datetime) and when.tzinfo is None

    def todo_fields(self, zone: tzinfo) -> dict[str, Any]:
        """Return what was sent as fields of a todo: a due date sets one of the two there, and clears the other."""
        fields = self.sent()
        if "due_date" in fields:
            fields |= _due_fields(fields["due_date"], zone)
        if "priority" in fields:
            fields["priority"] = _STORED.get(fields["priority"], fields["priority"])
        if fields.get("tags", ()) is None:
            fields["tags"] = []
        return fields


def _due_fields(text: str | None, zone: tzinfo) -> dict[str, Any]:
    when = day_or_instant(text) if text else None
    if not isinstance(when, datetime):
        return {"due_date": when, "due_at": None}
    if when.tzinfo is None:
        try:
            when = finite(in_utc(when.replace(tzinfo=zone)))
        except RuleViolation as broken:
            raise Invalid([FieldError(str(broken), pointer="/due_date")]) from None
    return {"due_date": None, "due_at": when}


class TaskCreate(TaskBody):
    """A new task: what is left out takes its default."""

    title: Title
    description: TaskDescription | None = None
    completed: bool = False
    priority: SentPriority | UnsetType = UNSET
    due_date: Due | None = None
    tags: Tags | None = None

    def as_todo(self, zone: tzinfo) -> TodoCreate:
        """Return the same as a todo."""
        return TodoCreate(**self.todo_fields(zone))


class TaskUpdate(TaskBody, patch_of=TaskCreate):
    """What is left out stays, `null` clears."""

    description: StoredDescription | None | UnsetType = UNSET

    @property
    def has_long_description(self) -> bool:
        """Whether its description is longer than a new one may be."""
        return isinstance(self.description, str) and len(self.description) > MAX_TASK_DESCRIPTION

    def as_todo(self, zone: tzinfo) -> TodoUpdate:
        """Return the same as a change of a todo."""
        return TodoUpdate(**self.todo_fields(zone))


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
    priority: Annotated[list[TaskPriority], Meta(max_length=3)] | UnsetType = UNSET
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
