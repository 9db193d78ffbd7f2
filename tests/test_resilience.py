"""What was answered stays true: through kills, outages, and clients that leave."""

import asyncio
import signal
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

import asyncpg
import httpx
import psutil
import pytest
from litestar import Litestar
from msgspec import Struct
from sqlalchemy import make_url

from app.db.config import Database
from app.db.embedded import EmbeddedPostgres
from app.db.migrate import migrate
from app.lib.settings import Settings
from app.main import create_app
from tests.asgi import asgi_transport
from tests.live import Server, environment, fetch, free_port, listening, query, until, wait_until
from tests.support import SECRET, Client, admin_url, assert_problem, running, token_for

WRITERS = 8
ANSWERS_BEFORE_THE_END = 100
LOCKED = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


def make_settings(url: str, **changes: Any) -> Settings:
    given = {"database_url": url, "better_auth_secret": SECRET, "environment": "test", "log_level": "error"}
    return Settings(_env_file=None, **given | changes)


@pytest.fixture
async def url(new_database: Callable[[], Any]) -> str:
    """The URL of a migrated database."""
    url: str = await new_database()
    database = Database(make_settings(url))
    await migrate(database)
    await database.close()
    return url


class Writers:
    """Clients that create todos as fast as they can, and remember what they were told."""

    def __init__(self, server: Server) -> None:
        self._url = f"{server.url}/api/writer/todos"
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._write) for _ in range(WRITERS)]
        self.created: set[str] = set()
        self.answers: list[tuple[int, str]] = []

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _write(self) -> None:
        with httpx.Client(headers={"Authorization": f"Bearer {token_for('writer')}"}, timeout=60) as client:
            while not self._over.is_set():
                try:
                    answer = client.post(self._url, json={"title": "Written"})
                except httpx.TransportError:
                    return
                kind = answer.headers["content-type"] if "retry-after" in answer.headers else ""
                self.answers.append((answer.status_code, kind))
                if answer.status_code == 201:
                    self.created.add(answer.json()["id"])

    def wait_for(self, status: int, more: int) -> None:
        """Wait until so many more answers have this status."""

        def count() -> int:
            return [status for status, _ in self.answers].count(status)

        goal = count() + more
        wait_until(lambda: count() >= goal)


class Aftermath(Struct):
    """What the clients were told, and what there was."""

    told: set[str]
    kept: set[str]
    answers: list[tuple[int, str]]


def postmaster(directory: Path) -> psutil.Process:
    return psutil.Process(int((directory / "postgres/data/postmaster.pid").read_text().split()[0]))


def list_ids(url: str) -> set[str]:
    return {str(row[0]) for row in query(url, "SELECT id FROM app.todos WHERE user_id = 'writer'")}


@pytest.fixture(scope="module")
def survival(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Aftermath]:
    """Kill PostgreSQL under a server that writes, then the server too, and start again."""
    directory = tmp_path_factory.mktemp("embedded").resolve()
    env = environment(data_dir=directory, better_auth_secret=SECRET, log_level="error")
    with Server(env) as server, Writers(server) as writers:
        writers.wait_for(201, more=ANSWERS_BEFORE_THE_END)
        postmaster(directory).kill()
        writers.wait_for(503, more=1)
        writers.wait_for(201, more=ANSWERS_BEFORE_THE_END)
        with EmbeddedPostgres(directory / "postgres") as url:
            outage = Aftermath(set(writers.created), list_ids(url), list(writers.answers))
        server.kill()
    wait_until(
        lambda: not any(str(directory) in " ".join(p.info["cmdline"] or ()) for p in psutil.process_iter(["cmdline"]))
    )
    with Server(env), EmbeddedPostgres(directory / "postgres") as url:
        kill = Aftermath(writers.created, list_ids(url), writers.answers)
    return {"outage": outage, "kill": kill}


