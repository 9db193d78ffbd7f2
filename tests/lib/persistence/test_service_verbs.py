"""Every verb of advanced-alchemy's service and repository stays with the service's user, and works for that user."""

import inspect
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import pytest
from advanced_alchemy.filters import CollectionFilter, LimitOffset, MultiFilter, SearchFilter
from advanced_alchemy.repository import SQLAlchemyAsyncRepository
from advanced_alchemy.service import SQLAlchemyAsyncRepositoryService
from sqlalchemy import insert, or_, select, true
from sqlmodel import col

from app.db.config import Database, ordinary_url
from app.db.migrate import migrate
from app.domain.todos.models import Todo
from app.domain.todos.services import TodoService
from app.lib.deployment_secret import DeploymentSecret
from app.lib.errors import NotFound
from app.lib.persistence import scope_guard
from app.lib.persistence.scope_guard import UnscopedStatement
from app.lib.settings import Settings
from app.lib.validation.cursors import CursorSeal
from tests.factories import todos, users
from tests.support import SECRET, admin_url

REFUSED = UnscopedStatement


class Stored(NamedTuple):
    """A row as a verb is asked for it."""

    id: UUID
    title: str
    user_id: str


class Verb(NamedTuple):
    """A call, and what it returns for an own row and for another user's, or the error that it raises."""

    call: Callable[[Any, Stored], Awaitable[Any]]
    own: Any
    other: Any
    created: int = 0  # rows that the call for another user's row leaves to its own user


def model(row: Stored) -> Todo:
    return Todo(id=row.id, title="new")


READS = {
    "get": Verb(lambda verbs, row: verbs.get(row.id), "stored", NotFound),
    "get_one": Verb(lambda verbs, row: verbs.get_one(title=row.title), "stored", NotFound),
    "get_one_or_none": Verb(lambda verbs, row: verbs.get_one_or_none(Todo.id == row.id), "stored", None),
    "get_many": Verb(lambda verbs, row: verbs.get_many(title=row.title), ["stored"], []),
    "list": Verb(lambda verbs, row: verbs.list(title=row.title), ["stored"], []),
    "get_many_and_count": Verb(lambda verbs, row: verbs.get_many_and_count(id=row.id), (["stored"], 1), ([], 0)),
    "list_and_count": Verb(lambda verbs, row: verbs.list_and_count(id=row.id), (["stored"], 1), ([], 0)),
    "count": Verb(lambda verbs, row: verbs.count(title=row.title), 1, 0),
    "exists": Verb(lambda verbs, row: verbs.exists(id=row.id), True, False),
}
DELETIONS = {
    "delete": Verb(lambda verbs, row: verbs.delete(row.id), "stored", NotFound),
    "delete_many": Verb(lambda verbs, row: verbs.delete_many([row.id, uuid4()]), ["stored"], []),
    "delete_where": Verb(lambda verbs, row: verbs.delete_where(title=row.title), ["stored"], []),
}
SERVICE = {
    "create": Verb(lambda verbs, row: verbs.create({"title": "new", "user_id": row.user_id}), "new", REFUSED),
    "create_many": Verb(
        lambda verbs, row: verbs.create_many([{"title": "new"}, {"title": "new", "user_id": row.user_id}]),
        ["new", "new"],
        REFUSED,
    ),
    "update": Verb(lambda verbs, row: verbs.update({"title": "new"}, item_id=row.id), "new", NotFound),
    "update_many": Verb(lambda verbs, row: verbs.update_many([{"id": row.id, "title": "new"}]), ["new"], NotFound),
    "upsert": Verb(lambda verbs, row: verbs.upsert({"title": "new"}, item_id=row.id), "new", "new", created=1),
    "upsert_many": Verb(
        lambda verbs, row: verbs.upsert_many([{"id": row.id, "title": "new"}]), ["new"], ["new"], created=1
    ),
    "get_or_upsert": Verb(
        lambda verbs, row: verbs.get_or_upsert(match_fields=["id"], id=row.id, title="new"),
        ("new", False),
        ("new", True),
        created=1,
    ),
    "get_and_update": Verb(
        lambda verbs, row: verbs.get_and_update(match_fields="id", id=row.id, title="new"), ("new", True), NotFound
    ),
}
REPOSITORY = {
    "add": Verb(lambda verbs, row: verbs.add(Todo(title="new", user_id=row.user_id)), "new", REFUSED),
    "add_many": Verb(
        lambda verbs, row: verbs.add_many([Todo(title="new"), Todo(title="new", user_id=row.user_id)]),
        ["new", "new"],
        REFUSED,
    ),
    "update": Verb(lambda verbs, row: verbs.update(model(row)), "new", NotFound),
    "update_many": Verb(lambda verbs, row: verbs.update_many([model(row)]), ["new"], NotFound),
    "upsert": Verb(lambda verbs, row: verbs.upsert(model(row)), "new", "new", created=1),
    "upsert_many": Verb(lambda verbs, row: verbs.upsert_many([model(row)]), ["new"], ["new"], created=1),
    "get_or_upsert": SERVICE["get_or_upsert"],
    "get_and_update": SERVICE["get_and_update"],
    "check_health": Verb(lambda verbs, _: verbs.check_health(verbs.session), True, True),
}
CASES = {
    SQLAlchemyAsyncRepositoryService: READS | DELETIONS | SERVICE,
    SQLAlchemyAsyncRepository: READS | DELETIONS | REPOSITORY,
}
# Conversions of advanced-alchemy, which send no statement.
CONVERSIONS = {"to_model", "to_model_on_create", "to_model_on_update", "to_model_on_delete", "to_model_on_upsert"}


