"""What one user does never takes the service from another."""

import asyncio
import socket
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

import asyncpg
import httpx
import pytest
from litestar import Litestar

from app.db.config import Database
from app.db.migrate import migrate
from app.lib.http.unread_responses import UnreadResponses
from app.lib.settings import Settings
from app.main import create_app
from tests.asgi import asgi_transport
from tests.live import fetch, listening, until
from tests.support import SECRET, Client, admin_url, assert_problem, running, token_for

LOCKED = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


@pytest.fixture(scope="module")
async def url(new_database: Callable[[], Any]) -> str:
    """Give the URL of a migrated database."""
    url: str = await new_database()
    database = Database(settings_of(url))
    await migrate(database)
    await database.close()
    return url


def settings_of(url: str, **options: Any) -> Settings:
    given = {"database_url": url, "better_auth_secret": SECRET, "environment": "test", "log_level": "error"}
    return Settings(_env_file=None, **given | options)


@asynccontextmanager
async def application(url: str, **options: Any) -> AsyncIterator[tuple[Litestar, Callable[[str], Client]]]:
    """Run an application, and give a function that makes clients of its users."""
    async with running(create_app(settings_of(url, **options))) as app, AsyncExitStack() as stack:
        transport = asgi_transport(app)

        def client_of(user: str) -> Client:
            headers = {"Authorization": f"Bearer {token_for(user)}"}
            client = Client(user, transport=transport, headers=headers)
            stack.push_async_callback(client.aclose)
            return client

        yield app, client_of


async def assert_served(honest: Client) -> None:
    """Read, write and check the health, several at a time."""
    todo = await honest.create()
    answers = await asyncio.gather(
        *(honest.get(honest.todos()) for _ in range(4)),
        honest.patch(honest.todos(todo["id"]), json={"title": "Changed"}),
        honest.post(honest.todos("batch"), json={"operations": [{"op": "delete", "id": todo["id"]}]}),
        honest.get("/api/health"),
    )
    assert {answer.status_code for answer in answers} == {200}


@asynccontextmanager
async def locked_rows(url: str, *ids: str) -> AsyncIterator[None]:
    """Hold rows locked on a connection of the test's own."""
    connection = await asyncpg.connect(admin_url(url))
    try:
        async with connection.transaction():
            await connection.execute("SELECT 1 FROM app.todos WHERE id = ANY($1::uuid[]) FOR UPDATE", list(ids))
            yield
    finally:
        await connection.close()


async def waiting_in_the_database(url: str) -> int:
    count: int = (await fetch(url, LOCKED))[0][0]
    return count


def assert_refused(answers: list[httpx.Response]) -> None:
    """Assert that all were told to come back."""
    for answer in answers:
        problem = assert_problem(answer, answer.status_code)
        assert answer.status_code in (429, 503)
        assert int(answer.headers["retry-after"]) > 0
        assert (
            answer.status_code == 429
            or problem["detail"] == "Another request holds what this one needs, try again later"
        )


