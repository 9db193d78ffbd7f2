"""The way to the database: one round trip for a read, one transaction at most for a request."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, nullcontext
from typing import Any

from sqlalchemy import Executable, event
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import ORMExecuteState
from sqlalchemy.orm import Session as OrmSession
from sqlalchemy.util import greenlet_spawn

from app.lib.persistence.errors import Violations, is_repeatable, is_retryable, translate
from app.lib.persistence.scope_guard import OWNER, Options, scope
from app.lib.persistence.turns import Turns

MAX_ATTEMPTS = 3
NONE: Violations = {}
_NO_TURN = nullcontext()

type Parameters = dict[str, Any]
type Rows = Sequence[Sequence[Any]]


class _ScopedSession(OrmSession):
    """The synchronous session beneath."""


@event.listens_for(_ScopedSession, "do_orm_execute")
def _keep_scope(state: ORMExecuteState) -> None:
    """Keep the session's scope, whatever execution options a statement has."""
    state.update_execution_options(**state.session.execution_options)


class Session(AsyncSession):
    """An `AsyncSession` with two short ways beside it, for single statements that were built beforehand.

    `read` and `write` run connect, execute, fetch and close in one greenlet, and `read` in autocommit, which
    saves BEGIN and ROLLBACK. A write is of one row, which the parameter `key` names. Within `atomic()` both join its
    transaction. All of them are in the `scope` that the scope guard checks: a user's, or of unscoped work that has
    a name.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        reader: AsyncEngine,
        scope: Options,
        deadline: float | None = None,
        turns: Turns | None = None,
    ) -> None:
        """`deadline`, in seconds, ends the wait for a database that is silent; one that is slow ends it itself.

        A user's session waits for its turn before it takes a connection; only one with a user has `turns`.
        """
        # Without autobegin, work outside `atomic()` fails: else nobody would commit it.
        super().__init__(
            bind=engine,
            expire_on_commit=False,
            autobegin=False,
            execution_options=scope,
            sync_session_class=_ScopedSession,
        )
        self._scope = scope
        self._deadline = deadline
        self._user_id: str = scope[OWNER] or ""
        self._turns = turns if self._user_id else None
        self._violations: Violations = NONE  # of the transaction
        self._writer = engine.sync_engine
        self._reader = reader.sync_engine

    async def read(self, statement: Executable, parameters: Parameters, violations: Violations = NONE) -> Rows:
        """Run one statement that changes nothing."""
        if self.in_transaction():
            return await self._join(statement, parameters, violations)
        async with self._turns.read(self._user_id) if self._turns else _NO_TURN:
            return await self._run(self._reader.connect, statement, parameters, violations, is_repeatable)

    async def write(self, statement: Executable, parameters: Parameters, violations: Violations = NONE) -> Rows:
        """Run one statement in a transaction of its own, committed on return."""
        if self.in_transaction():
            return await self._join(statement, parameters, violations)
        async with self._turns.write(self._user_id, parameters.get("key")) if self._turns else _NO_TURN:
            return await self._run(self._writer.begin, statement, parameters, violations, is_retryable)

    async def _join(self, statement: Executable, parameters: Parameters, violations: Violations) -> Rows:
        with _translated({**self._violations, **violations}):
            connection = await self.connection()
            return _rows(await connection.execute(statement, parameters, execution_options=self._scope))

    async def _run(
        self,
        enter: Callable[[], Any],
        statement: Executable,
        parameters: Parameters,
        violations: Violations,
        may_repeat: Callable[[BaseException], bool],
    ) -> Rows:
        for attempt in range(1, MAX_ATTEMPTS + 1):
            try:
                async with asyncio.timeout(self._deadline):
                    return await greenlet_spawn(_run_alone, enter, statement, parameters, self._scope)
            except Exception as error:
                if may_repeat(error) and attempt < MAX_ATTEMPTS:
                    continue
                if answer := translate(error, violations):
                    raise answer from error
                raise
        raise AssertionError("unreachable")

    @asynccontextmanager
    async def atomic(self, violations: Violations = NONE) -> AsyncIterator[None]:
        """Make what is done inside one transaction, committed at the end of the outermost block."""
        if self.in_transaction():
            yield
            return
        self._violations = violations
        async with self._turns.transaction(self._user_id) if self._turns else _NO_TURN:
            with _translated(violations):
                async with asyncio.timeout(self._deadline), self.begin():
                    yield

    def once_committed(self, act: Callable[[], None]) -> None:
        """Do what must not come before the commit: after it, or now where no transaction has begun."""
        if self.in_transaction():
            event.listen(self.sync_session, "after_commit", lambda _: act(), once=True)
        else:
            act()

    @contextmanager
    def unscoped(self, purpose: str) -> Iterator[None]:
        """Let what is done inside reach the rows of several users, in the transaction, if one has begun."""
        own, self._scope = self._scope, scope(None, purpose)
        try:
            yield
        finally:
            self._scope = own


@contextmanager
def _translated(violations: Violations) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if answer := translate(error, violations):
            raise answer from error
        raise


def _run_alone(enter: Callable[[], Any], statement: Executable, parameters: Parameters, scope: Options) -> Rows:
    with enter() as connection:
        return _rows(connection.execute(statement, parameters, execution_options=scope))


def _rows(result: Any) -> Rows:
    return result.all() if result.returns_rows else []
