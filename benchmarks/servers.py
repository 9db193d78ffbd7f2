"""The servers that are compared, and how one is started, watched and stopped."""

import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import IO

import psutil

from benchmarks.database import ROOT, BenchmarkError, as_ordinary_role

HOST = "127.0.0.1"
START_SECONDS = 30
STOP_SECONDS = 10


@dataclass(frozen=True)
class Server:
    """A line in the comparison. `{port}` in the command is filled in; one worker each."""

    name: str
    title: str
    schema: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    ordinary: bool = False
    """Whether it connects as a role that row-level security binds; superusers pass it at no cost."""


def uvicorn(application: str) -> tuple[str, ...]:
    options = "--loop uvloop --http httptools --no-access-log --log-level warning --port {port}"
    return ("-m", "uvicorn", application, "--host", HOST, *options.split())


APP = ("manage.py", "run", "--host", HOST, "--port", "{port}")
MONITORED = Server("app", "this app, with a sampler of lag", "app", ("-m", "benchmarks.monitored", *APP[1:]))
PEER = uvicorn("benchmarks.peers.fastapi_sqlmodel.main:app")
SERVERS = {
    server.name: server
    for server in (
        Server("app", "this app", "app", APP),
        Server("app-rls", "this app with row-level security", "app", APP, {"DATABASE_RLS": "true"}, ordinary=True),
        Server("peer", "FastAPI + SQLModel", "peer", PEER),
        Server("peer-lean", "the same, no refresh after commit", "peer", PEER, {"PEER_REFRESH": "false"}),
        Server("floor", "bare ASGI + asyncpg", "app", uvicorn("benchmarks.peers.floor:app")),
    )
}
DEFAULT_SERVERS = ("app", "peer", "floor")


@dataclass(frozen=True)
class Running:
    """A server that accepts connections."""

    server: Server
    port: int
    process: psutil.Process
    log: IO[bytes]

    def cpu_seconds(self) -> float:
        """User and system time of the server so far; PostgreSQL is none of its children."""
        family = [self.process, *self.process.children(recursive=True)]
        return sum(times.user + times.system for times in (member.cpu_times() for member in family))


@contextmanager
def running(server: Server, env: Mapping[str, str]) -> Iterator[Running]:
    """Start a server, yield it once it listens, and end it whatever happens."""
    port = _free_port()
    command = [sys.executable, *(part.format(port=port) for part in server.command)]
    with tempfile.TemporaryFile() as log:
        # A session of its own: Ctrl-C reaches the harness alone, which then stops the servers in order.
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**env, **server.environment, **_role(server, env)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            _wait_until_listening(server, process, port, log)
            yield Running(server, port, psutil.Process(process.pid), log)
        finally:
            _stop(process)


def _role(server: Server, env: Mapping[str, str]) -> Mapping[str, str]:
    return {"DATABASE_URL": as_ordinary_role(env["DATABASE_URL"])} if server.ordinary else {}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_until_listening(server: Server, process: subprocess.Popen[bytes], port: int, log: IO[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        with suppress(OSError), socket.create_connection((HOST, port), timeout=1):
            return
        time.sleep(0.05)
    log.seek(0)
    said = log.read().decode(errors="replace")[-2000:]
    raise BenchmarkError(f"{server.name} did not start listening on {HOST}:{port}:\n{said}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    with suppress(psutil.NoSuchProcess):
        family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        process.terminate()
        _, alive = psutil.wait_procs(family, timeout=STOP_SECONDS)
        for member in alive:
            member.kill()
    process.wait()
