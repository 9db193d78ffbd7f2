"""The class of a token: a session token of the user, or an access token of an OAuth client (RFC 9068).

One key set signs several kinds of JWTs (RFC 8725, 3.11 and 3.12). Everything but these two classes is refused.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import unquote

from msgspec import Struct

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
    """What a user granted to an OAuth client."""

    client_id: str
    scopes: frozenset[str]


class TokenClasses:
    """Decides which class a verified token has, and checks the rules of that class."""

    def __init__(self, settings: Settings) -> None:
        self._audiences = frozenset(settings.better_auth_audience)
        self._has_issuers = bool(settings.better_auth_issuer)
        self._resource = settings.resource

    def grant(self, header: Mapping[str, Any], claims: Mapping[str, Any]) -> Grant | None:
        """Return the grant of an access token, None for a session token. Raises `InvalidToken` for all others.

        The signature, the issuer and the times were verified before.
        """
        if "cnf" in claims:  # bound to a key (RFC 7800), and no proof of possession is supported
            raise InvalidToken("proof_of_possession")
        if _is_access_type(header) or any(name in claims for name in _ACCESS_CLAIMS):
            return self._access(claims)
        if any(claims.get(name) is not None for name in _FOREIGN_CLAIMS):
            raise InvalidToken("token_class")
        if self._audiences and self._audiences.isdisjoint(_audiences(claims)):
            raise InvalidToken("audience")
        return None

    def _access(self, claims: Mapping[str, Any]) -> Grant:
        if self._resource is None or not self._has_issuers:
            raise InvalidToken("token_class")
        if not any(_is_within(audience, self._resource) for audience in _audiences(claims)):
            raise InvalidToken("audience")
        client_id = claims.get("client_id")
        if not isinstance(client_id, str) or not _CLIENT_ID.fullmatch(client_id):
            raise InvalidToken("claims")
        if claims.get("sub") in (client_id, claims.get("azp", client_id)):
            raise InvalidToken("token_class")  # client_credentials: the client itself, without a user
        return Grant(client_id, frozenset(_scopes(claims)))


def check_type(header: Mapping[str, Any]) -> None:
    """Raise `InvalidToken` for a `typ` that neither class has; it may be absent."""
    if "typ" in header and _type(header) != _SESSION_TYPE and not _is_access_type(header):
        raise InvalidToken("header")


def _type(header: Mapping[str, Any]) -> str | None:
    kind = header.get("typ")
    return kind.lower() if isinstance(kind, str) else None


def _is_access_type(header: Mapping[str, Any]) -> bool:
    return _type(header) in _ACCESS_TYPES


def _audiences(claims: Mapping[str, Any]) -> list[str]:
    value = claims.get("aud")
    audiences = [value] if isinstance(value, str) else value
    if not isinstance(audiences, list) or not all(isinstance(each, str) for each in audiences):
        raise InvalidToken("audience")
    return audiences


def _scopes(claims: Mapping[str, Any]) -> Iterable[str]:
    """Return the scopes, from a string with spaces (RFC 6749, 3.3) or from an array of strings."""
    value = claims.get("scope", "")
    scopes = [each for each in value.split(" ") if each] if isinstance(value, str) else value
    if not isinstance(scopes, list) or not all(isinstance(each, str) and _SCOPE.fullmatch(each) for each in scopes):
        raise InvalidToken("claims")
    return scopes


def _is_within(audience: str, resource: str) -> bool:
    """Check for the resource, or a longer path of it: no query, no fragment, no way up."""
    try:
        audience = normalise_url(audience)
    except ValueError:
        return False
    path = audience.removeprefix(resource)
    if not audience.startswith(resource) or path[:1] not in ("", "/") or "?" in path or "#" in path:
        return False
    return not {".", ".."} & set(unquote(path).replace("\\", "/").split("/"))
