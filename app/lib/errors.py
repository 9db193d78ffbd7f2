"""Errors that carry their status, and the one shape in which all of them leave: RFC 9457 problem+json."""

from collections.abc import Iterable
from copy import copy
from http import HTTPStatus
from typing import Any, ClassVar, Self

import msgspec

PROBLEM_JSON = b"application/problem+json"
RETRY_AFTER_SECONDS = "5"


class OperatorError(Exception):
    """Only the operator can mend this; the message, of a line or two, says how. Ends a command, not a request."""


class FieldError(msgspec.Struct, omit_defaults=True):
    """One thing wrong with the input: a JSON pointer (RFC 6901) into the body, or a query parameter."""

    detail: str
    pointer: str | None = None
    parameter: str | None = None


class Problem(msgspec.Struct, kw_only=True):
    """The body of every error."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    instance: str
    request_id: str


class InvalidProblem(Problem):
    """The body of a 422: everything that is wrong, by name."""

    errors: list[FieldError]


class ApiError(Exception):
    """An answer other than success. Subclasses are named for the fact and fix the status."""

    status: ClassVar[int] = HTTPStatus.INTERNAL_SERVER_ERROR
    detail: ClassVar[str] = "The server could not answer this request"
    event: str | None = None  # the name that it has in the log, where it concerns security or operators
    cause: str | None = None  # a short code, for the log alone

    def __init__(self, detail: str | None = None, headers: dict[str, str] | None = None, **members: Any) -> None:
        self.message = detail or self.detail
        self.headers = headers or {}
        self.members = members  # extension members of the problem (RFC 9457, 3.2)
        super().__init__(self.message)

    def logged_as(self, event: str, cause: str) -> Self:
        """Set what the log says of it."""
        self.event, self.cause = event, cause
        return self

    def within(self, index: int, pointer: str) -> Self:
        """Say of which of several operations it is the error; `pointer` leads to its data."""
        del pointer
        error = copy(self)  # what a service declares is raised by many requests
        error.members = {**self.members, "index": index}
        return error


class BadRequest(ApiError):
    """The request is not well-formed."""

    status = HTTPStatus.BAD_REQUEST
    detail = "The body is not valid JSON"


class MissingToken(ApiError):
    """No credentials were sent (RFC 6750, 3.1: no error code then)."""

    status = HTTPStatus.UNAUTHORIZED
    detail = "Missing authentication token"
    event = "authentication_failed"
    cause = "missing"

    def __init__(self) -> None:
        super().__init__(headers={"WWW-Authenticate": "Bearer"})


class InvalidToken(ApiError):
    """The credentials do not hold; the answer never says why."""

    status = HTTPStatus.UNAUTHORIZED
    detail = "Invalid or expired token"
    event = "authentication_failed"

    def __init__(self, cause: str = "malformed") -> None:
        super().__init__(headers={"WWW-Authenticate": 'Bearer error="invalid_token"'})
        self.cause = cause


class Forbidden(ApiError):
    """The caller is known, and this is not theirs."""

    status = HTTPStatus.FORBIDDEN
    detail = "Forbidden: not authorized to access this resource"
    event = "forbidden"


class InsufficientScope(Forbidden):
    """An OAuth client lacks the scope that `WWW-Authenticate` names; without one there, no access token suffices."""

    event = "insufficient_scope"

    def __init__(self, scope: str | None = None) -> None:
        named = "" if scope is None else f', scope="{scope}"'
        super().__init__(headers={"WWW-Authenticate": f'Bearer error="insufficient_scope"{named}'})
        self.cause = scope


class Deactivated(Forbidden):
    """The caller is known, and was deactivated by an operator."""

    event = "user_deactivated"
    cause = "refused"


class NotFound(ApiError):
    """Nothing there, or nothing that this user may know of."""

    status = HTTPStatus.NOT_FOUND
    detail = "Not found"


class MethodNotAllowed(ApiError):
    """The path exists, but not for this method."""

    status = HTTPStatus.METHOD_NOT_ALLOWED
    detail = "Method not allowed"


class RequestTimeout(ApiError):
    """The client is too slow to send what it began."""

    status = HTTPStatus.REQUEST_TIMEOUT
    detail = "The request did not arrive in time"


class Conflict(ApiError):
    """The state of the resource forbids it."""

    status = HTTPStatus.CONFLICT
    detail = "The request conflicts with the current state of the resource"


class QuotaExceeded(Conflict):
    """The user has as many rows as `MAX_ROWS_PER_USER` allows."""

    detail = "There are as many as this server allows, those in the trash included: delete some for good"

    def __init__(self, limit: int) -> None:
        super().__init__(type="quota-exceeded", title="Quota exceeded", limit=limit)


class OwnerDeleted(Exception):
    """The user's row is gone: erased since they were let in. Not an answer: the request runs again with a new row."""


