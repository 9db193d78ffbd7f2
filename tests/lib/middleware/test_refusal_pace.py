"""Responses of 429 to one client come at a bounded pace."""

import asyncio
from typing import Any

import pytest

from app.lib.middleware.refusal_pace import MAX_KEYS, MAX_SECONDS, PER_SECOND, RefusalPace


class Frozen:
    """A clock that stands still."""

    def __call__(self) -> float:
        return 100.0


async def silence() -> Any:
    await asyncio.Event().wait()


@pytest.fixture
def delays(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Collect how long each response is held back, without waiting."""
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr("app.lib.middleware.refusal_pace.asyncio.sleep", sleep)
    return slept


async def test_first_refusal_comes_at_once_and_further_ones_in_turn(delays: list[float]) -> None:
    pace = RefusalPace(Frozen())
    for _ in range(3):
        await pace.wait("mallory", silence)
    assert delays == pytest.approx([1 / PER_SECOND, 2 / PER_SECOND])


async def test_refusals_of_others_do_not_count(delays: list[float]) -> None:
    pace = RefusalPace(Frozen())
    await pace.wait("mallory", silence)
    await pace.wait("alice", silence)
    assert delays == []


async def test_delay_and_memory_are_bounded(delays: list[float]) -> None:
    pace = RefusalPace(Frozen())
    for _ in range(int(PER_SECOND * MAX_SECONDS) + 10):
        await pace.wait("mallory", silence)
    assert max(delays) == MAX_SECONDS
    for number in range(MAX_KEYS):
        pace._delay(number)
    assert len(pace._next) == MAX_KEYS


async def test_wait_ends_when_the_client_leaves() -> None:
    pace = RefusalPace(Frozen())
    messages = [{"type": "http.request", "body": b"", "more_body": False}, {"type": "http.disconnect"}]

    async def leave() -> Any:
        return messages.pop(0)

    pace._next["mallory"] = 100.0 + 3600
    async with asyncio.timeout(60):
        await pace.wait("mallory", leave)
