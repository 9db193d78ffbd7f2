"""The way to the database for health checks: a connection of its own, whatever users do with the pool."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from app.lib.persistence.scope_guard import scope
from app.lib.persistence.session import Session

PATIENCE_SECONDS = 0.9  # the answer to a health check comes within a second


class Probe[AnswerT]:
    """Asks one question at a time on one connection; those who ask meanwhile share the answer."""

    def __init__(self, engine: AsyncEngine, reader: AsyncEngine, deadline: float) -> None:
        self._engine = engine
        self._reader = reader
        self._deadline = deadline
        self._asking: asyncio.Task[AnswerT] | None = None

    async def ask(
        self, question: Callable[[Session], Awaitable[AnswerT]], seconds: float | None = PATIENCE_SECONDS
    ) -> AnswerT:
        """Return the answer. Raises `TimeoutError` after so many seconds, while the question goes on."""
        if self._asking is None or self._asking.done():
            self._asking = asyncio.ensure_future(self._ask(question))
            self._asking.add_done_callback(_notice)
        async with asyncio.timeout(seconds):
            return await asyncio.shield(self._asking)

    async def close(self) -> None:
        """End a question that goes on, and close the connection."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.wait({self._asking})
        await self._engine.dispose()

    async def _ask(self, question: Callable[[Session], Awaitable[AnswerT]]) -> AnswerT:
        return await question(Session(self._engine, self._reader, scope(None, None), self._deadline))


def _notice(task: asyncio.Task[Any]) -> None:
    """Retrieve the error of a question whose askers have all gone."""
    if not task.cancelled():
        task.exception()
