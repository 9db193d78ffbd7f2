"""Better Auth servers for tests: installed by npm once, below `.data/`. Without Node these tests are skipped."""

import fcntl
import hashlib
import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from http.cookiejar import CookieJar, DefaultCookiePolicy
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.lib.auth import published_keys
from app.lib.settings import PROJECT
from tests.better_auth.server import AS_OF, PUBLISHED, SOURCES, BetterAuth, install, migrated, node


@pytest.fixture(scope="session")
def installed() -> Path:
    """Install the server once for all runs, and give its directory."""
    node()
    if (npm := shutil.which("npm")) is None:
        pytest.fail("npm is not on the PATH, and Node is: install it to run this")
    manifest = (SOURCES / "package.json").read_bytes()
    directory = PROJECT / ".data" / f"better-auth-{hashlib.sha256(manifest + AS_OF.encode()).hexdigest()[:12]}"
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # other workers wait for the first one
        if not (directory / "installed").exists():
            (directory / "package.json").write_bytes(manifest)
            install(npm, directory)
            (directory / "installed").touch()
        for script in SOURCES.glob("*.mjs"):  # beside the packages, for Node looks for them there
            copy = directory / f"{script.name}.{os.getpid()}"
            shutil.copyfile(script, copy)
            copy.replace(directory / script.name)
    return directory


@pytest.fixture(scope="module")
async def http() -> AsyncIterator[httpx.AsyncClient]:
    """Give a client for the network, without cookies of its own and without the machine's proxies."""
    no_cookies = CookieJar(DefaultCookiePolicy(allowed_domains=()))
    async with httpx.AsyncClient(trust_env=False, timeout=30, cookies=no_cookies) as client:
        yield client
        assert not client.cookies


@pytest.fixture(scope="module")
async def servers(installed: Path, new_database: Callable[[], Any]) -> AsyncIterator[Callable[..., Any]]:
    """Give a function that gives the server of an algorithm, on a database that the application shares."""
    started: dict[str, BetterAuth] = {}

    async def server_of(algorithm: str) -> BetterAuth:
        if algorithm not in started:
            server = BetterAuth(installed, await new_database(), key_algorithm=algorithm)
            started[algorithm] = server.start()
            await migrated(server.database_url)
        return started[algorithm]

    try:
        yield server_of
    finally:
        for server in started.values():
            server.stop()


@pytest.fixture
async def server(servers: Callable[[str], Awaitable[BetterAuth]], request: pytest.FixtureRequest) -> BetterAuth:
    """Give the server of the algorithm that the test names, or of Better Auth's default."""
    return await servers(getattr(request, "param", PUBLISHED[0]))


@pytest.fixture
async def own_server(installed: Path, new_database: Callable[[], Any]) -> AsyncIterator[BetterAuth]:
    """Give a server that does not run yet, to be stopped and started, on a migrated database."""
    server = BetterAuth(installed, await new_database())
    await migrated(server.database_url)
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
async def rotating_server(installed: Path, new_database: Callable[[], Any]) -> AsyncIterator[BetterAuth]:
    """Give a server that makes a new key many times a second, on a migrated database."""
    server = BetterAuth(installed, await new_database(), rotation_interval=0.02)
    try:
        await migrated(server.database_url)
        yield server.start()
    finally:
        server.stop()


@pytest.fixture
def no_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let keys be fetched again at once, where an application waits for some seconds."""
    for name in ("FIRST_INTERVAL_SECONDS", "MIN_INTERVAL_SECONDS"):
        monkeypatch.setattr(published_keys, name, 0.0)
