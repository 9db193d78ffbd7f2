"""The whole document, in an order that stays the same as long as the API does."""

import inspect
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import msgspec
from litestar import Litestar

from app.lib.http.routes import operations
from app.lib.openapi.components import BEARER, HEADERS, PARAMETERS, problems
from app.lib.openapi.introspection import OWNER
from app.lib.openapi.operations import OperationBuilder
from app.lib.openapi.schemas import Schemas

type Document = dict[str, Any]

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
    """Describe an application; once, for its routes stay."""
    schemas = Schemas()
    open_paths = app.state.settings.open_paths
    found = [OperationBuilder(each, schemas, is_open=each.path in open_paths) for each in operations(app)]
    paths: dict[str, dict[str, Any]] = {}
    for each in found:
        paths.setdefault(each.operation.path, {})[each.operation.method.lower()] = each.as_openapi()
    _link(found, paths)
    for item in paths.values():
        if "get" in item:
            item["head"] = _head(item["get"])
    return {
        "openapi": "3.1.1",
        "info": _INFO,
        "servers": servers(app.state.settings.root_path),
        "security": [{BEARER: []}],
        "tags": [{"name": name, "description": said} for name, said in sorted(_tags(found).items())],
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
    """Return where the paths begin, as clients see it."""
    return [{"url": prefix or "/"}]


@lru_cache(maxsize=4)
def rendered(app: Litestar) -> bytes:
    """Give the document as it is served, and printed by `manage.py openapi`."""
    return msgspec.json.format(msgspec.json.encode(document_of(app)), indent=2) + b"\n"


def _head(get: dict[str, Any]) -> dict[str, Any]:
    """Describe HEAD: all that GET answers, without the bodies."""
    told = {name: value for name, value in get.items() if name != "responses"}
    answers = {
        status: {name: value for name, value in answer.items() if name not in ("content", "links")}
        for status, answer in get["responses"].items()
    }
    return told | {"operationId": f"head_{get['operationId']}", "responses": answers}


def _tags(found: Iterable[OperationBuilder]) -> dict[str, str]:
    """Give each tag the docstring of the first controller that has it."""
    tags: dict[str, str] = {}
    for each in found:
        controller = getattr(each.operation.handler.fn, "__self__", None)
        for name in each.operation.handler.resolve_tags():
            tags.setdefault(name, inspect.cleandoc(type(controller).__doc__ or ""))
    return tags


def _link(found: list[OperationBuilder], paths: dict[str, dict[str, Any]]) -> None:
    """Lead from a new resource to what can be done with it, and from a page to the next one."""
    for each in found:
        operation = each.operation
        answer = paths[operation.path][operation.method.lower()]["responses"][str(each.facts.status)]
        if "Location" in answer["headers"]:
            below = [item for item in found if item.operation.path.startswith(f"{operation.path}/{{")]
            if links := {item.operation.name: _with_id(item) for item in below if item.facts.has_item}:
                answer["links"] = links
        elif "Link" in answer["headers"]:
            following = {"operationId": operation.name, "parameters": {"cursor": "$response.body#/next_cursor"}}
            answer["links"] = {"next": following}


def _with_id(target: OperationBuilder) -> dict[str, Any]:
    names = target.operation.parameters
    values = {name: "$request.path.user_id" if name == OWNER else "$response.body#/id" for name in names}
    return {"operationId": target.operation.name, "parameters": values}
