"""The original spec as FastAPI's and SQLModel's own documentation writes it.

FastAPI, SQLModel, Pydantic, SQLAlchemy's async engine on asyncpg, PyJWT. `fastapi_http.py` beside it holds
what the contract asks of every answer (problem documents, request ids, the body limit).
"""

import json
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Annotated, Any, Literal, Never
from urllib.parse import quote, urlencode
from uuid import UUID, uuid4

import jwt
from fastapi import Depends, FastAPI, Header, HTTPException, Query, Request, Response
from fastapi.middleware.cors import CORSMiddleware
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    StrictBool,
    StringConstraints,
    ValidationInfo,
    field_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict
from sqlalchemy import TIMESTAMP, ColumnElement, Index, cast, make_url, text
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.ext.asyncio import create_async_engine
from sqlmodel import DateTime, Enum, Field, SQLModel, Text, col, func, select
from sqlmodel.ext.asyncio.session import AsyncSession

from benchmarks.peers.fastapi_http import (
    FORBIDDEN,
    INVALID_TOKEN,
    MISSING_TOKEN,
    Envelope,
    Errors,
    invalid,
)

SCHEMA = "peer"
LEEWAY_SECONDS = 10
KNOWN_FOR_SECONDS = 5.0
MAX_OFFSET = 2**31 - 1
MAX_DEPTH = 32


# --- settings ---------------------------------------------------------------------------------------------


class Settings(BaseSettings):
    model_config = SettingsConfigDict(extra="ignore")

    database_url: str
    better_auth_secret: Annotated[str, Field(min_length=32)]
    better_auth_issuer: str | None = None
    better_auth_audience: str | None = None
    cors_origins: str = ""
    body_limit: int = 1024 * 1024
    database_pool_size: int = 10
    database_pool_overflow: int = 10
    # SQLModel's documentation refreshes after each commit. With `expire_on_commit=False` and values that are
    # made in Python it brings nothing new: `PEER_REFRESH=false` measures the peer without it.
    peer_refresh: bool = True


settings = Settings()


def asyncpg_url(url: str) -> str:
    """Name the driver (SQLAlchemy would pick psycopg), and `sslmode` as asyncpg calls it."""
    parsed = make_url(re.sub("^postgres://", "postgresql://", url)).set(drivername="postgresql+asyncpg")
    query = {("ssl" if key == "sslmode" else key): value for key, value in parsed.query.items()}
    return parsed.set(query=query).render_as_string(hide_password=False)


engine = create_async_engine(
    asyncpg_url(settings.database_url),
    pool_size=settings.database_pool_size,
    max_overflow=settings.database_pool_overflow,
)


# --- models -----------------------------------------------------------------------------------------------


def utc_now() -> datetime:
    return datetime.now(UTC)


def uuid7() -> UUID:
    """Python has it from 3.14 on (RFC 9562, 5.7)."""
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


# --- what crosses the wire --------------------------------------------------------------------------------

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


def day_or_instant(value: object) -> object:
    return f"{value}T00:00:00Z" if isinstance(value, str) and DAY.fullmatch(value) else only_instant(value)


def in_utc(value: datetime) -> datetime:
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise ValueError("Expected an instant between the years 1 and 9999 in UTC") from None


def decimal(value: object) -> object:
    if isinstance(value, str) and not re.fullmatch("-?[0-9]{1,30}", value):
        raise ValueError("Expected an integer")
    return value


def unique(tags: list[str]) -> list[str]:
    return list(dict.fromkeys(tags))


Title = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200, pattern=NO_NUL)]
Description = Annotated[str, StringConstraints(max_length=10_000, pattern=NO_NUL)]
PlainText = Annotated[str, StringConstraints(pattern=NO_NUL)]
Tag = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=50, pattern=NO_NUL)]
Tags = Annotated[list[Tag], Field(max_length=20), AfterValidator(unique)]
Day = Annotated[date, BeforeValidator(only_day)]
Instant = Annotated[datetime, BeforeValidator(only_instant), AfterValidator(in_utc)]
Bound = Annotated[datetime, BeforeValidator(day_or_instant), AfterValidator(in_utc)]
Integer = Annotated[int, BeforeValidator(decimal)]


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
    """A merge patch: only what was sent counts, so that the defaults here are never read."""

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


