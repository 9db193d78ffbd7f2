"""Load shedding: beyond so many requests at once, one more is told to come back."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from litestar import Litestar

from app.lib.load import LoadShedding
from app.lib.settings import Settings
from app.main import create_app
from tests.lib.raw import ask, bearer
from tests.support import running

ORIGIN = "https://app.example.com"
MOST = 3


@pytest.fixture
async def narrow(settings: Settings) -> AsyncIterator[Litestar]:
    changes = {"max_requests_in_flight": MOST, "cors_origins": [ORIGIN]}
    async with running(create_app(settings.model_copy(update=changes))) as app:
        yield app


async def busy(app: Litestar, over: asyncio.Event) -> list[asyncio.Task[Any]]:
    """Keep so many requests in flight as are allowed: their bodies do not end."""
    begun = asyncio.Semaphore(0)

    async def receive() -> dict[str, object]:
        begun.release()
        await over.wait()
        return {"type": "http.request", "body": b'{"title": "Slow"}', "more_body": False}

    async def request() -> int:
        statuses: list[int] = []

        async def send(message: Any) -> None:
            statuses.extend([message["status"]] if "status" in message else [])

        headers = [(b"authorization", bearer("busy")[1].encode()), (b"content-type", b"application/json")]
        scope = {"type": "http", "method": "POST", "path": "/api/busy/todos", "query_string": b"", "state": {}}
        await app({**scope, "headers": headers, "client": ("127.0.0.1", 1)}, receive, send)  # type: ignore[arg-type]
        return statuses[0]

    tasks = [asyncio.create_task(request()) for _ in range(MOST)]
    for _ in tasks:
        await begun.acquire()
    return tasks


class TestLoadShedding:
    async def test_one_more_is_503_and_those_in_flight_are_served(self, narrow: Litestar) -> None:
        over = asyncio.Event()
        tasks = await busy(narrow, over)
        for headers in ((), (bearer("other"),)):
            answer = await ask(narrow, "/api/other/todos", ("Origin", ORIGIN), *headers)
            assert answer.status == 503
            assert b"The server is overloaded, try again later" in answer.body
            assert answer.headers["retry-after"].isdigit()
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.headers["access-control-allow-origin"] == ORIGIN
            assert answer.headers["x-content-type-options"] == "nosniff"
        over.set()
        assert await asyncio.gather(*tasks) == [201] * MOST
        assert (await ask(narrow, "/api/other/todos", bearer("other"))).status == 200

    async def test_it_touches_neither_token_nor_database(self, narrow: Litestar, monkeypatch: Any) -> None:
        over = asyncio.Event()
        tasks = await busy(narrow, over)
        monkeypatch.setattr(narrow.state, "database", None, raising=False)
        with monkeypatch.context() as patched:
            patched.setattr("app.lib.auth.TokenVerifier.verify", None)
            assert (await ask(narrow, "/api/other/todos", bearer("other"))).status == 503
        monkeypatch.undo()
        over.set()
        await asyncio.gather(*tasks)

    async def test_requests_that_fail_or_are_cancelled_count_no_longer(self) -> None:
        async def fails(scope: Any, receive: Any, send: Any) -> None:
            await asyncio.sleep(0)
            raise RuntimeError

        shedding = LoadShedding(fails, 1)
        for _ in range(3):
            with pytest.raises(RuntimeError):
                await shedding({}, None, None)  # type: ignore[arg-type]
        task = asyncio.create_task(shedding({}, None, None))  # type: ignore[arg-type]
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait({task})
        with pytest.raises(RuntimeError):
            await shedding({}, None, None)  # type: ignore[arg-type]

    async def test_zero_switches_it_off(self, settings: Settings) -> None:
        app = create_app(settings.model_copy(update={"max_requests_in_flight": 0}))
        async with running(app):
            answers = await asyncio.gather(*(ask(app, "/api/health", bearer("many")) for _ in range(20)))
        assert {answer.status for answer in answers} == {200}
