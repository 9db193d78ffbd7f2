"""Sign tokens for development, like those of Better Auth."""

import time

import jwt

from app.lib.errors import OperatorError
from app.lib.settings import Settings


def mint(settings: Settings, user_id: str, *, ttl: int, role: str | None = None, **claims: str | None) -> str:
    """Sign a session token that this configuration accepts; `ttl` in seconds. Claims that are None are left out."""
    now = int(time.time())
    optional = {settings.role_claim: role, **claims}
    payload: dict[str, object] = {name: value for name, value in optional.items() if value is not None}
    payload |= _nested(settings.user_id_claims[0], user_id) | {"iat": now, "exp": now + ttl}
    if settings.better_auth_issuer:
        payload["iss"] = settings.better_auth_issuer[0]
    if settings.better_auth_audience:
        payload["aud"] = settings.better_auth_audience[0]
    return jwt.encode(payload, settings.secrets[0], "HS256")


def mint_access(settings: Settings, user_id: str, *, ttl: int, scope: str, client_id: str) -> str:
    """Sign an access token of an OAuth client for this configuration. Raises `OperatorError` without a `RESOURCE`."""
    if settings.resource is None:
        raise OperatorError("No access token is accepted: set RESOURCE (and BETTER_AUTH_ISSUER) first.")
    now = int(time.time())
    claims = {"sub": user_id, "client_id": client_id, "scope": scope, "iat": now, "exp": now + ttl}
    claims |= {"iss": settings.better_auth_issuer[0], "aud": settings.resource}
    return jwt.encode(claims, settings.secrets[0], "HS256", {"typ": "at+jwt"})


def _nested(path: str, value: str) -> dict[str, object]:
    name, _, rest = path.partition(".")
    return {name: _nested(rest, value) if rest else value}