def verbs_of(kind: type) -> set[str]:
    return {name for name, _ in inspect.getmembers(kind, inspect.iscoroutinefunction) if not name.startswith("_")}


@pytest.mark.parametrize("kind", CASES)
def test_each_verb_of_advanced_alchemy_has_a_case(kind: type) -> None:
    missing = verbs_of(kind) - CASES[kind].keys() - CONVERSIONS
    assert not missing, (
        f"{kind.__name__} has verbs without a case: {sorted(missing)}. Add a `Verb` for each; "
        "wrap those that send statements with `in_transaction` in app/lib/persistence/repository.py"
    )


def settings_of(url: str, secured: bool) -> Settings:
    return Settings(environment="test", better_auth_secret=SECRET, database_url=url, database_rls=secured)


GUARDED, SECURED, ALONE = "guard", "guard and row-level security", "repository alone"


@pytest.fixture(scope="module")
async def databases(new_database: Callable[[], Any]) -> AsyncIterator[dict[str, Database]]:
    """Return a migrated database for each way to protect its rows."""
    opened = {}
    for name in (GUARDED, SECURED, ALONE):  # not one engine for two: the guard remembers compiled statements
        url = admin_url(await new_database())
        url = await ordinary_url(settings_of(url, True), url) if name == SECURED else url
        opened[name] = Database(settings_of(url, name == SECURED))
        await migrate(opened[name])
    yield opened
    for database in opened.values():
        await database.close()


@pytest.fixture(params=[GUARDED, SECURED, ALONE])
def database(
    request: pytest.FixtureRequest, databases: dict[str, Database], monkeypatch: pytest.MonkeyPatch
) -> Database:
    if request.param == ALONE:
        monkeypatch.setattr(scope_guard, "_analyse", lambda *_: frozenset())
    return databases[request.param]


async def new_row(database: Database, name: str, title: str) -> Stored:
    """Insert a user with one todo."""
    user_id = f"{name}-{uuid4()}"
    session = database.session(user_id)
    await session.write(insert(users).values(id=user_id), {})
    row = Stored(uuid4(), title, user_id)
    await session.write(insert(todos).values(id=row.id, user_id=user_id, title=row.title, tags=["kept"]), {})
    return row


