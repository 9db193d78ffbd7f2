"""Build the OpenAPI document. Its order is stable, so that a diff shows only changes of the API."""

import inspect
from collections.abc import Iterable
from functools import lru_cache

import msgspec
from litestar import Litestar

from app.lib.http.routes import operations
from app.lib.openapi.components import BEARER, HEADERS, PARAMETERS, problems
from app.lib.openapi.introspection import OWNER
from app.lib.openapi.operations import OperationBuilder
from app.lib.openapi.schemas import JsonObject, Schemas

type Document = JsonObject

_SCHEME = {
    "type": "http",
    "scheme": "bearer",
    "bearerFormat": "JWT",
    "description": (
        "Issued by Better Auth, for the user whose id is in the path. A session token needs no scope; an access token "
        "of an OAuth client needs the one that the operation names, and is refused where none is named."
    ),
}
_INFO = {
    "title": "Todo API",
    "version": "1",
    "description": (
        "Each user's own data, behind a Better Auth token. `HEAD` works wherever `GET` does. "
        "Unknown fields and parameters are refused, unless said otherwise. Errors are problem documents (RFC 9457)."
    ),
}


@lru_cache(maxsize=4)
def document_of(app: Litestar) -> Document:
    """Return the document; cached, because routes do not change after start-up."""
    schemas = Schemas()
    open_paths = app.state.settings.open_paths
    builders = [
        OperationBuilder(operation, schemas, is_open=operation.path in open_paths) for operation in operations(app)
    ]
    paths: dict[str, JsonObject] = {}
    for builder in builders:
        paths.setdefault(builder.operation.path, {})[builder.operation.method.lower()] = builder.as_openapi()
    _add_links(builders, paths)
    for item in paths.values():
        if "get" in item:
            item["head"] = _head(item["get"])
    return {
        "openapi": "3.1.1",
        "info": _INFO,
        "servers": servers(app.state.settings.root_path),
        "security": [{BEARER: []}],
        "tags": [{"name": name, "description": text} for name, text in sorted(_tags(builders).items())],
        "paths": paths,
        "components": {
            "responses": problems(schemas),
            "parameters": PARAMETERS,
            "headers": HEADERS,
            "securitySchemes": {BEARER: _SCHEME},
            "schemas": dict(sorted(schemas.components.items())),
        },
    }


def servers(prefix: str) -> list[dict[str, str]]:
    """Return the URL prefix of all paths as clients see it, behind a proxy that strips it."""
    return [{"url": prefix or "/"}]


@lru_cache(maxsize=4)
def rendered(app: Litestar) -> bytes:
    """Return the document as JSON, served by the API and printed by `manage.py openapi`."""
    return msgspec.json.format(msgspec.json.encode(document_of(app)), indent=2) + b"\n"


def _head(get: JsonObject) -> JsonObject:
    """Return the HEAD operation: that of GET, with responses without bodies."""
    operation = {name: value for name, value in get.items() if name != "responses"}
    responses = {
        status: {name: value for name, value in response.items() if name not in ("content", "links")}
        for status, response in get["responses"].items()
    }
    return operation | {"operationId": f"head_{get['operationId']}", "responses": responses}


def _tags(builders: Iterable[OperationBuilder]) -> dict[str, str]:
    """Return the tags, each with the docstring of the first controller that has it."""
    tags: dict[str, str] = {}
    for builder in builders:
        controller = getattr(builder.operation.handler.fn, "__self__", None)
        for name in builder.operation.handler.resolve_tags():
            tags.setdefault(name, inspect.cleandoc(type(controller).__doc__ or ""))
    return tags


def _add_links(builders: list[OperationBuilder], paths: dict[str, JsonObject]) -> None:
    """Link a created resource to the operations on it, and a page to the next page."""
    for builder in builders:
        operation = builder.operation
        response = paths[operation.path][operation.method.lower()]["responses"][str(builder.info.status)]
        if "Location" in response["headers"]:
            below = [each for each in builders if each.operation.path.startswith(f"{operation.path}/{{")]
            if links := {each.operation.name: _with_id(each) for each in below if each.info.has_item}:
                response["links"] = links
        elif "Link" in response["headers"]:
            next_page = {"operationId": operation.name, "parameters": {"cursor": "$response.body#/next_cursor"}}
            response["links"] = {"next": next_page}


def _with_id(target: OperationBuilder) -> JsonObject:
    names = target.operation.parameters
    values = {name: "$request.path.user_id" if name == OWNER else "$response.body#/id" for name in names}
    return {"operationId": target.operation.name, "parameters": values}
