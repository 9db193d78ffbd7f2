"""A real Better Auth server as a process, users who signed up there, and the application on its keys."""

import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest

from app.db.config import Database
from app.db.migrate import differences, migrate
from app.lib.settings import PROJECT, Settings
from app.main import create_app
from tests.asgi import asgi_transport
from tests.live import environment, fetch, until, wait_until
from tests.support import running

SOURCES = Path(__file__).parent
INSTALL = ("install", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts")
AS_OF = "--before=2026-11-20T00:00:00Z"  # the direct dependencies are pinned; what they need is fixed by date
INSTALL_SECONDS = 300

SECRET = "a-secret-of-better-auth-of-32-bytes-or-more"
FRONTEND = "http://localhost:3000"
PUBLISHED = ("EdDSA", "ES256", "RS256", "ES512", "PS256")
PASSWORD = "correct horse battery staple"
NAME = "Zoë 🌱 O'Neil"
TABLES = ("user", "session", "account", "verification", "jwks")


class Person:
    """A user who signed up, with a session."""

    def __init__(self, server: "BetterAuth", http: httpx.AsyncClient, signed_up: dict[str, Any]) -> None:
        self.id: str = signed_up["user"]["id"]
        self.email: str = signed_up["user"]["email"]
        self.session: str = signed_up["token"]
        self.server, self._http = server, http

    @property
    def todos(self) -> str:
        """The path of their todos."""
        return f"/api/{self.id}/todos"

    async def token(self) -> str:
        """Take a new token, as the frontend does."""
        response = await self._http.get(f"{self.server.base}/token", headers=bearer(self.session))
        assert response.status_code == 200, response.text
        token: str = response.json()["token"]
        return token

    async def tokens(self, count: int) -> list[str]:
        """Take tokens that differ: those of one second are the same, byte for byte, unless the user's row changed."""
        taken = []
        for number in range(count):
            url, body = f"{self.server.base}/update-user", {"image": f"http://example.com/{number}.png"}
            response = await self._http.post(url, json=body, headers=bearer(self.session) | {"Origin": FRONTEND})
            assert response.status_code == 200, response.text
            taken.append(await self.token())
        assert len(set(taken)) == count
        return taken


class BetterAuth:
    """The server in a process of its own; it can be stopped, and started again on the same port."""

    def __init__(self, directory: Path, database_url: str, script: str = "server.mjs", **env: object) -> None:
        self.database_url = database_url
        self.url = ""
        self.printed: dict[str, Any] = {}
        self._directory = directory
        self._script = script
        self._env = {"better_auth_secret": SECRET, "database_url": database_url, "frontend": FRONTEND} | env
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def created(self) -> list[str]:
        """The tables that its last start made."""
        tables: list[str] = self.printed["created"]
        return tables

    @property
    def base(self) -> str:
        """Where its routes are."""
        return f"{self.url}{'/neondb/auth' if self._env.get('neon') else '/api/auth'}"

    @property
    def jwks_url(self) -> str:
        """Where the public keys are."""
        return f"{self.base}{'/.well-known/jwks.json' if self._env.get('neon') else '/jwks'}"

    def start(self, port: int = 0) -> "BetterAuth":
        """Start it, and wait until it listens."""
        env = environment(**self._env, port=port, better_auth_telemetry=0, no_color=1)
        with tempfile.NamedTemporaryFile("w+b", suffix=".log") as log:
            self._process = process = subprocess.Popen(
                [node(), self._script],
                cwd=self._directory,
                env=env,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

            def line() -> str:
                output = Path(log.name).read_text()
                assert process.poll() is None, f"The Better Auth server ended:\n{output}"
                return next((line for line in output.splitlines(keepends=True) if line.startswith('{"url"')), "")

            wait_until(lambda: line().endswith("\n"))
            self.printed = json.loads(line())
        self.url = self.printed["url"]
        return self

    def stop(self) -> None:
        """Kill it with all that it started, if it runs."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.communicate()
            self._process = None

    def restart(self, **env: object) -> None:
        """Start it again where it was, with what is now different."""
        self.stop()
        self._env |= env
        self.start(int(self.url.rpartition(":")[2]))

    async def key_ids(self, http: httpx.AsyncClient) -> set[str]:
        """Give the ids of the published keys."""
        return {key["kid"] for key in (await http.get(self.jwks_url)).json()["keys"]}

    async def expire_keys(self, ago: timedelta) -> None:
        """Let every key be past its time, so that the plugin makes the next one."""
        await fetch(self.database_url, 'UPDATE jwks SET "expiresAt" = now() - $1::interval', ago)


def node() -> str:
    """Give the Node that is installed, or skip the test."""
    return shutil.which("node") or pytest.skip("Node is not installed: install Node 20 or later with npm to run this")


def bearer(token: str) -> dict[str, str]:
    """Give the header that carries a token."""
    return {"Authorization": f"Bearer {token}"}


def claims_of(token: str) -> dict[str, Any]:
    """Read a token without verifying it."""
    return jwt.decode(token, options={"verify_signature": False})


def install(npm: str, directory: Path) -> None:
    hint = (
        f"The registry must be reachable once; `npm install` in {directory.relative_to(PROJECT)} shows why it is not."
    )
    try:
        done = subprocess.run(
            [npm, *INSTALL, AS_OF],
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=INSTALL_SECONDS,
        )
    except subprocess.TimeoutExpired:
        pytest.fail(f"npm did not install Better Auth within {INSTALL_SECONDS} s. {hint}")
    if done.returncode != 0:
        pytest.fail(f"npm did not install Better Auth. {hint}\n{done.stdout}")


async def sign_up(http: httpx.AsyncClient, server: BetterAuth, name: str = NAME) -> Person:
    """Sign a new user up."""
    body = {"email": f"{os.urandom(8).hex()}@example.com", "password": PASSWORD, "name": name}
    url = f"{server.base}/sign-up/email"
    response = await http.post(url, json=body, headers={"Origin": FRONTEND})
    assert response.status_code == 200, response.text
    return Person(server, http, response.json())


async def migrated(database_url: str, target: str = "head") -> list[Any]:
    """Migrate our side; give what then differs from the models."""
    database = Database(Settings(environment="test", database_url=database_url))
    try:
        await migrate(database, target)
        return await differences(database)
    finally:
        await database.close()


@asynccontextmanager
async def api(server: BetterAuth, **given: Any) -> AsyncIterator[httpx.AsyncClient]:
    """Run the application on the server's keys and database; give a client without a token."""
    keys = {"better_auth_jwks_url": server.jwks_url} if "better_auth_secret" not in given else {}
    app = create_app(Settings(environment="test", database_url=server.database_url, **(keys | given)))
    transport = asgi_transport(app)
    async with running(app), httpx.AsyncClient(transport=transport, base_url="http://testserver") as client:
        yield client


async def status(client: httpx.AsyncClient, person: Person, token: str) -> int:
    """Ask for the person's todos."""
    return (await client.get(person.todos, headers=bearer(token))).status_code


async def accepted(client: httpx.AsyncClient, person: Person, token: str) -> None:
    """Wait until a token is accepted: the first one of a new key is refused, and starts a fetch of the keys."""

    async def holds() -> bool:
        return await status(client, person, token) == 200

    await until(holds)
