"""The document as a page for people: HTML and a style sheet, no script, and nothing from elsewhere."""

from base64 import b64encode
from collections.abc import Iterable, Iterator
from functools import cache
from hashlib import sha256
from html import escape
from http import HTTPStatus
from pathlib import Path
from typing import Any

import msgspec
from litestar import Litestar

from app.lib.openapi.document import Document, document_of
from app.lib.openapi.schema import Schema

METHODS = ("get", "post", "put", "patch", "delete")  # HEAD is told of once, above
_STYLE = Path(__file__).with_name("page.css").read_text()
_HASH = b64encode(sha256(_STYLE.encode()).digest()).decode()
POLICY = f"default-src 'none'; style-src 'sha256-{_HASH}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


@cache
def page_of(app: Litestar) -> bytes:
    """Give the page of an application's document."""
    return _Page(document_of(app)).html().encode()


def _tag(name: str, *inside: str | None, **attributes: str) -> Markup:
    """Make an element; texts in it are escaped unless they are `Markup`."""
    opened = "".join(f' {key.rstrip("_")}="{escape(value)}"' for key, value in attributes.items())
    return Markup(f"<{name}{opened}>{_join(inside)}</{name}>")


def _join(parts: Iterable[str | None]) -> Markup:
    return Markup("".join(part if isinstance(part, Markup) else escape(part) for part in parts if part))


def _table(head: str, rows: Iterable[Iterable[str | None]]) -> Markup:
    """Make a table of three columns."""
    lines = [_tag("tr", *(_tag("td", cell) for cell in row)) for row in rows]
    return _tag("table", _tag("tr", _tag("th", head, colspan="3")), *lines) if lines else Markup()


def _link(kind: str, name: str) -> Markup:
    return _tag("a", name, href=f"#{kind}-{name}")


def _prose(text: str | None) -> Markup:
    """Set what stands between backticks as code, and make paragraphs."""
    paragraphs = [_join(_coded(paragraph)) for paragraph in (text or "").split("\n\n") if paragraph]
    return _join(_tag("p", paragraph) for paragraph in paragraphs)


def _coded(text: str) -> Iterator[str]:
    for number, part in enumerate(text.split("`")):
        yield _tag("code", part) if number % 2 else part


