"""Behind a real PgBouncer that pools by transaction, as hosted PostgreSQL often is."""

import asyncio
import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from litestar import Litestar
from sqlalchemy import URL, func, insert, make_url, select, text

from app.db.config import Database, ordinary_url
from app.db.migrate import migrate
from app.lib.persistence import scope_guard
from app.lib.settings import Settings
from app.main import create_app
from tests.asgi import asgi_transport
from tests.factories import users
from tests.support import SECRET, Client, admin_url, running, token_for

SERVER_CONNECTIONS = 2  # fewer than there are requests at once, so that they must share


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "rls"])
def rls(request: pytest.FixtureRequest) -> bool:
    """Say whether PostgreSQL keeps users apart."""
    return bool(request.param)


@pytest.fixture(scope="module")
async def pooled_url(
    rls: bool, new_database: Callable[[], Any], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[str]:
    """Give the URL of a migrated database behind a PgBouncer of its own."""
    if shutil.which("pgbouncer") is None:
        pytest.skip("PgBouncer is not installed: apt-get install pgbouncer")
    direct = admin_url(await new_database())
    settings = Settings(database_url=direct, better_auth_secret=SECRET, database_rls=rls)
    direct = await ordinary_url(settings, direct) if rls else direct
    database = Database(settings, direct)
    await migrate(database)
    await database.close()
    url = make_url(direct)
    with pgbouncer(tmp_path_factory.mktemp("pgbouncer"), url) as port:
        bouncer = url.set(host="127.0.0.1", port=port, query={"pgbouncer": "true"})
        yield bouncer.render_as_string(hide_password=False)


@contextmanager
def pgbouncer(folder: Path, url: URL) -> Iterator[int]:
    """Run PgBouncer on a free port of loopback, in front of a server."""
    host = url.query.get("host") or url.host
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = folder / "pgbouncer.ini"
    password = f" password='{url.password}'" if url.password else ""
    config.write_text(
        f"[databases]\n* = host={host} port={url.port or 5432} user={url.username}{password}\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\n"
        f"pool_mode = transaction\ndefault_pool_size = {SERVER_CONNECTIONS}\n"
    )
    process = subprocess.Popen([*_as_nobody(), "pgbouncer", "-q", config])
    try:
        _wait_for(port)
        yield port
    finally:
        process.terminate()
        process.wait()


def _as_nobody() -> list[str]:
    """It refuses to run as root; another user may be kept away from the server's socket, but for a capability."""
    rights = ["--securebits=+no_setuid_fixup", "--inh-caps=+dac_override", "--ambient-caps=+dac_override"]
    return ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *rights] if os.geteuid() == 0 else []


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    raise AssertionError("PgBouncer did not start")


@pytest.fixture(scope="module")
async def pooled_app(pooled_url: str, rls: bool) -> AsyncIterator[Litestar]:
    settings = Settings(
        environment="test", database_url=pooled_url, better_auth_secret=SECRET, log_level="error", database_rls=rls
    )
    async with running(create_app(settings)) as app:
        yield app


@pytest.fixture
async def carol(pooled_app: Litestar) -> AsyncIterator[Client]:
    user_id = f"carol-{secrets.token_hex(8)}"
    headers = {"Authorization": f"Bearer {token_for(user_id)}"}
    transport = asgi_transport(pooled_app)
    async with Client(user_id, transport=transport, headers=headers) as client:
        yield client


async def test_every_operation_works_through_pgbouncer(carol: Client) -> None:
    todos = await asyncio.gather(*(carol.create(title=f"t{n}") for n in range(20)))
    paths = [carol.todos(todo["id"]) for todo in todos]
    for request in (
        carol.get,
        lambda path: carol.patch(path, json={"priority": "high"}),
        lambda path: carol.put(path, json={"title": "again"}),
        lambda path: carol.post(f"{path}/toggle-complete"),
        lambda _: carol.get(carol.todos(), params={"sort": "title", "limit": 5}),
        carol.delete,
    ):
        answers = await asyncio.gather(*map(request, paths))
        assert {answer.status_code for answer in answers} <= {200, 204}
    assert (await carol.get(carol.todos())).json()["total"] == 0


async def test_concurrent_toggles_through_pgbouncer_are_all_applied(carol: Client) -> None:
    path = carol.todos((await carol.create())["id"])
    await asyncio.gather(*(carol.post(f"{path}/toggle-complete") for _ in range(31)))
    todo = (await carol.get(path)).json()
    assert (todo["completed"], todo["version"]) == (True, 32)


async def test_health_through_pgbouncer_is_200(carol: Client) -> None:
    assert (await carol.get("/api/health")).json()["status"] == "ok"


async def test_timeouts_apply_to_each_pgbouncer_transaction(pooled_app: Litestar) -> None:
    database: Database = pooled_app.state.database
    shown = select(func.current_setting("lock_timeout"), func.current_setting("statement_timeout"))
    limits = ("2s", "15s")
    assert await database.session("anybody").read(shown, {}) == [limits]
    session = database.session("anybody")
    async with session.atomic():
        assert await session.read(shown, {}) == [limits]
    assert await database.probe.ask(lambda session: session.read(shown, {})) == [limits]


async def test_users_on_pgbouncer_connections_stay_apart(
    pooled_app: Litestar, monkeypatch: pytest.MonkeyPatch, rls: bool
) -> None:
    """Without the scope guard and with raw SQL, only row-level security remains; each transaction names its user."""
    database: Database = pooled_app.state.database
    names = [f"user-{secrets.token_hex(8)}" for _ in range(4)]
    for name in names:
        await database.session(name).write(insert(users).values(id=name), {})
    monkeypatch.setattr(scope_guard, "_analyse", lambda *_: frozenset())
    everybody = text("SELECT id FROM app.users WHERE id = ANY (:names)").bindparams(names=names)

    async def seen(name: str) -> list[str]:
        return [row[0] for row in await database.session(name).read(everybody, {})]

    found = await asyncio.gather(*(seen(name) for name in names * 20))
    assert found == [[name] for name in names * 20] if rls else len(found[0]) == len(names)
