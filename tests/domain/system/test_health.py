"""GET /api/health."""

import socket
from collections.abc import Callable
from typing import Any

import httpx
from litestar import Litestar

from app.db.config import Database
from app.db.migrate import migrate
from app.lib.settings import Settings
from app.main import create_app
from tests.asgi import asgi_transport
from tests.support import SECRET, Client, assert_problem, running, token_for


async def health_of(app: Litestar) -> httpx.Response:
    transport = asgi_transport(app)
    headers = {"Authorization": f"Bearer {token_for('prober')}"}
    async with httpx.AsyncClient(transport=transport, base_url="http://testserver", headers=headers) as client:
        return await client.get("/api/health")


class TestHealth:
    async def test_health_needs_a_token(self, anonymous: httpx.AsyncClient) -> None:
        assert_problem(await anonymous.get("/api/health"), 401, "Missing authentication token")

    async def test_health_is_200(self, alice: Client) -> None:
        response = await alice.get("/api/health")
        assert response.status_code == 200
        assert response.json() == {"status": "ok", "database": "reachable", "migrations": "current"}

    async def test_health_creates_no_user(self, app: Litestar, alice: Client) -> None:
        await alice.get("/api/health")
        async with app.state.database.begin(unscoped="tests") as connection:
            found = await connection.exec_driver_sql(f"SELECT 1 FROM app.users WHERE id = '{alice.user_id}'")
            assert found.all() == []

    async def test_health_is_503_with_pending_migrations(self, new_database: Callable[[], Any]) -> None:
        url = await new_database()
        settings = Settings(environment="test", database_url=url, better_auth_secret=SECRET)
        async with running(create_app(settings)) as app:
            problem = assert_problem(await health_of(app), 503)
            assert (problem["database"], problem["migrations"]) == ("reachable", "pending")
            database = Database(settings)
            await migrate(database)
            assert (await health_of(app)).status_code == 200
            await migrate(database, "zero")
            assert_problem(await health_of(app), 503)
            await database.close()

    async def test_health_is_503_while_the_database_is_down(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            url = f"postgresql://nobody@127.0.0.1:{probe.getsockname()[1]}/nothing"
            settings = Settings(environment="test", database_url=url, better_auth_secret=SECRET)
            async with running(create_app(settings)) as app:
                response = await health_of(app)
        problem = assert_problem(response, 503)
        assert response.headers["retry-after"].isdigit()
        assert (problem["database"], problem["migrations"]) == ("unreachable", "unknown")

    async def test_health_is_503_while_the_database_does_not_answer(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            settings = Settings(
                environment="test",
                database_url=f"postgresql://nobody@127.0.0.1:{silent.getsockname()[1]}/x?sslmode=disable",
                database_connect_timeout=0.2,
                better_auth_secret=SECRET,
            )
            async with running(create_app(settings)) as app:
                assert_problem(await health_of(app), 503)
