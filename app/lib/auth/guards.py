"""Guards of routes, and the user that a path names."""

import re

from litestar.handlers import BaseRouteHandler
from litestar.types import Guard

from app.lib.auth.scopes import Connection, check_scope
from app.lib.auth.tokens import Identity
from app.lib.errors import Forbidden, MissingToken
from app.lib.setting_types import OPENABLE_PATHS

USERLESS = frozenset(OPENABLE_PATHS)
MAX_USER_ID = 128
USER_ID = re.compile(rf"(?!\.{{1,2}}$)[A-Za-z0-9._~:@|-]{{1,{MAX_USER_ID}}}")  # no path can have . and ..


async def requires_owner(connection: Connection, handler: BaseRouteHandler) -> None:
    """Require that the path's user is the token's, byte for byte, and that an access token has the route's scope."""
    identity = connection.scope.get("user")
    if identity is None:
        raise MissingToken
    if not owns(identity, connection.path_params["user_id"]):
        raise Forbidden
    check_scope(connection, handler)


def requires_role(role: str) -> Guard:
    async def guard(connection: Connection, _: BaseRouteHandler) -> None:
        identity = connection.scope.get("user")
        if identity is None:
            raise MissingToken
        if role not in identity.roles:
            raise Forbidden

    guard.__name__ = f"{requires_role.__name__}({role})"
    return guard


def owns(identity: Identity, user_id: str) -> bool:
    return identity.id == user_id and USER_ID.fullmatch(user_id) is not None


def user_in(path: str) -> str | None:
    """Return the user that a path names, even if the route does not exist; None for paths without a user."""
    if path.rstrip("/") in USERLESS:
        return None
    prefix, _, rest = path.lstrip("/").partition("/")
    user_id = rest.lstrip("/").partition("/")[0]
    return user_id if prefix == "api" and user_id else None
