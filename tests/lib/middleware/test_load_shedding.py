"""Load shedding: beyond so many requests at once, one more is told to come back."""

import asyncio
from typing import Any

import pytest

from app.lib.auth.tokens import Identity
from app.lib.errors import ApiError
from app.lib.http.asgi import problem_response
from app.lib.http.client_address import ClientAddress
from app.lib.middleware.load_shedding import LoadSheddingMiddleware
from app.lib.middleware.pending_bodies import MAX_OF_AN_ADDRESS
from app.lib.settings import Settings
from app.main import create_app
from tests.lib.raw import ask, bearer
from tests.support import running

ORIGIN = "https://app.example.com"
MOST = 3


class Busy:
    """An application of which each request stays until it is over, and load shedding in front of it."""

    def __init__(self, most: int = MOST) -> None:
        self.over = asyncio.Event()
        self.shedding = LoadSheddingMiddleware(self._app, most, ClientAddress([]))
        self.statuses: dict[str, int] = {}

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["method"] == "POST":
            try:
                while (await receive())["more_body"]:
                    pass
            except ApiError as error:
                await problem_response(error, scope)(scope, receive, send)
                return
        await self.over.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    def request(
        self, name: str, receive: Any = None, send: Any = None, *, path: str = "/api/x/todos", user: str = ""
    ) -> "asyncio.Task[None]":
        async def sent(message: Any) -> None:
            self.statuses.setdefault(name, message.get("status"))
            await (send(message) if send else asyncio.sleep(0))

        scope: Any = {"method": "POST" if receive else "GET", "path": path, "user": Identity(user or name)}
        scope |= {"headers": [], "client": ("192.0.2.1", 1), "state": {"request_id": name}}
        return asyncio.create_task(self.shedding(scope, receive, sent))

    def assert_empty(self, most: int = MOST) -> None:
        assert (self.shedding._places._held, self.shedding._places._free) == ({}, most)
        assert (self.shedding._bodies._waiting, self.shedding._bodies._of_address) == ({}, {})


async def settle() -> None:
    for _ in range(8):
        await asyncio.sleep(0)


async def forever(*_: Any) -> Any:
    await asyncio.Event().wait()


class TestPlaces:
    async def test_request_over_the_limit_is_503_and_health_is_served(self) -> None:
        busy = Busy()
        tasks = [busy.request(name) for name in ("a", "b", "c", "d")]
        tasks.append(busy.request("prober", path="/api/health"))
        await settle()
        assert busy.statuses == {"d": 503}
        busy.over.set()
        await asyncio.gather(*tasks)
        assert busy.statuses == {"a": 200, "b": 200, "c": 200, "d": 503, "prober": 200}
        busy.assert_empty()

    async def test_pending_bodies_and_unread_responses_hold_no_slot(self) -> None:
        busy = Busy()
        waiting = [busy.request(f"body {number}", forever) for number in range(2 * MOST)]
        busy.over.set()
        waiting += [busy.request(f"reader {number}", send=forever) for number in range(2 * MOST)]
        await settle()
        busy.over.clear()
        tasks = [busy.request(name) for name in "abc"]
        await settle()
        assert busy.statuses.keys() == {f"reader {number}" for number in range(2 * MOST)} | {
            f"body {number}" for number in range(MOST)
        }
        for task in (*waiting, *tasks):
            task.cancel()
        await asyncio.wait((*waiting, *tasks))
        busy.assert_empty()

    async def test_body_that_arrives_without_a_free_slot_is_503(self) -> None:
        busy, come = Busy(), asyncio.Event()

        async def receive() -> Any:
            await come.wait()
            return {"type": "http.request", "body": b"{}", "more_body": False}

        tasks = [busy.request("late", receive), *(busy.request(name) for name in "abc")]
        await settle()
        come.set()
        await settle()
        assert busy.statuses == {"late": 503}
        busy.over.set()
        await asyncio.gather(*tasks)
        busy.assert_empty()

    async def test_last_quarter_is_reserved_for_users_with_few_requests(self) -> None:
        busy = Busy(16)
        tasks = [busy.request(f"m{number}", user="mallory") for number in range(16)]
        tasks += [busy.request(f"h{number}", user="honest") for number in range(5)]
        await settle()
        assert busy.statuses == {"m12": 503, "m13": 503, "m14": 503, "m15": 503, "h4": 503}
        busy.over.set()
        await asyncio.gather(*tasks)
        busy.assert_empty(16)

    async def test_failed_or_cancelled_requests_free_their_slot(self) -> None:
        async def fails(*_: Any) -> None:
            await asyncio.sleep(0)
            raise RuntimeError

        busy = Busy(1)
        busy.shedding._app = fails
        for _ in range(3):
            with pytest.raises(RuntimeError):
                await busy.request("x")
        task = busy.request("x")
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait({task})
        busy.assert_empty(1)


class TestBodies:
    """With too many that wait for their bodies, the one that has waited longest is answered."""

    async def test_pending_bodies_of_one_address_are_limited(self) -> None:
        busy = Busy(1000)
        tasks = [busy.request(f"{number}", forever) for number in range(MAX_OF_AN_ADDRESS + 2)]
        await settle()
        assert busy.statuses == {"0": 408, "1": 408}
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        busy.assert_empty(1000)

    async def test_slow_pieces_do_not_renew_a_pending_body(self) -> None:
        busy, pieces = Busy(), asyncio.Semaphore(0)

        async def dribbles() -> Any:
            await pieces.acquire()
            return {"type": "http.request", "body": b" ", "more_body": True}

        tasks = [busy.request("slow", dribbles)]
        for name in "abc":
            await settle()
            pieces.release()
            tasks.append(busy.request(name, forever))
        await settle()
        assert busy.statuses == {"slow": 408}
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        busy.assert_empty()

    async def test_complete_body_does_not_wait(self) -> None:
        async def receive() -> Any:
            return {"type": "http.request", "body": b"{}", "more_body": False}

        busy = Busy()
        tasks = [busy.request(name, forever) for name in "abc"]
        await settle()
        tasks.append(busy.request("quick", receive))
        busy.over.set()
        await tasks[-1]
        assert busy.statuses == {"quick": 200}
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        busy.assert_empty()


class TestInTheApplication:
    async def test_shedding_503_is_readable_and_uses_no_database(
        self, settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        changes = {"max_requests_in_flight": 1, "max_requests_per_user": 0, "cors_origins": [ORIGIN]}
        async with running(create_app(settings.model_copy(update=changes))) as app:
            monkeypatch.setattr("app.lib.middleware.load_shedding.FairQueue.take", lambda *_: False)
            monkeypatch.setattr(app.state, "database", None, raising=False)
            answer = await ask(app, "/api/other/todos", bearer("other"), ("Origin", ORIGIN))
            monkeypatch.undo()
        assert answer.status == 503
        assert b"The server is overloaded, try again later" in answer.body
        assert answer.headers["retry-after"].isdigit()
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["access-control-allow-origin"] == ORIGIN
        assert answer.headers["x-content-type-options"] == "nosniff"

    async def test_limit_of_zero_disables_load_shedding(self, settings: Settings) -> None:
        app = create_app(settings.model_copy(update={"max_requests_in_flight": 0, "max_requests_per_user": 0}))
        async with running(app):
            answers = await asyncio.gather(*(ask(app, "/api/many/todos", bearer("many")) for _ in range(40)))
        assert {answer.status for answer in answers} == {200}
