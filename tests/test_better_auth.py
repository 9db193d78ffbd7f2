"""A real Better Auth server beside the application, on the same database: its tokens, its keys, its tables.

It is installed by npm once, below `.data/`. Without Node there is none, and these tests are skipped.
"""

import asyncio
import fcntl
import hashlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from http.cookiejar import CookieJar, DefaultCookiePolicy
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest

from app.db.config import Database
from app.db.migrate import differences, migrate
from app.lib import jwks
from app.lib.settings import PROJECT, Settings
from app.main import create_app
from tests.live import environment, fetch, free_port, until, wait_until
from tests.support import assert_problem, running

SOURCES = Path(__file__).parent / "better_auth"
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
        self._server, self._http = server, http

    @property
    def todos(self) -> str:
        """The path of their todos."""
        return f"/api/{self.id}/todos"

    async def token(self) -> str:
        """Take a new token, as the frontend does."""
        response = await self._http.get(f"{self._server.url}/api/auth/token", headers=bearer(self.session))
        assert response.status_code == 200, response.text
        token: str = response.json()["token"]
        return token

    async def tokens(self, count: int) -> list[str]:
        """Take tokens that differ: those of one second are the same, byte for byte, unless the user's row changed."""
        taken = []
        for number in range(count):
            url, body = f"{self._server.url}/api/auth/update-user", {"image": f"http://example.com/{number}.png"}
            response = await self._http.post(url, json=body, headers=bearer(self.session) | {"Origin": FRONTEND})
            assert response.status_code == 200, response.text
            taken.append(await self.token())
        assert len(set(taken)) == count
        return taken