class TestKilled:
    def test_acknowledged_todos_survive_a_killed_server(self, survival: dict[str, Aftermath]) -> None:
        assert len(survival["kill"].told) >= 2 * ANSWERS_BEFORE_THE_END
        assert survival["kill"].told <= survival["kill"].kept

    def test_unacknowledged_todos_are_requests_in_flight(self, survival: dict[str, Aftermath]) -> None:
        assert len(survival["outage"].kept - survival["kill"].told) <= 2 * WRITERS

    def test_acknowledged_todos_survive_a_killed_postgresql(self, survival: dict[str, Aftermath]) -> None:
        assert survival["outage"].told <= survival["outage"].kept

    def test_killed_postgresql_gives_only_201_and_503(self, survival: dict[str, Aftermath]) -> None:
        assert set(survival["kill"].answers) == {(201, ""), (503, "application/problem+json")}


class Cable:
    """The way to a database over TCP, which can be cut and mended."""

    def __init__(self, url: str) -> None:
        self._target = make_url(url)
        self._port = free_port()
        self._server: asyncio.Server | None = None
        self._ends: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._flows = asyncio.Event()
        self._flows.set()
        self.url = self._target.set(
            drivername="postgresql", host="127.0.0.1", port=self._port, query={"sslmode": "disable"}
        ).render_as_string(hide_password=False)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.cut()

    async def mend(self) -> None:
        self._server = await asyncio.start_server(self._connect, "127.0.0.1", self._port)

    def silence(self) -> None:
        """Let nothing through, and tell nobody: a firewall that drops, a host that is gone."""
        self._flows.clear()

    async def cut(self) -> None:
        self._flows.set()
        if self._server:
            self._server.close()
        for end in self._ends:
            end.transport.abort()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, port = self._target.query.get("host", self._target.host), self._target.port or 5432
        if str(host).startswith("/"):
            far_reader, far_writer = await asyncio.open_unix_connection(f"{host}/.s.PGSQL.5432")
        else:
            far_reader, far_writer = await asyncio.open_connection(str(host), port)
        self._ends |= {writer, far_writer}
        for source, sink in ((reader, far_writer), (far_reader, writer)):
            task = asyncio.create_task(self._carry(source, sink))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _carry(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(65536):
                await self._flows.wait()
                sink.write(data)
                await sink.drain()
        except OSError:
            pass
        finally:
            sink.transport.abort()
            self._ends.discard(sink)


@asynccontextmanager
async def application(url: str, **changes: Any) -> AsyncIterator[tuple[Litestar, Client]]:
    """Run an application, and give a client of it."""
    async with running(create_app(make_settings(url, **changes))) as app:
        transport = asgi_transport(app)
        headers = {"Authorization": f"Bearer {token_for('alice')}"}
        async with Client("alice", transport=transport, headers=headers) as client:
            yield app, client


def checked_out(app: Litestar) -> int:
    count: int = app.state.database.engine.pool.checkedout()
    return count


class TestOutage:
    async def test_outage_gives_only_503_and_then_2xx(self, url: str) -> None:
        async with Cable(url) as cable, application(cable.url) as (app, client):
            await cable.mend()
            over = asyncio.Event()
            answers: list[httpx.Response] = []

            async def load(write: bool) -> None:
                while not over.is_set():
                    body = {"title": "Under load"}
                    answers.append(
                        await (client.post(client.todos(), json=body) if write else client.get(client.todos()))
                    )
                    await asyncio.sleep(0)

            async def more(status: set[int]) -> None:
                start = len(answers)
                await until(lambda: [a.status_code in status for a in answers[start:]].count(True) >= 50)

            tasks = [asyncio.create_task(load(write=bool(number % 2))) for number in range(8)]
            for _ in range(2):
                await more({200, 201})
                await cable.cut()
                await more({503})
                await cable.mend()
            await more({200, 201})
            over.set()
            await asyncio.gather(*tasks)
            assert {answer.status_code for answer in answers} == {200, 201, 503}
            for answer in answers:
                if answer.status_code == 503:
                    assert_problem(answer, 503)
                    assert int(answer.headers["retry-after"]) > 0
            told = {answer.json()["id"] for answer in answers if answer.status_code == 201}
            kept = {str(row[0]) for row in await fetch(url, "SELECT id FROM app.todos")}
            assert told <= kept
            assert checked_out(app) == 0

    async def test_server_starts_without_its_database(self, url: str) -> None:
        async with Cable(url) as cable, application(cable.url) as (_, client):
            assert_problem(await client.get(client.todos()), 503)
            assert_problem(await client.get("/api/health"), 503)
            await cable.mend()
            assert (await client.get(client.todos())).status_code == 200
            assert (await client.get("/api/health")).status_code == 200

    async def test_closed_idle_connections_are_replaced(self, url: str) -> None:
        async with application(url) as (_, client):
            await asyncio.gather(*(client.get(client.todos()) for _ in range(8)))
            await fetch(
                url,
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()",
            )
            gone = (
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )

            async def all_gone() -> bool:
                return await fetch(url, gone) == [(0,)]

            await until(all_gone)
            answers = await asyncio.gather(*(client.get(client.todos()) for _ in range(8)))
            assert {answer.status_code for answer in answers} == {200}

    async def test_slow_database_is_503(self, url: str) -> None:
        async with application(url, database_statement_timeout=0.2) as (app, client), locked(url):
            assert_problem(await client.get(client.todos()), 503)
            await until(lambda: checked_out(app) == 0)

    async def test_exhausted_pool_is_503(self, url: str) -> None:
        options = {"database_pool_size": 1, "database_pool_overflow": 0, "database_pool_timeout": 1}
        async with application(url, **options) as (app, client):
            assert (await client.get(client.todos())).status_code == 200
            async with app.state.database.begin(unscoped="tests"):
                assert_problem(await client.get(client.todos()), 503)
            assert (await client.get(client.todos())).status_code == 200

    async def test_silent_database_is_503(self, url: str) -> None:
        limits = {"database_statement_timeout": 0.3, "database_connect_timeout": 0.3, "database_pool_timeout": 1}
        async with Cable(url) as cable, application(cable.url, **limits) as (app, client):
            await cable.mend()
            assert (await client.get(client.todos())).status_code == 200
            cable.silence()
            write = client.post(client.todos(), json={"title": "Into the void"})
            for answer in await asyncio.gather(client.get(client.todos()), write):
                assert_problem(answer, 503)
            await cable.cut()
            await cable.mend()
            assert (await client.get(client.todos())).status_code == 200
            await until(lambda: checked_out(app) == 0)

    async def test_connection_secrets_are_not_shown(self, url: str) -> None:
        async with Cable(url) as cable, application(cable.url) as (_, client):
            text = (await client.get(client.todos())).text
            assert str(cable._port) not in text
            assert "127.0.0.1" not in text


AT_COMMIT = """
    CREATE FUNCTION app.misfortune() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {} RETURN NULL; END $$;
    CREATE CONSTRAINT TRIGGER misfortune AFTER INSERT ON app.todos
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION app.misfortune();
"""


class TestCommit:
    @pytest.mark.parametrize(
        ("misfortune", "status"),
        [
            ("PERFORM pg_terminate_backend(pg_backend_pid());", 503),
            ("RAISE EXCEPTION 'refused';", 500),
            ("RAISE EXCEPTION USING ERRCODE = '40001';", 503),
        ],
    )
    async def test_failed_commit_is_never_201(self, url: str, misfortune: str, status: int) -> None:
        await fetch(url, AT_COMMIT.format(misfortune))
        async with application(url) as (app, client):
            assert_problem(await client.post(client.todos(), json={"title": "Lost"}), status)
            assert await fetch(url, "SELECT count(*) FROM app.todos") == [(0,)]
            assert checked_out(app) == 0


@asynccontextmanager
async def locked(url: str) -> AsyncIterator[None]:
    """Keep everybody from the table of todos."""
    connection = await asyncpg.connect(admin_url(url))
    try:
        async with connection.transaction():
            await connection.execute("LOCK TABLE app.todos IN ACCESS EXCLUSIVE MODE")
            yield
    finally:
        await connection.close()


async def waiting_for_the_lock(url: str, count: int) -> None:
    async def wait() -> bool:
        return await fetch(url, LOCKED) == [(count,)]

    await until(wait)


class TestClientsThatLeave:
    @pytest.mark.parametrize("method", ["GET", "POST"])
    async def test_disconnected_clients_leave_no_connection_checked_out(self, url: str, method: str) -> None:
        async with application(url, database_lock_timeout=60) as (app, client), listening(app) as port:
            body = b'{"title": "Left behind"}'
            heads = [
                f"{method} /api/{user}/todos HTTP/1.1\r\nHost: testserver\r\nContent-Type: application/json\r\n"
                f"Authorization: Bearer {token_for(user)}\r\nContent-Length: {len(body)}\r\n\r\n"
                for user in map("leaver-{}".format, range(8))  # one user alone does not hold so many
            ]
            async with locked(url):
                for number, head in enumerate(heads):
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                    writer.write(head.encode() + body)
                    await writer.drain()
                    await waiting_for_the_lock(url, number + 1)
                    writer.transport.abort()
                assert checked_out(app) == 8
            await until(lambda: checked_out(app) == 0)
            assert (await client.get(client.todos())).status_code == 200

    async def test_disconnect_during_a_body_changes_nothing(self, url: str) -> None:
        async with application(url) as (app, client), listening(app) as port:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            head = (
                f"POST {client.todos()} HTTP/1.1\r\nHost: testserver\r\nContent-Type: application/json\r\n"
                f"Authorization: {client.headers['authorization']}\r\nContent-Length: 100\r\n\r\n"
            )
            writer.write(head.encode() + b'{"title": "Hal')
            await writer.drain()
            writer.transport.abort()
            assert (await client.get(client.todos())).json()["total"] == 0
            await until(lambda: checked_out(app) == 0)


class TestExport:
    """A body so long that no buffer holds it: the server is in its midst as long as the client takes nothing."""

    @pytest.fixture
    async def long(
        self, url: str
    ) -> AsyncIterator[tuple[Litestar, Client, asyncio.StreamReader, asyncio.StreamWriter]]:
        """Give an export whose head has been read, on a connection of its own."""
        async with application(url) as (app, client), listening(app) as port:
            assert (await client.get(client.todos())).status_code == 200
            await fetch(
                url,
                "INSERT INTO app.todos (user_id, id, title, description)"
                " SELECT $1, gen_random_uuid(), 'Long', repeat('x', 10000) FROM generate_series(1, 3000)",
                client.user_id,
            )
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            head = f"GET {client.path('export')} HTTP/1.1\r\nHost: testserver\r\n"
            writer.write(f"{head}Authorization: {client.headers['authorization']}\r\n\r\n".encode())
            assert b" 200 " in await reader.readuntil(b"\r\n\r\n")
            yield app, client, reader, writer
            writer.transport.abort()

    async def test_export_holds_no_connection_for_a_client_that_does_not_read(self, long: Any) -> None:
        app, client, *_ = long
        await until(lambda: checked_out(app) == 0)
        assert exports() == 1
        assert (await client.get(client.todos())).status_code == 200

    async def test_export_leaves_no_connection_when_the_client_disconnects(self, long: Any) -> None:
        app, client, _, writer = long
        assert exports() == 1
        writer.transport.abort()
        await until(lambda: checked_out(app) == 0 and exports() == 0)
        assert (await client.get(client.todos())).status_code == 200

    async def test_failed_export_is_visibly_incomplete(self, url: str, long: Any) -> None:
        app, _, reader, _ = long
        await fetch(url, "ALTER TABLE app.todos RENAME TO away")
        body = await reader.read()
        assert body
        assert not body.endswith(b"0\r\n\r\n")
        assert checked_out(app) == 0


def exports() -> int:
    """Count the exports that are under way in this process."""
    return sum("_expire_when_left" in repr(task.get_coro()) for task in asyncio.all_tasks())


class TestStop:
    async def test_sigterm_finishes_requests_in_flight(self, url: str) -> None:
        env = environment(environment="test", database_url=url, better_auth_secret=SECRET)
        server = await asyncio.to_thread(Server(env).__enter__)
        try:
            async with httpx.AsyncClient(base_url=server.url, timeout=60) as client:
                client.headers["Authorization"] = f"Bearer {token_for('alice')}"
                async with locked(url):
                    posted = asyncio.create_task(client.post("/api/alice/todos", json={"title": "In flight"}))
                    await waiting_for_the_lock(url, 1)
                    server.process.send_signal(signal.SIGTERM)
                    await until(lambda: not server.listens)
                    assert server.process.poll() is None
                answer = await posted
            status = await asyncio.to_thread(server.process.wait)
            assert (answer.status_code, answer.json()["title"]) == (201, "In flight")
            assert status in (0, -signal.SIGTERM)
            assert await fetch(url, "SELECT title FROM app.todos") == [("In flight",)]
        finally:
            server.__exit__()
