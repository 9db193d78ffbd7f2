"""Refuse a statement on owned tables that is not bound to its session's user, before it is sent.

The analysis runs once per compiled statement. Each execution then only compares the values of the parameters that must
be the user. Work on the rows of several users opts out with a purpose (`unscoped="purge"`).
"""

from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

import structlog
from sqlalchemy import Engine, event
from sqlalchemy.engine.default import DefaultExecutionContext
from sqlalchemy.engine.interfaces import Compiled
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.util import immutabledict

from app.lib.persistence.plain_elements import NotScopable
from app.lib.persistence.scope_analysis import Owners, owner_parameters

OWNER, UNSCOPED = "owner", "unscoped"

type Options = immutabledict[str, Any]
"""Execution options of SQLAlchemy."""

_log = structlog.get_logger()


class UnscopedStatement(RuntimeError):
    """A statement that may reach the rows of another user; it was not sent."""


def scope(user_id: str | None, unscoped: str | None) -> Options:
    """Return the options for a user's statements, or for an unscoped purpose; with neither, owned tables are refused.

    Raises `ValueError` for both at once.
    """
    if user_id is not None and unscoped is not None:
        raise ValueError("Statements are either a user's or unscoped")
    return immutabledict({OWNER: user_id, UNSCOPED: unscoped})


def install_scope_guard(engine: Engine, owners: Callable[[], Owners]) -> None:
    """Check every statement on every connection of the engine; `owners` is called once per compiled statement."""
    # Weak keys: the analysis lives as long as SQLAlchemy's cache keeps the compiled statement.
    analyses: WeakKeyDictionary[Compiled, frozenset[str] | NotScopable] = WeakKeyDictionary()

    @event.listens_for(engine, "before_cursor_execute")
    def guard(
        _connection: object, _cursor: object, _sql: str, _values: object, context: DefaultExecutionContext, _many: bool
    ) -> None:
        options = context.execution_options
        if options.get(UNSCOPED):
            return
        if options.get("schema_translate_map"):  # it renames tables in the text after the statement was compiled
            raise _refusal("schema_translate_map")
        compiled = context.compiled
        parameters = analyses.get(compiled) if compiled else _RAW
        if compiled and parameters is None:
            parameters = analyses[compiled] = _analyse(compiled, owners())
        if parameters is None or isinstance(parameters, NotScopable):
            raise _refusal(str(parameters))
        owner = options.get(OWNER)
        for name in parameters:
            if owner is None or any(values[name] != owner for values in context.compiled_parameters):
                raise _refusal(f"{name} is not the user of the session")


_RAW = NotScopable("raw SQL")


def _analyse(compiled: Compiled, owners: Owners) -> frozenset[str] | NotScopable:
    if not isinstance(compiled, SQLCompiler):
        return _RAW
    try:
        return owner_parameters(compiled, owners)
    except NotScopable as reason:
        return reason


def _refusal(reason: str) -> UnscopedStatement:
    _log.error("unscoped statement refused", reason=reason)
    return UnscopedStatement(reason)