# An all-day todo is due when its day begins.
DUE = func.coalesce(col(Todo.due_at), func.timezone("UTC", cast(col(Todo.due_date), TIMESTAMP)))
SORTABLE: dict[str, Any] = {
    "created_at": col(Todo.created_at),
    "updated_at": col(Todo.updated_at),
    "due_at": DUE,
    "priority": col(Todo.priority),
    "title": col(Todo.title).collate("C"),
    "completed": col(Todo.completed),
}
SORT_KEY = re.compile(f"({'|'.join(SORTABLE)})(:asc|:desc)?")


def known_keys(sort: str) -> str:
    found = [SORT_KEY.fullmatch(part) for part in sort.split(",")]
    if len({match and match[1] for match in found} - {None}) < len(found):
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
        found: list[ColumnElement[bool]] = [compare(bound) for bound, compare in bounds if bound is not None]
        if self.completed is not None:
            found.append(col(Todo.completed) == (self.completed == "true"))
        if self.priority:
            found.append(col(Todo.priority).in_(self.priority))
        if self.tag:
            found.append(col(Todo.tags).contains(self.tag))
        return found

    def ordering(self) -> list[ColumnElement[Any]]:
        parts = [part.partition(":") for part in self.sort.split(",")]
        keys = [(SORTABLE[key], direction == "desc") for key, _, direction in parts]
        keys.append((col(Todo.id), keys[-1][1]))
        ordered = ((key, key.desc() if descending else key.asc()) for key, descending in keys)
        # Only where there are nulls: an index cannot serve NULLS LAST in descending order.
        return [order.nulls_last() if key is DUE else order for key, order in ordered]


# --- dependencies -----------------------------------------------------------------------------------------


async def get_session() -> AsyncIterator[AsyncSession]:
    async with AsyncSession(engine, expire_on_commit=False) as session:
        yield session


SessionDep = Annotated[AsyncSession, Depends(get_session)]

USER_ID = re.compile(r"[A-Za-z0-9._~:@|-]{1,128}")
JWT_OPTIONS: Any = {
    "require": ["exp"],
    "verify_aud": settings.better_auth_audience is not None,
    "verify_iat": False,
    "verify_jti": False,
}


def decode(token: str) -> dict[str, Any]:
    claims: dict[str, Any] = jwt.decode(
        token,
        settings.better_auth_secret,
        algorithms=["HS256"],
        audience=settings.better_auth_audience,
        issuer=settings.better_auth_issuer,
        leeway=LEEWAY_SECONDS,
        options=JWT_OPTIONS,
    )
    if type(claims["exp"]) not in (int, float):  # PyJWT would take "1700000000"
        raise jwt.DecodeError("exp is not a number")
    return claims


def subject_of(token: str) -> str:
    try:
        claims = decode(token)
        subject = claims.get("sub", claims.get("id"))
    except (jwt.PyJWTError, ArithmeticError, TypeError, ValueError, RecursionError):
        raise INVALID_TOKEN from None
    if not isinstance(subject, str) or not subject:
        raise INVALID_TOKEN
    return subject


class KnownUsers:
    """Makes the row of a new user, and looks again every few seconds whether a known one still may enter."""

    def __init__(self) -> None:
        self.checked_at: dict[str, float] = {}

    async def admit(self, user_id: str) -> None:
        now = time.monotonic()
        if now - self.checked_at.get(user_id, -KNOWN_FOR_SECONDS) < KNOWN_FOR_SECONDS:
            return
        if await self._deactivated(user_id):
            self.checked_at.pop(user_id, None)
            raise FORBIDDEN
        if len(self.checked_at) >= 10_000:
            self.checked_at.clear()
        self.checked_at[user_id] = now

    async def _deactivated(self, user_id: str) -> bool:
        async with AsyncSession(engine, expire_on_commit=False) as session:
            if not (user := await session.get(User, user_id)):
                await session.exec(insert(User).values(id=user_id).on_conflict_do_nothing())
                await session.commit()
            return user is not None and user.deactivated_at is not None


known_users = KnownUsers()
bearer = HTTPBearer(auto_error=False)


async def get_current_user(
    request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]
) -> str:
    """The user whom the token names, where that is also the owner of the path."""
    if credentials is None:
        raise INVALID_TOKEN if request.headers.get("authorization") else MISSING_TOKEN
    subject = subject_of(credentials.credentials)
    if owner_of(request) not in (subject, None) or not USER_ID.fullmatch(subject):
        raise FORBIDDEN
    await known_users.admit(subject)
    request.state.user_id = subject
    return subject


def owner_of(request: Request) -> str | None:
    """The path's user; paths outside `/api/{user_id}/…` have none, and are everybody's to not find."""
    match request.scope["path"].split("/"):
        case ["", "api", user_id, _, *_]:
            return str(user_id)
        case _:
            return None


