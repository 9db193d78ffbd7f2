"""Who is asking: tokens are verified before anything else happens, and a path belongs to its user alone."""

import hashlib
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

import jwt
from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler
from litestar.types import ASGIApp, Guard, Receive, Scope, Send
from msgspec import Struct

from app.lib.auth.jwks import ALGORITHMS
from app.lib.auth.keys import Key, KeySource, ReplaceableKeys
from app.lib.auth.scopes import check_scope
from app.lib.auth.token_classes import Grant, TokenClasses, check_type
from app.lib.errors import ApiError, Forbidden, InvalidToken, MissingToken
from app.lib.http.asgi import problem_reply
from app.lib.http.client_address import ClientAddress, site_of
from app.lib.rate_limit import RateLimit, Shared
from app.lib.settings import OPENABLE_PATHS, Settings
from app.lib.text import has_line_control, is_visible, nfc

MAX_TOKEN_BYTES = 12 * 1024  # Better Auth puts the whole user row in, unless told otherwise
MAX_CACHED_TOKENS = 10_000
MAX_CACHED_SECONDS = 300.0
USERLESS = frozenset(OPENABLE_PATHS)
_KNOWN_ALGORITHMS = ALGORITHMS | {"HS256"}
MAX_USER_ID = 128
USER_ID = re.compile(rf"(?!\.{{1,2}}$)[A-Za-z0-9._~:@|-]{{1,{MAX_USER_ID}}}")  # no path can have . and ..
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


class Admission(Protocol):
    """Lets users in: makes the row of a new one, and turns away a deactivated one."""

    async def admit(self, identity: Identity) -> None:
        """Raises `Forbidden`."""

    async def readmit(self, identity: Identity) -> None:
        """Look at the user again, who was erased meanwhile. Raises `Forbidden`."""


class AuthenticationWall:
    """ASGI middleware outside the router: no valid token, no further, and nothing below the path of another user.

    Unknown paths are closed too. `open_paths` are the exact paths that a deployment opened.
    """

    def __init__(self, app: ASGIApp, verifier: TokenVerifier, settings: Settings, shared: Shared | None = None) -> None:
        self._app = app
        self._verifier = verifier
        self._open_paths = frozenset(settings.open_paths)
        self._address = ClientAddress(settings.trusted_proxies)
        self._failures = RateLimit("authentication", settings.auth_failures_per_minute, shared=shared)
        self._requests = RateLimit("user", settings.rate_limit_per_minute, shared=shared)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the request through to the router with its user."""
        app = self._app
        if scope["path"] not in self._open_paths:
            try:
                await self._authorize(scope)
            except ApiError as error:  # answered here, for what stands outside marks answers, not exceptions
                app = problem_reply(error, scope)
        await app(scope, receive, send)

    async def _authorize(self, scope: Scope) -> None:
        scope["user"] = identity = await self._identify(scope)
        scope["state"]["headers"] = await self._requests.take(identity.id[:MAX_USER_ID])
        user_id = user_in(scope["path"])
        if user_id is not None and not owns(identity, user_id):
            raise Forbidden

    async def _identify(self, scope: Scope) -> Identity:
        """Only failures count against an address: behind the same one there may be honest users."""
        try:
            return await self._verifier.verify(bearer_token(scope["headers"]))
        except (MissingToken, InvalidToken):
            await self._failures.take(site_of(self._address.of(scope)))
            raise


def bearer_token(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Take the token out of the headers.

    Raises `MissingToken` where there is no Authorization header, `InvalidToken` where it is not one Bearer token.
    """
    values = [value for name, value in headers if name == b"authorization"]
    if not values:
        raise MissingToken
    scheme, _, token = values[0].partition(b" ")
    if len(values) > 1 or scheme.lower() != b"bearer" or not token:
        raise InvalidToken
    return token.strip(b" ")


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
