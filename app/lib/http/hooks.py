"""What runs before a handler: OPTIONS, replies without a handler, and the refusal of unknown query parameters."""

from typing import Any

from litestar import Request, Response
from litestar.routes import HTTPRoute
from litestar.types import ASGIApp, Scope

from app.lib.http.inputs import inputs_of
from app.lib.http.responses import ApiResponse, _Ready
from app.lib.validation.query import refuse_parameters

IN_PLACE_OF_THE_HANDLER = "in place of the handler"


def reply_in_place_of_the_handler(scope: Scope) -> ASGIApp | None:
    """Return the reply to a request whose handler must not run: a stored answer, or what is wrong with its key."""
    reply: ASGIApp | None = scope["state"].get(IN_PLACE_OF_THE_HANDLER)
    return reply


async def before_handler(request: Request[Any, Any, Any]) -> Response[Any] | None:
    """Answer OPTIONS and what is not run again, and refuse parameters where a handler takes none.

    It runs behind the guards of the route.
    """
    if reply := reply_in_place_of_the_handler(request.scope):
        return _Ready(reply)
    if request.method == "OPTIONS":
        return ApiResponse(None, headers={"Allow": ", ".join(_methods(request))})
    if request.scope["query_string"]:
        inputs = inputs_of(request.route_handler)
        if inputs.query is None:
            if inputs.data is not None:  # errors of the body come first
                await request.json()
            refuse_parameters(request.scope["query_string"])
    return None


def _methods(request: Request[Any, Any, Any]) -> list[str]:
    """Litestar's own OPTIONS knows the methods of one handler only."""
    template = request.scope["path_template"]
    routes = [route for route in request.app.routes if isinstance(route, HTTPRoute) and route.path_format == template]
    return sorted({method for route in routes for method in route.methods})
