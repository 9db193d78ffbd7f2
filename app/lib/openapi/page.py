"""Render the OpenAPI document as an HTML page, with a style sheet, without scripts and external resources."""

from base64 import b64encode
from collections.abc import Iterator
from functools import lru_cache
from hashlib import sha256
from http import HTTPStatus
from pathlib import Path

import msgspec
from litestar import Litestar

from app.lib.openapi.document import Document, document_of
from app.lib.openapi.html import Markup, code_block, join, link, prose, table, tag
from app.lib.openapi.schemas import JsonObject, Schema

METHODS = ("get", "post", "put", "patch", "delete")  # the introduction describes HEAD
_STYLE = Path(__file__).with_name("page.css").read_text()
_HASH = b64encode(sha256(_STYLE.encode()).digest()).decode()
POLICY = f"default-src 'none'; style-src 'sha256-{_HASH}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


@lru_cache(maxsize=4)
def page_of(app: Litestar) -> bytes:
    """Return the page as UTF-8; cached, like the document."""
    return _Page(document_of(app)).html().encode()


class _Page:
    def __init__(self, document: Document) -> None:
        self._document = document
        self._components = document["components"]

    def html(self) -> str:
        info = self._document["info"]
        head = tag("head", Markup('<meta charset="utf-8">'), _VIEWPORT, tag("title", info["title"]), _STYLED)
        main = tag(
            "main",
            tag("h1", info["title"]),
            prose(info["description"]),
            *(self._group(group) for group in self._document["tags"]),
            tag("h2", "Errors"),
            *(self._error(name, response) for name, response in self._components["responses"].items()),
            tag("h2", "Schemas"),
            *(self._schema(name, schema) for name, schema in self._components["schemas"].items()),
        )
        return f"<!doctype html>\n{tag('html', head, tag('body', self._menu(), main), lang='en')}\n"

    def _operations(self, group: str) -> Iterator[tuple[str, str, JsonObject]]:
        for path, item in self._document["paths"].items():
            for method in METHODS:
                if method in item and group in item[method]["tags"]:
                    yield method, path, item[method]

    def _menu(self) -> Markup:
        groups = [
            (group["name"], [("operation", item["operationId"]) for _, _, item in self._operations(group["name"])])
            for group in self._document["tags"]
        ]
        groups.append(("Errors", [("error", name) for name in self._components["responses"]]))
        groups.append(("Schemas", [("schema", name) for name in self._components["schemas"]]))
        return tag("nav", *(join([tag("h2", name), *(link(*item) for item in items)]) for name, items in groups))

    def _group(self, group: JsonObject) -> Markup:
        articles = [self._operation(*operation) for operation in self._operations(group["name"])]
        return join([tag("h2", group["name"].capitalize()), prose(group["description"]), *articles])

    def _operation(self, method: str, path: str, operation: JsonObject) -> Markup:
        open_to_all = tag("p", _small("Needs no token")) if operation.get("security") == [] else None
        return tag(
            "article",
            tag("h3", tag("b", method.upper(), class_=f"method {method}"), path),
            prose(f"{operation['summary']}."),
            prose(operation.get("description")),
            open_to_all,
            table("Parameter", map(self._parameter, operation.get("parameters", ()))),
            self._body(operation.get("requestBody")),
            self._responses(operation["responses"]),
            id=f"operation-{operation['operationId']}",
        )

    def _parameter(self, parameter: JsonObject) -> Iterator[Markup]:
        parameter = self._resolved(parameter)
        yield tag("code", parameter["name"])
        yield join([parameter["in"], Markup("<br>"), tag("small", "required") if parameter.get("required") else None])
        yield self._type_and_limits(parameter["schema"], parameter.get("description"))

    def _body(self, body: JsonObject | None) -> Markup:
        if body is None:
            return Markup()
        media = next(iter(body["content"].values()))
        media_types = " or ".join(body["content"])
        optional = None if body["required"] else tag("small", " (optional)")
        return join([tag("h4", "Body: ", self._type(media["schema"]), f", {media_types}", optional), _example(media)])

    def _responses(self, responses: dict[str, JsonObject]) -> Markup:
        rows = [self._response(*item) for item in responses.items() if "$ref" not in item[1]]
        errors = [
            join([tag("code", status), " ", link("error", response["$ref"].rpartition("/")[2])])
            for status, response in responses.items()
            if "$ref" in response
        ]
        return join([table("Response", rows), tag("p", Markup(" · ".join(errors)))])

    def _response(self, status: str, response: JsonObject) -> Iterator[Markup]:
        yield tag("code", status)
        content = response.get("content", {})
        types = [join([self._type(media["schema"]), f", {media_type}"]) for media_type, media in content.items()]
        yield join(types) or join([HTTPStatus(int(status)).phrase])
        headers = tag("p", tag("small", "Headers: " + ", ".join(response["headers"])))
        yield join([prose(response["description"]), headers, *map(_example, content.values())])

    def _error(self, name: str, response: JsonObject) -> Markup:
        examples = next(iter(response["content"].values()))["examples"].values()
        headers = tag("p", tag("small", "Headers: " + ", ".join(response["headers"])))
        details = tag("details", tag("summary", "Example"), *(code_block(example["value"]) for example in examples))
        status = str(next(iter(examples))["value"]["status"])
        return tag(
            "article",
            tag("h3", f"{status} {name}"),
            prose(response["description"]),
            headers,
            details,
            id=f"error-{name}",
        )

    def _schema(self, name: str, schema: Schema) -> Markup:
        required = schema.get("required", ())
        rows = [
            (
                tag("code", key),
                tag("small", "required" if key in required else "optional"),
                self._type_and_limits(member),
            )
            for key, member in schema.get("properties", {}).items()
        ]
        description = prose(schema.get("description"))
        closed = None if schema.get("additionalProperties", True) else tag("p", _small("No other fields"))
        return tag("article", tag("h3", name), description, table("Field", rows), closed, id=f"schema-{name}")

    def _type_and_limits(self, schema: Schema, description: str | None = None) -> Markup:
        limits = ", ".join(_limits(schema))
        text = prose(description or schema.get("description"))
        return join([self._type(schema), f"; {limits}" if limits else None, tag("small", text)])

    def _type(self, schema: Schema) -> Markup:
        if "$ref" in schema:
            return link("schema", schema["$ref"].rpartition("/")[2])
        if "anyOf" in schema:
            return Markup(" or ".join(self._type(each) for each in schema["anyOf"]))
        if "const" in schema:
            return tag("code", str(schema["const"]))
        types = schema.get("type", "any value")
        names = types if isinstance(types, list) else [types]
        if "array" in names:
            return join(["array of ", self._type(schema["items"])])
        first = str(schema.get("format", names[0]))
        return join([" or ".join([first, *names[1:]])])

    def _resolved(self, part: JsonObject) -> JsonObject:
        if "$ref" in part:
            _, kind, name = part["$ref"].removeprefix("#/").split("/")
            component: JsonObject = self._components[kind][name]
            return component
        return part


_VIEWPORT = Markup('<meta name="viewport" content="width=device-width, initial-scale=1">')
_STYLED = tag("style", Markup(_STYLE))
_WORDS = {
    "minimum": "at least {}",
    "maximum": "at most {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "maxItems": "at most {} of them",
    "minItems": "at least {} of them",
}


def _small(text: str) -> Markup:
    return tag("small", text)


def _limits(schema: Schema) -> Iterator[str]:
    if "enum" in schema:
        yield "one of " + ", ".join(str(value) for value in schema["enum"] if value is not None)
    for keyword, words in _WORDS.items():
        if keyword in schema:
            yield words.format(schema[keyword])
    if "items" in schema:
        yield from _limits(schema["items"])
    if schema.get("default") is not None:
        yield f"by default {msgspec.json.encode(schema['default']).decode()}"


def _example(media: JsonObject) -> Markup:
    if "example" not in media:
        return Markup()
    return tag("details", tag("summary", "Example"), code_block(media["example"]))
