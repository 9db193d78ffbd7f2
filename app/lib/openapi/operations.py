"""One operation as OpenAPI has it, told from its handler: what it takes, and everything that it can answer."""

import inspect
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any, get_args, get_origin

import msgspec
from litestar import Response
from msgspec import Struct
from sqlalchemy import UniqueConstraint

from app.lib.errors import FieldError
from app.lib.http import JSON_TYPES, Versioned
from app.lib.openapi.example import Examples, NoExample
from app.lib.openapi.parts import BEHIND_THE_TOKEN, EVERYWHERE, HEADERS, PARAMETERS, headers, problem_name, reference
from app.lib.openapi.schema import Schema, Schemas
from app.lib.own_row import OwnRowService
from app.lib.query import Page, Query, sort_schema
from app.lib.reply import JSON
from app.lib.routes import Operation
from app.lib.service import UserScopedService

WRITES = {"POST", "PUT", "PATCH", "DELETE"}
OWNER = "user_id"


class Described:
    """Tells what an operation is from its handler's signature and options."""

    def __init__(self, operation: Operation, schemas: Schemas, *, is_open: bool) -> None:
        self.operation = operation
        self.is_open = is_open
        self._schemas = schemas
        self._signature = operation.handler.parsed_fn_signature
        self.gives = _given(self._signature.return_type.annotation)
        self.status = operation.handler.status_code

    @property
    def has_item(self) -> bool:
        """Whether the path names a row, beside its user."""
        return any(name != OWNER for name in self.operation.parameters)

    @property
    def is_versioned(self) -> bool:
        """Whether the answer has an `ETag`."""
        struct = get_origin(self.gives) or self.gives
        if not (inspect.isclass(struct) and issubclass(struct, Struct)):
            return False
        return issubclass(struct, Versioned) or "version" in struct.__struct_fields__

    @property
    def _service(self) -> type[UserScopedService[Any, Any]] | None:
        return next((kind for kind in self._kinds if issubclass(kind, UserScopedService)), None)

    @property
    def _kinds(self) -> list[type[Any]]:
        kinds = [parameter.annotation for parameter in self._signature.parameters.values()]
        return [kind for kind in kinds if inspect.isclass(kind)]

    @property
    def _criteria(self) -> type[Query]:
        criteria: type[Query] = self.operation.handler.opt.get("criteria", Query)
        return criteria

    @property
    def _is_conditional(self) -> bool:
        return self.operation.method in WRITES and self.has_item and self._service is not None

    @property
    def _named_in_body(self) -> set[str]:
        """Name the fields of the structs within the body: what has an `id` or a `version` is about rows."""
        data = self._signature.parameters.get("data")
        return set() if data is None else self._schemas.fields_below(self._schemas.of(data.annotation, sent=True))

    def as_openapi(self) -> dict[str, Any]:
        """Give the operation object."""
        summary, _, description = inspect.cleandoc(self.operation.handler.fn.__doc__ or "").partition("\n\n")
        told = {
            "operationId": self.operation.name,
            "tags": self.operation.handler.resolve_tags(),
            "summary": " ".join(summary.split()).removesuffix("."),
            "description": description,
            "parameters": [*self._parameters()],
            "requestBody": self._body(),
            "responses": {str(status): answer for status, answer in sorted(self._answers())},
        }
        found = {name: value for name, value in told.items() if value}
        return found | ({"security": []} if self.is_open else {})

    def _parameters(self) -> Iterator[dict[str, Any]]:
        for name, kind in self.operation.parameters.items():
            if name in PARAMETERS:
                yield reference("parameters", name)
            else:
                yield self._parameter("path", name, self._schemas.of(kind, sent=True), required=True)
        yield from self._query()
        yield from (reference("parameters", name) for name in self._headers())

    def _query(self) -> Iterator[dict[str, Any]]:
        for field in msgspec.structs.fields(self._criteria):
            schema = self._schemas.field(field, sent=True)
            if field.encode_name == "sort" and "enum" not in schema and self._service is not None:
                schema = sort_schema(self._service.sorts, self._service.default_sort)
            repeats = {"style": "form", "explode": True} if schema.get("type") == "array" else {}
            yield self._parameter("query", field.encode_name, schema, required=field.required, **repeats)

    def _parameter(self, place: str, name: str, schema: Schema, *, required: bool, **more: Any) -> dict[str, Any]:
        description = {"description": schema.pop("description")} if "description" in schema else {}
        return {"name": name, "in": place} | description | {"required": required, "schema": schema} | more

    def _headers(self) -> Iterator[str]:
        if self._is_conditional:
            yield "If-Match"
        if self.operation.method == "GET" and self.is_versioned:
            yield "If-None-Match"
        if self.operation.method == "POST" and not self.is_open:
            yield "Idempotency-Key"
        yield "X-Request-ID"

    def _body(self) -> dict[str, Any] | None:
        if (data := self._signature.parameters.get("data")) is None:
            return None
        content = self._content(self._schemas.of(data.annotation, sent=True))
        types = sorted(JSON_TYPES) if self.operation.method == "PATCH" else [JSON.decode()]
        return {"required": not data.has_default, "content": dict.fromkeys(types, content)}

    def _content(self, schema: Schema) -> dict[str, Any]:
        try:
            return {"schema": schema, "example": Examples(self._schemas.components).of(schema)}
        except NoExample:
            return {"schema": schema}

    def _answers(self) -> Iterator[tuple[int, dict[str, Any]]]:
        yield self.status, self._success()
        if self.operation.method == "GET" and self.is_versioned:
            unchanged = {"description": "Not modified since `If-None-Match`", "headers": headers(self._told("ETag"))}
            yield HTTPStatus.NOT_MODIFIED.value, unchanged
        yield from ((status, reference("responses", problem_name(status))) for status in self._errors())

    def _errors(self) -> Iterator[int]:
        yield from (400, 422, 500, 503)  # a Host of no one, a parameter that nobody knows, and bad days
        if not self.is_open:
            yield from (401, 429)
        if OWNER in self.operation.parameters:
            yield 403
        if self.has_item or "id" in self._named_in_body:
            yield 404
        if self.operation.method == "POST" or self._may_conflict:
            yield 409
        if self._is_conditional or "version" in self._named_in_body:
            yield 412
        if "data" in self._signature.parameters:
            yield 415
        if "data" in self._signature.parameters or self.operation.method == "POST":
            yield from (408, 413)

    @property
    def _may_conflict(self) -> bool:
        """Tell whether something must be unique, or the user's own row may be gone, erased elsewhere meanwhile."""
        own_row = next((kind for kind in self._kinds if issubclass(kind, OwnRowService)), None)
        if own_row is not None:
            return self.operation.method in ("PUT", "PATCH") or not own_row.made_on_write
        if self._service is None or self.operation.method not in ("PUT", "PATCH"):
            return False
        constraints = self._service.model.__table__.constraints
        unique = {item.name for item in constraints if isinstance(item, UniqueConstraint)}
        explained = {name for name, error in self._service.violations.items() if isinstance(error, FieldError)}
        return bool((unique | self._service.violations.keys()) - explained)

    def _success(self) -> dict[str, Any]:
        declared = {header.name: header.description for header in self.operation.handler.resolve_response_headers()}
        own = {name: {"description": said or name, "schema": {"type": "string"}} for name, said in declared.items()}
        told = {name: header for name, header in own.items() if name not in HEADERS}
        answer = {
            "description": self._description(),
            "headers": headers([*self._told(), *(own.keys() & HEADERS.keys())]) | told,
        }
        content = self._given_content()
        return answer | ({"content": content} if content else {})

    def _told(self, *names: str) -> Iterator[str]:
        yield from (*EVERYWHERE, *names)
        if not self.is_open:
            yield from BEHIND_THE_TOKEN
        if self.operation.method == "POST":
            yield "Idempotency-Replayed"
        if self.is_versioned and not names:
            yield "ETag"
        if get_origin(self.gives) is Page and "cursor" in self._criteria.__struct_fields__:
            yield "Link"
        if self.status == HTTPStatus.CREATED:
            yield "Location"

    def _description(self) -> str:
        struct = get_origin(self.gives) or self.gives
        said = struct.__doc__ if inspect.isclass(struct) and issubclass(struct, Struct) else None
        return inspect.cleandoc(said or HTTPStatus(self.status).phrase)

    def _given_content(self) -> dict[str, Any] | None:
        if self.gives is None:
            return None
        media_type = str(getattr(self.operation.handler.media_type, "value", self.operation.handler.media_type))
        if media_type not in ("", JSON.decode()):
            return {media_type: {"schema": {"type": "string"}}}
        return {JSON.decode(): self._content(self._schemas.of(self.gives, sent=False))}


def _given(annotation: Any) -> Any:
    """Give what a handler answers with, inside a `Response` or not; None for nothing."""
    origin = get_origin(annotation) or annotation
    if inspect.isclass(origin) and issubclass(origin, Response):
        annotation = (*get_args(annotation), Any)[0]
    return None if annotation is type(None) else annotation
