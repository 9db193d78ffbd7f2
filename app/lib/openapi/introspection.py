"""What a handler says of its operation without being asked: in its signature, options, service and structs."""

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
WRITES = {"POST", "PUT", "PATCH", "DELETE"}


class OperationInfo:
    """The facts of one operation, and what follows from them: headers that it reads and sends, errors that it has."""

    def __init__(self, operation: Operation, schemas: Schemas, *, is_open: bool) -> None:
        signature = operation.handler.parsed_fn_signature
        self.method = operation.method
        self.is_open = is_open
        self.scope = scope_of(operation.handler, operation.method)
        self.status = operation.handler.status_code
        self.gives = _given(signature.return_type.annotation)
        inputs = inputs_of(operation.handler)
        self.data = inputs.data
        self.query = inputs.query or Query
        self.has_owner = OWNER in operation.parameters
        self.has_item = any(name != OWNER for name in operation.parameters)
        kinds = [parameter.annotation for parameter in signature.parameters.values()]
        self._kinds = [kind for kind in kinds if inspect.isclass(kind)]
        self._schemas = schemas

    @property
    def struct(self) -> type[Struct] | None:
        """The struct of the answer, whatever it is of."""
        struct = get_origin(self.gives) or self.gives
        return struct if inspect.isclass(struct) and issubclass(struct, Struct) else None

    @property
    def service(self) -> type[UserScopedService[Any, Any]] | None:
        """The service that the handler asks for, where it is one of many rows."""
        return next((kind for kind in self._kinds if issubclass(kind, UserScopedService)), None)

    @property
    def _sent(self) -> set[str]:
        """The fields of the body, and of the objects in it: what has an `id` or a `version` is about rows."""
        if self.data is None:
            return set()
        return self._schemas.fields_below(self._schemas.of(self.data.annotation, sent=True))

    @property
    def is_versioned(self) -> bool:
        """Whether the answer has an `ETag`."""
        struct = self.struct
        return struct is not None and (issubclass(struct, Versioned) or "version" in struct.__struct_fields__)

    @property
    def is_conditional(self) -> bool:
        """Whether it is a conditional write."""
        return self.method in WRITES and self.has_item and self.service is not None

    @property
    def may_be_stale(self) -> bool:
        """Whether `If-Match` and `If-None-Match` count."""
        return self.is_conditional or self.may_be_unchanged

    @property
    def may_be_unchanged(self) -> bool:
        """Whether it is a conditional read."""
        return self.method == "GET" and self.is_versioned

    @property
    def may_conflict(self) -> bool:
        """Whether something must be unique, or the user's own row may be gone, erased elsewhere meanwhile."""
        own_row = next((kind for kind in self._kinds if issubclass(kind, SingletonService)), None)
        if self.method == "POST" or (own_row is not None and not own_row.upsert):
            return True
        if self.method not in ("PUT", "PATCH"):
            return False
        return own_row is not None or (self.service is not None and _is_unique(self.service))

    def reads(self) -> Iterator[str]:
        """Name the headers of requests."""
        if self.may_be_stale:
            yield from ("If-Match", "If-None-Match")
        if self.method == "POST" and not self.is_open:
            yield "Idempotency-Key"
        yield "X-Request-ID"

    def sends(self) -> Iterator[str]:
        """Name the headers of the answer."""
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
        """Give every status of refusals and failures."""
        yield from (400, 422, 500, 503)  # a Host of no one, a parameter that nobody knows, and bad days
        if not self.is_open:
            yield from (401, 403, 429)
        if self.has_item or "id" in self._sent:
            yield 404
        if self.may_conflict:
            yield 409
        if self.may_be_stale or "version" in self._sent:
            yield 412
        if self.data is not None:
            yield 415
        if self.data is not None or self.method == "POST":
            yield from (408, 413)


def _given(annotation: Any) -> Any:
    """Give what a handler answers with, inside a `Response` or not; None for nothing."""
    origin = get_origin(annotation) or annotation
    if inspect.isclass(origin) and issubclass(origin, Response):
        annotation = (*get_args(annotation), Any)[0]
    return None if annotation is type(None) else annotation


def _is_unique(service: type[UserScopedService[Any, Any]]) -> bool:
    """Tell whether two rows may collide, and the answer is no 422."""
    table = service.model.__table__
    unique = {item.name for item in table.constraints if isinstance(item, UniqueConstraint)}
    unique |= {index.name for index in table.indexes if index.unique}
    explained = {name for name, error in service.violations.items() if isinstance(error, FieldError)}
    return bool((unique | service.violations.keys()) - explained)
