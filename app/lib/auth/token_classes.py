"""Classify tokens: a session token of the user, or an access token of an OAuth client (RFC 9068).

One key set signs several kinds of JWTs, ID tokens among them, so all other kinds are refused (RFC 8725, 3.11 and 3.12).
"""

import re
from collections.abc import Iterable, Mapping
from urllib.parse import unquote

from msgspec import Struct

from app.lib.auth.keys import JoseHeader
from app.lib.errors import InvalidToken
from app.lib.origins import normalise_url
from app.lib.settings import Settings

_SESSION_TYPE = "jwt"
_ACCESS_TYPES = frozenset({"at+jwt", "application/at+jwt"})
_ACCESS_CLAIMS = ("client_id", "scope")
# OpenID Connect Core 2 and Back-Channel Logout 2.4. Better Auth's ID tokens always have `acr`; its session tokens have
# none of these.
_FOREIGN_CLAIMS = ("acr", "amr", "at_hash", "auth_time", "azp", "c_hash", "events", "nonce", "s_hash")
_CLIENT_ID = re.compile(r"[\x20-\x7e]+")  # RFC 6749, appendix A.1
_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")  # RFC 6749, appendix A.4


class Grant(Struct, frozen=True):
    """What a user has granted to an OAuth client."""

    client_id: str
    scopes: frozenset[str]


type Claims = Mapping[str, object]
"""The claims of a JWT (RFC 7519, 4)."""


class TokenClasses:
    def __init__(self, settings: Settings) -> None:
        self._audiences = frozenset(settings.better_auth_audience)
        self._has_issuers = bool(settings.better_auth_issuer)
        self._resource = settings.resource

    def grant(self, header: JoseHeader, claims: Claims) -> Grant | None:
        """Return the grant of an access token, None for a session token. Raises `InvalidToken` for all others."""
        # The signature, the issuer and the times were verified before.
        if "cnf" in claims:  # the token is bound to a key (RFC 7800); proof of possession is not supported
            raise InvalidToken("proof_of_possession")
        if _is_access_type(header) or any(name in claims for name in _ACCESS_CLAIMS):
            return self._access(claims)
        if any(claims.get(name) is not None for name in _FOREIGN_CLAIMS):
            raise InvalidToken("token_class")
        if self._audiences and self._audiences.isdisjoint(_audiences(claims)):
            raise InvalidToken("audience")
        return None

    def _access(self, claims: Claims) -> Grant:
        if self._resource is None or not self._has_issuers:
            raise InvalidToken("token_class")
        if not any(_is_within(audience, self._resource) for audience in _audiences(claims)):
            raise InvalidToken("audience")
        client_id = claims.get("client_id")
        if not isinstance(client_id, str) or not _CLIENT_ID.fullmatch(client_id):
            raise InvalidToken("claims")
        if claims.get("sub") in (client_id, claims.get("azp", client_id)):
            raise InvalidToken("token_class")  # the client_credentials grant: no user is involved
        return Grant(client_id, frozenset(_scopes(claims)))


def check_type(header: JoseHeader) -> None:
    """Raise `InvalidToken` for a `typ` of another class. Better Auth sends none with session tokens."""
    if "typ" in header and _type(header) != _SESSION_TYPE and not _is_access_type(header):
        raise InvalidToken("header")


def _type(header: JoseHeader) -> str | None:
    media_type = header.get("typ")  # compared without case (RFC 7515, 4.1.9)
    return media_type.lower() if isinstance(media_type, str) else None


def _is_access_type(header: JoseHeader) -> bool:
    return _type(header) in _ACCESS_TYPES


def _audiences(claims: Claims) -> list[str]:
    value = claims.get("aud")
    audiences = [value] if isinstance(value, str) else value
    if not isinstance(audiences, list) or not all(isinstance(audience, str) for audience in audiences):
        raise InvalidToken("audience")
    return audiences


def _scopes(claims: Claims) -> Iterable[str]:
    """Return the scopes of a string with spaces (RFC 6749, 3.3) or of an array of strings."""
    value = claims.get("scope", "")
    scopes = [scope for scope in value.split(" ") if scope] if isinstance(value, str) else value
    if not isinstance(scopes, list) or not all(isinstance(scope, str) and _SCOPE.fullmatch(scope) for scope in scopes):
        raise InvalidToken("claims")
    return scopes


def _is_within(audience: str, resource: str) -> bool:
    """Check that the audience is the resource or a path below it, without query, fragment and dot segments."""
    try:
        audience = normalise_url(audience)
    except ValueError:
        return False
    path = audience.removeprefix(resource)
    if not audience.startswith(resource) or path[:1] not in ("", "/") or "?" in path or "#" in path:
        return False
    return not {".", ".."} & set(unquote(path).replace("\\", "/").split("/"))