class PreconditionFailed(ApiError):
    """`If-Match` names another version than the stored one."""

    status = HTTPStatus.PRECONDITION_FAILED
    detail = "The resource has changed: this is not the version that was expected"


class PayloadTooLarge(ApiError):
    """The body is over `BODY_LIMIT`."""

    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    detail = "The body is too large"


class UnsupportedMediaType(ApiError):
    """The body is not declared as JSON."""

    status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE
    detail = "The body must be JSON: Content-Type: application/json"


class UnsupportedContentEncoding(UnsupportedMediaType):
    """The body is compressed, or encoded otherwise (RFC 9110, 15.5.16)."""

    detail = "The body must not be encoded: send it without Content-Encoding"

    def __init__(self) -> None:
        super().__init__(headers={"Accept-Encoding": "identity"})


class Invalid(ApiError):
    """Well-formed, but against the rules; names everything that is wrong."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY
    detail = "The request is invalid"

    def __init__(self, errors: Iterable[FieldError] = (), detail: str | None = None) -> None:
        self.errors = list(errors)
        super().__init__(detail, errors=self.errors)

    def within(self, index: int, pointer: str) -> Self:
        """Lead the pointers there, too."""
        error = super().within(index, pointer)
        error.errors = error.members["errors"] = [
            each if each.pointer is None else FieldError(each.detail, pointer=pointer + each.pointer)
            for each in self.errors
        ]
        return error


class TooManyRequests(ApiError):
    """A limit is reached; `Retry-After` says, in seconds, when one more will do."""

    status = HTTPStatus.TOO_MANY_REQUESTS
    detail = "Too many requests, try again later"
    event = "rate_limited"

    def __init__(self, limit: str, retry_after: int, headers: dict[str, str]) -> None:
        super().__init__(headers={"Retry-After": str(retry_after), **headers})
        self.cause = limit


class Unavailable(ApiError):
    """The database cannot be reached; the same request may succeed soon."""

    status = HTTPStatus.SERVICE_UNAVAILABLE
    detail = "The database is unavailable, try again later"

    def __init__(self, detail: str | None = None, **members: Any) -> None:
        super().__init__(detail, headers={"Retry-After": RETRY_AFTER_SECONDS}, **members)


class Busy(Unavailable):
    """Other work of the same user, or on the same rows, takes too long to wait for; nothing was done."""

    detail = "Another request holds what this one needs, try again later"
    event = "busy"


class Overloaded(Unavailable):
    """More requests, or connections, are open than this process takes."""

    detail = "The server is overloaded, try again later"
    event = "overloaded"


def problem_body(error: ApiError, *, instance: str, request_id: str) -> bytes:
    """Render an error as the bytes of its problem document."""
    problem = Problem(
        title=HTTPStatus(error.status).phrase,
        status=error.status,
        detail=error.message,
        instance=instance,
        request_id=request_id,
    )
    return msgspec.json.encode(msgspec.structs.asdict(problem) | error.members)
