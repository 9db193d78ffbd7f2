"""The public keys of a Better Auth server, as its JWT plugin publishes them (RFC 7517)."""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import jwt
import msgspec
import structlog
from jwt.algorithms import OKPAlgorithm

from app.lib.auth.keys import Key
from app.lib.errors import Unavailable
from app.lib.log import exception_summary

FETCH_SECONDS = 5.0
MIN_INTERVAL_SECONDS = 5.0  # between fetches: a client that makes up key ids cannot force more
FIRST_INTERVAL_SECONDS = 1.0  # while there are no keys yet
DEFAULT_FRESH_SECONDS, MIN_FRESH_SECONDS, MAX_FRESH_SECONDS = 300.0, 60.0, 3600.0
MAX_WAITING = 100  # requests that wait for the first key set; further ones are 503 at once
MAX_DOCUMENT_BYTES = 256 * 1024
MAX_TRIED = 20  # for a token that names no key; the newest, which Better Auth publishes last
MIN_RSA_BITS = 2048
MAX_KEY_ID = 256

ALGORITHMS = frozenset({"EdDSA", "Ed25519", "ES256", "ES512", "RS256", "PS256"})
_BY_TYPE = {("EC", "P-256"): ("ES256",), ("EC", "P-521"): ("ES512",), ("OKP", "Ed25519"): ("EdDSA", "Ed25519")}
_PRIVATE_MEMBERS = {"d", "p", "q", "dp", "dq", "qi", "oth", "k"}
_MAX_AGE = re.compile(r"(?:^|[\s,])max-age=(\d{1,9})")

# RFC 9864 names the algorithm after its curve; PyJWT knows it as EdDSA.
jwt.register_algorithm("Ed25519", OKPAlgorithm())

_log = structlog.get_logger()

_FAILURES = (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError, ExceptionGroup)
_AWAY = (httpx.TimeoutException, httpx.NetworkError, TimeoutError)  # the server may be back soon
EMPTY = "the key set has no key that can be used"

type Document = tuple[bytes, float]
"""A key set as JSON, and for how many seconds it is fresh."""


class Problem(NamedTuple):
    """What is wrong with a key set, and the setting that names it."""

    setting: str
    reason: str
    is_away: bool


class PublishedKeys:
    """Keys by their id, fetched at start, when they are no longer fresh, and when a token does not match them.

    Requests wait for the first key set alone. One fetch runs at a time, and not too often; stale keys are used while
    their server is away.
    """

    def __init__(
        self,
        load: Callable[[], Awaitable[Document]],
        clock: Callable[[], float] = time.monotonic,
        setting: str = "BETTER_AUTH_JWKS_URL",
    ) -> None:
        self._load = load
        self._clock = clock
        self._setting = setting
        self._waiting = 0
        self._keys: dict[str | None, list[Key]] | None = None
        self._withdrawals = 0
        self._fresh_until = 0.0
        self._next_fetch = 0.0
        self._fetch: asyncio.Task[None] | None = None

    async def keys_for(self, header: Mapping[str, Any]) -> Sequence[Key]:
        """Return the keys of the header's `kid`, or all of them where it names none.

        Nobody waits for an unknown `kid`: the fetch that it causes serves the requests after it.
        """
        if header.get("alg") not in ALGORITHMS:
            return ()
        keys = await self.wait_for_first()
        matching = _matching(keys, header.get("kid"))
        if not matching or self._clock() >= self._fresh_until:
            self.start_fetch()
        return matching

    def suspect(self, header: Mapping[str, Any]) -> None:
        """Fetch in the background after a bad signature: the key of this `kid` may have been replaced."""
        if header.get("alg") in ALGORITHMS:
            self.start_fetch()

    def withdrawals(self) -> int:
        """Return how often keys were withdrawn; stale keys are fetched in the background, unless that was tried now."""
        if self._keys is not None and self._clock() >= self._fresh_until:
            self.start_fetch()
        return self._withdrawals

    @property
    def has_keys(self) -> bool:
        """Whether a key set was ever fetched."""
        return self._keys is not None

    async def wait_for_first(self) -> dict[str | None, list[Key]]:
        """Wait for the fetch of the first key set. Raises `Unavailable` if it fails, or if too many wait."""
        if self._keys is None and self._waiting < MAX_WAITING and (fetch := self.start_fetch()) is not None:
            self._waiting += 1
            try:
                await asyncio.wait({fetch})
            finally:
                self._waiting -= 1
        if self._keys is None:
            raise Unavailable("The keys of the authentication server cannot be fetched, try again later")
        return self._keys

    def start_fetch(self) -> asyncio.Task[None] | None:
        """Fetch in the background, unless it was done a moment ago; return the fetch that runs, if any."""
        if self._fetch is None and self._clock() >= self._next_fetch:
            interval = MIN_INTERVAL_SECONDS if self._keys else FIRST_INTERVAL_SECONDS
            self._next_fetch = self._clock() + interval
            self._fetch = asyncio.create_task(self._run())
        return self._fetch

    async def close(self) -> None:
        """End a fetch that runs."""
        if (fetch := self._fetch) is not None:
            fetch.cancel()
            await asyncio.wait({fetch})

    async def problem(self) -> Problem | None:
        """Fetch the key set once, for a check, and return what is wrong with it."""
        try:
            document, _ = await self._load()
            keys = parse_key_set(document)
        except _FAILURES as error:
            is_away = isinstance(error, _AWAY)
            return Problem(self._setting, str(error)[:200] or type(error).__name__, is_away)
        return None if keys else Problem(self._setting, EMPTY, is_away=False)

    async def _run(self) -> None:
        try:
            document, fresh_seconds = await self._load()
            keys = parse_key_set(document)
            self._withdrawals += _lacks(keys, self._keys or {})
            self._keys = keys
            self._fresh_until = self._clock() + fresh_seconds
            if not self._keys:
                _log.warning("key set not usable", setting=self._setting, reason=EMPTY)
        except _FAILURES as error:
            _log.warning(
                "key set not usable", setting=self._setting, reason=str(error)[:200], **exception_summary(error)
            )
        finally:
            self._fetch = None


