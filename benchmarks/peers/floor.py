"""The floor: what is left of a request when nothing but ASGI, asyncpg, msgspec and PyJWT serve it.

Reads and writes the app's own tables. It answers only what is measured, and leaves out most of the contract:
it is a lower bound, not a server to run.
"""

import hashlib
import os
import re
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime
from typing import Annotated, Any, Literal
from urllib.parse import parse_qs
from uuid import UUID, uuid4

import asyncpg
import jwt
from msgspec import UNSET, Meta, Struct, UnsetType, json

POOL_SIZE = int(os.environ.get("DATABASE_POOL_SIZE", "10")) + int(os.environ.get("DATABASE_POOL_OVERFLOW", "10"))
MAX_CACHED_TOKENS = 10_000
TODO_PATH = re.compile(r"/api/([^/]+)/todos(?:/([0-9a-f-]{36})(/toggle-complete)?)?")

type Message = dict[str, Any]
type Scope = dict[str, Any]
type Receive = Callable[[], Awaitable[Message]]
type Send = Callable[[Message], Awaitable[None]]
type Answer = tuple[int, bytes]

Title = Annotated[str, Meta(min_length=1, max_length=200)]
Description = Annotated[str, Meta(max_length=10_000)]
Priority = Literal["none", "low", "medium", "high"]
Tags = Annotated[list[Annotated[str, Meta(min_length=1, max_length=50)]], Meta(max_length=20)]
Instant = Annotated[datetime, Meta(tz=True)]


class Todo(Struct):
    """In the order of `COLUMNS`."""

    id: UUID
    user_id: str
    title: str
    description: str | None
    completed: bool
    completed_at: datetime | None
    priority: str
    due_date: date | None
    due_at: datetime | None
    tags: list[str]
    created_at: datetime
    updated_at: datetime
    version: int


class Page(Struct):
    items: list[Todo]
    total: int
    limit: int
    offset: int
    next_cursor: str | None = None


class TodoCreate(Struct, forbid_unknown_fields=True):
    title: Title
    description: Description | None = None
    completed: bool = False
    priority: Priority = "none"
    due_date: date | None = None
    due_at: Instant | None = None
    tags: Tags = []


class TodoUpdate(Struct, forbid_unknown_fields=True):
    title: Title | UnsetType = UNSET
    description: Description | None | UnsetType = UNSET
    priority: Priority | UnsetType = UNSET
    due_date: date | None | UnsetType = UNSET
    due_at: Instant | None | UnsetType = UNSET
    tags: Tags | UnsetType = UNSET


COLUMNS = ", ".join(Todo.__struct_fields__)
GET = f"SELECT {COLUMNS} FROM app.todos WHERE user_id = $1 AND id = $2"
PAGE = f"""
    SELECT {COLUMNS}, (SELECT count(*) FROM app.todos WHERE user_id = $1) FROM app.todos
    WHERE user_id = $1 ORDER BY created_at DESC, id DESC LIMIT $2 OFFSET $3
"""
COUNT = "SELECT count(*) FROM app.todos WHERE user_id = $1"
INSERT = f"""
    INSERT INTO app.todos ({COLUMNS})
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) RETURNING {COLUMNS}
"""
TOGGLE = f"""
    UPDATE app.todos
    SET completed = NOT completed, completed_at = CASE WHEN completed THEN NULL ELSE now() END,
        updated_at = now(), version = version + 1
    WHERE user_id = $1 AND id = $2 RETURNING {COLUMNS}
"""

encode = json.Encoder().encode
decode_create = json.Decoder(TodoCreate).decode
decode_update = json.Decoder(TodoUpdate).decode

UNAUTHORIZED: Answer = 401, b'{"status":401,"detail":"Invalid or expired token"}'
FORBIDDEN: Answer = 403, b'{"status":403,"detail":"Forbidden: not authorized to access this resource"}'
NOT_FOUND: Answer = 404, b'{"status":404,"detail":"Not found"}'
INVALID: Answer = 422, b'{"status":422,"detail":"The request is invalid"}'


class Connection(asyncpg.Connection):
    def get_reset_query(self) -> str:
        """Save the round trip that asyncpg's pool makes on release: nothing here changes a session."""
        return ""