def _json(value: Any) -> Markup:
    return _tag("pre", msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


class _Page:
    def __init__(self, document: Document) -> None:
        self._document = document
        self._components = document["components"]

    def html(self) -> str:
        info = self._document["info"]
        head = _tag("head", Markup('<meta charset="utf-8">'), _VIEWPORT, _tag("title", info["title"]), _STYLED)
        main = _tag(
            "main",
            _tag("h1", info["title"]),
            _prose(info["description"]),
            *(self._group(tag) for tag in self._document["tags"]),
            _tag("h2", "Errors"),
            *(self._error(name, answer) for name, answer in self._components["responses"].items()),
            _tag("h2", "Schemas"),
            *(self._schema(name, schema) for name, schema in self._components["schemas"].items()),
        )
        return f"<!doctype html>\n{_tag('html', head, _tag('body', self._menu(), main), lang='en')}\n"

    def _operations(self, tag: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
        for path, item in self._document["paths"].items():
            for method in METHODS:
                if method in item and tag in item[method]["tags"]:
                    yield method, path, item[method]

    def _menu(self) -> Markup:
        groups = [
            (tag["name"], [("operation", item["operationId"]) for _, _, item in self._operations(tag["name"])])
            for tag in self._document["tags"]
        ]
        groups.append(("Errors", [("error", name) for name in self._components["responses"]]))
        groups.append(("Schemas", [("schema", name) for name in self._components["schemas"]]))
        return _tag("nav", *(_join([_tag("h2", name), *(_link(*item) for item in items)]) for name, items in groups))

    def _group(self, tag: dict[str, Any]) -> Markup:
        articles = [self._operation(*operation) for operation in self._operations(tag["name"])]
        return _join([_tag("h2", tag["name"].capitalize()), _prose(tag["description"]), *articles])

    def _operation(self, method: str, path: str, operation: dict[str, Any]) -> Markup:
        open_to_all = _tag("p", _tag("small", "Needs no token")) if operation.get("security") == [] else None
        return _tag(
            "article",
            _tag("h3", _tag("b", method.upper(), class_=f"method {method}"), path),
            _prose(f"{operation['summary']}."),
            _prose(operation.get("description")),
            open_to_all,
            _table("Parameter", map(self._parameter, operation.get("parameters", ()))),
            self._body(operation.get("requestBody")),
            self._answers(operation["responses"]),
            id=f"operation-{operation['operationId']}",
        )

    def _parameter(self, parameter: dict[str, Any]) -> Iterator[Markup]:
        parameter = self._resolved(parameter)
        yield _tag("code", parameter["name"])
        yield _join([parameter["in"], Markup("<br>"), _tag("small", "required") if parameter.get("required") else None])
        yield self._told(parameter["schema"], parameter.get("description"))

    def _body(self, body: dict[str, Any] | None) -> Markup:
        if body is None:
            return Markup()
        media = next(iter(body["content"].values()))
        kinds = " or ".join(body["content"])
        optional = None if body["required"] else _tag("small", " (optional)")
        return _join([_tag("h4", "Body: ", self._type(media["schema"]), f", {kinds}", optional), _example(media)])

    def _answers(self, answers: dict[str, dict[str, Any]]) -> Markup:
        own = [self._answer(*each) for each in answers.items() if "$ref" not in each[1]]
        errors = [
            _join([_tag("code", status), " ", _link("error", answer["$ref"].rpartition("/")[2])])
            for status, answer in answers.items()
            if "$ref" in answer
        ]
        return _join([_table("Answer", own), _tag("p", Markup(" · ".join(errors)))])

    def _answer(self, status: str, answer: dict[str, Any]) -> Iterator[Markup]:
        yield _tag("code", status)
        kinds = [_join([self._type(media["schema"]), f", {kind}"]) for kind, media in answer.get("content", {}).items()]
        yield _join(kinds) or _join([HTTPStatus(int(status)).phrase])
        headers = _tag("p", _tag("small", "Headers: " + ", ".join(answer["headers"])))
        yield _join([_prose(answer["description"]), headers, *map(_example, answer.get("content", {}).values())])

    def _error(self, name: str, answer: dict[str, Any]) -> Markup:
        examples = next(iter(answer["content"].values()))["examples"].values()
        headers = _tag("p", _tag("small", "Headers: " + ", ".join(answer["headers"])))
        shown = _tag("details", _tag("summary", "Example"), *(_json(example["value"]) for example in examples))
        status = str(next(iter(examples))["value"]["status"])
        return _tag(
            "article", _tag("h3", f"{status} {name}"), _prose(answer["description"]), headers, shown, id=f"error-{name}"
        )

    def _schema(self, name: str, schema: Schema) -> Markup:
        required = schema.get("required", ())
        rows = [
            (_tag("code", key), _tag("small", "required" if key in required else "optional"), self._told(member))
            for key, member in schema.get("properties", {}).items()
        ]
        told = _prose(schema.get("description"))
        refuses = None if schema.get("additionalProperties", True) else _tag("p", _tag("small", "No other fields"))
        return _tag("article", _tag("h3", name), told, _table("Field", rows), refuses, id=f"schema-{name}")

    def _told(self, schema: Schema, description: str | None = None) -> Markup:
        """Tell a type, its limits, and what is said of it."""
        limits = ", ".join(_limits(schema))
        said = description or schema.get("description")
        return _join([self._type(schema), f"; {limits}" if limits else None, _tag("small", _prose(said))])

    def _type(self, schema: Schema) -> Markup:
        if "$ref" in schema:
            return _link("schema", schema["$ref"].rpartition("/")[2])
        if "anyOf" in schema:
            return Markup(" or ".join(self._type(each) for each in schema["anyOf"]))
        kinds = schema.get("type", "any value")
        names = kinds if isinstance(kinds, list) else [kinds]
        if "array" in names:
            return _join(["array of ", self._type(schema["items"])])
        shown = schema.get("format", names[0])
        return _join([" or ".join([str(shown), *names[1:]])])

    def _resolved(self, part: dict[str, Any]) -> dict[str, Any]:
        if "$ref" in part:
            _, kind, name = part["$ref"].removeprefix("#/").split("/")
            return self._components[kind][name]  # type: ignore[no-any-return]
        return part


_VIEWPORT = Markup('<meta name="viewport" content="width=device-width, initial-scale=1">')
_STYLED = _tag("style", Markup(_STYLE))
_WORDS = {
    "minimum": "at least {}",
    "maximum": "at most {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "maxItems": "at most {} of them",
    "minItems": "at least {} of them",
}


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


def _example(media: dict[str, Any]) -> Markup:
    if "example" not in media:
        return Markup()
    return _tag("details", _tag("summary", "Example"), _json(media["example"]))