def _lacks(keys: Mapping[str | None, list[Key]], before: Mapping[str | None, list[Key]]) -> bool:
    return any(key not in keys.get(key_id, ()) for key_id, several in before.items() for key in several)


def _matching(keys: Mapping[str | None, list[Key]], key_id: object) -> list[Key]:
    if key_id is None:
        return [key for several in keys.values() for key in several][-MAX_TRIED:]
    return keys.get(key_id, []) if isinstance(key_id, str) else []


def parse_key_set(document: bytes) -> dict[str | None, list[Key]]:
    """Take the usable public keys of a JWK set; others are left out. Raises `ValueError` where it is no key set."""
    if document.lstrip().startswith(b"<"):
        raise ValueError("HTML or XML, not a JWK set")
    try:
        members = msgspec.json.decode(document, type=dict[str, Any])["keys"]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, KeyError) as error:
        raise ValueError("not a JWK set") from error
    if not isinstance(members, list):
        raise ValueError("not a JWK set")  # noqa: TRY004 - a value from outside
    keys: dict[str | None, list[Key]] = {}
    for member in members:
        if isinstance(member, dict) and (key := _public_key(member)):
            keys.setdefault(member.get("kid"), []).append(key)
    return keys


def _public_key(member: dict[str, Any]) -> Key | None:
    key_id = member.get("kid")
    unusable = (
        _PRIVATE_MEMBERS & member.keys()
        or member.get("use", "sig") != "sig"
        or "verify" not in member.get("key_ops", ["verify"])
        or not (key_id is None or (isinstance(key_id, str) and len(key_id) <= MAX_KEY_ID))
    )
    algorithms = None if unusable else _algorithms(member)
    if algorithms is None:
        return None
    try:
        material = jwt.PyJWK(member, algorithms[0]).key
    except (jwt.PyJWTError, ValueError, TypeError):
        return None
    weak = member["kty"] == "RSA" and material.key_size < MIN_RSA_BITS
    return None if weak else Key(algorithms, material)


def _algorithms(member: dict[str, Any]) -> tuple[str, ...] | None:
    """Give the algorithm of a key by its type; an `alg` of its own must agree, and chooses for RSA."""
    named = member.get("alg")
    if member.get("kty") == "RSA":
        return (named or "RS256",) if named in (None, "RS256", "PS256") else None
    by_type = _BY_TYPE.get((str(member.get("kty")), str(member.get("crv"))))
    return by_type if by_type and named in (None, *by_type) else None


def from_url(url: str) -> Callable[[], Awaitable[Document]]:
    """Load the key set by HTTP, within a time and a size."""

    async def load() -> Document:
        async with (
            asyncio.timeout(FETCH_SECONDS),
            httpx.AsyncClient(timeout=FETCH_SECONDS, trust_env=False) as client,
            client.stream("GET", url, headers={"Accept": "application/json"}) as response,
        ):
            if response.status_code != httpx.codes.OK:
                hint = ", a redirect, which is not followed" if response.is_redirect else ""
                raise ValueError(f"the key set is answered with {response.status_code}{hint}")
            document = bytearray()
            async for chunk in response.aiter_bytes():
                document += chunk
                if len(document) > MAX_DOCUMENT_BYTES:
                    raise ValueError("the key set is too large")
            return bytes(document), _fresh_seconds(response.headers.get("cache-control", ""))

    return load


def from_file(path: Path) -> Callable[[], Awaitable[Document]]:
    """Load the key set from a file, which may be replaced while the server runs."""

    async def load() -> Document:
        return await asyncio.to_thread(path.read_bytes), MIN_FRESH_SECONDS

    return load


def _fresh_seconds(cache_control: str) -> float:
    given = _MAX_AGE.search(cache_control.lower())
    seconds = float(given[1]) if given else DEFAULT_FRESH_SECONDS
    return min(max(seconds, MIN_FRESH_SECONDS), MAX_FRESH_SECONDS)
