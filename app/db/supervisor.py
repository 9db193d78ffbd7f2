"""The detached process that runs the embedded PostgreSQL, and the locks by which its users know of it.

Run by path and in isolation, so it stands on the standard library alone. Who lives is told by kernel locks (flock)
in the directory, not by process ids: kill -9 and a power cut release a lock, and a reused id cannot fake one.

    lease       shared, by each process that uses the database
    mutex       exclusive, by the one that is just starting it
    supervisor  exclusive, by this process, which stops PostgreSQL once the lease is free
    postgres    exclusive, inherited by initdb and by every process of PostgreSQL
"""

import hashlib
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
from typing import Any

if sys.platform != "win32":
    import fcntl
    import pwd

_SETTINGS = ("listen_addresses=", "port=5432", "max_connections=200", "timezone=UTC", "log_timezone=UTC")
_FAST_SETTINGS = ("fsync=off", "synchronous_commit=off", "full_page_writes=off")
# The builtin provider sorts and folds case alike on every system, whatever locales that has.
_LOCALE = ("--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")
_SOCKET = ".s.PGSQL.5432"
_SUN_PATH = 103  # bytes on macOS; Linux has room for 107
_STOP_SECONDS = 20
_LOG_BYTES = 4 * 1024 * 1024
_SERVER_USERS = ("pgserver", "postgres", "nobody")


class EmbeddedPostgresError(Exception):
    """PostgreSQL cannot run here; the message says what to do."""


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
            while not self._terminated and try_lock(self._directory / "lease", fcntl.LOCK_EX) is None:
                if (lock := try_lock(self._directory / "postgres", fcntl.LOCK_EX)) is not None:
                    try:
                        if not answered:
                            raise EmbeddedPostgresError("PostgreSQL ended before it was ready.")
                        self._boot(lock)
                    finally:
                        os.close(lock)
                    answered = False
                answered = answered or find_ready_socket(self._directory) is not None
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
        while is_locked(self._directory / "postgres"):
            # By id and not by child handle: an earlier supervisor may have started it. Repeats do no harm.
            with suppress(OSError, ValueError):
                pid = int(_read_pid_file(self._directory)[0])
                os.kill(pid, signal.SIGINT if time.monotonic() < deadline else signal.SIGQUIT)
            time.sleep(0.05)
        with suppress(OSError):
            self._socket_directory.rmdir()


def try_lock(path: Path, operation: int) -> int | None:
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


def is_locked(path: Path) -> bool:
    """Tell whether anybody holds the lock."""
    if (descriptor := try_lock(path, fcntl.LOCK_EX)) is None:
        return True
    os.close(descriptor)
    return False


def _read_pid_file(directory: Path) -> list[str]:
    """Return what PostgreSQL tells: line 1 is its process id, 5 its socket directory, 8 its state."""
    return os.fsdecode((directory / "data" / "postmaster.pid").read_bytes()).split("\n")


def find_ready_socket(directory: Path) -> Path | None:
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


def _supervise(directory: str, binaries: str, mode: str) -> None:
    """Fork into a supervisor unless there is one; the lock is held when the first process returns."""
    if try_lock(Path(directory) / "supervisor", fcntl.LOCK_EX) is not None and os.fork() == 0:
        try:
            _Supervisor(Path(directory), Path(binaries), durable=mode == "durable").run()
        except (EmbeddedPostgresError, OSError) as error:
            sys.exit(str(error))


if __name__ == "__main__":
    _supervise(*sys.argv[1:])
