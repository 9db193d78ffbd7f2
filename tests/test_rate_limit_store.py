"""Rate limits that processes share, on a real Redis server."""

import asyncio
import re
import secrets
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog
from structlog.testing import LogCapture

from app.lib import shared_rate_limit as shared_limit
from app.lib.errors import TooManyRequests
from app.lib.rate_limit import RateLimit
from app.lib.settings import Settings
from app.lib.shared_rate_limit import MAX_CONNECTIONS, AllowanceStore, SharedAllowances, open_store
from app.main import create_app
from tests.lib.raw import ask, bearer
from tests.live import Server, environment, free_port, until, wait_until
from tests.support import SECRET, running, token_for, url_of

PASSWORD = "a-canary-of-the-store"
REQUESTS = 60


class Redis:
    """A server of its own, which can be stopped and started again, and forgets all when it is."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.url = f"redis://:{PASSWORD}@127.0.0.1:{self.port}/0"
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        options = f"--port {self.port} --bind 127.0.0.1 --save '' --appendonly no --daemonize no".split()
        self._process = subprocess.Popen(
            ["redis-server", *(option.strip("'") for option in options), "--requirepass", PASSWORD],
            cwd=self._folder,
            stdout=subprocess.DEVNULL,
        )
        wait_until(self.listens)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    if shutil.which("redis-server") is None:
        pytest.skip("Redis is not installed: apt-get install redis-server")
    server = Redis(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
async def store(redis: Redis) -> AsyncIterator[AllowanceStore]:
    async with AsyncExitStack() as stack:
        store = open_store(redis.url)
        await stack.enter_async_context(store)
        yield store


@pytest.fixture
def name() -> str:
    """Give a limit that nobody has used."""
    return secrets.token_hex(8)


async def allowed(limit: RateLimit, key: str, times: int) -> int:
    async def one() -> bool:
        try:
            await limit.take(key)
        except TooManyRequests:
            return False
        return True

    return (await asyncio.gather(*(one() for _ in range(times)))).count(True)


class TestCounting:
    @pytest.mark.parametrize("limit", [1, 7, 60])
    async def test_concurrent_requests_get_exactly_the_limit(self, redis: Redis, name: str, limit: int) -> None:
        """Many processes' worth of clients, each with connections of its own, and one key."""
        async with AsyncExitStack() as stack:
            limits = []
            for _ in range(4):
                store = open_store(redis.url)
                await stack.enter_async_context(store)
                limits.append(RateLimit(name, limit, shared=SharedAllowances(store)))
            counts = await asyncio.gather(*(allowed(one, "alice", 60) for one in limits))
            assert limit <= sum(counts) <= limit + limit // 10  # a slow minute gives back a few
            assert await allowed(limits[0], "bob", 1) == 1

    async def test_shared_limit_reports_like_the_local_one(self, store: AllowanceStore, name: str) -> None:
        shared, own = RateLimit(name, 3, shared=SharedAllowances(store)), RateLimit(name, 3)
        for _ in range(3):
            assert await shared.take("alice") == await own.take("alice")
        with pytest.raises(TooManyRequests) as refused:
            await shared.take("alice")
        with pytest.raises(TooManyRequests) as refused_too:
            await own.take("alice")
        assert refused.value.headers.keys() == refused_too.value.headers.keys()
        assert 1 <= int(refused.value.headers["Retry-After"]) <= 20

    async def test_shared_limit_allows_one_more_later(self, store: AllowanceStore, name: str) -> None:
        limit = RateLimit(name, 600, shared=SharedAllowances(store))  # one more each tenth of a second
        while await allowed(limit, "alice", 100) == 100:
            continue
        await until(lambda: allowed(limit, "alice", 1))

    async def test_highest_limit_keeps_its_precision(self, store: AllowanceStore, name: str) -> None:
        limit = RateLimit(name, 1_000_000)
        for number in range(1, 200):
            is_allowed, used = await store.use(limit, "alice")
            assert is_allowed
            assert 0 < used <= number * limit.interval + 1e-6

    async def test_keys_expire_when_full_again(self, store: AllowanceStore, name: str) -> None:
        limit = RateLimit(name, 6000)
        await store.use(limit, "alice")
        await asyncio.sleep(0.05)
        assert [key async for key in store._valkey.scan_iter(match=f"*{name}*")] == []

    @pytest.mark.parametrize("key", ["", "\x00", "\ud800", "ä\n", "x" * 100_000, "{a}", "* ?"])
    async def test_any_text_is_a_valid_key(self, store: AllowanceStore, name: str, key: str) -> None:
        limit = RateLimit(name, 2, shared=SharedAllowances(store))
        assert await allowed(limit, key, 3) == 2
        (stored,) = [key async for key in store._valkey.scan_iter(match=f"*{name}*")]
        assert re.fullmatch(rb"[!-~]{1,100}", stored)

    async def test_flushed_script_is_loaded_again(self, store: AllowanceStore, name: str) -> None:
        limit = RateLimit(name, 2, shared=SharedAllowances(store))
        assert await allowed(limit, "alice", 1) == 1
        await store._valkey.script_flush()
        assert await allowed(limit, "alice", 5) == 1

    async def test_shared_limit_of_zero_sends_nothing(self) -> None:
        limit = RateLimit("user", 0, shared=SharedAllowances(open_store(f"redis://127.0.0.1:{free_port()}")))
        assert await limit.take("alice") == []


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def logs(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    capture = LogCapture()
    monkeypatch.setattr(shared_limit, "_log", structlog.wrap_logger(None, processors=[capture]))
    return capture.entries


class TestAway:
    async def test_unavailable_store_falls_back_to_local_limits(self, name: str, logs: list[Any]) -> None:
        url = f"redis://:{PASSWORD}@127.0.0.1:{free_port()}/0"
        clock = Clock()
        async with AsyncExitStack() as stack:
            store = open_store(url)
            await stack.enter_async_context(store)
            limit = RateLimit(name, 5, clock, shared=SharedAllowances(store, clock))
            for _ in range(3):
                clock.now += 5
                await allowed(limit, "bob", 1)
            assert await allowed(limit, "alice", 20) == 5
        assert [entry["event"] for entry in logs] == ["rate limit store is away: each process counts for itself"]
        assert PASSWORD not in str(logs)

    @pytest.mark.usefixtures("logs")
    async def test_only_one_request_probes_an_unavailable_store(self, name: str) -> None:
        asked = []

        class Away:
            async def use(self, _: RateLimit, key: str) -> Any:
                asked.append(key)
                await asyncio.sleep(0)
                raise OSError

        clock = Clock()
        limit = RateLimit(name, 100, clock, shared=SharedAllowances(Away(), clock))  # type: ignore[arg-type]
        assert await allowed(limit, "first", 1) == 1
        assert await allowed(limit, "alice", 50) == 50
        assert asked == ["first"]
        clock.now += shared_limit.RETRY_SECONDS
        assert await allowed(limit, "alice", 50) == 50
        assert asked == ["first", "alice"]

    @pytest.mark.usefixtures("logs")
    async def test_silent_store_is_unavailable(self, name: str) -> None:
        with socket.create_server(("127.0.0.1", 0), backlog=100) as silent:
            store = open_store(f"redis://127.0.0.1:{silent.getsockname()[1]}")
            limit = RateLimit(name, 5, shared=SharedAllowances(store))
            assert await allowed(limit, "alice", 3 * MAX_CONNECTIONS) == 5
            await store.__aexit__(None, None, None)

    async def test_wrong_store_password_is_unavailable(self, redis: Redis, name: str, logs: list[Any]) -> None:
        async with AsyncExitStack() as stack:
            store = open_store(redis.url.replace(PASSWORD, "wrong"))
            await stack.enter_async_context(store)
            assert await allowed(RateLimit(name, 5, shared=SharedAllowances(store)), "alice", 20) == 5
        assert len(logs) == 1

    @pytest.mark.usefixtures("redis")
    async def test_recovered_store_is_used_again(self, tmp_path: Path, name: str, logs: list[Any]) -> None:
        server, clock = Redis(tmp_path), Clock()
        server.start()
        async with AsyncExitStack() as stack:
            stack.callback(server.stop)
            store = open_store(server.url)
            await stack.enter_async_context(store)
            limit = RateLimit(name, 3, clock, shared=SharedAllowances(store, clock))
            assert await allowed(limit, "alice", 9) == 3
            server.stop()
            assert await allowed(limit, "alice", 9) == 3
            await asyncio.to_thread(server.start)
            clock.now += shared_limit.RETRY_SECONDS
            assert await allowed(limit, "alice", 1) == 1
            assert [entry["event"] for entry in logs][-1] == "rate limit store is back"
            assert [key async for key in store._valkey.scan_iter(match=f"*{name}*")] != []


class TestOverHttp:
    async def test_two_applications_share_a_users_limit(self, settings: Settings, redis: Redis) -> None:
        changes = {"rate_limit_per_minute": 6, "rate_limit_store_url": redis.url, "auth_failures_per_minute": 4}
        shared = Settings(_env_file=None, **(_plain(settings) | changes))
        user = f"shared-{secrets.token_hex(8)}"
        async with running(create_app(shared)) as one, running(create_app(shared)) as other:
            answers = [(await ask(app, f"/api/{user}/todos", bearer(user))).status for app in (one, other) * 4]
            assert answers == [200] * 6 + [429] * 2
            failures = [(await ask(app, "/api/health")).status for app in (one, other) * 3]
            assert failures == [401] * 4 + [429] * 2

    async def test_api_is_up_without_its_store(self, settings: Settings) -> None:
        changes = {"rate_limit_per_minute": 6, "rate_limit_store_url": f"redis://127.0.0.1:{free_port()}"}
        async with running(create_app(Settings(_env_file=None, **(_plain(settings) | changes)))) as app:
            answers = [(await ask(app, "/api/health", bearer("alone"))).status for _ in range(8)]
        assert answers == [200] * 6 + [429] * 2

    def test_workers_of_a_server_share_a_limit(self, settings: Settings, redis: Redis) -> None:
        assert settings.database_url
        env = environment(
            database_url=url_of(settings),
            better_auth_secret=SECRET,
            rate_limit_per_minute=REQUESTS,
            rate_limit_store_url=redis.url,
        )
        headers = {"Authorization": f"Bearer {token_for(f'workers-{secrets.token_hex(8)}')}", "Connection": "close"}
        with Server(env, "--workers", "2") as server:
            statuses = [httpx.get(f"{server.url}/api/health", headers=headers).status_code for _ in range(2 * REQUESTS)]
            assert REQUESTS <= statuses.count(200) < 2 * REQUESTS
            assert set(statuses) == {200, 429}
            assert PASSWORD not in server.output


def _plain(settings: Settings) -> dict[str, Any]:
    assert settings.database_url
    return {
        "environment": "test",
        "database_url": url_of(settings),
        "better_auth_secret": SECRET,
    }


class TestUrl:
    @pytest.mark.parametrize(
        ("url", "secure"),
        [
            ("redis://h:6379/0", False),
            ("valkey://h", False),
            ("rediss://u:p@h:6380/1", True),
            ("valkeys://h/0", True),
        ],
    )
    def test_store_url_sets_host_and_tls_verification(self, url: str, secure: bool) -> None:
        kwargs = open_store(url)._valkey.connection_pool.connection_kwargs
        assert kwargs["host"] == "h"
        assert kwargs.get("ssl_check_hostname") is (True if secure else None)

    @pytest.mark.parametrize("url", ["localhost:6379", "http://h", "redis://", "redis:///0", "memcached://h"])
    def test_other_store_urls_are_refused_without_repeating_them(self, url: str) -> None:
        with pytest.raises(ValueError, match="is not like redis://") as error:
            Settings(_env_file=None, rate_limit_store_url=url)
        assert "memcached" not in str(error.value)

    def test_store_url_is_a_secret(self) -> None:
        settings = Settings(_env_file=None, rate_limit_store_url=f"redis://:{PASSWORD}@h")
        assert PASSWORD not in repr(settings) + str(settings.model_dump())
