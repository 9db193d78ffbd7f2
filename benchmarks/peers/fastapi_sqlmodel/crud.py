from uuid import UUID

from fastapi import HTTPException, Response
from sqlmodel.ext.asyncio.session import AsyncSession

from benchmarks.peers.fastapi_sqlmodel.config import settings
from benchmarks.peers.fastapi_sqlmodel.models import Todo, utc_now


async def lock(user_id: str, todo_id: UUID, session: AsyncSession) -> Todo:
    """Load a row with FOR UPDATE, so that concurrent writes of it run one after the other."""
    todo = await session.get(Todo, (user_id, todo_id), with_for_update=True)
    if todo is None:
        raise HTTPException(404, "Not found")
    return todo


def change(todo: Todo, changes: dict[str, object]) -> None:
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


def matches(todo: Todo, condition: str) -> bool:
    return condition.strip() == "*" or etag(todo) in [tag.strip() for tag in condition.split(",")]


def refuse_stale(todo: Todo, if_match: str | None) -> None:
    if if_match is not None and not matches(todo, if_match):
        raise HTTPException(412, "The resource has changed: this is not the version that was expected")
