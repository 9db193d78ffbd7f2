"""What a database error means to a client: one table, from SQLSTATE to an answer."""

import re
from collections.abc import Mapping
from enum import Enum, auto

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from app.lib.errors import ApiError, Busy, Conflict, FieldError, Invalid, OwnerDeleted, Unavailable

type Violations = Mapping[str, FieldError | ApiError]
"""What a broken constraint, by its name, or an SQLSTATE means to the client."""


class Meaning(Enum):
    """What an SQLSTATE says about the request, and about the connection."""

    AWAY = auto()  # 503: the same request may succeed soon
    BUSY = auto()  # 503: something else holds the row for too long
    LOST = auto()  # 503, and this connection serves nobody any more
    UNDONE = auto()  # nothing was done: repeated here, then 503
    SCHEMA = auto()  # 503: the tables are not those of this release
    CONFLICT = auto()  # 409
    RULE = auto()  # 422: a rule of the database that validation does not know
    DATA = auto()  # 422: out of range, not representable


MEANINGS: dict[str, Meaning] = {
    "08": Meaning.LOST,  # the connection failed
    "22": Meaning.DATA,
    "23000": Meaning.CONFLICT,
    "23001": Meaning.CONFLICT,  # still referenced
    "23502": Meaning.RULE,  # not null
    "23503": Meaning.CONFLICT,  # a reference to what is gone meanwhile
    "23505": Meaning.CONFLICT,  # a double
    "23514": Meaning.RULE,  # check
    "23P01": Meaning.CONFLICT,  # exclusion
    "25006": Meaning.LOST,  # read-only: after a failover the server here is a standby
    "25P03": Meaning.LOST,  # idle in a transaction for too long: the server closes the connection
    "25P04": Meaning.LOST,  # a transaction that took too long: likewise
    "26000": Meaning.LOST,  # the prepared statement is unknown: a pooler has another server behind it
    "28": Meaning.AWAY,  # login refused
    "3D000": Meaning.AWAY,  # no such database
    "3F000": Meaning.SCHEMA,
    "40001": Meaning.UNDONE,  # serialization failure
    "40002": Meaning.CONFLICT,  # a deferred constraint
    "40003": Meaning.LOST,  # whether it was done is unknown
    "40P01": Meaning.UNDONE,  # deadlock
    "42703": Meaning.SCHEMA,  # no such column
    "42704": Meaning.SCHEMA,  # no such type
    "42883": Meaning.SCHEMA,  # no such function
    "42P01": Meaning.SCHEMA,  # no such table
    "42P05": Meaning.LOST,  # the prepared statement exists already: as 26000
    "44000": Meaning.RULE,  # a view's check option
    "53": Meaning.AWAY,  # out of connections, memory or disk
    "55P03": Meaning.BUSY,  # lock timeout
    "57014": Meaning.AWAY,  # statement timeout
    "57P01": Meaning.LOST,  # shut down, or terminated
    "57P02": Meaning.LOST,  # crash of another process of the server
    "57P03": Meaning.LOST,  # starting up, or a standby that takes no queries yet
    "57P04": Meaning.LOST,  # the database was dropped
    "57P05": Meaning.LOST,  # idle for too long
    "58": Meaning.AWAY,  # input or output error of the server
}
"""By the whole SQLSTATE, or else by its class; what is not here is a fault of our own: 500."""

_OUTDATED_PLAN = "InvalidCachedStatementError"  # 0A000, as many other things are: a migration ran meanwhile
_LOST_REFERENCE = "23503"
_OWNER_KEY = re.compile(r"fk_\w+_user_id")  # the reference of an owned table to its user, and no composite one


def sqlstate(error: BaseException) -> str | None:
    """Give the five-character SQLSTATE, where the server sent one."""
    return getattr(getattr(error, "orig", error), "sqlstate", None)


def constraint_name(error: BaseException) -> str | None:
    """Give the name of the constraint that was broken."""
    cause = getattr(error, "orig", None)
    return getattr(getattr(cause, "__cause__", None), "constraint_name", None)


def meaning(error: BaseException) -> Meaning | None:
    """Return what the error's SQLSTATE means; None without one, or for a fault of our own."""
    state = sqlstate(error) or ""
    known = MEANINGS.get(state) or MEANINGS.get(state[:2])
    if known is None and type(getattr(error, "orig", error)).__name__ == _OUTDATED_PLAN:
        return Meaning.UNDONE
    return known


def is_lost(error: BaseException) -> bool:
    """Check whether the connection of this error should serve nobody any more."""
    return meaning(error) is Meaning.LOST


def lacks_schema(error: BaseException) -> bool:
    """Check whether tables or columns of this release are missing, also behind an answer that says so."""
    return Meaning.SCHEMA in (meaning(error), meaning(error.__cause__ or error))


def is_retryable(error: BaseException) -> bool:
    """Tell a deadlock, a serialization failure or an outdated plan: nothing was done, and a repeat may succeed."""
    return meaning(error) is Meaning.UNDONE


def is_repeatable(error: BaseException) -> bool:
    """Tell for a read, that it may be tried again: also on another connection, where this one was lost."""
    return is_retryable(error) or (isinstance(error, DBAPIError) and error.connection_invalidated)


def translate(error: BaseException, violations: Violations) -> ApiError | OwnerDeleted | None:
    """Give what a database error means; None for a fault of our own, which is a 500."""
    if isinstance(error, (OSError, PoolTimeout, TimeoutError)):
        return Unavailable()
    if not isinstance(error, DBAPIError):
        return None
    if (state := sqlstate(error)) is None:
        cut = error.connection_invalidated or isinstance(error, (InterfaceError, OperationalError))
        return Unavailable() if cut else None
    constraint = constraint_name(error)
    if state == _LOST_REFERENCE and _OWNER_KEY.fullmatch(constraint or ""):
        return OwnerDeleted()
    if known := violations.get(constraint or state):
        return Invalid([known]) if isinstance(known, FieldError) else known
    return _answer(meaning(error), state, constraint)


def _answer(meant: Meaning | None, state: str, constraint: str | None) -> ApiError | None:
    match meant:
        case Meaning.BUSY | Meaning.AWAY | Meaning.LOST | Meaning.UNDONE:
            return Busy() if meant is Meaning.BUSY else Unavailable()
        case Meaning.SCHEMA:
            return Unavailable().logged_as("schema_mismatch", state)
        case Meaning.CONFLICT:
            return Conflict().logged_as("constraint_violated", constraint or state)
        case Meaning.RULE:
            rule = Invalid([FieldError("A value is against a rule of the database", pointer="")])
            return rule.logged_as("constraint_violated", constraint or state)
        case Meaning.DATA:
            return Invalid([FieldError("A value is beyond what the database can hold", pointer="")])
        case None:
            return None
