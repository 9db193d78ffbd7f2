"""`ALLOWED_HOSTS`: other names are refused before anything else."""

from collections.abc import AsyncIterator

import httpx
import pytest
from litestar import Litestar

from app.lib.settings import Settings
from app.main import create_app
from tests.support import assert_problem, running, token_for


@pytest.fixture
async def choosy(settings: Settings) -> AsyncIterator[Litestar]:
    hosts = ["api.example.com", "*.internal.example.com", "[::1]"]
    async with running(create_app(settings.model_copy(update={"allowed_hosts": hosts}))) as app:
        yield app


class TestAllowedHosts:
    @pytest.mark.parametrize(
        "host",
        ["api.example.com", "API.Example.COM", "api.example.com:8443", "a.internal.example.com", "[::1]", "[::1]:8000"],
    )
    async def test_are_served(self, choosy: Litestar, host: str) -> None:
        headers = {"Authorization": f"Bearer {token_for('host-user')}", "Host": host}
        assert (await self.ask(choosy, headers)).status_code == 200

    @pytest.mark.parametrize(
        "host",
        ["example.com", "evil.api.example.com", "api.example.com.evil", "localhost", ":80"],
    )
    async def test_others_are_refused_before_the_token_is_looked_at(self, choosy: Litestar, host: str) -> None:
        for headers in ({"Host": host}, {"Host": host, "Authorization": f"Bearer {token_for('host-user')}"}):
            response = await self.ask(choosy, headers)
            assert_problem(response, 400, "The Host header names no host of this server")
            assert response.headers["x-content-type-options"] == "nosniff"

    async def ask(self, app: Litestar, headers: dict[str, str]) -> httpx.Response:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as client:
            return await client.get("/api/host-user/todos", headers=headers)
