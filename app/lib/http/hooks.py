"""Litestar hooks: query parameters and OPTIONS."""

from typing import Any, cast

from litestar import Request, Response
from litestar.routes import HTTPRoute
from litestar.types import ASGIApp, Scope

from app.lib.http.requests import ApiRequest
from app.lib.http.responses import ApiResponse, _Ready
from app.lib.validation.query import Query, parse_query, refuse_parameters

IN_PLACE_OF_THE_HANDLER = "in place of the handler"


def reply_in_place_of_the_handler(scope: Scope) -> ASGIApp | None:
    """Return the reply to a request whose handler must not run: a stored answer, or what is wrong with its key."""
    reply: ASGIApp | None = scope["state"].get(IN_PLACE_OF_THE_HANDLER)
    return reply


def criteria_of(request: ApiRequest) -> Any:
    """Dependency: the query string as the struct that the handler names by `criteria=`."""
    return parse_query(request.scope["query_string"], cast(type[Query], request.route_handler.opt["criteria"]))


async def before_handler(request: Request[Any, Any, Any]) -> Response[Any] | None:
    """Answer OPTIONS and what is not run again, and refuse parameters where a handler takes none.

    It runs behind the guards of the route.
    """
    if reply := reply_in_place_of_the_handler(request.scope):
        return _Ready(reply)
    if request.method == "OPTIONS":
        return ApiResponse(None, headers={"Allow": ", ".join(_methods(request))})
    if request.scope["query_string"] and "criteria" not in request.route_handler.opt:
        if "data" in request.route_handler.parsed_fn_signature.parameters:
            await request.json()
        refuse_parameters(request.scope["query_string"])
    return None


def _methods(request: Request[Any, Any, Any]) -> list[str]:
    """Litestar's own OPTIONS knows the methods of one handler only."""
    template = request.scope["path_template"]
    routes = [route for route in request.app.routes if isinstance(route, HTTPRoute) and route.path_format == template]
    return sorted({method for route in routes for method in route.methods})
