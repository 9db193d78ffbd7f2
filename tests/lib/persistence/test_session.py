"""One transaction at most, committed before the answer; and what the database's own errors become."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from litestar import Litestar
from sqlalchemy import Integer, Text, TextClause, bindparam, select, text
from sqlalchemy.exc import DBAPIError

from app.db.config import Database
from app.db.migrate import migrate
from app.domain.todos.services import TodoService
from app.lib.errors import Conflict, FieldError, Invalid, NotFound, Unavailable
from app.lib.persistence.session import MAX_ATTEMPTS, Session
from app.lib.settings import Settings
from app.main import create_app
from tests.asgi import asgi_transport
from tests.support import SECRET, Client, admin_url, assert_problem, running, token_for

TITLE_TAKEN = FieldError("Taken", pointer="/title")


@pytest.fixture(scope="module")
async def own_url(new_database: Callable[[], Any]) -> str:
    """Give a migrated database of this module's own, where things may break."""
    url: str = await new_database()
    database = Database(settings_of(url))
    await migrate(database)
    await database.close()
    return url


def settings_of(url: str, **options: Any) -> Settings:
    return Settings(environment="test", database_url=url, better_auth_secret=SECRET, **options)


@pytest.fixture
async def admin(own_url: str) -> AsyncIterator[asyncpg.Connection]:
    """Give a connection beside the application's."""
    connection = await asyncpg.connect(admin_url(own_url))
    yield connection
    await connection.close()


@pytest.fixture
async def own_app(own_url: str) -> AsyncIterator[Litestar]:
    async with running(create_app(settings_of(own_url))) as app:
        yield app


@pytest.fixture
async def carol(own_app: Litestar) -> AsyncIterator[Client]:
    """Give a client of a new user on the database that may break."""
    user_id = f"carol-{uuid4()}"
    transport = asgi_transport(own_app)
    headers = {"Authorization": f"Bearer {token_for(user_id)}"}
    async with Client(user_id, transport=transport, headers=headers) as client:
        yield client


@pytest.fixture
def session(own_app: Litestar) -> Session:
    made: Session = own_app.state.database.session(unscoped="tests")
    return made


async def end_connections(app: Litestar, admin: asyncpg.Connection) -> int:
    """Let the server end every other connection to this database, and wait until both sides know."""
    others = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    ended = len(await admin.fetch(f"SELECT pg_terminate_backend(pid) {others} AND backend_type = 'client backend'"))
    while await admin.fetchval(f"SELECT count(*) {others}"):  # noqa: ASYNC110 - the server tells no event
        await asyncio.sleep(0.01)
    for record in app.state.database.engine.pool._pool._queue._queue:
        while not record.dbapi_connection.driver_connection.is_closed():  # noqa: ASYNC110 - nor does asyncpg
            await asyncio.sleep(0.01)
    return ended


def raising(state: str) -> Any:
    return text(f"DO $$ BEGIN RAISE EXCEPTION 'hunter2' USING ERRCODE = '{state}'; END $$")


