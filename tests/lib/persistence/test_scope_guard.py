"""The tripwire: what is not bound to its session's user is not sent. And who is allowed to say otherwise."""

import ast
from collections.abc import Iterator
from typing import Any

import pytest
from litestar import Litestar
from sqlalchemy import Text, bindparam, column, delete, func, insert, literal, select, table, text, update
from sqlalchemy.schema import CreateTable
from sqlalchemy.sql.compiler import SQLCompiler
from structlog.testing import capture_logs
from uuid_utils.compat import uuid7

from app.db.config import Database
from app.domain.todos.services import TodoService
from app.lib.persistence.scope_analysis import Owners, owner_parameters
from app.lib.persistence.scope_guard import UnscopedStatement
from app.lib.settings import PROJECT
from tests.factories import todo_rows, todos, users
from tests.support import Client, assert_problem

# Who works on the rows of several users, and what for. Whoever joins this list explains it in review.
UNSCOPED = {
    ("app/db/config.py", "make an ordinary role"),
    ("app/db/migrate.py", "compare the models"),
    ("app/db/migrate.py", "migrate"),
    ("app/db/purging.py", "purge"),
    ("app/db/seeding.py", "seed"),
    ("app/db/suitability.py", "check the encoding"),
    ("app/domain/system/checks.py", "check the encoding"),
    ("app/domain/system/checks.py", "check row-level security"),
    ("app/domain/system/checks.py", "check time zones"),
    ("app/domain/users/commands.py", "erase a user"),
    ("app/domain/users/commands.py", "import a user"),
    ("app/domain/users/administration.py", "administer users"),
    ("app/domain/users/administration.py", "look at all users"),
}

owner = bindparam("owner", type_=Text)
MINE = select(todos.c.title).where(todos.c.user_id == owner)


@pytest.fixture
def database(app: Litestar) -> Database:
    made: Database = app.state.database
    return made


