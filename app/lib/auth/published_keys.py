"""Keep the published keys of a Better Auth server up to date."""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import httpx
import structlog

from app.lib.auth.jwks import ALGORITHMS, KeySet, parse_key_set
from app.lib.auth.key_set_loading import Load
from app.lib.auth.keys import JoseHeader, Key
from app.lib.errors import Unavailable
from app.lib.log import exception_summary

MIN_INTERVAL_SECONDS = 5.0  # between fetches: tokens with invented key ids cannot cause more
FIRST_INTERVAL_SECONDS = 1.0  # while there are no keys yet
MAX_WAITING = 100  # requests that wait for the first key set; further ones get a 503 at once
MAX_TRIED = 20  # keys for a token without `kid`: the newest ones, which Better Auth publishes last

_log = structlog.get_logger()

_FAILURES = (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError, ExceptionGroup)
_AWAY = (httpx.TimeoutException, httpx.NetworkError, TimeoutError)
EMPTY = "the key set has no key that can be used"


class Problem(NamedTuple):
    """What is wrong with a key set."""

    setting: str  # the one that configures the key set
    reason: str
    is_away: bool  # the server cannot be reached now, and may be back soon


class PublishedKeys:
    """Published keys by their `kid`, fetched at start, when they are stale, and when a token matches none of them.

    Requests wait only for the first key set. At most one fetch runs at a time. While the server of the keys cannot be
    reached, stale keys stay in use.
    """

    def __init__(
        self,
        load: Load,
        clock: Callable[[], float] = time.monotonic,
        setting: str = "BETTER_AUTH_JWKS_URL",
    ) -> None:
        self._load = load
        self._clock = clock
        self._setting = setting
        self._waiting = 0
        self._keys: KeySet | None = None
        self._withdrawals = 0
        self._fresh_until = 0.0
        self._next_fetch = 0.0
        self._fetch: asyncio.Task[None] | None = None

    async def keys_for(self, header: JoseHeader) -> Sequence[Key]:
        """Return the keys of the header's `kid`, or the newest ones if it has none.

        An unknown `kid` starts a fetch in the background, and this request does not wait for it.
        """
        if header.get("alg") not in ALGORITHMS:
            return ()
        keys = await self.wait_for_first()
        matching = _matching(keys, header.get("kid"))
        if not matching or self._clock() >= self._fresh_until:
            self.start_fetch()
        return matching

    def suspect(self, header: JoseHeader) -> None:
        if header.get("alg") in ALGORITHMS:
            self.start_fetch()

    def withdrawals(self) -> int:
        if self._keys is not None and self._clock() >= self._fresh_until:
            self.start_fetch()
        return self._withdrawals

    @property
    def has_keys(self) -> bool:
        return self._keys is not None

    async def wait_for_first(self) -> KeySet:
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
        """Start a fetch unless the last one was too recent; return the running fetch, if any."""
        if self._fetch is None and self._clock() >= self._next_fetch:
            interval = MIN_INTERVAL_SECONDS if self._keys else FIRST_INTERVAL_SECONDS
            self._next_fetch = self._clock() + interval
            self._fetch = asyncio.create_task(self._run())
        return self._fetch

    async def close(self) -> None:
        """Cancel a running fetch."""
        if (fetch := self._fetch) is not None:
            fetch.cancel()
            await asyncio.wait({fetch})

    async def problem(self) -> Problem | None:
        """Fetch the key set once, without using it, and return what is wrong with it."""
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
            self._replace(parse_key_set(document))
            self._fresh_until = self._clock() + fresh_seconds
        except _FAILURES as error:
            _log.warning(
                "key set not usable", setting=self._setting, reason=str(error)[:200], **exception_summary(error)
            )
        finally:
            self._fetch = None

    def _replace(self, keys: KeySet) -> None:
        self._withdrawals += _lacks_key(keys, self._keys or {})
        self._keys = keys
        if not keys:
            _log.warning("key set not usable", setting=self._setting, reason=EMPTY)


def _lacks_key(keys: KeySet, before: KeySet) -> bool:
    return any(key not in keys.get(key_id, ()) for key_id, several in before.items() for key in several)


def _matching(keys: KeySet, key_id: object) -> list[Key]:
    if key_id is None:
        return [key for several in keys.values() for key in several][-MAX_TRIED:]
    return keys.get(key_id, []) if isinstance(key_id, str) else []
