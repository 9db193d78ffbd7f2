"""Guards of routes, and whose path a request names."""

import re
from typing import Any

from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler
from litestar.types import Guard

from app.lib.auth.scopes import check_scope
from app.lib.auth.tokens import Identity
from app.lib.errors import Forbidden, MissingToken
from app.lib.settings import OPENABLE_PATHS

USERLESS = frozenset(OPENABLE_PATHS)
MAX_USER_ID = 128
USER_ID = re.compile(rf"(?!\.{{1,2}}$)[A-Za-z0-9._~:@|-]{{1,{MAX_USER_ID}}}")  # no path can have . and ..


async def requires_owner(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """Guard: the user in the route's path must be the token's, byte for byte, and an access token has the scope."""
    identity = connection.scope.get("user")
    if identity is None:
        raise MissingToken
    if not owns(identity, connection.path_params["user_id"]):
        raise Forbidden
    check_scope(connection, handler)


def requires_role(role: str) -> Guard:
    """Make a guard: the token must have the role."""

    async def guard(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
        identity = connection.scope.get("user")
        if identity is None:
            raise MissingToken
        if role not in identity.roles:
            raise Forbidden

    guard.__name__ = f"{requires_role.__name__}({role})"
    return guard


def owns(identity: Identity, user_id: str) -> bool:
    """Tell whether the path's user is the token's."""
    return identity.id == user_id and USER_ID.fullmatch(user_id) is not None


def user_in(path: str) -> str | None:
    """Give the user that a path names, whether or not there is such a route; None for paths without one."""
    if path.rstrip("/") in USERLESS:
        return None
    prefix, _, rest = path.lstrip("/").partition("/")
    user_id = rest.lstrip("/").partition("/")[0]
    return user_id if prefix == "api" and user_id else None
