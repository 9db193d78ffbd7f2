"""Components that operations share: headers, parameters, and a response for each error status."""

import inspect
from collections.abc import Iterable
from http import HTTPStatus

from app.lib import errors
from app.lib.auth.guards import USER_ID
from app.lib.errors import PROBLEM_JSON, ApiError, InvalidProblem, Problem
from app.lib.middleware.idempotency import VISIBLE_ASCII
from app.lib.openapi.schemas import JsonObject, Schema, Schemas

BEARER = "bearerAuth"
REQUEST_ID = "0199a1f0-5b6e-7cc3-98c4-dc0c0c07398f"
ETAG = r'^"[1-9][0-9]*"$'
REFUSED_AUTHENTICATION = "^Bearer"

_TEXT: Schema = {"type": "string"}
_NUMBER: Schema = {"type": "integer", "minimum": 0}


def _header(description: str, schema: Schema, *, example: str | int | None = None, always: bool = True) -> JsonObject:
    header: JsonObject = {"description": description, "schema": schema}
    return header | ({"required": True} if always else {}) | ({} if example is None else {"example": example})


HEADERS: dict[str, JsonObject] = {
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
LIMITS = ("RateLimit", "RateLimit-Policy")  # only after authentication: the limit is per user
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


def _parameter(place: str, name: str, description: str, schema: Schema, **keywords: object) -> JsonObject:
    return {"name": name, "in": place, "description": description, "schema": schema} | keywords


PARAMETERS: dict[str, JsonObject] = {
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
    return {"$ref": f"#/components/{kind}/{name}"}


def headers(names: Iterable[str]) -> JsonObject:
    return {name: reference("headers", name) for name in sorted(names)}


def problem_name(status: int) -> str:
    return HTTPStatus(status).phrase.replace(" ", "")


def problems(schemas: Schemas) -> dict[str, JsonObject]:
    """Return a response for each status in `app.lib.errors`, with an example of each error class."""
    classes: dict[int, list[type[ApiError]]] = {}
    for value in vars(errors).values():
        if inspect.isclass(value) and issubclass(value, ApiError):
            classes.setdefault(int(value.status), []).append(value)
    return {problem_name(status): _problem(status, classes[status], schemas) for status in sorted(classes)}


def _problem(status: int, classes: list[type[ApiError]], schemas: Schemas) -> JsonObject:
    body = schemas.of(InvalidProblem if status == HTTPStatus.UNPROCESSABLE_ENTITY else Problem, sent=False)
    names = (*EVERYWHERE, *_OF_STATUS.get(status, ()), *(() if status == HTTPStatus.UNAUTHORIZED else LIMITS))
    return {
        "description": "\n\n".join(inspect.cleandoc(error.__doc__ or "") for error in classes),
        "headers": headers(names) | (_MISSING_SCOPE if status == HTTPStatus.FORBIDDEN else {}),
        "content": {
            PROBLEM_JSON.decode(): {
                "schema": body,
                "examples": {error.__name__: {"value": _example(error)} for error in classes},
            }
        },
    }


def _example(error: type[ApiError]) -> JsonObject:
    status = HTTPStatus(error.status)
    problem: JsonObject = {"type": "about:blank", "title": status.phrase, "status": int(status), "detail": error.detail}
    field_errors = [{"detail": "Required field is missing", "pointer": "/title"}]
    members = {"errors": field_errors} if status == HTTPStatus.UNPROCESSABLE_ENTITY else {}
    return problem | {"instance": "/api/alice/todos", "request_id": REQUEST_ID} | members