@pytest.fixture
async def own(database: Database) -> Stored:
    return await new_row(database, "alice", "stored")


@pytest.fixture
async def other(database: Database) -> Stored:
    return await new_row(database, "bob", "of another")


def service_of(database: Database, user_id: str) -> TodoService:
    secret = DeploymentSecret(settings_of("postgresql://localhost/unused", False))
    return TodoService(database.session(user_id), user_id, CursorSeal(secret))


@pytest.fixture
def service(database: Database, own: Stored) -> TodoService:
    return service_of(database, own.user_id)


async def stored(database: Database, user_id: str) -> list[Any]:
    statement = select(todos).where(todos.c.user_id == user_id).order_by(todos.c.id)
    return list(await database.session(user_id).read(statement, {}))


def seen(result: Any) -> Any:
    """Return a verb's result with titles in place of rows."""
    if isinstance(result, Todo):
        return result.title
    if isinstance(result, list | tuple):
        return type(result)(map(seen, result))
    return result


ALL = [(kind, name) for kind, cases in CASES.items() for name in cases]


class Call(NamedTuple):
    verb: Verb
    verbs: Any
    deletes: bool


@pytest.fixture(params=ALL, ids=lambda value: f"{value[0].__name__}.{value[1]}")
def call(request: pytest.FixtureRequest, service: TodoService) -> Call:
    kind, name = request.param
    verbs = service if kind is SQLAlchemyAsyncRepositoryService else service.repository
    return Call(CASES[kind][name], verbs, deletes=name in DELETIONS)


async def run(call: Call, row: Stored) -> Any:
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        return seen(await call.verb.call(call.verbs, row))


class TestVerb:
    async def test_works_on_an_own_row(self, database: Database, call: Call, own: Stored, other: Stored) -> None:
        before = await stored(database, other.user_id)
        assert await run(call, own) == call.verb.own
        assert await stored(database, other.user_id) == before
        assert not call.verbs.session.in_transaction()
        rows = await stored(database, own.user_id)
        assert [row.tags for row in rows if row.id == own.id] == ([] if call.deletes else [["kept"]])

    async def test_does_not_reach_a_row_of_another(
        self, database: Database, call: Call, own: Stored, other: Stored
    ) -> None:
        before = [await stored(database, row.user_id) for row in (other, own)]
        if isinstance(call.verb.other, type):
            with pytest.raises(call.verb.other):
                await run(call, other)
        else:
            assert await run(call, other) == call.verb.other
        after = [await stored(database, row.user_id) for row in (other, own)]
        assert after[0] == before[0]
        assert len(after[1]) == len(before[1]) + call.verb.created


