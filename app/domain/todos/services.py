"""Todos of one user."""

from collections.abc import Mapping
from datetime import datetime, tzinfo
from typing import Any, ClassVar
from uuid import UUID

from msgspec import UNSET, Struct
from msgspec.structs import replace
from sqlalchemy import (
    ColumnElement,
    Date,
    DateTime,
    Executable,
    Table,
    Text,
    Uuid,
    any_,
    bindparam,
    case,
    cast,
    false,
    func,
    null,
    select,
    true,
)
from sqlalchemy.dialects.postgresql import ARRAY

from app.db.base import OWNERS_PREFERENCES, OWNERS_TIME_ZONE, table_of
from app.domain.todos.lists.models import TodoList
from app.domain.todos.models import Todo
from app.domain.todos.schemas import DUE_ONCE, MAX_DEPTH, PRIORITIES, TodoMove, TodoQuery, TodoRead
from app.domain.todos.tree import TreeStatements
from app.lib.errors import ApiError, Conflict, FieldError, Invalid, NotFound
from app.lib.persistence.full_text_search import is_found, rank, terms_of
from app.lib.persistence.ordered import OrderedService
from app.lib.persistence.statements import Transition, value_of
from app.lib.persistence.user_scoped import UserScopedService
from app.lib.time_zones import posix_rule, zone_of
from app.lib.validation.body import Body
from app.lib.validation.query import Page, PageQuery, Sort

BEST_FIRST: Sort = (("rank", True),)
NO_PARENT = FieldError("Expected the id of another of your todos, outside the trash", pointer="/parent_id")


def _instant(name: str) -> ColumnElement[datetime]:
    return bindparam(value_of(name), type_=DateTime(timezone=True))


def _texts(name: str) -> ColumnElement[Any]:
    return bindparam(value_of(name), type_=ARRAY(Text))


_todo = table_of(Todo).c

# A day is due from its first moment in UTC on.
_day_begins = func.timezone("UTC", cast(_todo.due_date, DateTime), type_=DateTime(timezone=True))
_due: ColumnElement[Any] = func.coalesce(_todo.due_at, _day_begins)
_rank: ColumnElement[Any] = case({name: rank for rank, name in enumerate(PRIORITIES)}, value=_todo.priority)


# The row of the list is locked as the foreign key will do it: a list that is being deleted is not chosen.
_preferences = OWNERS_PREFERENCES.subquery()
_lists = table_of(TodoList)
_default_list = (
    select(_lists.c.id)
    .where(_lists.c.user_id == bindparam("owner", type_=Text))
    .where(_lists.c.id == select(_preferences.c.default_list_id).scalar_subquery())
    .with_for_update(read=True, key_share=True)
    .cte("default_list")
)
_DEFAULTS: Mapping[str, ColumnElement[Any]] = {
    "list_id": select(_default_list.c.id).scalar_subquery(),
    "priority": func.coalesce(select(_preferences.c.default_priority).scalar_subquery(), PRIORITIES[0]),
}


def _preferred(changes: Mapping[str, Any]) -> dict[str, ColumnElement[Any]]:
    """Return what the user's preferences say of a new todo, where the client says nothing."""
    return {name: value for name, value in _DEFAULTS.items() if name not in changes}


class UnknownTimeZone(ApiError):
    """PostgreSQL does not know the time zone of the profile, which Python knew when it was stored."""

    detail = "The database does not know the time zone of the profile"


def _days(name: str) -> tuple[ColumnElement[Any], ColumnElement[Any]]:
    """Return today and the day that a todo is due, on the user's own calendar.

    PostgreSQL has the rules of the profile's time zone, unless the filter's value is a rule to use in its place.
    """
    zone = func.coalesce(bindparam(value_of(name), type_=Text), OWNERS_TIME_ZONE)
    today = cast(func.timezone(zone, func.now()), Date)
    return today, func.coalesce(_todo.due_date, cast(func.timezone(zone, _todo.due_at), Date))


def _overdue(name: str) -> ColumnElement[bool]:
    today, _ = _days(name)
    return ~_todo.completed & ((_todo.due_date < today) | (_todo.due_at < func.now()))


def _today(name: str) -> ColumnElement[bool]:
    today, day = _days(name)
    return day == today


def _upcoming(name: str) -> ColumnElement[bool]:
    today, day = _days(name)
    return day > today


_ZONE = select(OWNERS_TIME_ZONE.label("time_zone"))


