"""What the commands share: errors of one or two lines that say what to do, and an exit status to trust."""

import asyncio
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, Concatenate

import click
from litestar import Litestar
from sqlalchemy.exc import DBAPIError

from app.lib.auth.guards import USER_ID
from app.lib.errors import OperatorError, Unavailable
from app.lib.persistence.errors import lacks_schema, sqlstate, translate
from app.lib.settings import Settings

_HINTS = {
    "25006": "The database is read-only, a standby probably: let DATABASE_URL name the primary server.",
    "42501": "The database refuses it ({}): give its user the right, or correct DATABASE_URL.",
    "55P03": "Another process holds the lock, a migration probably: wait for it, and try again.",
}
"""What to do, by SQLSTATE."""


class UserId(click.ParamType[str]):
    """An argument that the API would take for a user's id."""

    name = "user_id"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """End with a usage error for anything else."""
        if not USER_ID.fullmatch(value):
            self.fail("not a user's id: that is 1 to 128 of A-Z a-z 0-9 . _ ~ : @ | -", param, ctx)
        return str(value)


def settings_of(app: Litestar) -> Settings:
    """Give the settings that the application was made with."""
    settings: Settings = app.state.settings
    return settings


def with_app[**P, R](command: Callable[Concatenate[Litestar, P], R]) -> Callable[P, R]:
    """Pass the application to a command of a group; Litestar passes it to those at the top by itself."""

    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        return command(click.get_current_context().obj.app, *args, **kwargs)

    run.__doc__ = command.__doc__
    return run


def run_async[T](work: Coroutine[Any, Any, T]) -> T:
    """Run a command's work to its end."""
    return asyncio.run(work)


def escaped(text: str) -> str:
    """Return what a user wrote so that a terminal shows it and does nothing else: one line, left to right."""
    return "".join(_escape(character) for character in text)


def _escape(character: str) -> str:
    is_plain = character.isprintable() and character != "\\"
    return character if is_plain else character.encode("unicode_escape").decode()


@contextmanager
def friendly_errors() -> Iterator[None]:
    """End the process with status 1 and a plain message where the cause is not a bug."""
    try:
        yield
    except (OperatorError, Unavailable, DBAPIError, OSError) as error:
        if (message := _explain(error)) is None:
            raise
        sys.exit(f"Error: {message}")
    except KeyboardInterrupt:
        sys.exit(130)


def _explain(error: Exception) -> str | None:
    if isinstance(error, OperatorError):
        return str(error)
    if lacks_schema(error):
        return "The database lacks tables of this release: run `python manage.py migrate`."
    if hint := _HINTS.get(sqlstate(error) or sqlstate(error.__cause__ or error) or ""):
        return hint.format(_reason(error))
    if isinstance(error, Unavailable) or isinstance(translate(error, {}), Unavailable):
        return f"The database cannot be reached ({_reason(error)}). Start it, or correct DATABASE_URL."
    return None


def _reason(error: BaseException) -> str:
    """Give the innermost cause in a line; asyncpg's messages name hosts and users, never passwords."""
    while cause := error.__cause__ or getattr(error, "orig", None):
        error = cause
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