class TestHostileCall:
    """Calls that ask for rows of another user in any way that the verbs have."""

    @pytest.mark.parametrize(
        "call",
        [
            lambda verbs, row: verbs.create(Todo(title="new", user_id=row.user_id)),
            lambda verbs, row: verbs.get((row.user_id, row.id)),
            lambda verbs, row: verbs.get({"user_id": row.user_id, "id": row.id}),
            lambda verbs, row: verbs.delete((row.user_id, row.id)),
            lambda verbs, row: verbs.delete_many([(row.user_id, row.id)]),
            lambda verbs, row: verbs.delete_many([Todo(title="x", user_id=row.user_id, id=row.id)]),
            lambda verbs, row: verbs.update(Todo(title="new", user_id=row.user_id, id=row.id)),
            lambda verbs, row: verbs.update({"title": "new"}, item_id=(row.user_id, row.id)),
            lambda verbs, row: verbs.upsert({"title": "new", "user_id": row.user_id, "id": row.id}),
            lambda verbs, row: verbs.upsert_many([{"title": "new", "user_id": row.user_id, "id": row.id}]),
            lambda verbs, row: verbs.update_many([{"title": "new", "user_id": row.user_id, "id": row.id}]),
            lambda verbs, row: verbs.get_or_upsert(match_fields=["id"], id=uuid4(), user_id=row.user_id, title="new"),
        ],
    )
    async def test_for_a_key_of_another_is_refused(
        self, database: Database, service: TodoService, other: Stored, call: Callable[..., Awaitable[Any]]
    ) -> None:
        before = await stored(database, other.user_id)
        with pytest.raises(REFUSED):
            await call(service, other)
        assert await stored(database, other.user_id) == before

    @pytest.mark.parametrize(
        "call",
        [
            lambda verbs, _: verbs.get_many(or_(col(Todo.title) != "x", true())),
            lambda verbs, _: verbs.get_many(true()),
            lambda verbs, _: verbs.get_many(statement=select(Todo)),
            lambda verbs, _: verbs.get_many(statement=select(Todo).execution_options(unscoped="hostile")),
            lambda verbs, row: verbs.get_many(execution_options={"unscoped": "hostile", "owner": row.user_id}),
            lambda verbs, _: verbs.get_many(load="*", uniquify=True),
            lambda verbs, _: verbs.get_many(order_by=("title", True)),
            lambda verbs, _: verbs.get_many(SearchFilter("title", "o", ignore_case=True), LimitOffset(10, 0)),
            lambda verbs, row: verbs.get_many(CollectionFilter("id", [row.id]), MultiFilter({"or_": []})),
            lambda verbs, _: verbs.list_and_count(statement=select(Todo)),
            lambda verbs, _: verbs.count(statement=select(Todo)),
            lambda verbs, row: verbs.delete_where(Todo.id == row.id, sanity_check=False),
            lambda verbs, row: verbs.delete_many([row.title], id_attribute="title"),
        ],
    )
    async def test_with_wide_filters_meets_own_rows_only(
        self, database: Database, service: TodoService, own: Stored, other: Stored, call: Callable[..., Awaitable[Any]]
    ) -> None:
        before = [await stored(database, row.user_id) for row in (other, own)]
        with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
            result = seen(await call(service, other))
        assert result in ([], ["stored"], (["stored"], 1), 1)
        assert [await stored(database, row.user_id) for row in (other, own)] == before

    async def test_delete_where_true_deletes_own_rows_only(
        self, database: Database, service: TodoService, own: Stored, other: Stored
    ) -> None:
        before = await stored(database, other.user_id)
        assert seen(await service.delete_where(true())) == ["stored"]
        assert await stored(database, own.user_id) == []
        assert await stored(database, other.user_id) == before

    @pytest.mark.parametrize(
        "call",
        [
            lambda verbs, own, row: verbs.update({"user_id": row.user_id, "title": "given away"}, item_id=own.id),
            lambda verbs, own, row: verbs.update_many([{"id": own.id, "user_id": row.user_id}]),
            lambda verbs, own, row: verbs.get_and_update(match_fields="id", id=own.id, user_id=row.user_id),
            lambda verbs, own, row: verbs.get_or_upsert(match_fields="id", id=own.id, user_id=row.user_id),
        ],
    )
    async def test_never_gives_a_row_to_another(
        self,
        databases: dict[str, Database],
        call: Callable[..., Awaitable[Any]],
    ) -> None:
        for database in (databases[GUARDED], databases[SECURED]):
            own, other = await new_row(database, "alice", "stored"), await new_row(database, "bob", "of another")
            service = service_of(database, own.user_id)
            before = [await stored(database, row.user_id) for row in (other, own)]
            with pytest.raises(REFUSED):
                await call(service, own, other)
            assert [await stored(database, row.user_id) for row in (other, own)] == before

    async def test_session_get_is_refused(self, databases: dict[str, Database]) -> None:
        for database in (databases[GUARDED], databases[SECURED]):
            own, other = await new_row(database, "alice", "stored"), await new_row(database, "bob", "of another")
            for options in ({}, {"unscoped": "hostile"}):
                with pytest.raises(REFUSED):
                    async with (session := database.session(own.user_id)).atomic():
                        await session.get(Todo, (other.user_id, other.id), execution_options=options)
