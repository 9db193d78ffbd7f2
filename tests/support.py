"""What tests share beside fixtures."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote

import httpx
import jwt
from litestar import Litestar
from sqlalchemy import make_url

from app.lib.settings import Settings

type JsonObject = dict[str, Any]  # tests index deep into documents: a union of all JSON values would hide the subject
type NewDatabase = Callable[[], Awaitable[str]]

SECRET = "a-secret-for-tests-of-32-bytes-or-more"


class Client(httpx.AsyncClient):
    """An HTTP client of one user: `todos(id)` gives paths below the user's own."""

    def __init__(self, user_id: str, **options: Any) -> None:
        super().__init__(base_url="http://testserver", **options)
        self.user_id = user_id

    def path(self, *parts: object) -> str:
        """Give a path below `/api/{user_id}`."""
        return "/".join(["/api", quote(self.user_id, safe=""), *map(str, parts)])

    def todos(self, *parts: object) -> str:
        """Give a path below the user's todos."""
        return self.path("todos", *parts)

    async def create(self, **fields: Any) -> JsonObject:
        """Create a todo; return it as the server did."""
        return json_object(await self.post(self.todos(), json={"title": "Water the plants"} | fields), 201)


@asynccontextmanager
async def running(app: Litestar) -> AsyncIterator[Litestar]:
    """Run an application's lifespan in a task of its own: fixtures are set up and torn down in different ones."""
    started, ended = asyncio.Event(), asyncio.Event()

    async def live() -> None:
        async with app.lifespan():
            started.set()
            await ended.wait()

    task = asyncio.create_task(live())
    waiting = asyncio.create_task(started.wait())
    await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    try:
        if not task.done():
            yield app
    finally:
        ended.set()
        await task


def token_for(user_id: object, *, secret: str = SECRET, algorithm: str = "HS256", **claims: Any) -> str:
    """Sign a token as Better Auth would; a claim given as None is left out."""
    now = int(time.time())
    payload = {"sub": user_id, "iat": now, "exp": now + 600} | claims
    return jwt.encode({name: value for name, value in payload.items() if value is not None}, secret, algorithm)


def access_token_for(user_id: str, *scopes: str, **claims: Any) -> str:
    """Sign an access token of the OAuth client `agent`, as Better Auth's OAuth provider would."""
    payload = {"sub": user_id, "exp": int(time.time()) + 600, "client_id": "agent", "scope": " ".join(scopes)}
    return jwt.encode(payload | claims, SECRET, "HS256", {"typ": "at+jwt"})


def json_object(response: httpx.Response, status: int = 200) -> JsonObject:
    """Return the JSON object of a response that must have this status."""
    assert response.status_code == status, response.text
    document = response.json()
    assert isinstance(document, dict), document
    return document


def assert_problem(response: httpx.Response, status: int, detail: str | None = None) -> JsonObject:
    """Assert that a response is a consistent problem document of this status."""
    problem = json_object(response, status)
    assert response.headers["content-type"] == "application/problem+json"
    assert problem["status"] == status
    assert problem.keys() >= {"type", "title", "status", "detail", "instance", "request_id"}
    assert problem["request_id"] == response.headers["x-request-id"]
    if detail is not None:
        assert problem["detail"] == detail
    return problem


def mistakes(response: httpx.Response) -> dict[str, str]:
    """Give the errors of a 422 by pointer or parameter."""
    problem = assert_problem(response, 422)
    return {error.get("pointer", error.get("parameter")): error["detail"] for error in problem["errors"]}


def url_of(settings: Settings) -> str:
    """Return the database URL that the settings must have."""
    assert settings.database_url is not None
    return settings.database_url.get_secret_value()


def admin_url(url: str) -> str:
    """Give a URL of the tests' server in the form that asyncpg takes, for the superuser."""
    superuser = make_url(os.environ.get("TEST_DATABASE_URL", "postgresql://postgres@/postgres")).username
    return make_url(url).set(drivername="postgresql", username=superuser).render_as_string(hide_password=False)


def database_url(url: str, name: str) -> str:
    """Give the URL of another database on the same server."""
    return make_url(url).set(drivername="postgresql", database=name).render_as_string(hide_password=False)