class TestTranslation:
    @pytest.mark.parametrize(
        "state",
        [
            "08006",
            "08003",
            "25006",
            "26000",
            "28P01",
            "3D000",
            "3F000",
            "40001",
            "40P01",
            "42703",
            "42P01",
            "53300",
            "53100",
            "55P03",
            "57014",
            "57P01",
            "57P03",
        ],
    )
    async def test_transient_errors_are_unavailable(self, session: Session, state: str) -> None:
        for run in (session.read, session.write):
            with pytest.raises(Unavailable):
                await run(raising(state), {})

    @pytest.mark.parametrize("state", ["42501", "XX000", "P0001", "0A000"])
    async def test_programming_errors_are_not_translated(self, session: Session, state: str) -> None:
        with pytest.raises(DBAPIError):
            await session.write(raising(state), {})
        with pytest.raises(DBAPIError):
            async with session.atomic():
                await session.write(raising(state), {})

    @pytest.mark.parametrize("state", ["22003", "22008", "22012", "22021", "22P05"])
    async def test_out_of_range_value_is_invalid(self, session: Session, state: str) -> None:
        for run in (session.read, session.write):
            with pytest.raises(Invalid):
                await run(raising(state), {})

    async def test_parameter_refused_by_the_driver_is_invalid(self, session: Session) -> None:
        for kind, value in ((Integer, 2**40), (Integer, "x"), (Text, 1), (Text, "\ud800")):
            with pytest.raises(Invalid):
                await session.read(select(bindparam("value", type_=kind)), {"value": value})

    async def test_unique_and_foreign_key_violations_are_conflicts(self, session: Session) -> None:
        for state in ("23505", "23503"):
            with pytest.raises(Conflict):
                await session.write(raising(state), {})

    async def test_violated_constraint_is_known_by_name(self, session: Session, admin: asyncpg.Connection) -> None:
        await admin.execute("CREATE TABLE IF NOT EXISTS unique_titles (title text CONSTRAINT uq_t UNIQUE)")
        await admin.execute("INSERT INTO unique_titles VALUES ('x') ON CONFLICT DO NOTHING")
        insert = text("INSERT INTO unique_titles VALUES ('x')")
        with pytest.raises(Invalid) as invalid:
            await session.write(insert, {}, {"uq_t": TITLE_TAKEN})
        assert invalid.value.errors == [TITLE_TAKEN]
        with pytest.raises(NotFound):
            await session.write(insert, {}, {"uq_t": NotFound()})
        with pytest.raises(Conflict):
            await session.write(insert, {}, {"another": TITLE_TAKEN})
        with pytest.raises(Invalid):
            async with session.atomic({"uq_t": TITLE_TAKEN}):
                await session.write(insert, {})

    async def test_violated_deferred_constraint_is_known_by_name(
        self, session: Session, admin: asyncpg.Connection
    ) -> None:
        await admin.execute("DROP TABLE IF EXISTS late")
        await admin.execute("CREATE TABLE late (n int CONSTRAINT uq_late UNIQUE DEFERRABLE INITIALLY DEFERRED)")
        insert = text("INSERT INTO late VALUES (1), (1)")
        with pytest.raises(Invalid):
            await session.write(insert, {}, {"uq_late": TITLE_TAKEN})
        with pytest.raises(Invalid):
            async with session.atomic({"uq_late": TITLE_TAKEN}):
                await session.write(insert, {})
        assert await admin.fetchval("SELECT count(*) FROM late") == 0

    async def test_statement_timeout_is_unavailable(self, own_url: str) -> None:
        database = Database(settings_of(own_url, database_statement_timeout=0.05))
        with pytest.raises(Unavailable):
            await database.session(unscoped="tests").read(text("SELECT pg_sleep(5)"), {})
        await database.close()

    async def test_exhausted_pool_is_unavailable(self, own_url: str) -> None:
        options = {"database_pool_size": 1, "database_pool_overflow": 0, "database_pool_timeout": 1}
        database = Database(settings_of(own_url, **options))
        async with database.begin(unscoped="tests"):
            with pytest.raises(Unavailable):
                await database.session(unscoped="tests").read(text("SELECT 1"), {})
        assert (await database.session(unscoped="tests").read(text("SELECT 1"), {}))[0][0] == 1
        await database.close()


class TestRetry:
    @pytest.fixture
    async def flaky(self, admin: asyncpg.Connection) -> Callable[..., TextClause]:
        """Give a statement that fails to serialize until it was tried so many times."""
        await admin.execute("DROP SEQUENCE IF EXISTS tries")
        await admin.execute("CREATE SEQUENCE tries")
        await admin.execute("""
            CREATE OR REPLACE FUNCTION flaky(enough int, state text) RETURNS bigint LANGUAGE plpgsql AS $$
            DECLARE tried bigint := nextval('tries');
            BEGIN
                IF tried < enough AND state = 'cut' THEN
                    PERFORM pg_terminate_backend(pg_backend_pid());
                    PERFORM pg_sleep(5);
                END IF;
                IF tried < enough THEN RAISE EXCEPTION 'again' USING ERRCODE = state; END IF;
                RETURN tried;
            END $$""")

        def statement(enough: int, state: str = "40001") -> TextClause:
            return text(f"SELECT flaky({enough}, '{state}')")

        return statement

    @pytest.mark.parametrize("state", ["40001", "40P01"])
    async def test_serialization_failure_is_retried(
        self, session: Session, flaky: Callable[..., TextClause], state: str
    ) -> None:
        assert (await session.write(flaky(MAX_ATTEMPTS, state), {}))[0][0] == MAX_ATTEMPTS

    @pytest.mark.parametrize("state", ["cut", "57P01"])
    async def test_read_is_retried_on_another_connection(
        self, session: Session, flaky: Callable[..., TextClause], state: str
    ) -> None:
        assert (await session.read(flaky(2, state), {}))[0][0] == 2

    async def test_write_with_a_lost_connection_is_not_retried(
        self, session: Session, flaky: Callable[..., TextClause], admin: asyncpg.Connection
    ) -> None:
        with pytest.raises(Unavailable):
            await session.write(flaky(1000, "cut"), {})
        assert await admin.fetchval("SELECT last_value FROM tries") == 1

    async def test_retries_are_bounded(
        self, session: Session, flaky: Callable[..., TextClause], admin: asyncpg.Connection
    ) -> None:
        with pytest.raises(Unavailable):
            await session.write(flaky(1000), {})
        assert await admin.fetchval("SELECT last_value FROM tries") == MAX_ATTEMPTS

    async def test_other_errors_are_not_retried(
        self, session: Session, flaky: Callable[..., TextClause], admin: asyncpg.Connection
    ) -> None:
        for state, error in (("57014", Unavailable), ("23505", Conflict), ("XX000", DBAPIError)):
            before = await admin.fetchval("SELECT last_value FROM tries")
            with pytest.raises(error):
                await session.write(flaky(1000, state), {})
            assert await admin.fetchval("SELECT last_value FROM tries") <= before + 1

    async def test_statement_within_a_transaction_is_not_retried(
        self, session: Session, flaky: Callable[..., TextClause]
    ) -> None:
        with pytest.raises(Unavailable):
            async with session.atomic():
                await session.write(flaky(2), {})

    async def test_concurrent_writers_of_one_row_all_succeed(self, carol: Client) -> None:
        todo = await carol.create()
        paths = [carol.todos(todo["id"], "toggle-complete")] * 20
        answers = await asyncio.gather(*(carol.post(path) for path in paths))
        assert [answer.status_code for answer in answers] == [200] * 20
        assert (await carol.get(carol.todos(todo["id"]))).json()["version"] == 21


