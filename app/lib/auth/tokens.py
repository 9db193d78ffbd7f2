"""Who is asking: tokens are verified before anything else happens, and a path belongs to its user alone."""

import hashlib
import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jwt
from msgspec import Struct

from app.lib.auth.jwks import ALGORITHMS
from app.lib.auth.keys import Key, KeySource, ReplaceableKeys
from app.lib.auth.token_classes import Grant, TokenClasses, check_type
from app.lib.errors import InvalidToken
from app.lib.settings import Settings
from app.lib.text import has_line_control, is_visible, nfc

MAX_TOKEN_BYTES = 12 * 1024  # Better Auth puts the whole user row in, unless told otherwise
MAX_CACHED_TOKENS = 10_000
MAX_CACHED_SECONDS = 300.0
_KNOWN_ALGORITHMS = ALGORITHMS | {"HS256"}
MAX_NAME = 200
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_COMPACT = re.compile(rb"(?:[A-Za-z0-9_-]+\.){2}[A-Za-z0-9_-]+")  # RFC 7515, 3.1; PyJWT takes padding and more

# What PyJWT raises on hostile input is mostly its own error; numbers and nesting get further.
_REFUSALS = (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError)
_DATES = ("exp", "nbf", "iat")  # RFC 7519, 4.1: numbers, each of them
_CAUSES: dict[type[Exception], str] = {
    jwt.ExpiredSignatureError: "expired",
    jwt.ImmatureSignatureError: "not_yet_valid",
    jwt.InvalidIssuerError: "issuer",
    jwt.MissingRequiredClaimError: "claims",
    jwt.InvalidIssuedAtError: "claims",
}


class Identity(Struct, frozen=True):
    """The caller, as a verified token names them."""

    id: str
    roles: frozenset[str] = frozenset()
    email: str | None = None
    name: str | None = None
    image: str | None = None
    grant: Grant | None = None  # of an access token; a session token may do everything that its user may


class TokenVerifier:
    """Verifies a JWT and gives its user.

    Verified tokens are remembered by digest until they expire, for 5 minutes, or until a published key is withdrawn.
    """

    def __init__(self, keys: KeySource, settings: Settings, clock: Callable[[], float] = time.time) -> None:
        self._keys = keys
        self._replaceable = keys if isinstance(keys, ReplaceableKeys) else None
        self._withdrawals = 0  # of keys, when the identities were remembered
        self._leeway = settings.jwt_leeway
        self._issuers = settings.better_auth_issuer
        self._classes = TokenClasses(settings)
        self._user_claims = settings.user_id_claims
        self._role_claim = settings.role_claim
        self._clock = clock
        self._verified: dict[bytes, tuple[Identity, float]] = {}

    async def verify(self, token: bytes) -> Identity:
        """Raises `InvalidToken`, whatever the cause."""
        withdrawals = self._replaceable.withdrawals() if self._replaceable else 0
        if withdrawals != self._withdrawals:
            self._withdrawals = withdrawals
            self._verified.clear()
        digest = hashlib.sha256(token).digest()
        known = self._verified.get(digest)
        if known is not None and self._clock() < known[1]:
            return known[0]
        header, claims = await self._parts(token)
        identity = self._identity(claims, self._classes.grant(header, claims))
        if withdrawals == self._withdrawals:  # no key was withdrawn while it was verified
            self._remember(digest, identity, min(claims["exp"], self._clock() + MAX_CACHED_SECONDS))
        return identity

    async def _parts(self, token: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
        if len(token) > MAX_TOKEN_BYTES or not _COMPACT.fullmatch(token):
            raise InvalidToken
        try:
            header = jwt.get_unverified_header(token)
            if "crit" in header:  # extensions that must be understood are not (RFC 7515, 4.1.11)
                raise InvalidToken("header")
            check_type(header)
            # The algorithm is the key's; a header that names another is refused (RFC 8725, 3.1).
            offered = await self._keys.keys_for(header)
            keys = [key for key in offered if header.get("alg") in key.algorithms]
            if not keys:
                raise InvalidToken("algorithm" if offered or header.get("alg") not in _KNOWN_ALGORITHMS else "key")
            claims = self._decode(token, header, keys)
        except _REFUSALS as error:
            raise InvalidToken(_CAUSES.get(type(error), "malformed")) from None
        if any(type(claims.get(name, 0)) not in (int, float) for name in _DATES):  # PyJWT takes "123" and true
            raise InvalidToken("claims")
        return header, claims

    def _decode(self, token: bytes, header: Mapping[str, Any], keys: Sequence[Key]) -> dict[str, Any]:
        for key in keys:
            try:
                return jwt.decode(
                    token,
                    key.material,
                    algorithms=key.algorithms,
                    issuer=self._issuers or None,
                    leeway=self._leeway,
                    # Which audience is right depends on the class of the token.
                    options={"require": ["exp"], "verify_aud": False, "verify_sub": False},
                )
            except jwt.InvalidSignatureError:
                continue
        if self._replaceable:
            self._replaceable.suspect(header)
        raise InvalidToken("signature")

    def _identity(self, claims: dict[str, Any], grant: Grant | None) -> Identity:
        names = self._user_claims if grant is None else ("sub",)
        user_id = next((value for name in names if (value := _claim(claims, name)) is not None), None)
        if not isinstance(user_id, str) or not user_id:
            raise InvalidToken("claims")
        return Identity(
            id=user_id,
            roles=_roles(_claim(claims, self._role_claim)) if grant is None else frozenset(),
            email=_text(claims.get("email"), 320),
            name=_name(claims.get("name")),
            image=_text(claims.get("image"), 2048),
            grant=grant,
        )

    def _remember(self, digest: bytes, identity: Identity, expires: float) -> None:
        if len(self._verified) >= MAX_CACHED_TOKENS:
            self._verified.pop(next(iter(self._verified)))
        self._verified[digest] = (identity, expires)


def _claim(claims: Mapping[str, Any], path: str) -> Any:
    """Look a claim up, a nested one as `user.id`; a claim whose own name has a dot comes first."""
    if path in claims:
        return claims[path]
    value: Any = claims
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _text(value: Any, max_length: int) -> str | None:
    """Take a claim as text that PostgreSQL can hold and a terminal can show, or not at all; blank is nothing."""
    usable = isinstance(value, str) and value.strip() and len(value) <= max_length and not _CONTROL.search(value)
    return value if usable else None


usable_text = _text  # an import may have no others


def _name(value: Any) -> str | None:
    """Take a claim as the name that a profile may have, or not at all."""
    text = nfc(value) if isinstance(value, str) else None
    name = _text(text, MAX_NAME)
    return name if name is not None and not has_line_control(name) and is_visible(name) else None


def _roles(value: Any) -> frozenset[str]:
    """Take roles as Better Auth's admin plugin gives them, `admin,user`, or in an array."""
    texts = value if isinstance(value, list) else [value]
    return frozenset(role.strip() for text in texts if isinstance(text, str) for role in text.split(","))
