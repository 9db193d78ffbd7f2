"""Verification of Better Auth's tokens (HS256)."""

from typing import Any

import jwt

from benchmarks.peers.fastapi_sqlmodel.config import settings
from benchmarks.peers.fastapi_sqlmodel.errors import INVALID_TOKEN

LEEWAY_SECONDS = 10

JWT_OPTIONS: Any = {
    "require": ["exp"],
    "verify_aud": settings.better_auth_audience is not None,
    "verify_iat": False,
    "verify_jti": False,
}


def decode(token: str) -> dict[str, Any]:
    claims: dict[str, Any] = jwt.decode(
        token,
        settings.better_auth_secret,
        algorithms=["HS256"],
        audience=settings.better_auth_audience,
        issuer=settings.better_auth_issuer,
        leeway=LEEWAY_SECONDS,
        options=JWT_OPTIONS,
    )
    if type(claims["exp"]) not in (int, float):  # PyJWT accepts "1700000000"
        raise jwt.DecodeError("exp is not a number")
    return claims


def subject_of(token: str) -> str:
    try:
        claims = decode(token)
        subject = claims.get("sub", claims.get("id"))
    except (jwt.PyJWTError, ArithmeticError, TypeError, ValueError, RecursionError):
        raise INVALID_TOKEN from None
    if not isinstance(subject, str) or not subject:
        raise INVALID_TOKEN
    return subject
