"""A user's share of the process: further requests wait in order, in bounded number and time."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from app.lib.auth.tokens import Identity
from app.lib.middleware import user_share
from app.lib.middleware.refusal_pace import RefusalPace
from app.lib.middleware.user_share import MAX_WAITING, UserShare
from tests.asgi import http_scope

MOST = 2


class Door:
    """An application whose requests stay until they are let go, and a share in front of it."""

    def __init__(self) -> None:
        self.entered: list[str] = []
        self.received: list[Any] = []
        self._over: dict[str, asyncio.Event] = {}
        self.share = UserShare(self._app, MOST, RefusalPace())

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        self.entered.append(scope["name"])
        if scope["name"].startswith("fails"):
            raise RuntimeError
        await self._over.setdefault(scope["name"], asyncio.Event()).wait()
        self.received.append(await receive())
        await send({"type": "http.response.start", "status": 200, "headers": []})

    def let_go(self, name: str) -> None:
        self._over.setdefault(name, asyncio.Event()).set()

    def request(self, user: str, name: str, receive: Callable[[], Any] | None = None) -> "asyncio.Task[int]":
        return asyncio.create_task(self._request(user, name, receive or forever))

    async def _request(self, user: str, name: str, receive: Callable[[], Any]) -> int:
        statuses: list[int] = []

        async def send(message: Any) -> None:
            statuses.extend([message["status"]] if "status" in message else [])

        scope = http_scope(f"/api/{user}/todos", user=Identity(user), name=name, state={"request_id": name})
        await self.share(scope, receive, send)
        return statuses[0] if statuses else 0

    async def settled(self) -> list[str]:
        for _ in range(5):
            await asyncio.sleep(0)
        return self.entered

    def assert_empty(self) -> None:
        assert (self.share._places._held, self.share._places._waiting) == ({}, {})


async def forever() -> Any:
    await asyncio.Event().wait()


async def test_requests_over_the_share_wait_in_order() -> None:
    door = Door()
    tasks = [door.request("mallory", name) for name in "abcd"]
    tasks.append(door.request("honest", "e"))
    assert await door.settled() == ["a", "b", "e"]
    door.let_go("b")
    tasks[1].cancel()
    assert await door.settled() == ["a", "b", "e", "c"]
    tasks[0].cancel()
    assert await door.settled() == ["a", "b", "e", "c", "d"]
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    door.assert_empty()


async def test_too_many_or_too_long_waiting_requests_are_429(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(user_share, "WAIT_SECONDS", 0.05)
    door = Door()
    tasks = [door.request("mallory", f"{number}") for number in range(MOST + MAX_WAITING * MOST + 3)]
    await asyncio.wait(tasks[-3:])
    assert [task.result() for task in tasks[-3:]] == [429] * 3
    await asyncio.wait(tasks[MOST:])
    assert {task.result() for task in tasks[MOST:]} == {429}
    assert not any(task.done() for task in tasks[:MOST])
    for task in tasks[:MOST]:
        task.cancel()
    await asyncio.wait(tasks)
    door.assert_empty()


async def test_disconnected_waiting_request_is_not_served() -> None:
    async def leaves() -> Any:
        return {"type": "http.disconnect"}

    door = Door()
    tasks = [door.request("mallory", name) for name in "ab"]
    gone = door.request("mallory", "gone", leaves)
    await asyncio.wait({gone})
    assert gone.result() == 0
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    assert door.entered == ["a", "b"]
    door.assert_empty()


async def test_messages_received_while_waiting_are_kept() -> None:
    message = {"type": "http.request", "body": b"{}", "more_body": False}
    messages = [message]

    async def receive() -> Any:
        return messages.pop() if messages else await forever()

    door = Door()
    tasks = [door.request("mallory", name) for name in "ab"]
    waiting = door.request("mallory", "c", receive)
    await door.settled()
    assert messages == []
    tasks[0].cancel()
    door.let_go("c")
    assert await waiting == 200
    assert door.received == [message]
    tasks[1].cancel()
    await asyncio.wait(tasks)
    door.assert_empty()


async def test_failed_requests_free_their_share() -> None:
    door = Door()
    tasks = [door.request("mallory", f"fails {number}") for number in range(3 * MOST)]
    await asyncio.wait(tasks)
    assert {type(task.exception()) for task in tasks} == {RuntimeError}
    door.assert_empty()
