"""Rate limits that all processes share, in Redis or Valkey by Litestar's store; imported only where that is set."""

import time
from collections.abc import Callable
from hashlib import blake2b
from typing import Any
from urllib.parse import urlsplit

import structlog
from litestar.stores.valkey import ValkeyStore
from valkey.asyncio import BlockingConnectionPool, Valkey
from valkey.exceptions import ValkeyError

from app.lib.log import exception_summary
from app.lib.rate_limit import RateLimit, Use

NAMESPACE = "todo-backend"
STEP_SECONDS = 0.25  # to connect, to get a connection, to be answered
MAX_CONNECTIONS = 20
RETRY_SECONDS = 5.0  # between attempts while the store is away
MICROSECONDS = 1_000_000

# Reads, decides and writes in one step, by the clock of the store. A number as Lua writes it would lose digits.
_USE = b"""
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local interval, most = tonumber(ARGV[1]), tonumber(ARGV[2])
local full_at = math.max(tonumber(redis.call('GET', KEYS[1]) or now), now) + interval
local used = full_at - now
if used > most then
    return {0, math.floor(used)}
end
redis.call('SET', KEYS[1], string.format('%.17g', full_at), 'PX', math.ceil(used / 1000))
return {1, math.floor(used)}
"""

_log = structlog.get_logger()


class AllowanceStore(ValkeyStore):
    """Litestar's store with one verb more: to count, if there is allowance for it, as one step."""

    def __init__(self, valkey: Valkey, namespace: Any = NAMESPACE, handle_client_shutdown: bool = True) -> None:
        super().__init__(valkey, namespace, handle_client_shutdown)
        self._use = valkey.register_script(_USE)

    async def use(self, limit: RateLimit, key: str) -> Use:
        """Count one. Keys are hashed: a token may name a user by any text."""
        digest = blake2b(key.encode(errors="surrogatepass"), digest_size=16).hexdigest()
        keys = [self._make_key(f"{limit.name}:{digest}")]
        arguments = [limit.interval * MICROSECONDS, limit.most_used * MICROSECONDS]
        is_allowed, used = await self._use(keys=keys, args=arguments)
        return bool(is_allowed), used / MICROSECONDS


class SharedAllowances:
    """Counts in the store; while it is away, in this process, and every few seconds one request looks for it."""

    def __init__(self, store: AllowanceStore, clock: Callable[[], float] = time.monotonic) -> None:
        self.store = store
        self._clock = clock
        self._is_away = False
        self._next_try = 0.0
        self._complaints = RateLimit("complaints", 1, clock)

    async def use(self, limit: RateLimit, key: str) -> Use:
        """Count one, here or there."""
        if self._is_away:
            if self._clock() < self._next_try:
                return limit.use(key)
            self._next_try = self._clock() + RETRY_SECONDS  # this one tries, and nobody waits with it
        try:
            use = await self.store.use(limit, key)
        except (ValkeyError, OSError) as error:
            self._give_up(error)
            return limit.use(key)
        if self._is_away:
            self._is_away = False
            _log.warning("rate limit store is back")
        return use

    def _give_up(self, error: Exception) -> None:
        self._is_away, self._next_try = True, self._clock() + RETRY_SECONDS
        if self._complaints.use("")[0]:
            _log.warning("rate limit store is away: each process counts for itself", **exception_summary(error))


def open_store(store_url: str) -> AllowanceStore:
    """Give the store at a URL; it connects when it is first asked."""
    url = urlsplit(store_url)
    scheme = url.scheme.replace("redis", "valkey")
    verified = {"ssl_check_hostname": True} if scheme == "valkeys" else {}
    pool = BlockingConnectionPool.from_url(
        url._replace(scheme=scheme).geturl(),
        max_connections=MAX_CONNECTIONS,
        timeout=STEP_SECONDS,
        socket_timeout=STEP_SECONDS,
        socket_connect_timeout=STEP_SECONDS,
        **verified,
    )
    return AllowanceStore(Valkey(connection_pool=pool))