async def no_parameters(request: Request) -> None:
    if request.scope["query_string"] and (names := list(request.query_params)):
        raise invalid(*(("query", name) for name in names), message="Unknown query parameter")


async def json_body(request: Request) -> None:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type not in ("application/json", "application/merge-patch+json"):
        raise HTTPException(415, "The body must be JSON: Content-Type: application/json")
    try:
        body = (await request.body()).decode()
        if not body or "NaN" in body or "Infinity" in body:  # Python's parser takes both, RFC 8259 neither
            json.loads(body, parse_constant=refuse_constant)
        if body.count("[") + body.count("{") > MAX_DEPTH:
            refuse_depth(json.loads(body))
    except (ValueError, RecursionError):
        raise HTTPException(400, "The body is not valid JSON") from None


def refuse_constant(name: str) -> Never:
    raise ValueError(name)


def refuse_depth(value: object, levels: int = MAX_DEPTH) -> None:
    if isinstance(value, dict | list):
        if levels == 0:
            raise ValueError("nested too deeply")
        for item in value.values() if isinstance(value, dict) else value:
            refuse_depth(item, levels - 1)


# --- the application --------------------------------------------------------------------------------------


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    async with engine.begin() as connection:
        await connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}"))
        await connection.run_sync(SQLModel.metadata.create_all)
    yield
    await engine.dispose()


# Routes hang on the application itself: an included router would be matched twice for every request.
app = FastAPI(
    title="Todos",
    lifespan=lifespan,
    dependencies=[Depends(get_current_user)],
    openapi_url=None,
    redirect_slashes=False,
)
Errors(app, get_current_user, bearer)
app.add_middleware(Envelope, body_limit=settings.body_limit)
if settings.cors_origins:
    app.add_middleware(
        CORSMiddleware,
        allow_origins=settings.cors_origins.split(","),
        allow_methods=["*"],
        allow_headers=["*"],
    )

TODOS = "/api/{user_id}/todos"
TODO = TODOS + "/{todo_id:uuid}"
PLAIN = [Depends(no_parameters)]
WITH_BODY = [Depends(json_body), Depends(no_parameters)]
IfMatch = Annotated[str | None, Header()]


@app.get(TODOS, response_model=TodosPublic)
@app.head(TODOS, response_model=TodosPublic)
async def list_todos(
    user_id: str,
    filters: Annotated[Filters, Query()],
    session: SessionDep,
    request: Request,
    response: Response,
) -> Any:
    refuse_repeated(request)
    conditions = [col(Todo.user_id) == user_id, *filters.conditions()]
    total = (await session.exec(select(func.count()).select_from(Todo).where(*conditions))).one()
    page = select(Todo).where(*conditions).order_by(*filters.ordering())
    todos = (await session.exec(page.offset(filters.offset).limit(filters.limit))).all()
    if filters.offset + filters.limit < total:
        response.headers["Link"] = link_to_next(request, filters)
    return {"items": todos, "total": total, "limit": filters.limit, "offset": filters.offset}


@app.post(TODOS, response_model=TodoPublic, status_code=201, dependencies=WITH_BODY)
async def create_todo(user_id: str, data: TodoCreate, session: SessionDep, response: Response) -> Any:
    now = utc_now()
    own = {
        "user_id": user_id,
        "created_at": now,
        "updated_at": now,
        "completed_at": now if data.completed else None,
    }
    todo = Todo.model_validate(data, update=own)
    await save(todo, session, response)
    response.headers["Location"] = f"/api/{quote(user_id, safe='')}/todos/{todo.id}"
    return todo


