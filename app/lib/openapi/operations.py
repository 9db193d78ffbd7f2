"""Build the OpenAPI object of one operation: its parameters, its body, and every response."""

import inspect
from collections.abc import Iterator
from http import HTTPStatus

import msgspec

from app.lib.http.asgi import JSON
from app.lib.http.requests import body_types
from app.lib.http.routes import Operation
from app.lib.openapi.components import BEARER, HEADERS, PARAMETERS, headers, problem_name, reference
from app.lib.openapi.examples import Examples, NoExample
from app.lib.openapi.introspection import OperationInfo
from app.lib.openapi.schemas import JsonObject, Schema, Schemas
from app.lib.validation.query import sort_schema


class OperationBuilder:
    def __init__(self, operation: Operation, schemas: Schemas, *, is_open: bool) -> None:
        self.operation = operation
        self.info = OperationInfo(operation, schemas, is_open=is_open)
        self._schemas = schemas

    def as_openapi(self) -> JsonObject:
        summary, _, description = inspect.cleandoc(self.operation.handler.fn.__doc__ or "").partition("\n\n")
        operation: JsonObject = {
            "operationId": self.operation.name,
            "tags": self.operation.handler.resolve_tags(),
            "summary": " ".join(summary.split()).removesuffix("."),
            "description": description,
            "parameters": [*self._parameters()],
            "requestBody": self._body(),
            "responses": {str(status): response for status, response in sorted(self._responses())},
        }
        return {name: value for name, value in operation.items() if value} | self._security()

    def _security(self) -> JsonObject:
        if self.info.is_open:
            return {"security": []}
        return {"security": [{BEARER: [self.info.scope]}]} if self.info.scope else {}

    def _parameters(self) -> Iterator[JsonObject]:
        for name, kind in self.operation.parameters.items():
            if name in PARAMETERS:
                yield reference("parameters", name)
            else:
                yield _parameter("path", name, self._schemas.of(kind, sent=True), required=True)
        yield from self._query()
        yield from (reference("parameters", name) for name in self.info.request_headers())

    def _query(self) -> Iterator[JsonObject]:
        service = self.info.service
        for field in msgspec.structs.fields(self.info.query):
            schema = self._schemas.field(field, sent=True)
            if field.encode_name == "sort" and "enum" not in schema and service is not None:
                schema = sort_schema(service.sorts, service.default_sort)
            repeats = {"style": "form", "explode": True} if schema.get("type") == "array" else {}
            yield _parameter("query", field.encode_name, schema, required=field.required, **repeats)

    def _body(self) -> JsonObject | None:
        if (data := self.info.data) is None:
            return None
        content = self._content(self._schemas.of(data.annotation, sent=True))
        return {"required": not data.has_default, "content": dict.fromkeys(body_types(self.info.method), content)}

    def _content(self, schema: Schema) -> JsonObject:
        try:
            return {"schema": schema, "example": Examples(self._schemas.components).of(schema)}
        except NoExample:
            return {"schema": schema}

    def _responses(self) -> Iterator[tuple[int, JsonObject]]:
        yield self.info.status, self._success()
        if self.info.may_be_unchanged:
            unchanged = {
                "description": "Not modified since `If-None-Match`",
                "headers": headers(self.info.response_headers()),
            }
            yield HTTPStatus.NOT_MODIFIED.value, unchanged
        yield from ((status, reference("responses", problem_name(status))) for status in self.info.errors())

    def _success(self) -> JsonObject:
        docstring = self.info.struct.__doc__ if self.info.struct else None
        description = inspect.cleandoc(docstring or HTTPStatus(self.info.status).phrase)
        content = self._response_content()
        return {"description": description, "headers": self._headers()} | ({"content": content} if content else {})

    def _headers(self) -> JsonObject:
        """Return the headers of every such response, and those that the handler declares."""
        declared = {header.name: header.description for header in self.operation.handler.resolve_response_headers()}
        local = {
            name: {"description": description or name, "schema": {"type": "string"}}
            for name, description in sorted(declared.items())
            if name not in HEADERS
        }
        return headers([*self.info.response_headers(), *(declared.keys() & HEADERS.keys())]) | local

    def _response_content(self) -> JsonObject | None:
        if self.info.returns is None:
            return None
        declared = self.operation.handler.media_type
        media_type = str(getattr(declared, "value", declared))
        if media_type not in ("", JSON.decode()):
            return {media_type: {"schema": {"type": "string"}}}
        return {JSON.decode(): self._content(self._schemas.of(self.info.returns, sent=False))}


def _parameter(place: str, name: str, schema: Schema, *, required: bool, **keywords: object) -> JsonObject:
    description = {"description": schema["description"]} if "description" in schema else {}
    schema = {keyword: value for keyword, value in schema.items() if keyword != "description"}
    return {"name": name, "in": place} | description | {"required": required, "schema": schema} | keywords