class BetterAuth:
    """The server in a process of its own; it can be stopped, and started again on the same port."""

    def __init__(self, directory: Path, database_url: str, **env: object) -> None:
        self.database_url = database_url
        self.url = ""
        self.created: list[str] = []
        self._directory = directory
        self._env = {"better_auth_secret": SECRET, "database_url": database_url, "frontend": FRONTEND} | env
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def jwks_url(self) -> str:
        """Where the public keys are."""
        return f"{self.url}/api/auth/jwks"

    def start(self, port: int = 0) -> "BetterAuth":
        """Start it, and wait until it listens."""
        env = environment(**self._env, port=port, better_auth_telemetry=0, no_color=1)
        with tempfile.NamedTemporaryFile("w+b", suffix=".log") as log:
            self._process = process = subprocess.Popen(
                [node(), "server.mjs"],
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
            said = json.loads(line())
        self.url, self.created = said["url"], said["created"]
        return self

    def stop(self) -> None:
        """Kill it with all that it started, if it runs."""
        if self._process is not None:
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
            _install(npm, directory)
            (directory / "installed").touch()
        for script in SOURCES.glob("*.mjs"):  # beside the packages, for Node looks for them there
            copy = directory / f"{script.name}.{os.getpid()}"
            shutil.copyfile(script, copy)
            copy.replace(directory / script.name)
    return directory


def _install(npm: str, directory: Path) -> None:
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
        monkeypatch.setattr(jwks, name, 0.0)


by_algorithm = pytest.mark.parametrize("server", PUBLISHED, indirect=True)


async def sign_up(http: httpx.AsyncClient, server: BetterAuth, name: str = NAME) -> Person:
    """Sign a new user up."""
    body = {"email": f"{os.urandom(8).hex()}@example.com", "password": PASSWORD, "name": name}
    url = f"{server.url}/api/auth/sign-up/email"
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
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with running(app), httpx.AsyncClient(transport=transport, base_url="http://testserver") as client:
        yield client


async def status(client: httpx.AsyncClient, person: Person, token: str) -> int:
    """Ask for the person's todos."""
    return (await client.get(person.todos, headers=bearer(token))).status_code


async def accepted(client: httpx.AsyncClient, person: Person, token: str) -> None:
    """Wait until a token is accepted: the first one of a new key is refused, and has the keys fetched."""

    async def holds() -> bool:
        return await status(client, person, token) == 200

    await until(holds)


# Tokens


@by_algorithm
async def test_a_token_reads_and_writes_under_its_users_path(server: BetterAuth, http: httpx.AsyncClient) -> None:
    person = await sign_up(http, server)
    headers = bearer(await person.token())
    async with api(server) as client:
        created = await client.post(person.todos, json={"title": "Water the plants"}, headers=headers)
        listed = await client.get(person.todos, headers=headers)
    assert created.status_code == 201, created.text
    assert created.json()["user_id"] == person.id
    assert listed.json()["items"] == [created.json()]


@by_algorithm
async def test_a_token_names_the_algorithm_and_a_published_key(server: BetterAuth, http: httpx.AsyncClient) -> None:
    token = await (await sign_up(http, server)).token()
    published = {key["kid"]: key["alg"] for key in (await http.get(server.jwks_url)).json()["keys"]}
    header = jwt.get_unverified_header(token)
    assert header == {"alg": published[header["kid"]], "kid": header["kid"]}, "and has no typ"


async def test_a_token_has_the_whole_user_row_and_lives_15_minutes(server: BetterAuth, http: httpx.AsyncClient) -> None:
    person = await sign_up(http, server)
    claims = claims_of(await person.token())
    assert claims["sub"] == claims["id"] == person.id
    assert len(person.id) == 32
    assert person.id.isalnum()
    assert claims["iss"] == claims["aud"] == server.url
    assert claims["exp"] - claims["iat"] == 15 * 60
    row = {"id", "name", "email", "emailVerified", "image", "createdAt", "updatedAt"}
    assert claims.keys() == {"sub", "iss", "aud", "exp", "iat"} | row


async def test_the_users_row_has_the_name_and_email_of_the_sign_up(server: BetterAuth, http: httpx.AsyncClient) -> None:
    person = await sign_up(http, server)
    async with api(server) as client:
        assert await status(client, person, await person.token()) == 200
    rows = await fetch(server.database_url, "SELECT email, name, image FROM app.users WHERE id = $1", person.id)
    assert rows == [(person.email, NAME, None)]


async def test_another_users_path_is_forbidden(server: BetterAuth, http: httpx.AsyncClient) -> None:
    alice, bob = await sign_up(http, server), await sign_up(http, server)
    async with api(server) as client:
        headers = bearer(await alice.token())
        assert_problem(await client.get(bob.todos, headers=headers), 403)
        assert_problem(await client.post(bob.todos, json={"title": "Mine"}, headers=headers), 403)
        assert_problem(await client.get(alice.todos.replace(alice.id, alice.id.swapcase()), headers=headers), 403)


async def test_the_token_that_comes_with_the_session_is_the_same_kind(
    server: BetterAuth, http: httpx.AsyncClient
) -> None:
    person = await sign_up(http, server)
    session = await http.get(f"{server.url}/api/auth/get-session", headers=bearer(person.session))
    async with api(server) as client:
        assert await status(client, person, session.headers["set-auth-jwt"]) == 200


async def test_the_token_of_the_frontends_client_is_accepted(
    server: BetterAuth, http: httpx.AsyncClient, installed: Path
) -> None:
    person = await sign_up(http, server)
    env = environment(better_auth_url=server.url, session_token=person.session)
    command = (node(), "client.mjs")
    process = await asyncio.create_subprocess_exec(*command, cwd=installed, env=env, stdout=subprocess.PIPE)
    token, _ = await process.communicate()
    assert process.returncode == 0
    async with api(server) as client:
        assert await status(client, person, token.decode().strip()) == 200


async def test_what_better_auth_gives_out_besides_is_no_token(server: BetterAuth, http: httpx.AsyncClient) -> None:
    person = await sign_up(http, server)
    url = f"{server.url}/api/auth/sign-in/email"
    body = {"email": person.email, "password": PASSWORD}
    signed_in = await http.post(url, json=body, headers={"Origin": FRONTEND})
    cookie = signed_in.cookies["better-auth.session_data"]
    assert jwt.get_unverified_header(cookie)["kid"] in await server.key_ids(http), "signed with the key of tokens"
    assert claims_of(cookie)["sub"] == person.id
    async with api(server) as client:
        assert await status(client, person, await person.token()) == 200
        for other in (person.session, signed_in.headers["set-auth-token"], cookie):
            assert_problem(await client.get(person.todos, headers=bearer(other)), 401, "Invalid or expired token")


@pytest.mark.parametrize(
    ("setting", "suffix", "expected"),
    [
        ("better_auth_issuer", "", 200),
        ("better_auth_issuer", "/", 401),
        ("better_auth_issuer", "/api/auth", 401),
        ("better_auth_audience", "", 200),
        ("better_auth_audience", ",http://api.example.com", 200),
        ("better_auth_audience", "/", 401),
    ],
)
async def test_issuer_and_audience_are_the_base_url_and_checked_when_set(
    server: BetterAuth, http: httpx.AsyncClient, setting: str, suffix: str, expected: int
) -> None:
    person = await sign_up(http, server)
    async with api(server, **{setting: server.url + suffix}) as client:
        assert await status(client, person, await person.token()) == expected


# The shared secret


@pytest.mark.parametrize("server", ["HS256"], indirect=True)
async def test_a_token_signed_with_the_shared_secret_is_accepted(server: BetterAuth, http: httpx.AsyncClient) -> None:
    person = await sign_up(http, server)
    token = await person.token()
    assert jwt.get_unverified_header(token) == {"alg": "HS256", "typ": "JWT"}
    async with api(server, better_auth_secret=SECRET) as client:
        assert await status(client, person, token) == 200
    async with api(server, better_auth_secret="another" * 8) as client:
        assert await status(client, person, token) == 401


@pytest.mark.parametrize("server", ["HS256"], indirect=True)
async def test_a_session_cookie_signed_with_the_secret_is_accepted_only_if_its_claim_is_named(
    server: BetterAuth, http: httpx.AsyncClient
) -> None:
    person = await sign_up(http, server)
    body = {"email": person.email, "password": PASSWORD}
    signed_in = await http.post(f"{server.url}/api/auth/sign-in/email", json=body, headers={"Origin": FRONTEND})
    cookie = signed_in.cookies["better-auth.session_data"]
    async with api(server, better_auth_secret=SECRET) as client:
        assert await status(client, person, cookie) == 401
    async with api(server, better_auth_secret=SECRET, user_id_claims="user.id") as client:
        assert await status(client, person, cookie) == 200


async def test_the_secret_and_published_keys_serve_side_by_side(
    servers: Callable[[str], Awaitable[BetterAuth]], http: httpx.AsyncClient
) -> None:
    published, shared = await servers("EdDSA"), await servers("HS256")
    one, other = await sign_up(http, published), await sign_up(http, shared)
    async with api(published, better_auth_secret=SECRET, better_auth_jwks_url=published.jwks_url) as client:
        assert await status(client, one, await one.token()) == 200
        assert await status(client, other, await other.token()) == 200
    async with api(published) as client:
        assert await status(client, other, await other.token()) == 401


# Keys that change, and a server that is away


@pytest.mark.parametrize("server", ["EdDSA", "RS256"], indirect=True)
@pytest.mark.usefixtures("no_interval")
async def test_after_a_rotation_new_and_old_tokens_are_accepted(server: BetterAuth, http: httpx.AsyncClient) -> None:
    person = await sign_up(http, server)
    old, unseen = await person.tokens(2)
    async with api(server) as client:
        assert await status(client, person, old) == 200
        await server.expire_keys(timedelta(seconds=1))
        new = await person.token()
        ids = {jwt.get_unverified_header(token)["kid"] for token in (old, new)}
        assert len(ids) == 2
        assert ids <= await server.key_ids(http), "the old key stays published for its grace period"
        await accepted(client, person, new)
        for token in (new, old, unseen, new):
            assert await status(client, person, token) == 200


@pytest.mark.parametrize("server", ["EdDSA", "RS256"], indirect=True)
@pytest.mark.usefixtures("no_interval")
async def test_tokens_of_a_key_that_is_no_longer_published_are_refused(
    server: BetterAuth, http: httpx.AsyncClient
) -> None:
    person = await sign_up(http, server)
    old, unseen = await person.tokens(2)
    async with api(server) as client:
        assert await status(client, person, old) == 200
        await server.expire_keys(timedelta(days=31))
        new = await person.token()
        assert jwt.get_unverified_header(unseen)["kid"] not in await server.key_ids(http)
        await accepted(client, person, new)
        assert await status(client, person, unseen) == 401


@pytest.mark.usefixtures("no_interval")
async def test_the_plugins_own_rotation_goes_unnoticed(rotating_server: BetterAuth, http: httpx.AsyncClient) -> None:
    person = await sign_up(http, rotating_server)
    tokens: dict[str, str] = {}
    async with api(rotating_server) as client:
        while len(tokens) < 3:
            token = await person.token()
            tokens.setdefault(jwt.get_unverified_header(token)["kid"], token)
            await accepted(client, person, token)
        for token in tokens.values():
            assert await status(client, person, token) == 200


async def test_another_algorithm_comes_with_the_next_key(
    own_server: BetterAuth, http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_server.start()
    person = await sign_up(http, own_server)
    for name in ("FIRST_INTERVAL_SECONDS", "MIN_INTERVAL_SECONDS"):
        monkeypatch.setattr(jwks, name, 0.0)
    async with api(own_server) as client:
        used = []
        for _ in range(2):
            token = await person.token()
            assert await status(client, person, token) == 200
            used.append(jwt.get_unverified_header(token)["alg"])
            own_server.restart(key_algorithm="RS256")
        await own_server.expire_keys(timedelta(seconds=1))
        new = await person.token()
        assert [*used, jwt.get_unverified_header(new)["alg"]] == ["EdDSA", "EdDSA", "RS256"]
        await accepted(client, person, new)
        assert await status(client, person, token) == 200


async def test_the_newest_key_counts_however_many_old_ones_are_published(
    rotating_server: BetterAuth, http: httpx.AsyncClient
) -> None:
    person = await sign_up(http, rotating_server)
    days_of_grace = 30  # Better Auth's default: a daily rotation leaves this many old keys
    while len(await rotating_server.key_ids(http)) <= days_of_grace:
        token = await person.token()
    async with api(rotating_server) as client:
        assert await status(client, person, token) == 200


async def test_known_keys_serve_while_better_auth_is_away(
    own_server: BetterAuth, http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_server.start()
    person = await sign_up(http, own_server)
    tokens = await person.tokens(4)
    for name in ("DEFAULT_FRESH_SECONDS", "MIN_FRESH_SECONDS", "FIRST_INTERVAL_SECONDS", "MIN_INTERVAL_SECONDS"):
        monkeypatch.setattr(jwks, name, 0.0)  # the keys are stale at once, and fetched again with each new token
    failures: list[BaseException] = []
    monkeypatch.setattr(jwks, "where", lambda error: failures.append(error) or {})  # called to log a failed fetch
    async with api(own_server) as client:
        assert await status(client, person, tokens.pop()) == 200
        own_server.stop()
        for fetches, token in enumerate(tokens, 1):
            assert await status(client, person, token) == 200
            await until(lambda n=fetches: len(failures) >= n)
        assert {type(error) for error in failures} == {httpx.ConnectError}


@pytest.mark.usefixtures("no_interval")
async def test_without_any_keys_the_answer_is_503_until_better_auth_is_there(
    own_server: BetterAuth, http: httpx.AsyncClient
) -> None:
    own_server.start()
    person = await sign_up(http, own_server)
    token = await person.token()
    own_server.stop()
    async with api(own_server) as client:
        for _ in range(2):
            answer = await client.get(person.todos, headers=bearer(token))
            assert_problem(answer, 503)
            assert int(answer.headers["retry-after"]) > 0
        assert_problem(await client.get(person.todos), 401, "Missing authentication token")
        own_server.restart()
        assert await status(client, person, token) == 200


async def test_what_is_not_a_key_set_is_503(server: BetterAuth, http: httpx.AsyncClient) -> None:
    person = await sign_up(http, server)
    token = await person.token()
    elsewhere = (f"{server.url}/api/auth/ok", f"{server.url}/none", f"http://127.0.0.1:{free_port()}/api/auth/jwks")
    for url in elsewhere:
        async with api(server, better_auth_jwks_url=url) as client:
            assert_problem(await client.get(person.todos, headers=bearer(token)), 503)


# One database for both


async def rows_of(database_url: str) -> dict[str, list[tuple[Any, ...]]]:
    """Give all rows of Better Auth's tables."""
    return {name: sorted(await fetch(database_url, f'SELECT t::text FROM public."{name}" t')) for name in TABLES}


async def tables_in(database_url: str, schema: str) -> set[str]:
    """Give the tables of a schema."""
    return {
        name for (name,) in await fetch(database_url, "SELECT tablename FROM pg_tables WHERE schemaname = $1", schema)
    }


async def test_our_migrations_and_better_auths_do_not_see_each_other(
    own_server: BetterAuth, http: httpx.AsyncClient
) -> None:
    url = own_server.database_url
    assert await migrated(url) == []
    ours = await tables_in(url, "app")
    own_server.start()
    assert set(own_server.created) == await tables_in(url, "public") == set(TABLES)
    assert await tables_in(url, "app") == ours
    assert await migrated(url) == []

    person = await sign_up(http, own_server)
    async with api(own_server) as client:
        headers = bearer(await person.token())
        assert (await client.post(person.todos, json={"title": "Theirs"}, headers=headers)).status_code == 201
    theirs = await rows_of(url)
    assert {name: len(rows) for name, rows in theirs.items()} == dict.fromkeys(TABLES, 1) | {"verification": 0}

    await migrated(url, "zero")
    assert "todos" not in await tables_in(url, "app")
    assert await rows_of(url) == theirs
    again = await sign_up(http, own_server)
    assert claims_of(await person.token())["sub"] == person.id

    assert await migrated(url) == []
    own_server.restart()
    assert own_server.created == [], "Better Auth finds nothing to migrate"
    async with api(own_server) as client:
        for user in (person, again):
            answer = await client.get(user.todos, headers=bearer(await user.token()))
            assert answer.json()["items"] == []
    assert {name: len(rows) for name, rows in (await rows_of(url)).items()} == {
        "user": 2,
        "session": 2,
        "account": 2,
        "verification": 0,
        "jwks": 1,
    }
    assert await fetch(url, "SELECT count(*) FROM app.users") == [(2,)]
