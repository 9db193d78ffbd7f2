"""One operation as OpenAPI has it: what it takes, and everything that it can answer."""

import inspect
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

import msgspec

from app.lib.http.asgi import JSON
from app.lib.http.requests import body_types
from app.lib.http.routes import Operation
from app.lib.openapi.components import BEARER, HEADERS, PARAMETERS, headers, problem_name, reference
from app.lib.openapi.examples import Examples, NoExample
from app.lib.openapi.introspection import OperationInfo
from app.lib.openapi.schemas import Schema, Schemas
from app.lib.validation.query import sort_schema


class OperationBuilder:
    """Describes an operation."""

    def __init__(self, operation: Operation, schemas: Schemas, *, is_open: bool) -> None:
        self.operation = operation
        self.facts = OperationInfo(operation, schemas, is_open=is_open)
        self._schemas = schemas

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
        return found | self._security()

    def _security(self) -> dict[str, Any]:
        if self.facts.is_open:
            return {"security": []}
        return {"security": [{BEARER: [self.facts.scope]}]} if self.facts.scope else {}

    def _parameters(self) -> Iterator[dict[str, Any]]:
        for name, kind in self.operation.parameters.items():
            if name in PARAMETERS:
                yield reference("parameters", name)
            else:
                yield _parameter("path", name, self._schemas.of(kind, sent=True), required=True)
        yield from self._query()
        yield from (reference("parameters", name) for name in self.facts.reads())

    def _query(self) -> Iterator[dict[str, Any]]:
        service = self.facts.service
        for field in msgspec.structs.fields(self.facts.query):
            schema = self._schemas.field(field, sent=True)
            if field.encode_name == "sort" and "enum" not in schema and service is not None:
                schema = sort_schema(service.sorts, service.default_sort)
            repeats = {"style": "form", "explode": True} if schema.get("type") == "array" else {}
            yield _parameter("query", field.encode_name, schema, required=field.required, **repeats)

    def _body(self) -> dict[str, Any] | None:
        if (data := self.facts.data) is None:
            return None
        content = self._content(self._schemas.of(data.annotation, sent=True))
        return {"required": not data.has_default, "content": dict.fromkeys(body_types(self.facts.method), content)}

    def _content(self, schema: Schema) -> dict[str, Any]:
        try:
            return {"schema": schema, "example": Examples(self._schemas.components).of(schema)}
        except NoExample:
            return {"schema": schema}

    def _answers(self) -> Iterator[tuple[int, dict[str, Any]]]:
        yield self.facts.status, self._success()
        if self.facts.may_be_unchanged:
            unchanged = {"description": "Not modified since `If-None-Match`", "headers": headers(self.facts.sends())}
            yield HTTPStatus.NOT_MODIFIED.value, unchanged
        yield from ((status, reference("responses", problem_name(status))) for status in self.facts.errors())

    def _success(self) -> dict[str, Any]:
        said = self.facts.struct.__doc__ if self.facts.struct else None
        answer = {"description": inspect.cleandoc(said or HTTPStatus(self.facts.status).phrase)}
        content = self._given()
        return answer | {"headers": self._headers()} | ({"content": content} if content else {})

    def _headers(self) -> dict[str, Any]:
        """Refer to what every such answer has, and to what the handler declares."""
        declared = {header.name: header.description for header in self.operation.handler.resolve_response_headers()}
        own = {
            name: {"description": description or name, "schema": {"type": "string"}}
            for name, description in sorted(declared.items())
            if name not in HEADERS
        }
        return headers([*self.facts.sends(), *(declared.keys() & HEADERS.keys())]) | own

    def _given(self) -> dict[str, Any] | None:
        if self.facts.gives is None:
            return None
        kind = self.operation.handler.media_type
        media_type = str(getattr(kind, "value", kind))
        if media_type not in ("", JSON.decode()):
            return {media_type: {"schema": {"type": "string"}}}
        return {JSON.decode(): self._content(self._schemas.of(self.facts.gives, sent=False))}


def _parameter(place: str, name: str, schema: Schema, *, required: bool, **more: Any) -> dict[str, Any]:
    described = {"description": schema["description"]} if "description" in schema else {}
    schema = {keyword: value for keyword, value in schema.items() if keyword != "description"}
    return {"name": name, "in": place} | described | {"required": required, "schema": schema} | more
