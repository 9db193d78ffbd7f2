"""The query of the list: paging, sort keys and filters."""

import re
from datetime import datetime
from typing import Annotated, Any, Literal
from urllib.parse import quote, urlencode

from fastapi import Request
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints
from sqlalchemy import TIMESTAMP, ColumnElement, SQLColumnExpression, cast
from sqlmodel import col, func

from benchmarks.peers.fastapi_sqlmodel.errors import invalid
from benchmarks.peers.fastapi_sqlmodel.models import Priority, Todo
from benchmarks.peers.fastapi_sqlmodel.schemas import DAY, NO_NUL, in_utc, only_instant

MAX_OFFSET = 2**31 - 1


def day_or_instant(value: object) -> object:
    return f"{value}T00:00:00Z" if isinstance(value, str) and DAY.fullmatch(value) else only_instant(value)


def decimal(value: object) -> object:
    if isinstance(value, str) and not re.fullmatch("-?[0-9]{1,30}", value):
        raise ValueError("Expected an integer")
    return value


PlainText = Annotated[str, StringConstraints(pattern=NO_NUL)]
Bound = Annotated[datetime, BeforeValidator(day_or_instant), AfterValidator(in_utc)]
Integer = Annotated[int, BeforeValidator(decimal)]


# A todo with a due_date is due at the first moment of that day, in UTC.
DUE = func.coalesce(col(Todo.due_at), func.timezone("UTC", cast(col(Todo.due_date), TIMESTAMP)))
SORTABLE: dict[str, SQLColumnExpression[Any]] = {
    "created_at": col(Todo.created_at),
    "updated_at": col(Todo.updated_at),
    "due_at": DUE,
    "priority": col(Todo.priority),
    "title": col(Todo.title).collate("C"),
    "completed": col(Todo.completed),
}
SORT_KEY = re.compile(f"({'|'.join(SORTABLE)})(:asc|:desc)?")


def known_keys(sort: str) -> str:
    matches = [SORT_KEY.fullmatch(part) for part in sort.split(",")]
    if len({match and match[1] for match in matches} - {None}) < len(matches):
        raise ValueError(f"Expected distinct keys of {', '.join(SORTABLE)}, each with :asc or :desc")
    return sort


class Filters(BaseModel):
    model_config = ConfigDict(extra="forbid")

    limit: Integer = Field(default=20, ge=1, le=100)
    offset: Integer = Field(default=0, ge=0, le=MAX_OFFSET)
    sort: Annotated[str, AfterValidator(known_keys)] = "created_at:desc"
    completed: Literal["true", "false"] | None = None
    priority: Annotated[list[Priority], Field(max_length=4)] = []
    tag: Annotated[list[PlainText], Field(max_length=20)] = []
    due_before: Bound | None = None
    due_after: Bound | None = None
    created_before: Bound | None = None
    created_after: Bound | None = None
    updated_after: Bound | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        bounds = (
            (self.due_before, DUE.__lt__),
            (self.due_after, DUE.__gt__),
            (self.created_before, col(Todo.created_at).__lt__),
            (self.created_after, col(Todo.created_at).__gt__),
            (self.updated_after, col(Todo.updated_at).__gt__),
        )
        conditions: list[ColumnElement[bool]] = [compare(bound) for bound, compare in bounds if bound is not None]
        if self.completed is not None:
            conditions.append(col(Todo.completed) == (self.completed == "true"))
        if self.priority:
            conditions.append(col(Todo.priority).in_(self.priority))
        if self.tag:
            conditions.append(col(Todo.tags).contains(self.tag))
        return conditions

    def ordering(self) -> list[ColumnElement[Any]]:
        parts = [part.partition(":") for part in self.sort.split(",")]
        keys: list[tuple[SQLColumnExpression[Any], bool]]
        keys = [(SORTABLE[key], direction == "desc") for key, _, direction in parts]
        keys.append((col(Todo.id), keys[-1][1]))
        ordered = ((key, key.desc() if descending else key.asc()) for key, descending in keys)
        # NULLS LAST only for the key that can be null: a plain index cannot serve it in descending order.
        return [order.nulls_last() if key is DUE else order for key, order in ordered]


def refuse_repeated(request: Request) -> None:
    single = [name for name, _ in request.query_params.multi_items() if name not in ("priority", "tag")]
    if len(set(single)) < len(single):
        repeated = sorted({name for name in single if single.count(name) > 1})
        raise invalid(*(("query", name) for name in repeated), message="Expected the parameter once")


def link_to_next(request: Request, filters: Filters) -> str:
    others = [pair for pair in request.query_params.multi_items() if pair[0] != "offset"]
    query = urlencode([*others, ("offset", filters.offset + filters.limit)])
    return f'<{quote(request.scope["path"])}?{query}>; rel="next"'
