import re
from datetime import UTC, date, datetime
from typing import Annotated
from uuid import UUID

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StringConstraints,
    ValidationInfo,
    field_validator,
)

from benchmarks.peers.fastapi_sqlmodel.models import Priority

DAY = re.compile(r"\d{4}-\d\d-\d\d")
INSTANT = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)")
NO_NUL = r"^[^\x00]*$"
DUE_TWICE = "At most one of due_date and due_at can be set"


def only_day(value: object) -> object:
    if (isinstance(value, str) and not DAY.fullmatch(value)) or not isinstance(value, str | None):
        raise ValueError("Expected a date: YYYY-MM-DD")
    return value


def only_instant(value: object) -> object:
    if (isinstance(value, str) and not INSTANT.fullmatch(value)) or not isinstance(value, str | None):
        raise ValueError("Expected an RFC 3339 timestamp with an offset")
    return value


def in_utc(value: datetime) -> datetime:
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise ValueError("Expected an instant between the years 1 and 9999 in UTC") from None


def unique(tags: list[str]) -> list[str]:
    return list(dict.fromkeys(tags))


Title = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200, pattern=NO_NUL)]
Description = Annotated[str, StringConstraints(max_length=10_000, pattern=NO_NUL)]
Tag = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=50, pattern=NO_NUL)]
Tags = Annotated[list[Tag], Field(max_length=20), AfterValidator(unique)]
Day = Annotated[date, BeforeValidator(only_day)]
Instant = Annotated[datetime, BeforeValidator(only_instant), AfterValidator(in_utc)]


class TodoCreate(BaseModel):
    model_config = ConfigDict(extra="forbid")

    title: Title
    description: Description | None = None
    completed: StrictBool = False
    priority: Priority = Priority.none
    due_at: Instant | None = None
    due_date: Day | None = None
    tags: Tags = []

    @field_validator("due_date")
    @classmethod
    def at_most_one_due(cls, value: date | None, info: ValidationInfo) -> date | None:
        if value is not None and info.data.get("due_at") is not None:
            raise ValueError(DUE_TWICE)
        return value


class TodoUpdate(TodoCreate):
    """A merge patch. Only fields that were sent are applied, so the defaults are never used."""

    title: Title = ""


class TodoPublic(BaseModel):
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
    created_at: datetime
    updated_at: datetime
    version: int


class TodosPublic(BaseModel):
    items: list[TodoPublic]
    total: int
    limit: int
    offset: int
    next_cursor: str | None = None
