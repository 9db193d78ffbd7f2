"""Find out about an operation from its handler: signature, options, service and structs."""

import inspect
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any, get_args, get_origin

from litestar import Response
from msgspec import Struct
from sqlalchemy import UniqueConstraint

from app.lib.auth.scopes import scope_of
from app.lib.errors import FieldError
from app.lib.http.inputs import inputs_of
from app.lib.http.responses import Versioned
from app.lib.http.routes import Operation
from app.lib.openapi.components import EVERYWHERE, LIMITS
from app.lib.openapi.schemas import Schemas
from app.lib.persistence.singleton import SingletonService
from app.lib.persistence.user_scoped import UserScopedService
from app.lib.validation.query import Page, Query

OWNER = "user_id"
type AnyService = type[UserScopedService[Any, Any]]

WRITES = {"POST", "PUT", "PATCH", "DELETE"}


class OperationInfo:
    def __init__(self, operation: Operation, schemas: Schemas, *, is_open: bool) -> None:
        signature = operation.handler.parsed_fn_signature
        self.method = operation.method
        self.is_open = is_open
        self.scope = scope_of(operation.handler, operation.method)
        self.status = operation.handler.status_code
        self.returns: object = _returned(signature.return_type.annotation)
        inputs = inputs_of(operation.handler)
        self.data = inputs.data
        self.query = inputs.query or Query
        self.has_owner = OWNER in operation.parameters
        self.has_item = any(name != OWNER for name in operation.parameters)
        annotations = [parameter.annotation for parameter in signature.parameters.values()]
        self._classes = [annotation for annotation in annotations if inspect.isclass(annotation)]
        self._schemas = schemas

    @property
    def struct(self) -> type[Struct] | None:
        """The struct of the response's body, without type arguments."""
        struct = get_origin(self.returns) or self.returns
        return struct if inspect.isclass(struct) and issubclass(struct, Struct) else None

    @property
    def service(self) -> AnyService | None:
        """The service that the handler depends on, if it is one of many rows per user."""
        return next((each for each in self._classes if issubclass(each, UserScopedService)), None)

    @property
    def _body_fields(self) -> set[str]:
        """The fields of the body and of the objects in it. Those with an `id` or a `version` refer to rows."""
        if self.data is None:
            return set()
        return self._schemas.fields_below(self._schemas.of(self.data.annotation, sent=True))

    @property
    def is_versioned(self) -> bool:
        """Whether the response has an `ETag`."""
        struct = self.struct
        return struct is not None and (issubclass(struct, Versioned) or "version" in struct.__struct_fields__)

    @property
    def is_conditional(self) -> bool:
        """Whether it is a write that `If-Match` can prevent."""
        return self.method in WRITES and self.has_item and self.service is not None

    @property
    def may_be_stale(self) -> bool:
        """Whether it reads `If-Match` and `If-None-Match`."""
        return self.is_conditional or self.may_be_unchanged

    @property
    def may_be_unchanged(self) -> bool:
        """Whether it can be answered with 304."""
        return self.method == "GET" and self.is_versioned

    @property
    def may_conflict(self) -> bool:
        """Whether it can be answered with 409: for a unique value, a quota, or a user who is erased meanwhile."""
        singleton = next((each for each in self._classes if issubclass(each, SingletonService)), None)
        if self.method == "POST" or (singleton is not None and not singleton.upsert):
            return True
        if self.method not in ("PUT", "PATCH"):
            return False
        return singleton is not None or (self.service is not None and _has_unique_values(self.service))

    def request_headers(self) -> Iterator[str]:
        if self.may_be_stale:
            yield from ("If-Match", "If-None-Match")
        if self.method == "POST" and not self.is_open:
            yield "Idempotency-Key"
        yield "X-Request-ID"

    def response_headers(self) -> Iterator[str]:
        yield from EVERYWHERE
        if not self.is_open:
            yield from LIMITS
        if self.method == "POST":
            yield "Idempotency-Replayed"
        if self.is_versioned:
            yield "ETag"
        if self.struct is Page and "cursor" in self.query.__struct_fields__:
            yield "Link"
        if self.status == HTTPStatus.CREATED:
            yield "Location"

    def errors(self) -> Iterator[int]:
        """Yield every status from 400 on that the operation can be answered with."""
        yield from (400, 422, 500, 503)  # also without a body: a wrong Host, an unknown parameter
        if not self.is_open:
            yield from (401, 403, 429)
        if self.has_item or "id" in self._body_fields:
            yield 404
        if self.may_conflict:
            yield 409
        if self.may_be_stale or "version" in self._body_fields:
            yield 412
        if self.data is not None:
            yield 415
        if self.data is not None or self.method == "POST":
            yield from (408, 413)


def _returned(annotation: object) -> object:
    """Return the type of the response's body, also if it is inside a `Response`; None for no body."""
    origin = get_origin(annotation) or annotation
    if inspect.isclass(origin) and issubclass(origin, Response):
        annotation = (*get_args(annotation), Any)[0]
    return None if annotation is type(None) else annotation


def _has_unique_values(service: AnyService) -> bool:
    """Check for a unique constraint whose violation is not answered with a 422."""
    table = service.model.__table__
    names = {constraint.name for constraint in table.constraints if isinstance(constraint, UniqueConstraint)}
    names |= {index.name for index in table.indexes if index.unique}
    field_errors = {name for name, error in service.violations.items() if isinstance(error, FieldError)}
    return bool((names | service.violations.keys()) - field_errors)