class TestRefusal:
    @pytest.mark.parametrize(
        ("statement", "values"),
        [
            (select(todos.c.title), {}),
            (select(todos.c.title).where(todos.c.id == bindparam("key")), {"key": uuid7()}),
            (select(users.c.email), {}),
            (MINE, {"owner": "bob"}),
            (MINE.where(todos.c.user_id == "bob"), {"owner": "alice"}),
            (update(todos).values(title="x"), {}),
            (delete(todos).where(todos.c.user_id == owner), {"owner": "bob"}),
            (insert(todos), {"user_id": "bob", "title": "x"}),
            (text("SELECT 1"), {}),
        ],
    )
    async def test_statement_for_another_user_is_not_sent(
        self, database: Database, statement: Any, values: Any
    ) -> None:
        session = database.session("alice")
        for run in (session.read, session.write):
            with pytest.raises(UnscopedStatement):
                await run(statement, values)
        with pytest.raises(UnscopedStatement):
            async with session.atomic():
                await session.write(statement, values)
        with pytest.raises(UnscopedStatement):
            async with session.atomic():
                await session.execute(statement, values)

    async def test_table_of_a_schema_that_is_renamed_is_not_sent(self, database: Database) -> None:
        statement = select(table("todos", column("title"), schema="mine").c.title)
        with pytest.raises(UnscopedStatement):
            async with (session := database.session("alice")).atomic():
                await session.execute(statement, execution_options={"schema_translate_map": {"mine": "app"}})

    async def test_every_inserted_row_must_belong_to_the_user(self, database: Database) -> None:
        rows = [{"user_id": name, "title": "x"} for name in ("alice", "bob")]
        for kind in (insert(todos), insert(todos).returning(todos.c.id)):
            with pytest.raises(UnscopedStatement):
                async with (session := database.session("alice")).atomic():
                    await session.execute(kind, rows)

    async def test_session_without_user_reaches_only_unowned_tables(self, database: Database) -> None:
        session = database.session()
        for values in ({"owner": "alice"}, {"owner": None}):
            with pytest.raises(UnscopedStatement):
                await session.read(MINE, values)
        assert (await session.read(select(literal(1)), {}))[0][0] == 1

    async def test_connections_of_the_session_are_guarded(self, database: Database) -> None:
        for engine in (database.engine, database.reader):
            async with engine.connect() as connection:
                with pytest.raises(UnscopedStatement):
                    await connection.execute(MINE, {"owner": "alice"})
                with pytest.raises(UnscopedStatement):
                    await connection.exec_driver_sql("SELECT 1")
                with pytest.raises(UnscopedStatement):
                    await connection.execute(CreateTable(todos))

    async def test_refused_statement_does_not_reach_the_database(self, database: Database, alice: Client) -> None:
        await alice.create()
        with pytest.raises(UnscopedStatement):
            await database.session("eve").write(delete(todos).where(todos.c.user_id == owner), {"owner": alice.user_id})
        with pytest.raises(UnscopedStatement):
            await database.session("eve").write(delete(todos), {})
        assert len((await alice.get(alice.todos())).json()["items"]) == 1

    async def test_refused_statement_is_a_logged_500(
        self, alice: Client, bob: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        todo = await alice.create(title="hunter2")
        row = todos.c.id == bindparam("key")
        monkeypatch.setattr(TodoService.statements, "get", select(*TodoService.statements._columns).where(row))
        with capture_logs() as logs:
            answer = await bob.get(bob.todos(todo["id"]))
        assert_problem(answer, 500)
        assert "hunter2" not in answer.text
        assert "app.todos" not in answer.text
        refused = next(event for event in logs if event["event"] == "unscoped statement refused")
        assert refused["reason"] == "app.todos is not bound by user_id = :owner"


class TestCost:
    async def test_statement_is_analyzed_once(
        self, database: Database, alice: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        checked: list[SQLCompiler] = []

        def check(compiled: SQLCompiler, owners: Owners) -> frozenset[str]:
            checked.append(compiled)
            return owner_parameters(compiled, owners)

        monkeypatch.setattr("app.lib.persistence.scope_guard.owner_parameters", check)
        new = select(func.count().label(f"count_of_{alice.user_id.replace('-', '_')}")).where(todos.c.user_id == owner)
        for name in ("alice", "bob", "carol") * 3:
            await database.session(name).read(new, {"owner": name})
        assert len(checked) == 1

    async def test_refusal_is_cached(self, database: Database) -> None:
        for _ in range(2):
            with pytest.raises(UnscopedStatement):
                await database.session("alice").read(select(todos.c.position), {})


class TestOptOut:
    async def test_unscoped_session_needs_a_reason(self, database: Database) -> None:
        with pytest.raises(UnscopedStatement):
            await database.session(unscoped="").read(select(todos.c.title), {})
        with pytest.raises(ValueError, match="either"):
            database.session("alice", unscoped="tests")

    async def test_unscoped_session_sees_all_users(self, database: Database, alice: Client, bob: Client) -> None:
        ids = {(await client.create())["id"] for client in (alice, bob)}
        rows = await database.session(unscoped="tests").read(select(todos.c.id), {})
        assert ids <= {str(row[0]) for row in rows}

    async def test_unscoped_mode_ends_with_its_connection(
        self, app: Litestar, database: Database, alice: Client
    ) -> None:
        await alice.create()
        async with database.begin(unscoped="tests") as connection:
            await connection.execute(select(todos.c.title))
        for _ in range(app.state.settings.database_pool_size + 1):
            with pytest.raises(UnscopedStatement):
                await database.session("alice").read(select(todos.c.title), {})
        assert len(await todo_rows(app, alice.user_id)) == 1

    def test_unscoped_sessions_are_only_the_listed_ones(self) -> None:
        assert set(opted_out()) == UNSCOPED

    def test_no_code_bypasses_the_session(self) -> None:
        assert set(bypasses()) == set()


def sources() -> Iterator[tuple[str, ast.AST]]:
    for path in sorted((PROJECT / "app").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            yield path.relative_to(PROJECT).as_posix(), node


def opted_out() -> Iterator[tuple[str, str]]:
    """Find every `unscoped="…"` and `.unscoped("…")` of the application; what is no plain string shows as code."""
    for file, node in sources():
        if isinstance(node, ast.keyword) and node.arg == "unscoped":
            value = node.value
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "unscoped":
            value = node.args[0]
        else:
            continue
        yield file, str(value.value) if isinstance(value, ast.Constant) else ast.unparse(value)


def bypasses() -> Iterator[str]:
    """Find what takes the engine, an option of the tripwire or the driver, outside of the places that make them."""
    own = {
        "app/db/config.py",
        "app/db/row_security.py",
        "app/lib/persistence/session.py",
        "app/lib/persistence/scope_guard.py",
    }
    driver = {"app/db/bulk.py"}
    for file, node in sources():
        if isinstance(node, ast.Attribute) and node.attr in ("engine", "sync_engine", "execution_options"):
            if file not in own:
                yield f"{file}: {ast.unparse(node)}"
        elif isinstance(node, ast.Attribute) and node.attr in ("driver_connection", "get_raw_connection"):
            if file not in own | driver:
                yield f"{file}: {ast.unparse(node)}"
        elif isinstance(node, ast.Name) and node.id == "UNSCOPED" and file not in own:
            yield f"{file}: UNSCOPED"