@app.get(TODO, response_model=TodoPublic, dependencies=PLAIN)
@app.head(TODO, response_model=TodoPublic, dependencies=PLAIN)
async def read_todo(
    user_id: str,
    todo_id: UUID,
    session: SessionDep,
    response: Response,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Any:
    todo = await session.get(Todo, (user_id, todo_id))
    if todo is None:
        raise HTTPException(404, "Not found")
    response.headers["ETag"] = etag(todo)
    if if_none_match is not None and names(todo, if_none_match.replace("W/", "")):
        return Response(status_code=304, headers={"ETag": etag(todo)})
    return todo


@app.put(TODO, response_model=TodoPublic, dependencies=WITH_BODY)
async def replace_todo(  # noqa: PLR0913, PLR0917 - FastAPI's way: a parameter for each input
    user_id: str,
    todo_id: UUID,
    data: TodoCreate,
    session: SessionDep,
    response: Response,
    if_match: IfMatch = None,
) -> Any:
    todo = await lock(user_id, todo_id, session)
    refuse_stale(todo, if_match)
    change(todo, data.model_dump())
    return await save(todo, session, response)


@app.patch(TODO, response_model=TodoPublic, dependencies=WITH_BODY)
async def update_todo(  # noqa: PLR0913, PLR0917 - FastAPI's way: a parameter for each input
    user_id: str,
    todo_id: UUID,
    data: TodoUpdate,
    session: SessionDep,
    response: Response,
    if_match: IfMatch = None,
) -> Any:
    todo = await lock(user_id, todo_id, session)
    changes = data.model_dump(exclude_unset=True)
    if changes.get("due_date", todo.due_date) and changes.get("due_at", todo.due_at):
        raise invalid(("body", "due_date"), message=DUE_TWICE)
    refuse_stale(todo, if_match)
    change(todo, changes)
    return await save(todo, session, response)


@app.delete(TODO, status_code=204, dependencies=PLAIN)
async def delete_todo(user_id: str, todo_id: UUID, session: SessionDep, if_match: IfMatch = None) -> None:
    todo = await lock(user_id, todo_id, session)
    refuse_stale(todo, if_match)
    await session.delete(todo)
    await session.commit()


@app.post(TODO + "/toggle-complete", response_model=TodoPublic, dependencies=PLAIN)
async def toggle_complete(
    user_id: str, todo_id: UUID, session: SessionDep, response: Response, if_match: IfMatch = None
) -> Any:
    todo = await lock(user_id, todo_id, session)
    refuse_stale(todo, if_match)
    change(todo, {"completed": not todo.completed})
    return await save(todo, session, response)


@app.post(TODO + "/complete", response_model=TodoPublic, dependencies=PLAIN)
async def complete(
    user_id: str, todo_id: UUID, session: SessionDep, response: Response, if_match: IfMatch = None
) -> Any:
    return await set_completed(await lock(user_id, todo_id, session), True, session, response, if_match)


@app.post(TODO + "/reopen", response_model=TodoPublic, dependencies=PLAIN)
async def reopen(user_id: str, todo_id: UUID, session: SessionDep, response: Response, if_match: IfMatch = None) -> Any:
    return await set_completed(await lock(user_id, todo_id, session), False, session, response, if_match)


# --- what the routes share --------------------------------------------------------------------------------


async def lock(user_id: str, todo_id: UUID, session: AsyncSession) -> Todo:
    """Load a row for a write: two writers at once wait for each other, and none is lost."""
    todo = await session.get(Todo, (user_id, todo_id), with_for_update=True)
    if todo is None:
        raise HTTPException(404, "Not found")
    return todo


def change(todo: Todo, changes: dict[str, Any]) -> None:
    if not changes:
        return
    now = utc_now()
    if changes.get("completed", todo.completed) != todo.completed:
        changes["completed_at"] = now if changes["completed"] else None
    todo.sqlmodel_update(changes | {"updated_at": now, "version": todo.version + 1})


async def save(todo: Todo, session: AsyncSession, response: Response) -> Todo:
    session.add(todo)
    await session.commit()
    if settings.peer_refresh:
        await session.refresh(todo)
    response.headers["ETag"] = etag(todo)
    return todo


async def set_completed(
    todo: Todo, completed: bool, session: AsyncSession, response: Response, if_match: str | None
) -> Todo:
    refuse_stale(todo, if_match)
    if todo.completed != completed:
        change(todo, {"completed": completed})
        return await save(todo, session, response)
    response.headers["ETag"] = etag(todo)
    return todo


def etag(todo: Todo) -> str:
    return f'"{todo.version}"'


def names(todo: Todo, condition: str) -> bool:
    return condition.strip() == "*" or etag(todo) in [tag.strip() for tag in condition.split(",")]


def refuse_stale(todo: Todo, if_match: str | None) -> None:
    if if_match is not None and not names(todo, if_match):
        raise HTTPException(412, "The resource has changed: this is not the version that was expected")


def refuse_repeated(request: Request) -> None:
    single = [name for name, _ in request.query_params.multi_items() if name not in ("priority", "tag")]
    if len(set(single)) < len(single):
        repeated = sorted({name for name in single if single.count(name) > 1})
        raise invalid(*(("query", name) for name in repeated), message="Expected the parameter once")


def link_to_next(request: Request, filters: Filters) -> str:
    others = [pair for pair in request.query_params.multi_items() if pair[0] != "offset"]
    query = urlencode([*others, ("offset", filters.offset + filters.limit)])
    return f'<{quote(request.scope["path"])}?{query}>; rel="next"'
