"""Commands and servers as operators run them, in processes of their own and in this one."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

import asyncpg
import uvicorn
from click.testing import CliRunner
from litestar import Litestar
from litestar.cli._utils import LitestarEnv
from litestar.cli.main import litestar_group

from app.lib.cli import friendly_errors
from app.lib.http.uvicorn_protocol import bounded_http
from app.lib.settings import PROJECT, Settings
from app.main import create_app
from tests.canaries import leaks
from tests.support import admin_url

MANAGE = PROJECT / "manage.py"
PATIENCE_SECONDS = 60  # a deadline for what is broken, never a measure of what works
_INHERITED = ("PATH", "HOME", "TMPDIR", "SYSTEMROOT")


def environment(**settings: object) -> dict[str, str]:
    """Give the whole environment of a command: these settings, and none of the machine's or of a `.env`."""
    kept = {name: value for name, value in os.environ.items() if name in _INHERITED or name.startswith("COVERAGE_")}
    given = {name.upper(): str(value) for name, value in settings.items()}
    unlimited = {"RATE_LIMIT_PER_MINUTE": "0", "AUTH_FAILURES_PER_MINUTE": "0"}
    mode = {"DATABASE_RLS": os.environ["DATABASE_RLS"]} if "DATABASE_RLS" in os.environ else {}
    return kept | {"ENV_FILE": ""} | mode | unlimited | given


def manage(env: dict[str, str], *arguments: str, directory: Path = PROJECT) -> subprocess.CompletedProcess[str]:
    """Run a command of `manage.py` to its end."""
    command = [sys.executable, str(MANAGE), *arguments]
    done = subprocess.run(
        command, env=env, cwd=directory, capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS
    )
    assert not leaks(done.stderr), done.stderr
    return done


def call(settings: Settings, *arguments: str) -> tuple[int, str]:
    """Run a command within this process; give its exit status and all that it said."""
    env = LitestarEnv("app.main:create_app", create_app(settings), PROJECT)
    result = CliRunner().invoke(litestar_group, arguments, prog_name="manage.py", obj=env)
    if result.exception is None or isinstance(result.exception, SystemExit):
        return result.exit_code, result.output
    try:
        with friendly_errors():
            raise result.exception
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1, f"{result.output}{end.code}"


class Server:
    """`manage.py run` on a free port; killed at the end if it still runs."""

    def __init__(self, env: dict[str, str], *options: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._log = Path(tempfile.mkstemp(suffix=".log")[1])
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(MANAGE), "run", "--port", str(self.port), *options],
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def __enter__(self) -> Self:
        try:
            return self.wait_until_it_listens()
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        said = self.output
        self._log.unlink()
        assert not leaks(said), said

    @property
    def output(self) -> str:
        """All that it has said."""
        return self._log.read_text()

    @property
    def listens(self) -> bool:
        """Whether it takes connections."""
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=5).close()
        except OSError:
            return False
        return True

    def wait_until_it_listens(self) -> Self:
        """Wait for the first connection that is taken."""
        return self._wait(lambda: self.listens)

    def wait_until_it_says(self, text: str) -> str:
        """Wait for a line that begins so, and give it."""
        lines: list[str] = []

        def said() -> bool:
            lines[:] = [line for line in self.output.splitlines() if line.startswith(text)]
            return bool(lines)

        self._wait(said)
        return lines[0]

    def stop(self) -> int:
        """Ask it to end, and give its exit status."""
        self.process.terminate()
        return self.process.wait(PATIENCE_SECONDS)

    def kill(self) -> None:
        """End it on the spot."""
        self.process.kill()
        self.process.wait()

    def _wait(self, condition: Callable[[], bool]) -> Self:
        def met() -> bool:
            assert self.process.poll() is None, self.output
            return condition()

        wait_until(met)
        return self


@asynccontextmanager
async def listening(app: Litestar, *, bounded: bool = False) -> AsyncIterator[int]:
    """Serve an application that runs already on a port, within this process; `bounded` as `manage.py run` does."""
    http: Any = bounded_http(app.state.settings) if bounded else "auto"
    config = uvicorn.Config(app, port=free_port(), lifespan="off", log_level="critical", ws="none", http=http)
    server = uvicorn.Server(config)
    task = asyncio.create_task(server._serve())
    await until(lambda: server.started)
    try:
        yield server.config.port
    finally:
        server.should_exit = True
        await task


def free_port() -> int:
    """Give a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_until(condition: Callable[[], object]) -> None:
    """Poll until the condition holds."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


async def until(condition: Callable[[], Any]) -> None:
    """Poll until the condition, which may be a coroutine function, holds."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            holds = condition()
            if await holds if asyncio.iscoroutine(holds) else holds:
                return
            await asyncio.sleep(0.02)


async def fetch(url: str, sql: str, *arguments: object) -> list[tuple[Any, ...]]:
    """Run SQL on a connection of its own."""
    connection = await asyncpg.connect(admin_url(url))
    try:
        if not arguments and ";" in sql:
            await connection.execute(sql)
            return []
        return [tuple(row) for row in await connection.fetch(sql, *arguments)]
    finally:
        await connection.close()


def query(url: str, sql: str, *arguments: object) -> list[tuple[Any, ...]]:
    """Run SQL, outside an event loop."""
    return asyncio.run(fetch(url, sql, *arguments))
