import json
import re
import time
from collections.abc import AsyncIterator
from typing import Annotated, Never

from fastapi import Depends, HTTPException, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from sqlalchemy.dialects.postgresql import insert
from sqlmodel.ext.asyncio.session import AsyncSession

from benchmarks.peers.fastapi_sqlmodel.db import engine
from benchmarks.peers.fastapi_sqlmodel.errors import FORBIDDEN, INVALID_TOKEN, MISSING_TOKEN, invalid
from benchmarks.peers.fastapi_sqlmodel.models import User
from benchmarks.peers.fastapi_sqlmodel.security import subject_of

KNOWN_FOR_SECONDS = 5.0
MAX_DEPTH = 32
USER_ID = re.compile(r"[A-Za-z0-9._~:@|-]{1,128}")


async def get_session() -> AsyncIterator[AsyncSession]:
    async with AsyncSession(engine, expire_on_commit=False) as session:
        yield session


SessionDep = Annotated[AsyncSession, Depends(get_session)]


class KnownUsers:
    """Insert the row of a new user; check every few seconds that a known user is not deactivated."""

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
    """Return the user of the token; 403 where the path names another user."""
    if credentials is None:
        raise INVALID_TOKEN if request.headers.get("authorization") else MISSING_TOKEN
    subject = subject_of(credentials.credentials)
    if owner_of(request) not in (subject, None) or not USER_ID.fullmatch(subject):
        raise FORBIDDEN
    await known_users.admit(subject)
    request.state.user_id = subject
    return subject


def owner_of(request: Request) -> str | None:
    """Return the user named by a path `/api/{user_id}/…`, or None for every other path."""
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
        if not body or "NaN" in body or "Infinity" in body:  # valid for Python's parser, but not in RFC 8259
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
