"""Places are shared out fairly, and none is ever lost."""

import asyncio
from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.lib.fair_queue import FairQueue, QueueFull

KEYS = st.sampled_from("abcd")
STEPS = st.lists(
    st.tuples(st.sampled_from(["enter", "enter", "leave", "cancel", "cancel and leave", "time out", "pause"]), KEYS),
    max_size=60,
)


class Visit:
    """Somebody who enters, stays until told to leave, and leaves whatever happens."""

    def __init__(self, queue: FairQueue, key: str, number: int, entered: list[tuple[str, int]]) -> None:
        self.key, self.number = key, number
        self.over = asyncio.Event()
        self.is_in = False
        self.seconds = 60.0
        self.task = asyncio.ensure_future(self._visit(queue, entered))

    async def _visit(self, queue: FairQueue, entered: list[tuple[str, int]]) -> None:
        await queue.enter(self.key, self.seconds)
        try:
            self.is_in = True
            entered.append((self.key, self.number))
            await self.over.wait()
        finally:
            self.is_in = False
            queue.leave(self.key)


async def play(steps: list[tuple[str, str]], most: int, total: int | None) -> None:  # noqa: C901 - a step a branch
    queue = FairQueue(most, total=total)
    visits: deque[Visit] = deque()
    entered: list[tuple[str, int]] = []
    for number, (step, key) in enumerate(steps):
        mine = [visit for visit in visits if visit.key == key and not visit.task.done()]
        if step == "enter":
            visits.append(Visit(queue, key, number, entered))
        elif step == "time out":
            visits.append(Visit(queue, key, number, entered))
            visits[-1].seconds = 0.0
        elif step == "pause":
            await asyncio.sleep(0)
        elif mine and step == "leave":
            mine[0].over.set()
        elif mine and step == "cancel":
            mine[-1].task.cancel()
        elif mine:  # a place is granted to somebody who is cancelled before they run
            mine[0].over.set()
            await asyncio.sleep(0)
            for visit in mine[1:]:
                visit.task.cancel()
        inside = [visit.key for visit in visits if visit.is_in]
        assert all(inside.count(key) <= most for key in "abcd")
        assert total is None or len(inside) <= total
    for _ in range(6):
        await asyncio.sleep(0)
    waiting = {visit.key for visit in visits if not visit.task.done() and not visit.is_in}
    assert not any(queue._may_take(key, 1) for key in waiting), "somebody waits for a place that is free"
    for key in "abcd":
        order = [number for each, number in entered if each == key]
        assert order == sorted(order)
    for visit in visits:
        visit.over.set()
    await asyncio.gather(*(visit.task for visit in visits), return_exceptions=True)
    assert (queue._held, queue._waiting) == ({}, {})
    assert total is None or queue._free == total


@given(STEPS, st.integers(1, 3), st.none() | st.integers(1, 8))
@settings(max_examples=150, deadline=None)
def test_no_slot_is_lost_and_every_waiter_is_served(steps: list[tuple[str, str]], most: int, total: int | None) -> None:
    asyncio.run(play(steps, most, total))


async def test_last_quarter_is_reserved_for_keys_without_a_slot() -> None:
    queue = FairQueue(8, total=8)
    assert [queue.take("greedy") for _ in range(8)].count(True) == 6
    assert [queue.take(key) for key in ("one", "two", "three")] == [True, True, False]


async def test_keys_are_served_in_turn() -> None:
    queue, served = FairQueue(1, total=1), list[str]()

    async def visit(key: str) -> None:
        await queue.enter(key, 60)
        served.append(key)
        await asyncio.sleep(0)
        queue.leave(key)

    queue.take("first")
    tasks = [asyncio.create_task(visit(key)) for key in "aaab"]
    await asyncio.sleep(0)
    queue.leave("first")
    await asyncio.gather(*tasks)
    assert "".join(served) == "abaa"


async def test_request_for_all_slots_keeps_its_turn() -> None:
    queue, served = FairQueue(2), list[str]()

    async def visit(name: str, places: int) -> None:
        await queue.enter("key", 60, places)
        served.append(name)
        await asyncio.sleep(0)
        queue.leave("key", places)

    queue.take("key")
    tasks = [asyncio.create_task(visit("all", 2)), asyncio.create_task(visit("one", 1))]
    await asyncio.sleep(0)
    assert served == []
    queue.leave("key")
    await asyncio.gather(*tasks)
    assert served == ["all", "one"]


async def test_too_many_waiters_are_refused_at_once() -> None:
    queue = FairQueue(1)
    queue.take("key")
    task = asyncio.create_task(queue.wait("key", 60, most_waiting=1))
    await asyncio.sleep(0)
    with pytest.raises(QueueFull):
        await queue.wait("key", 60, most_waiting=1)
    queue.leave("key")
    await task
