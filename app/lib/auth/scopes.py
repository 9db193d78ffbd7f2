"""What an OAuth client may do: a route declares its scope, and without one no access token reaches it."""

from typing import Any

from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler
from litestar.routes import HTTPRoute
from msgspec import Struct

from app.lib.auth.token_classes import Grant
from app.lib.errors import InsufficientScope

_OPTION = "scope"
_READS = ("GET", "HEAD", "OPTIONS")


class RouteScopes(Struct, frozen=True):
    """The scopes of a controller's routes: one to read, one for every other method."""

    read: str
    write: str


def scopes(read: str, write: str | None = None) -> dict[str, RouteScopes]:
    """Return the `opt` of a controller or a handler, which declares its scopes; `write` is the same as `read` if None.

    Example: `opt = scopes("todos:read", "todos:write")`
    """
    return {_OPTION: RouteScopes(read, read if write is None else write)}


def scope_of(handler: BaseRouteHandler, method: str) -> str | None:
    """Return the scope that an access token needs for a method of a handler; None if no scope suffices."""
    declared: RouteScopes | None = handler.opt.get(_OPTION)
    if declared is None:
        return None
    return declared.read if method in _READS else declared.write


def check_scope(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """Raise `InsufficientScope` if the token is an access token without the route's scope."""
    grant: Grant | None = connection.scope["user"].grant
    if grant is None:
        return
    method: str = connection.scope["method"]  # type: ignore[typeddict-item]
    scope = _scope_of_options(connection) if method == "OPTIONS" else scope_of(handler, method)
    if scope is None or scope not in grant.scopes:
        raise InsufficientScope(scope)


async def requires_scope(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """Guard for routes without a user in their path; `requires_owner` does the same for the others."""
    if connection.scope.get("user") is not None:  # none where the path was opened by OPEN_PATHS
        check_scope(connection, handler)


def _scope_of_options(connection: ASGIConnection[Any, Any, Any, Any]) -> str | None:
    """Return the scope of the path's GET, else of its first other method: Litestar's own OPTIONS handler has none."""
    template = connection.scope["path_template"]
    handlers = {
        str(method): handler
        for route in connection.app.routes
        if isinstance(route, HTTPRoute) and route.path_format == template
        for method, (handler, _) in route.route_handler_map.items()
        if method != "OPTIONS"
    }
    method = "GET" if "GET" in handlers else min(handlers)
    return scope_of(handlers[method], method)
