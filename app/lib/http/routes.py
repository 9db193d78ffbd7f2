"""The routes of an application, as operators and checks see them."""

from collections.abc import Iterator

from litestar import Litestar
from litestar.handlers import HTTPRouteHandler
from litestar.routes import HTTPRoute
from msgspec import Struct


class Operation(Struct, frozen=True):
    """One method on one path."""

    method: str
    path: str
    name: str
    handler: HTTPRouteHandler
    parameters: dict[str, type]  # of the path


def operations(app: Litestar) -> Iterator[Operation]:
    """Give every operation, sorted by path; OPTIONS and HEAD come with each path and are left out."""
    for route in sorted(app.routes, key=lambda route: route.path_format):
        if isinstance(route, HTTPRoute):
            for method, (handler, _) in sorted(route.route_handler_map.items()):
                if method != "OPTIONS":
                    kinds = {name: parameter.type for name, parameter in route.path_parameters.items()}
                    yield Operation(str(method), route.path_format, handler.handler_name, handler, kinds)


def guarded_by(handler: HTTPRouteHandler) -> list[str]:
    """Name the guards of a handler."""
    return [getattr(guard, "__name__", type(guard).__name__) for guard in handler.resolve_guards()]


def unguarded(app: Litestar, *guards: str) -> list[Operation]:
    """Return the operations that have none of these guards."""
    return [item for item in operations(app) if not set(guards) & set(guarded_by(item.handler))]


def routes_without_guard(app: Litestar, guard: str) -> list[Operation]:
    """Give the operations that name a user in their path and do not compare it with the token's."""
    return [item for item in operations(app) if "{user_id}" in item.path and guard not in guarded_by(item.handler)]
