"""What operations share: headers, and an answer for each kind of error."""

import inspect
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

from app.lib import errors
from app.lib.auth.guards import USER_ID
from app.lib.errors import PROBLEM_JSON, ApiError, InvalidProblem, Problem
from app.lib.middleware.idempotency import VISIBLE_ASCII
from app.lib.openapi.schemas import Schema, Schemas

BEARER = "bearerAuth"
REQUEST_ID = "0199a1f0-5b6e-7cc3-98c4-dc0c0c07398f"
ETAG = r'^"[1-9][0-9]*"$'
REFUSED_AUTHENTICATION = "^Bearer"

_TEXT: Schema = {"type": "string"}
_NUMBER: Schema = {"type": "integer", "minimum": 0}


def _header(description: str, schema: Schema, *, example: Any = None, always: bool = True) -> dict[str, Any]:
    header = {"description": description, "schema": schema}
    return header | ({"required": True} if always else {}) | ({} if example is None else {"example": example})


HEADERS: dict[str, dict[str, Any]] = {
    "Accept-Encoding": _header("Where the body was encoded", _TEXT | {"const": "identity"}, always=False),
    "Allow": _header("The methods that the path has", _TEXT, example="GET, HEAD, OPTIONS"),
    "ETag": _header("The version, for `If-Match` and `If-None-Match`", _TEXT | {"pattern": ETAG}, example='"1"'),
    "Idempotency-Replayed": _header(
        "The answer of the first request with this `Idempotency-Key`", _TEXT | {"const": "true"}, always=False
    ),
    "Link": _header("The next page, where there is one (RFC 8288)", _TEXT, always=False),
    "Location": _header("Where the new resource is", _TEXT | {"format": "uri-reference"}),
    "RateLimit": _header("What is left of the limit", _TEXT, example='"user";r=599;t=1', always=False),
    "RateLimit-Policy": _header("The limit", _TEXT, example='"user";q=600;w=60', always=False),
    "Retry-After": _header("Seconds to wait", _NUMBER, example=5),
    "WWW-Authenticate": _header("Why (RFC 6750)", _TEXT | {"pattern": REFUSED_AUTHENTICATION}, example="Bearer"),
    "X-Request-ID": _header("The request's id, which the log has too", _TEXT, example=REQUEST_ID),
    "X-Total-Count": _header("The number of all that match", _NUMBER, example=1),
}

EVERYWHERE = ("X-Request-ID",)
LIMITS = ("RateLimit", "RateLimit-Policy")  # behind the token
_OF_STATUS = {
    401: ("WWW-Authenticate",),
    405: ("Allow",),
    415: ("Accept-Encoding",),
    429: ("Retry-After",),
    503: ("Retry-After",),
}
_MISSING_SCOPE = {
    "WWW-Authenticate": _header(
        "Which scope the access token lacks (RFC 6750)",
        _TEXT | {"pattern": REFUSED_AUTHENTICATION},
        example='Bearer error="insufficient_scope", scope="todos:write"',
        always=False,
    )
}


def _parameter(place: str, name: str, description: str, schema: Schema, **more: Any) -> dict[str, Any]:
    return {"name": name, "in": place, "description": description, "schema": schema} | more


PARAMETERS: dict[str, dict[str, Any]] = {
    "user_id": _parameter(
        "path",
        "user_id",
        "The id of the token's user; any other is a 403",
        _TEXT | {"minLength": 1, "maxLength": 128, "pattern": f"^{USER_ID.pattern}$"},
        required=True,
        example="alice",
    ),
    "If-Match": _parameter("header", "If-Match", "Only if this is still the `ETag`; 412 if not", _TEXT),
    "If-None-Match": _parameter(
        "header", "If-None-Match", "Not if this is still the `ETag`; 304 then, and 412 for a write", _TEXT
    ),
    "Idempotency-Key": _parameter(
        "header",
        "Idempotency-Key",
        "Makes the request safe to repeat: for a day, the same key gets the first answer",
        _TEXT | {"minLength": 1, "maxLength": 255, "pattern": f"^{VISIBLE_ASCII.pattern.decode()}$"},
    ),
    "X-Request-ID": _parameter("header", "X-Request-ID", "An id for the request, taken if it is a sane token", _TEXT),
}


def reference(kind: str, name: str) -> dict[str, str]:
    """Refer to a component."""
    return {"$ref": f"#/components/{kind}/{name}"}


def headers(names: Iterable[str]) -> dict[str, Any]:
    """Refer to headers of answers, sorted by name."""
    return {name: reference("headers", name) for name in sorted(names)}


def problem_name(status: int) -> str:
    """Name the component of an error."""
    return HTTPStatus(status).phrase.replace(" ", "")


def problems(schemas: Schemas) -> dict[str, dict[str, Any]]:
    """Give the answer of each status that the errors carry, with an example of each error."""
    kinds: dict[int, list[type[ApiError]]] = {}
    for kind in vars(errors).values():
        if inspect.isclass(kind) and issubclass(kind, ApiError):
            kinds.setdefault(int(kind.status), []).append(kind)
    return {problem_name(status): _problem(status, kinds[status], schemas) for status in sorted(kinds)}


def _problem(status: int, kinds: list[type[ApiError]], schemas: Schemas) -> dict[str, Any]:
    body = schemas.of(InvalidProblem if status == HTTPStatus.UNPROCESSABLE_ENTITY else Problem, sent=False)
    told = (*_OF_STATUS.get(status, ()), *(() if status == HTTPStatus.UNAUTHORIZED else LIMITS))
    return {
        "description": "\n\n".join(inspect.cleandoc(kind.__doc__ or "") for kind in kinds),
        "headers": headers((*EVERYWHERE, *told)) | (_MISSING_SCOPE if status == HTTPStatus.FORBIDDEN else {}),
        "content": {
            PROBLEM_JSON.decode(): {
                "schema": body,
                "examples": {kind.__name__: {"value": _example(kind)} for kind in kinds},
            }
        },
    }


def _example(kind: type[ApiError]) -> dict[str, Any]:
    status = HTTPStatus(kind.status)
    problem = {"type": "about:blank", "title": status.phrase, "status": int(status), "detail": kind.detail}
    mistakes = [{"detail": "Required field is missing", "pointer": "/title"}]
    more = {"errors": mistakes} if status == HTTPStatus.UNPROCESSABLE_ENTITY else {}
    return problem | {"instance": "/api/alice/todos", "request_id": REQUEST_ID} | more
