"""OAuth scopes of routes. A route without a declared scope refuses every access token."""

from litestar.connection import ASGIConnection
from litestar.datastructures import State
from litestar.handlers import BaseRouteHandler
from litestar.routes import HTTPRoute
from msgspec import Struct

from app.lib.auth.tokens import Identity
from app.lib.errors import InsufficientScope

type Connection = ASGIConnection[BaseRouteHandler, Identity, bytes, State]

_OPTION = "scope"
_READS = ("GET", "HEAD", "OPTIONS")


class RouteScopes(Struct, frozen=True):
    read: str
    write: str  # for all methods that are not safe (RFC 9110, 9.2.1)


def scopes(read: str, write: str | None = None) -> dict[str, RouteScopes]:
    """Return the `opt` of a controller or handler. Without `write`, all methods need `read`."""
    return {_OPTION: RouteScopes(read, read if write is None else write)}


def scope_of(handler: BaseRouteHandler, method: str) -> str | None:
    """Return the scope that an access token needs for a method of a handler; None if no scope suffices."""
    declared: RouteScopes | None = handler.opt.get(_OPTION)
    if declared is None:
        return None
    return declared.read if method in _READS else declared.write


def check_scope(connection: Connection, handler: BaseRouteHandler) -> None:
    """Raise `InsufficientScope` if the token is an access token without the route's scope."""
    identity: Identity = connection.scope["user"]
    grant = identity.grant
    if grant is None:
        return
    method = str(connection.scope.get("method"))
    scope = _scope_of_options(connection) if method == "OPTIONS" else scope_of(handler, method)
    if scope is None or scope not in grant.scopes:
        raise InsufficientScope(scope)


async def requires_scope(connection: Connection, handler: BaseRouteHandler) -> None:
    """Require the route's scope where the path names no user; `requires_owner` includes it for all others."""
    if connection.scope.get("user") is not None:  # paths in OPEN_PATHS need no token
        check_scope(connection, handler)


def _scope_of_options(connection: Connection) -> str | None:
    """Return the scope of the path's GET, else of its first method: Litestar's own OPTIONS handler has no scope."""
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
