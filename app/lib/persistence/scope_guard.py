"""Refuse a statement on owned tables that is not bound to its session's user, before it is sent.

What a statement needs is found out once, when SQLAlchemy has compiled it; then only the values of the parameters
that must be the user are compared. Work on the rows of several users opts out by a name, which says what it is for.
"""

from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

import structlog
from sqlalchemy import Engine, event
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
    """Give the options of a user's statements, of work with a name, or of neither, which reaches no owned table."""
    if user_id is not None and unscoped is not None:
        raise ValueError("Statements are either a user's or unscoped")
    return immutabledict({OWNER: user_id, UNSCOPED: unscoped})


def install_scope_guard(engine: Engine, owners: Callable[[], Owners]) -> None:
    """Refuse, on every connection of the engine, what is not proven to stay with its user."""
    needs: WeakKeyDictionary[Any, frozenset[str] | NotScopable] = WeakKeyDictionary()

    @event.listens_for(engine, "before_cursor_execute")
    def guard(_connection: Any, _cursor: Any, _sql: str, _values: Any, context: Any, _many: bool) -> None:
        options = context.execution_options
        if options.get(UNSCOPED):
            return
        if options.get("schema_translate_map"):  # which renames tables in the text after it was compiled
            raise _refusal("schema_translate_map")
        need = needs.get(context.compiled) if context.compiled else _RAW
        if need is None:
            need = needs[context.compiled] = _need(context.compiled, owners())
        if isinstance(need, NotScopable):
            raise _refusal(str(need))
        owner = options.get(OWNER)
        for name in need:
            if owner is None or any(values[name] != owner for values in context.compiled_parameters):
                raise _refusal(f"{name} is not the user of the session")


_RAW = NotScopable("raw SQL")


def _need(compiled: Any, owners: Owners) -> frozenset[str] | NotScopable:
    if not isinstance(compiled, SQLCompiler):
        return _RAW
    try:
        return owner_parameters(compiled, owners)
    except NotScopable as reason:
        return reason


def _refusal(reason: str) -> UnscopedStatement:
    _log.error("unscoped statement refused", reason=reason)
    return UnscopedStatement(reason)