class TodoService[ReadT: Struct = TodoRead](OrderedService[Todo, ReadT]):
    """Todos of one user, outside the trash."""

    model = Todo
    schema: ClassVar[type[Struct]] = TodoRead
    base_filter: ClassVar[ColumnElement[bool] | None] = _todo.deleted_at.is_(None)
    group_by: ClassVar = ("list_id",)
    inherited: ClassVar = ("parent_id",)
    tree: ClassVar[TreeStatements]
    zone_rule: str | None = None  # in place of the profile's time zone
    violations: ClassVar = {
        "ck_todos_due_once": DUE_ONCE.error,
        "fk_todos_list_id": FieldError("Expected the id of one of your lists", pointer="/list_id"),
        "fk_todos_parent_id": NO_PARENT,
    }
    read_violations: ClassVar = {"22023": UnknownTimeZone()}
    filters: ClassVar = {
        "completed": _todo.completed == bindparam(value_of("completed")),
        "priority": _todo.priority == any_(_texts("priority")),
        "tag": _todo.tags.contains(_texts("tag")),
        "list_id": _todo.list_id == bindparam(value_of("list_id"), type_=Uuid),
        "list_id=none": _todo.list_id.is_(None),
        "parent_id": _todo.parent_id == bindparam(value_of("parent_id"), type_=Uuid),
        "parent_id=none": _todo.parent_id.is_(None),
        "q": is_found(table_of(Todo)),
        "due=overdue": _overdue("due=overdue"),
        "due=today": _today("due=today"),
        "due=upcoming": _upcoming("due=upcoming"),
        "due=none": _todo.due_date.is_(None) & _todo.due_at.is_(None),
        "due_before": _due < _instant("due_before"),
        "due_after": _due > _instant("due_after"),
        "created_before": _todo.created_at < _instant("created_before"),
        "created_after": _todo.created_at > _instant("created_after"),
        "updated_after": _todo.updated_at > _instant("updated_after"),
    }
    sorts: ClassVar = {
        "created_at": _todo.created_at,
        "updated_at": _todo.updated_at,
        "due_at": _due,
        "priority": _rank,
        "title": _todo.title.collate("C"),
        "position": _todo.position,
        "completed": _todo.completed,
    }
    internal_sorts: ClassVar = {"rank": rank(table_of(Todo))}
    transitions: ClassVar = {
        "toggle": Transition(
            {
                "completed": ~_todo.completed,
                "completed_at": case((_todo.completed, null()), else_=func.now()),
            }
        ),
        "complete": Transition({"completed": true(), "completed_at": func.now()}, unless=_todo.completed),
        "reopen": Transition({"completed": false(), "completed_at": null()}, unless=~_todo.completed),
    }

    @classmethod
    def build(cls) -> None:
        """Build the statements of the tree too."""
        super().build()
        cls.tree = TreeStatements(cls.statements)

    @classmethod
    def computed_columns(
        cls, changes: Mapping[str, ColumnElement[Any]], table: Table | None
    ) -> dict[str, ColumnElement[Any]]:
        """`completed_at` follows `completed`, and keeps its first moment."""
        chosen = _preferred(changes) if table is None else {}
        derived = chosen | super().computed_columns({**changes, **chosen}, table)
        if "completed" in changes:
            since = func.now() if table is None else func.coalesce(table.c.completed_at, func.now())
            derived["completed_at"] = case((changes["completed"], since), else_=null())
        return derived

    def active_filters(self, query: PageQuery) -> dict[str, Any]:
        """Some filters are several: what they ask for is in the name, not in the value."""
        assert isinstance(query, TodoQuery)
        given = {name: value for name in _ASKED if (value := getattr(query, name)) is not UNSET}
        for name in ("list_id", "parent_id"):
            if name in given and given[name] is None:
                given[f"{name}=none"] = given.pop(name)
        if "due" in given:
            given[f"due={given.pop('due')}"] = self.zone_rule
        if "q" in given:
            given["q"] = terms_of(given["q"])
        return given

    def sort_for(self, query: PageQuery) -> Sort:
        """What is searched for comes best match first."""
        assert isinstance(query, TodoQuery)
        if query.q is not UNSET and query.sort is UNSET:
            return BEST_FIRST
        return super().sort_for(query)

    async def list_todos(self, query: TodoQuery) -> Page[ReadT]:
        """Give a page of todos, or of those in the trash."""
        service: Any = self.service(Trash) if query.deleted else self
        try:
            return await service.page(query)  # type: ignore[no-any-return]
        except UnknownTimeZone:
            service.zone_rule = posix_rule(await self._zone_name())
            return await service.page(query)  # type: ignore[no-any-return]

    async def time_zone(self) -> tzinfo:
        """Return the time zone of the profile."""
        return zone_of(await self._zone_name())

    async def _zone_name(self) -> str:
        rows = await self._read(_ZONE)
        return rows[0][0] or "UTC"  # the user may be gone by now

    async def insert(self, data: Body) -> ReadT:
        """Insert a todo. Raises `Invalid` for a parent that cannot have it."""
        parent_id = getattr(data, "parent_id", None)
        if parent_id is None:
            return await super().insert(data)
        async with self.session.atomic(self.violations):
            await self.lock()
            await self._check_parent(None, parent_id, NO_PARENT)
            return await super().insert(data)

    async def patch(self, item_id: UUID, data: Body) -> ReadT:
        """Set what was sent. Raises `NotFound`, `PreconditionFailed`, `Invalid` for a parent that cannot have it."""
        parent_id = getattr(data, "parent_id", None)
        if parent_id is None or parent_id is UNSET:
            return await super().patch(item_id, data)
        async with self.session.atomic(self.violations):
            await self.lock()
            await self.fetch(item_id)
            await self._check_parent(item_id, parent_id, NO_PARENT)
            return await super().patch(item_id, data)

    async def move(self, todo_id: UUID, data: TodoMove) -> ReadT:
        """Put a todo next to another, or below it. Raises `NotFound`, `Invalid`, `PreconditionFailed`."""
        side, other_id = data.target()
        async with self.session.atomic(self.violations):
            await self.lock()
            _, other = await self.places(todo_id, other_id, f"/{side}")
            place = other.shared | {"parent_id": other.id} if side == "into" else other.shared
            if place["parent_id"] is not None:
                await self._check_parent(todo_id, place["parent_id"], replace(NO_PARENT, pointer=f"/{side}"))
            position = other.end if side == "into" else await self.position_beside(todo_id, other, side)
            return await self.put(todo_id, place | {"position": position})

    async def remove(self, item_id: UUID, *, permanent: bool = False) -> None:
        """Move a todo with its subtree to the trash, or remove it. Raises `NotFound`, `PreconditionFailed`."""
        async with self.session.atomic(self.violations):
            await self.lock()
            if permanent:
                await self.service(EveryTodo).erase(item_id)
            else:
                await self._change_subtree(self.tree.discard, item_id)

    async def restore(self, todo_id: UUID) -> ReadT:
        """Take a todo out of the trash. Raises `NotFound`, `Conflict` where it is not in it, `PreconditionFailed`."""
        async with self.session.atomic(self.violations):
            await self.lock()
            await self.service(Trash).take_out(todo_id)
            return await self.fetch(todo_id)

    async def _change_subtree(self, statements: Mapping[bool, Executable], item_id: UUID) -> None:
        rows = await self._write(statements[self._condition is not None], item_id, {})
        if item_id not in {row[0] for row in rows}:
            await self._raise_missing_or_stale(item_id)

    async def _check_parent(self, todo_id: UUID | None, parent_id: UUID, mistake: FieldError) -> None:
        """Raises `Invalid`."""
        rows = await self._read(self.tree.placing, key=todo_id, parent=parent_id)
        depth, is_above, height = rows[0]
        if not depth:
            raise Invalid([mistake])
        if is_above:
            raise Invalid([FieldError("Expected none of its own subtasks, nor itself", pointer=mistake.pointer)])
        if depth + height > MAX_DEPTH:
            raise Invalid([FieldError(f"Expected at most {MAX_DEPTH} levels of todos", pointer=mistake.pointer)])

    async def toggle_complete(self, todo_id: UUID) -> ReadT:
        """Flip `completed`; two at once never lose one."""
        return await self.apply_transition(todo_id, "toggle")

    async def complete(self, todo_id: UUID) -> ReadT:
        """Complete; a second call changes nothing."""
        return await self.apply_transition(todo_id, "complete")

    async def reopen(self, todo_id: UUID) -> ReadT:
        """Reopen; a second call changes nothing."""
        return await self.apply_transition(todo_id, "reopen")


_ASKED = tuple(dict.fromkeys(name.partition("=")[0] for name in TodoService.filters))


class EveryTodo(TodoService[TodoRead]):
    """Todos of one user, those in the trash too."""

    base_filter = None

    async def erase(self, item_id: UUID) -> None:
        """Remove a todo for good; the database takes its subtree with it. Raises `NotFound`, `PreconditionFailed`."""
        await UserScopedService.remove(self, item_id)


class Trash(TodoService[TodoRead]):
    """Todos of one user that are in the trash."""

    base_filter = _todo.deleted_at.is_not(None)

    async def take_out(self, todo_id: UUID) -> None:
        """Restore a todo with all that went with it. Raises `NotFound`, `Conflict`, `PreconditionFailed`."""
        try:
            await self._change_subtree(self.tree.restore, todo_id)
        except NotFound:
            await self.service(EveryTodo).fetch(todo_id)
            raise Conflict("The todo is not in the trash") from None
