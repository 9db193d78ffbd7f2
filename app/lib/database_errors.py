"""What a database error means to a client: one table, from SQLSTATE to an answer."""

import re
from collections.abc import Mapping

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from app.lib.errors import ApiError, Busy, Conflict, FieldError, Invalid, OwnerGone, Unavailable

type Violations = Mapping[str, FieldError | ApiError]
"""What a broken constraint, by its name, or an SQLSTATE means to the client."""

# 08 connection, 28 login refused, 3D no such database, 53 out of resources, 57P0* shut down or starting up
_UNAVAILABLE = ("08", "28", "3D", "53", "57P0")
_TERMINATED = "57P01"  # the connection follows, but is not seen to be lost yet
_DATA = "22"  # out of range, not representable
_STATEMENT_TIMEOUT = "57014"
_LOCK_TIMEOUT = "55P03"
_UNDONE = ("40001", "40P01")  # serialization failure, deadlock
_CONFLICTS = ("23505", "23503")  # a double, or a reference to what is gone meanwhile
_LOST_REFERENCE = "23503"
_OWNER_KEY = re.compile(r"fk_\w+_user_id")  # the reference of an owned table to its user, and no composite one


def sqlstate(error: BaseException) -> str | None:
    """Give the five-character SQLSTATE, where the server sent one."""
    return getattr(getattr(error, "orig", error), "sqlstate", None)


def constraint_name(error: BaseException) -> str | None:
    """Give the name of the constraint that was broken."""
    cause = getattr(error, "orig", None)
    return getattr(getattr(cause, "__cause__", None), "constraint_name", None)


def is_retryable(error: BaseException) -> bool:
    """Tell a deadlock or a serialization failure: nothing was done, and trying again may succeed."""
    return sqlstate(error) in _UNDONE


def is_repeatable(error: BaseException) -> bool:
    """Tell for a read, that it may be tried again: also on another connection, where this one was lost."""
    if is_retryable(error) or sqlstate(error) == _TERMINATED:
        return True
    return isinstance(error, DBAPIError) and error.connection_invalidated


def translate(error: BaseException, violations: Violations) -> ApiError | OwnerGone | None:
    """Give what a database error means; None for a fault of our own, which is a 500."""
    if isinstance(error, (OSError, PoolTimeout, TimeoutError)):
        return Unavailable()
    if not isinstance(error, DBAPIError):
        return None
    state = sqlstate(error)
    if state is None:
        cut = error.connection_invalidated or isinstance(error, (InterfaceError, OperationalError))
        return Unavailable() if cut else None
    if state == _LOCK_TIMEOUT:
        return Busy()
    if state.startswith(_UNAVAILABLE) or state == _STATEMENT_TIMEOUT or is_retryable(error):
        return Unavailable()
    return _violation(state, constraint_name(error), violations)


def _violation(state: str, constraint: str | None, violations: Violations) -> ApiError | OwnerGone | None:
    if state == _LOST_REFERENCE and _OWNER_KEY.fullmatch(constraint or ""):
        return OwnerGone()
    known = violations.get(constraint or state)
    if isinstance(known, FieldError):
        return Invalid([known])
    if known is not None:
        return known
    if state.startswith(_DATA):
        return Invalid([FieldError("A value is beyond what the database can hold", pointer="")])
    return Conflict() if state in _CONFLICTS else None
