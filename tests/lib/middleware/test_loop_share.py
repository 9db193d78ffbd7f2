"""Shares of the event loop: who used theirs goes on later, and everything else is as without them."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from app.lib.auth.tokens import Identity
from app.lib.middleware.loop_share import SHARE_SECONDS, LoopShare

type App = Callable[[], Awaitable[None]]


class Clock:
    """A clock that only the tests move."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


async def run(share: LoopShare, user: str) -> None:
    scope: Any = {"type": "http", "path": f"/api/{user}/todos", "headers": [], "user": Identity(user)}
    await share(scope, nothing, nothing)


async def nothing(*_: Any) -> Any:
    raise AssertionError


def share_of(app: App, clock: Clock) -> LoopShare:
    return LoopShare(lambda *_: app(), clock)


class TestLoopShare:
    async def test_user_of_long_steps_leaves_iterations_to_others(self) -> None:
        """Sixteen requests whose every step takes five shares delay another user by one step in five iterations."""
        clock, order = Clock(), list[str]()

        async def app(scope: Any, *_messages: Any) -> None:
            user = scope["user"].id
            for _ in range(20 if user == "small" else 4):
                clock.now += 0 if user == "small" else 5 * SHARE_SECONDS
                order.append(user)
                await asyncio.sleep(0)

        share = LoopShare(app, clock)
        busy = [asyncio.create_task(run(share, "busy")) for _ in range(16)]
        await run(share, "small")
        assert order.count("small") == 20
        assert order.count("busy") <= 5
        await asyncio.gather(*busy)
        assert order.count("busy") == 64

    async def test_time_of_a_user_is_paid_back(self) -> None:
        clock = Clock()

        async def app() -> None:
            clock.now += 3 * SHARE_SECONDS

        share = share_of(app, clock)
        await run(share, "alice")
        assert share.is_used_up("alice")
        for _ in range(5):
            await asyncio.sleep(0)
        assert (share.is_used_up("alice"), share._owed) == (False, {})

    async def test_many_users_in_debt_share_the_time_of_one(self) -> None:
        clock = Clock()

        async def app() -> None:
            clock.now += 10 * SHARE_SECONDS

        share = share_of(app, clock)
        users = ["a", "b", "c", "d"]
        await asyncio.gather(*(run(share, user) for user in users))
        owed = sum(share._owed.values())
        await asyncio.sleep(0)
        assert owed - sum(share._owed.values()) == pytest.approx(SHARE_SECONDS)


class TestSteps:
    async def test_exception_of_the_application_is_raised(self) -> None:
        async def app() -> None:
            await asyncio.sleep(0)
            raise RuntimeError("mine")

        with pytest.raises(RuntimeError, match="mine"):
            await run(share_of(app, Clock()), "alice")

    @pytest.mark.parametrize("step", [0.0, 2 * SHARE_SECONDS])
    async def test_cancellation_reaches_the_application(self, step: float) -> None:
        """Whether it runs, or waits for its share."""
        clock, events = Clock(), list[str]()

        async def app() -> None:
            try:
                clock.now += step
                await asyncio.sleep(60 if not step else 0)
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                events.append("cancelled")
                raise

        task = asyncio.create_task(run(share_of(app, clock), "alice"))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert events == ["cancelled"]

    async def test_timeouts_and_results_work(self) -> None:
        results = list[str]()

        async def app() -> None:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.001):
                    await asyncio.sleep(60)
            results.extend(await asyncio.gather(asyncio.sleep(0, "a"), asyncio.to_thread(str, 1)))

        await run(share_of(app, Clock()), "alice")
        assert results == ["a", "1"]

    def test_unfinished_request_is_closed(self) -> None:
        events = list[str]()

        async def app() -> None:
            try:
                await asyncio.Future()
            finally:
                events.append("closed")

        loop = asyncio.new_event_loop()

        async def begin() -> None:
            coroutine = run(share_of(app, Clock()), "alice")
            coroutine.send(None)
            coroutine.close()

        loop.run_until_complete(begin())
        loop.close()
        assert events == ["closed"]
