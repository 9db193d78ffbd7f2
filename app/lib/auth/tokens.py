"""Verify JWTs and return the identity that they name."""

import hashlib
import re
import time
from collections.abc import Callable, Mapping, Sequence

import jwt
from msgspec import Struct

from app.lib.auth.jwks import ALGORITHMS
from app.lib.auth.keys import JoseHeader, Key, KeySource, ReplaceableKeys
from app.lib.auth.token_classes import Claims, Grant, TokenClasses, check_type
from app.lib.errors import InvalidToken
from app.lib.settings import Settings
from app.lib.text import has_line_control, is_visible, nfc

MAX_TOKEN_BYTES = 12 * 1024  # by default Better Auth puts the whole user row into the token
MAX_CACHED_TOKENS = 10_000
MAX_CACHED_SECONDS = 300.0
_KNOWN_ALGORITHMS = ALGORITHMS | {"HS256"}
MAX_NAME = 200
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_COMPACT = re.compile(rb"(?:[A-Za-z0-9_-]+\.){2}[A-Za-z0-9_-]+")  # RFC 7515, 3.1; PyJWT also accepts padding

# Huge numbers and deep nesting raise more than PyJWT's own errors.
_REFUSALS = (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError)
_DATES = ("exp", "nbf", "iat")  # numbers (RFC 7519, 4.1)
_CAUSES: dict[type[Exception], str] = {
    jwt.ExpiredSignatureError: "expired",
    jwt.ImmatureSignatureError: "not_yet_valid",
    jwt.InvalidIssuerError: "issuer",
    jwt.MissingRequiredClaimError: "claims",
    jwt.InvalidIssuedAtError: "claims",
}


class Identity(Struct, frozen=True):
    """The caller of a request, as named by a verified token."""

    id: str
    roles: frozenset[str] = frozenset()
    email: str | None = None
    name: str | None = None
    image: str | None = None
    grant: Grant | None = None  # None for a session token, which may do all that its user may


class TokenVerifier:
    """Verifies JWTs. Caches identities by the token's digest until it expires, a key is withdrawn, or for 5 minutes."""

    def __init__(self, keys: KeySource, settings: Settings, clock: Callable[[], float] = time.time) -> None:
        self._keys = keys
        self._replaceable = keys if isinstance(keys, ReplaceableKeys) else None
        self._withdrawals = 0  # of keys, when the cache was filled
        self._leeway = settings.jwt_leeway
        self._issuers = settings.better_auth_issuer
        self._classes = TokenClasses(settings)
        self._user_claims = settings.user_id_claims
        self._role_claim = settings.role_claim
        self._clock = clock
        self._verified: dict[bytes, tuple[Identity, float]] = {}

    async def verify(self, token: bytes) -> Identity:
        """Raise `InvalidToken` whatever the cause, and `Unavailable` while there are no keys yet."""
        withdrawals = self._replaceable.withdrawals() if self._replaceable else 0
        if withdrawals != self._withdrawals:
            self._withdrawals = withdrawals
            self._verified.clear()
        digest = hashlib.sha256(token).digest()
        cached = self._verified.get(digest)
        if cached is not None and self._clock() < cached[1]:
            return cached[0]
        header, claims = await self._decode(token)
        identity = self._identity(claims, self._classes.grant(header, claims))
        if withdrawals == self._withdrawals:  # no key was withdrawn meanwhile
            expires = claims["exp"]
            assert isinstance(expires, int | float)  # `_decode` has checked it
            self._cache(digest, identity, min(expires, self._clock() + MAX_CACHED_SECONDS))
        return identity

    async def _decode(self, token: bytes) -> tuple[JoseHeader, Claims]:
        if len(token) > MAX_TOKEN_BYTES or not _COMPACT.fullmatch(token):
            raise InvalidToken
        try:
            header: JoseHeader = jwt.get_unverified_header(token)
            if "crit" in header:  # no extension is supported (RFC 7515, 4.1.11)
                raise InvalidToken("header")
            check_type(header)
            claims = self._verify_signature(token, header, await self._keys_for(header))
        except _REFUSALS as error:
            raise InvalidToken(_CAUSES.get(type(error), "malformed")) from None
        if any(type(claims.get(name, 0)) not in (int, float) for name in _DATES):  # PyJWT accepts "123" and true
            raise InvalidToken("claims")
        return header, claims

    async def _keys_for(self, header: JoseHeader) -> list[Key]:
        """Return the keys whose algorithm is the header's (RFC 8725, 3.1). Raises `InvalidToken` if there are none."""
        candidates = await self._keys.keys_for(header)
        keys = [key for key in candidates if header.get("alg") in key.algorithms]
        if not keys:
            raise InvalidToken("algorithm" if candidates or header.get("alg") not in _KNOWN_ALGORITHMS else "key")
        return keys

    def _verify_signature(self, token: bytes, header: JoseHeader, keys: Sequence[Key]) -> Claims:
        for key in keys:
            try:
                return jwt.decode(
                    token,
                    key.material,
                    algorithms=key.algorithms,
                    issuer=self._issuers or None,
                    leeway=self._leeway,
                    # The audience depends on the class of the token: see `TokenClasses`.
                    options={"require": ["exp"], "verify_aud": False, "verify_sub": False},
                )
            except jwt.InvalidSignatureError:
                continue
        if self._replaceable:
            self._replaceable.suspect(header)
        raise InvalidToken("signature")

    def _identity(self, claims: Claims, grant: Grant | None) -> Identity:
        names = self._user_claims if grant is None else ("sub",)
        user_id = next((value for name in names if (value := _claim(claims, name)) is not None), None)
        if not isinstance(user_id, str) or not user_id:
            raise InvalidToken("claims")
        return Identity(
            id=user_id,
            roles=_roles(_claim(claims, self._role_claim)) if grant is None else frozenset(),
            email=usable_text(claims.get("email"), 320),
            name=_name(claims.get("name")),
            image=usable_text(claims.get("image"), 2048),
            grant=grant,
        )

    def _cache(self, digest: bytes, identity: Identity, expires: float) -> None:
        if len(self._verified) >= MAX_CACHED_TOKENS:
            self._verified.pop(next(iter(self._verified)))  # the oldest entry
        self._verified[digest] = (identity, expires)


def _claim(claims: Claims, path: str) -> object:
    """Return a claim by its name, or a nested one by a path like `user.id`; None if it is missing."""
    if path in claims:
        return claims[path]
    value: object = claims
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def usable_text(value: object, max_length: int) -> str | None:
    """Return a claim as text; None if it is blank, too long, or has control characters or lone surrogates."""
    if not isinstance(value, str) or not value.strip() or len(value) > max_length or _CONTROL.search(value):
        return None
    return value


def _name(value: object) -> str | None:
    """Return a claim as a name that the rules of a profile allow; None otherwise."""
    text = nfc(value) if isinstance(value, str) else None
    name = usable_text(text, MAX_NAME)
    return name if name is not None and not has_line_control(name) and is_visible(name) else None


def _roles(value: object) -> frozenset[str]:
    """Return the roles of an array, or of a text like `admin,user`, which Better Auth's admin plugin sends."""
    texts = value if isinstance(value, list) else [value]
    return frozenset(role.strip() for text in texts if isinstance(text, str) for role in text.split(","))