class TestAtomic:
    async def test_outermost_atomic_block_commits(self, session: Session, admin: asyncpg.Connection) -> None:
        await admin.execute("CREATE TABLE IF NOT EXISTS things (n int)")
        await admin.execute("TRUNCATE things")
        async with session.atomic():
            async with session.atomic():
                await session.write(text("INSERT INTO things VALUES (1)"), {})
            assert await admin.fetchval("SELECT count(*) FROM things") == 0
            assert (await session.read(text("SELECT count(*) FROM things"), {}))[0][0] == 1
        assert await admin.fetchval("SELECT count(*) FROM things") == 1

    async def test_callbacks_run_after_the_commit(self, session: Session) -> None:
        done: list[str] = []
        async with session.atomic():
            await session.write(text("SELECT 1"), {})
            session.once_committed(lambda: done.append("after"))
            assert done == []
        assert done == ["after"]
        async with session.atomic():
            await session.write(text("SELECT 1"), {})
        session.once_committed(lambda: done.append("now"))
        assert done == ["after", "now"]

    async def test_callbacks_do_not_run_after_a_rollback(self, session: Session) -> None:
        async def fail() -> None:
            async with session.atomic():
                await session.write(text("SELECT 1"), {})
                session.once_committed(lambda: pytest.fail("was not committed"))
                raise NotFound

        with pytest.raises(NotFound):
            await fail()

    async def test_error_rolls_back_the_atomic_block(self, session: Session, admin: asyncpg.Connection) -> None:
        await admin.execute("CREATE TABLE IF NOT EXISTS things (n int)")
        await admin.execute("TRUNCATE things")

        async def change_and_fail() -> None:
            async with session.atomic():
                await session.write(text("INSERT INTO things VALUES (1)"), {})
                raise NotFound

        with pytest.raises(NotFound):
            await change_and_fail()
        assert await admin.fetchval("SELECT count(*) FROM things") == 0
        await session.write(text("INSERT INTO things VALUES (2)"), {})
        assert await admin.fetchval("SELECT n FROM things") == 2


class TestLostConnection:
    async def test_idle_lost_connection_is_replaced(
        self, own_app: Litestar, carol: Client, admin: asyncpg.Connection
    ) -> None:
        todo = await carol.create()
        for method, path in (("GET", carol.todos()), ("POST", carol.todos()), ("DELETE", carol.todos(todo["id"]))):
            await asyncio.gather(*(carol.get(carol.todos()) for _ in range(8)))
            assert await end_connections(own_app, admin) > 1
            answers = await asyncio.gather(*(carol.get(carol.todos()) for _ in range(2)))
            assert [answer.status_code for answer in answers] == [200, 200]
            assert await end_connections(own_app, admin) > 0
            assert (await carol.request(method, path, json={"title": "x"})).is_success

    async def test_connection_lost_within_a_statement_is_unavailable(self, session: Session) -> None:
        suicide = text("SELECT pg_terminate_backend(pg_backend_pid())")
        for run in (session.read, session.write):
            with pytest.raises(Unavailable):
                await run(suicide, {})
        with pytest.raises(Unavailable):
            async with session.atomic():
                await session.write(suicide, {})
        assert (await session.read(text("SELECT 1"), {}))[0][0] == 1

    async def test_recovered_database_is_used_again(self, own_url: str, carol: Client) -> None:
        todo = await carol.create()
        name = own_url.rpartition("/")[2].partition("?")[0]
        outside = await asyncpg.connect(admin_url(own_url).replace(name, "postgres"))
        await outside.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
        await outside.execute(f'ALTER DATABASE "{name}" RENAME TO "{name}_away"')
        for method, path in (("GET", carol.todos()), ("POST", carol.todos()), ("GET", "/api/health")):
            assert_problem(await carol.request(method, path, json={"title": "x"}), 503)
        await outside.execute(f'ALTER DATABASE "{name}_away" RENAME TO "{name}"')
        await outside.close()
        assert (await carol.get(carol.todos(todo["id"]))).json() == todo


