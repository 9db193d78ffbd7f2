from typing import Annotated
from urllib.parse import quote
from uuid import UUID

from fastapi import APIRouter, Depends, Header, HTTPException, Query, Request, Response
from sqlmodel import col, func, select

from benchmarks.peers.fastapi_sqlmodel.crud import change, etag, lock, matches, refuse_stale, save, set_completed
from benchmarks.peers.fastapi_sqlmodel.deps import SessionDep, get_current_user, json_body, no_parameters
from benchmarks.peers.fastapi_sqlmodel.errors import invalid
from benchmarks.peers.fastapi_sqlmodel.filters import Filters, link_to_next, refuse_repeated
from benchmarks.peers.fastapi_sqlmodel.models import Todo, utc_now
from benchmarks.peers.fastapi_sqlmodel.schemas import DUE_TWICE, TodoCreate, TodoPublic, TodosPublic, TodoUpdate

router = APIRouter(dependencies=[Depends(get_current_user)])

TODOS = "/api/{user_id}/todos"
TODO = TODOS + "/{todo_id:uuid}"
PLAIN = [Depends(no_parameters)]
WITH_BODY = [Depends(json_body), Depends(no_parameters)]
IfMatch = Annotated[str | None, Header()]


@router.get(TODOS, response_model=TodosPublic)
@router.head(TODOS, response_model=TodosPublic)
async def list_todos(
    user_id: str,
    filters: Annotated[Filters, Query()],
    session: SessionDep,
    request: Request,
    response: Response,
) -> dict[str, object]:
    refuse_repeated(request)
    conditions = [col(Todo.user_id) == user_id, *filters.conditions()]
    total = (await session.exec(select(func.count()).select_from(Todo).where(*conditions))).one()
    page = select(Todo).where(*conditions).order_by(*filters.ordering())
    todos = (await session.exec(page.offset(filters.offset).limit(filters.limit))).all()
    if filters.offset + filters.limit < total:
        response.headers["Link"] = link_to_next(request, filters)
    return {"items": todos, "total": total, "limit": filters.limit, "offset": filters.offset}


@router.post(TODOS, response_model=TodoPublic, status_code=201, dependencies=WITH_BODY)
async def create_todo(user_id: str, data: TodoCreate, session: SessionDep, response: Response) -> Todo:
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


@router.get(TODO, response_model=TodoPublic, dependencies=PLAIN)
@router.head(TODO, response_model=TodoPublic, dependencies=PLAIN)
async def read_todo(
    user_id: str,
    todo_id: UUID,
    session: SessionDep,
    response: Response,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Todo | Response:
    todo = await session.get(Todo, (user_id, todo_id))
    if todo is None:
        raise HTTPException(404, "Not found")
    response.headers["ETag"] = etag(todo)
    if if_none_match is not None and matches(todo, if_none_match.replace("W/", "")):
        return Response(status_code=304, headers={"ETag": etag(todo)})
    return todo


@router.put(TODO, response_model=TodoPublic, dependencies=WITH_BODY)
async def replace_todo(  # noqa: PLR0913, PLR0917 - FastAPI has a parameter for each input
    user_id: str,
    todo_id: UUID,
    data: TodoCreate,
    session: SessionDep,
    response: Response,
    if_match: IfMatch = None,
) -> Todo:
    todo = await lock(user_id, todo_id, session)
    refuse_stale(todo, if_match)
    change(todo, data.model_dump())
    return await save(todo, session, response)


@router.patch(TODO, response_model=TodoPublic, dependencies=WITH_BODY)
async def update_todo(  # noqa: PLR0913, PLR0917 - FastAPI has a parameter for each input
    user_id: str,
    todo_id: UUID,
    data: TodoUpdate,
    session: SessionDep,
    response: Response,
    if_match: IfMatch = None,
) -> Todo:
    todo = await lock(user_id, todo_id, session)
    changes = data.model_dump(exclude_unset=True)
    if changes.get("due_date", todo.due_date) and changes.get("due_at", todo.due_at):
        raise invalid(("body", "due_date"), message=DUE_TWICE)
    refuse_stale(todo, if_match)
    change(todo, changes)
    return await save(todo, session, response)


@router.delete(TODO, status_code=204, dependencies=PLAIN)
async def delete_todo(user_id: str, todo_id: UUID, session: SessionDep, if_match: IfMatch = None) -> None:
    todo = await lock(user_id, todo_id, session)
    refuse_stale(todo, if_match)
    await session.delete(todo)
    await session.commit()


@router.post(TODO + "/toggle-complete", response_model=TodoPublic, dependencies=PLAIN)
async def toggle_complete(
    user_id: str, todo_id: UUID, session: SessionDep, response: Response, if_match: IfMatch = None
) -> Todo:
    todo = await lock(user_id, todo_id, session)
    refuse_stale(todo, if_match)
    change(todo, {"completed": not todo.completed})
    return await save(todo, session, response)


@router.post(TODO + "/complete", response_model=TodoPublic, dependencies=PLAIN)
async def complete(
    user_id: str, todo_id: UUID, session: SessionDep, response: Response, if_match: IfMatch = None
) -> Todo:
    return await set_completed(await lock(user_id, todo_id, session), True, session, response, if_match)


@router.post(TODO + "/reopen", response_model=TodoPublic, dependencies=PLAIN)
async def reopen(
    user_id: str, todo_id: UUID, session: SessionDep, response: Response, if_match: IfMatch = None
) -> Todo:
    return await set_completed(await lock(user_id, todo_id, session), False, session, response, if_match)