class TestLockedRows:
    async def test_lock_waits_of_one_user_leave_others_served(self, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("app.lib.middleware.user_share.WAIT_SECONDS", 1)
        limits = {"database_lock_timeout": 0.3, "database_pool_timeout": 1}
        async with application(url, **limits) as (app, client_of):
            mallory, honest = client_of("mallory"), client_of("honest")
            locked, other = [(await mallory.create())["id"] for _ in range(2)]
            operations = {
                "operations": [{"op": "update", "id": each, "data": {"title": "x"}} for each in (other, locked)]
            }
            attack = [partial(mallory.patch, mallory.todos(locked), json={"title": "x"})] * 40
            attack += [partial(mallory.post, mallory.todos("batch"), json=operations)] * 40
            async with locked_rows(url, locked):
                tasks = [asyncio.ensure_future(request()) for request in attack]
                await until(partial(self._somebody_waits, url))
                await assert_served(honest)
                assert app.state.database.engine.pool.checkedout() <= 1  # the honest user's are back
                assert_refused(await asyncio.gather(*tasks))
            assert (await mallory.patch(mallory.todos(locked), json={"title": "y"})).status_code == 200
            assert_nothing_is_held(app)

    async def test_lock_waits_of_several_users_leave_a_connection(self, url: str) -> None:
        limits = {"database_pool_size": 4, "database_pool_overflow": 4, "database_lock_timeout": 0.3}
        async with application(url, **limits) as (app, client_of):
            attackers, honest = [client_of(f"mallory-{number}") for number in range(4)], client_of("honest")
            rows = [[(await each.create())["id"] for _ in range(4)] for each in attackers]
            async with locked_rows(url, *(each for ids in rows for each in ids)):
                tasks = [
                    asyncio.ensure_future(each.patch(each.todos(id_), json={"title": "x"}))
                    for each, ids in zip(attackers, rows, strict=True)
                    for id_ in ids
                ]
                await until(partial(self._somebody_waits, url))
                await assert_served(honest)
                assert_refused(await asyncio.gather(*tasks))
            assert_nothing_is_held(app)

    async def _somebody_waits(self, url: str) -> bool:
        return await waiting_in_the_database(url) > 0

    async def test_writes_wait_in_the_process_for_a_batch_of_their_user(self, url: str) -> None:
        async with application(url, database_lock_timeout=60) as (app, client_of):
            mallory = client_of("mallory-2")
            first, second = [(await mallory.create())["id"] for _ in range(2)]
            operations = {
                "operations": [{"op": "update", "id": each, "data": {"title": "x"}} for each in (first, second)]
            }
            async with locked_rows(url, second):  # the batch holds the first, and waits for the second
                batch = asyncio.ensure_future(mallory.post(mallory.todos("batch"), json=operations))
                await until(partial(self._somebody_waits, url))
                patches = [
                    asyncio.ensure_future(mallory.patch(mallory.todos(first), json={"title": str(number)}))
                    for number in range(5)
                ]
                read = await mallory.get(mallory.todos(first))
                assert read.status_code == 200
                assert await waiting_in_the_database(url) == 1
                assert app.state.database.engine.pool.checkedout() == 1
            assert {answer.status_code for answer in await asyncio.gather(batch, *patches)} == {200}
            assert_nothing_is_held(app)

    async def test_second_use_of_an_idempotency_key_does_not_wait(self, url: str) -> None:
        async with application(url, database_lock_timeout=60) as (app, client_of):
            mallory = client_of("mallory-3")
            path = mallory.todos((todo := await mallory.create())["id"], "toggle-complete")
            async with locked_rows(url, todo["id"]):
                first = asyncio.ensure_future(mallory.post(path, headers={"Idempotency-Key": "one"}))
                await until(partial(self._somebody_waits, url))
                assert_problem(await mallory.post(path, headers={"Idempotency-Key": "one"}), 409)
                other = asyncio.ensure_future(mallory.post(path, headers={"Idempotency-Key": "other"}))
            assert [answer.json()["version"] for answer in await asyncio.gather(first, other)] == [2, 3]
            assert_nothing_is_held(app)


def assert_nothing_is_held(app: Litestar) -> None:
    """Assert that no turn at the database is lost, and no connection."""
    turns = app.state.database._turns
    for queue in (turns._connections, turns._writers, turns._rows):
        assert (queue._held, queue._waiting) == ({}, {})
    assert app.state.database.engine.pool.checkedout() == 0


class TestHealth:
    async def test_health_uses_no_pooled_connection(self, url: str) -> None:
        options = {"database_pool_size": 1, "database_pool_overflow": 0}
        connections = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        async with application(url, **options) as (app, client_of):
            prober = client_of("prober")
            ((others,),) = await fetch(url, connections)
            async with app.state.database.begin(unscoped="tests"):
                answers = await asyncio.gather(*(prober.get("/api/health") for _ in range(40)))
                assert {answer.status_code for answer in answers} == {200}
                expected = [
                    (others + 2,)
                ]  # that of the transaction and that of health; `others` counted the one that asks

                async def are_as_expected() -> bool:
                    return await fetch(url, connections) == expected

                await until(are_as_expected)  # a connection that asked before may still be leaving

    async def test_health_is_503_within_a_second_without_database(self, url: str) -> None:
        async with application(url, database_lock_timeout=60) as (_, client_of):
            prober = client_of("prober")
            connection = await asyncpg.connect(admin_url(url))
            async with connection.transaction():
                await connection.execute("LOCK TABLE app.alembic_version IN ACCESS EXCLUSIVE MODE")
                answers = await asyncio.gather(*(prober.get("/api/health") for _ in range(20)))
                assert {answer.status_code for answer in answers} == {503}
                assert await waiting_in_the_database(url) == 1
            await connection.close()

            async def is_good() -> bool:
                return (await prober.get("/api/health")).status_code == 200

            await until(is_good)


def head(user: str, path: str, *, method: str = "GET", length: int = 0) -> bytes:
    return (
        f"{method} /api/{user}/{path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token_for(user)}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    ).encode()


class Crowd:
    """Connections that send something and wait; statuses are counted as they come."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._writers: list[asyncio.StreamWriter] = []
        self._tasks: list[asyncio.Task[None]] = []
        self.statuses: Counter[int] = Counter()
        self.closed = 0

    async def send(self, data: bytes, times: int = 1) -> None:
        for _ in range(times):
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
            self._writers.append(writer)
            self._tasks.append(asyncio.create_task(self._read(reader)))
            writer.write(data)

    async def _read(self, reader: asyncio.StreamReader) -> None:
        if line := await reader.readline():
            self.statuses[int(line.split(b" ")[1])] += 1

    async def leave(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.gather(*self._tasks, return_exceptions=True)


class TestSlowBodies:
    async def test_slow_bodies_of_one_user_do_not_block_others(self, url: str) -> None:
        async with application(url) as (app, client_of), listening(app, bounded=True) as port:
            honest, crowd = client_of("honest"), Crowd(port)
            await crowd.send(head("slow", "todos", method="POST", length=1000) + b'{"title": "', times=505)
            await until(lambda: crowd.statuses[429] >= 505 - 16 - 16 * 16)
            await assert_served(honest)
            assert crowd.statuses.keys() == {429}
            await crowd.leave()
            slow = client_of("slow")

            async def is_served() -> bool:
                answers = await asyncio.gather(*(slow.get(slow.todos()) for _ in range(20)))
                return {answer.status_code for answer in answers} == {200}

            await until(is_served)

    async def test_slow_bodies_of_one_address_are_bounded(self, url: str) -> None:
        async with application(url) as (app, client_of), listening(app, bounded=True) as port:
            crowd = Crowd(port)
            for number in range(5):
                await crowd.send(head(f"slow-{number}", "todos", method="POST", length=1000) + b"{", times=16)
            await until(lambda: crowd.statuses[408] == 5 * 16 - 64)
            body = b'{"title": "In two pieces"}'
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(head("honest", "todos", method="POST", length=len(body)) + body[:5])
            await until(lambda: crowd.statuses[408] == 5 * 16 - 63)
            writer.write(body[5:])
            assert b" 201 " in await reader.readline()
            writer.close()
            await crowd.leave()
            assert crowd.statuses.keys() == {408}
            assert (await client_of("slow-1").get("/api/slow-1/todos")).status_code == 200


class TestSlowReaders:
    async def test_slow_readers_hold_no_slot_and_bounded_memory(
        self, url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        most = 1_000_000
        unread = Watched(most)
        monkeypatch.setattr("app.lib.http.uvicorn_protocol.UnreadResponses", lambda: unread)
        limits = {"max_requests_in_flight": 16, "max_requests_per_user": 6}
        async with application(url, **limits) as (app, client_of), listening(app, bounded=True) as port:
            reader, honest = client_of("reader"), client_of("honest")
            create = {"op": "create", "data": {"title": "x", "description": "y" * 10_000}}
            await reader.post(reader.todos("batch"), json={"operations": [create] * 80})
            pages = head("reader", "todos?limit=100") * 12
            clients = [await asyncio.to_thread(connect_to_read_nothing, port, pages) for _ in range(6)]
            await until(lambda: connections_of(unread, "reader"))
            await assert_served(honest)
            await until(lambda: unread.ended)
            connections = connections_of(unread, "reader")
            assert len(connections) == 1 or sum(each.get_write_buffer_size() for each in connections) <= most
            for client in clients:
                client.close()
            await until(lambda: unread._connections == {})
            assert (await reader.get(reader.todos())).status_code == 200


class Watched(UnreadResponses):
    """Counts the connections that it ends."""

    ended = 0

    def _end_the_worst(self, connections: dict[asyncio.Transport, None]) -> None:
        before = sum(each.is_closing() for each in connections)
        super()._end_the_worst(connections)
        self.ended += sum(each.is_closing() for each in connections) - before


def connect_to_read_nothing(port: int, data: bytes) -> socket.socket:
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect(("127.0.0.1", port))
    client.sendall(data)
    client.setblocking(False)
    return client


def connections_of(unread: UnreadResponses, user: str) -> list[asyncio.Transport]:
    return list(unread._connections.get(user, ()))