class Tokens:
    def __init__(self, secret: str) -> None:
        self._secret = secret
        self._verified: dict[bytes, tuple[str, float]] = {}

    def subject_of(self, authorization: bytes) -> str | None:
        digest = hashlib.sha256(authorization).digest()
        known = self._verified.get(digest)
        if known is not None and time.time() < known[1]:
            return known[0]
        try:
            claims = self._claims(authorization)
        except jwt.PyJWTError:
            return None
        if len(self._verified) >= MAX_CACHED_TOKENS:
            self._verified.clear()
        self._verified[digest] = claims["sub"], claims["exp"]
        return str(claims["sub"])

    def _claims(self, authorization: bytes) -> dict[str, Any]:
        scheme, _, token = authorization.partition(b" ")
        if scheme.lower() != b"bearer":
            raise jwt.InvalidTokenError
        claims: dict[str, Any] = jwt.decode(
            token,
            self._secret,
            algorithms=["HS256"],
            options={"require": ["exp", "sub"], "verify_aud": False},
        )
        return claims


class Floor:
    def __init__(self, database_url: str, secret: str) -> None:
        self._url = database_url
        self._tokens = Tokens(secret)
        self._pool: asyncpg.Pool[asyncpg.Record]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        status, body = await self._answer(scope, receive)
        headers = [
            (b"content-type", b"application/json" if status < 400 else b"application/problem+json"),
            (b"content-length", b"%d" % len(body)),
        ]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        self._pool = await asyncpg.create_pool(
            self._url, min_size=POOL_SIZE, max_size=POOL_SIZE, connection_class=Connection
        )
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self._pool.close()
        await send({"type": "lifespan.shutdown.complete"})

    async def _answer(self, scope: Scope, receive: Receive) -> Answer:
        authorization = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
        subject = self._tokens.subject_of(authorization)
        if subject is None:
            return UNAUTHORIZED
        path = TODO_PATH.fullmatch(scope["path"])
        if path is None:
            return NOT_FOUND
        if path[1] != subject:
            return FORBIDDEN
        try:
            return await self._serve(subject, path, scope, receive)
        except ValueError:  # msgspec's ValidationError is one
            return INVALID

    async def _serve(self, user_id: str, path: re.Match[str], scope: Scope, receive: Receive) -> Answer:
        match scope["method"], path[2], path[3]:
            case "GET", None, None:
                return await self._page(user_id, scope["query_string"])
            case "POST", None, None:
                return await self._create(user_id, decode_create(await read(receive)))
            case "GET", str(todo_id), None:
                return one(await self._pool.fetchrow(GET, user_id, UUID(todo_id)))
            case "PATCH", str(todo_id), None:
                return await self._update(user_id, UUID(todo_id), decode_update(await read(receive)))
            case "POST", str(todo_id), str():
                return one(await self._pool.fetchrow(TOGGLE, user_id, UUID(todo_id)))
        return NOT_FOUND

    async def _page(self, user_id: str, query_string: bytes) -> Answer:
        query = parse_qs(query_string.decode())
        limit, offset = int(query.get("limit", ["20"])[0]), int(query.get("offset", ["0"])[0])
        rows = await self._pool.fetch(PAGE, user_id, limit, offset)
        total = rows[0][-1] if rows else await self._pool.fetchval(COUNT, user_id)
        return 200, encode(Page([Todo(*row[:-1]) for row in rows], total, limit, offset))

    async def _create(self, user_id: str, data: TodoCreate) -> Answer:
        now = datetime.now(UTC)
        completed_at = now if data.completed else None
        own = uuid7(), user_id, data.title, data.description, data.completed, completed_at, data.priority
        row = await self._pool.fetchrow(INSERT, *own, data.due_date, data.due_at, data.tags, now, now, 1)
        return one(row, 201)

    async def _update(self, user_id: str, todo_id: UUID, data: TodoUpdate) -> Answer:
        sent = {name: value for name in data.__struct_fields__ if (value := getattr(data, name)) is not UNSET}
        changes = "".join(f"{name} = ${place}, " for place, name in enumerate(sent, 3))
        statement = (
            f"UPDATE app.todos SET {changes}updated_at = now(), version = version + 1 "
            f"WHERE user_id = $1 AND id = $2 RETURNING {COLUMNS}"
        )
        return one(await self._pool.fetchrow(statement, user_id, todo_id, *sent.values()))


async def read(receive: Receive) -> bytes:
    message = await receive()
    body: bytes = message.get("body", b"")
    while message.get("more_body"):
        message = await receive()
        body += message.get("body", b"")
    return body


def one(row: asyncpg.Record | None, status: int = 200) -> Answer:
    return NOT_FOUND if row is None else (status, encode(Todo(*row)))


def uuid7() -> UUID:
    random_bits = uuid4().int & ((1 << 76) - 1)
    return UUID(int=(time.time_ns() // 1_000_000) << 80 | 7 << 76 | random_bits)


app = Floor(os.environ["DATABASE_URL"], os.environ["BETTER_AUTH_SECRET"])