class TestLostCommit:
    """The answer is not decided before COMMIT has succeeded."""

    @pytest.fixture
    async def at_commit(self, admin: asyncpg.Connection) -> AsyncIterator[Callable[[str], Any]]:
        """Give a function that makes every commit of a change to todos run some PL/pgSQL first."""

        async def install(body: str) -> None:
            await admin.execute(f"""
                CREATE OR REPLACE FUNCTION at_commit() RETURNS trigger LANGUAGE plpgsql AS $$
                BEGIN {body}; RETURN NULL; END $$""")
            await admin.execute("""
                CREATE CONSTRAINT TRIGGER at_commit AFTER INSERT OR UPDATE OR DELETE ON app.todos
                DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION at_commit()""")

        yield install
        await admin.execute("DROP TRIGGER IF EXISTS at_commit ON app.todos")

    @pytest.mark.parametrize(
        ("body", "status"),
        [
            ("PERFORM pg_terminate_backend(pg_backend_pid()); PERFORM pg_sleep(5)", 503),
            ("RAISE EXCEPTION 'hunter2' USING ERRCODE = '23514'", 422),
            ("RAISE EXCEPTION 'hunter2' USING ERRCODE = '23502'", 422),
            ("RAISE EXCEPTION 'hunter2' USING ERRCODE = '40001'", 503),
            ("RAISE EXCEPTION 'hunter2' USING ERRCODE = '23505'", 409),
        ],
    )
    async def test_lost_commit_is_never_a_success(
        self, carol: Client, at_commit: Callable[[str], Any], body: str, status: int
    ) -> None:
        todo = await carol.create(title="as it was")
        one = carol.todos(todo["id"])
        await at_commit(body)
        for method, path in (
            ("POST", carol.todos()),
            ("PUT", one),
            ("PATCH", one),
            ("DELETE", one),
            ("POST", f"{one}/toggle-complete"),
            ("POST", f"{one}/complete"),
        ):
            response = await carol.request(method, path, json={"title": "changed"})
            assert_problem(response, status)
            assert "hunter2" not in response.text
        assert (await carol.get(carol.todos())).json()["items"] == [todo]

    async def test_lost_commit_of_a_first_request_is_retried(
        self, carol: Client, at_commit: Callable[[str], Any], admin: asyncpg.Connection
    ) -> None:
        await at_commit("RAISE EXCEPTION 'x' USING ERRCODE = '40001'")
        assert_problem(await carol.post(carol.todos(), json={"title": "x"}), 503)
        assert await admin.fetchval("SELECT count(*) FROM app.users WHERE id = $1", carol.user_id) == 1


class TestCancelled:
    async def test_disconnected_client_leaves_no_connection_checked_out(self, own_app: Litestar) -> None:
        session = own_app.state.database.session(unscoped="tests")
        for run in (session.read, session.write):
            task = asyncio.create_task(run(text("SELECT pg_sleep(10)"), {}))
            await asyncio.sleep(0.05)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert own_app.state.database.engine.pool.checkedout() == 0
        assert (await session.read(text("SELECT 1"), {}))[0][0] == 1

    async def test_cancelled_transaction_is_rolled_back(self, own_app: Litestar, admin: asyncpg.Connection) -> None:
        await admin.execute("CREATE TABLE IF NOT EXISTS cancelled (n int)")

        async def work() -> None:
            session = own_app.state.database.session(unscoped="tests")
            async with session.atomic():
                await session.write(text("INSERT INTO cancelled VALUES (1)"), {})
                await asyncio.sleep(10)

        task = asyncio.create_task(work())
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await admin.fetchval("SELECT count(*) FROM cancelled") == 0
        assert own_app.state.database.engine.pool.checkedout() == 0


class TestLostBetweenUsers:
    async def test_service_keeps_no_user_of_a_previous_request(self, own_app: Litestar, carol: Client) -> None:
        todo = await carol.create()
        other = TodoService(own_app.state.database.session("dave"), "dave", own_app.state.cursor_seal)
        with pytest.raises(NotFound):
            await other.fetch(todo["id"])
        with pytest.raises(NotFound):
            await other.remove(todo["id"])
        assert (await carol.get(carol.todos(todo["id"]))).json() == todo
