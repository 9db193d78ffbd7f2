import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
import pytest

from app.db.embedded import EmbeddedPostgres
from app.db.supervisor import EmbeddedPostgresError

ROOT = Path(__file__).parents[2]
HOLD = """
import sys
from pathlib import Path
from app.db.embedded import EmbeddedPostgres

with EmbeddedPostgres(Path(sys.argv[1]), durable=False) as url:
    print(url, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    """Yield the place of a database, and prove for each test that nothing is left running."""
    directory = tmp_path.resolve() / "postgres"
    yield directory
    wait_until(lambda: not list_processes(directory))


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def list_processes(directory: Path, program: str = "") -> list[int]:
    command = ["ps", "-A", "-ww", "-o", "pid=", "-o", "args="]
    output = subprocess.run(command, capture_output=True, check=True).stdout
    lines = output.decode(errors="replace").splitlines()
    return [int(line.split()[0]) for line in lines if f"{directory}" in line and program in line]


def kill_all(directory: Path, program: str) -> None:
    wait_until(lambda: list_processes(directory, program))
    killed = set(list_processes(directory, program))
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: killed.isdisjoint(list_processes(directory, program)))


def query(url: str, sql: str) -> object:
    async def fetch() -> object:
        connection = await asyncpg.connect(url)
        try:
            return await connection.fetchval(sql)
        finally:
            await connection.close()

    return asyncio.run(fetch())


def spawn_user(directory: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", HOLD, str(directory)]
    return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


@contextmanager
def another_user(directory: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Yield another process that uses the database, and the URL that it got."""
    with spawn_user(directory) as process:
        assert process.stdout
        try:
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


def make_table(directory: Path, *, durable: bool = False) -> None:
    with EmbeddedPostgres(directory, durable=durable) as url:
        query(url, "CREATE TABLE kept AS SELECT 42 AS answer")


def assert_table(url: str) -> None:
    assert query(url, "SELECT answer FROM kept") == 42


def test_data_outlives_the_server(directory: Path) -> None:
    make_table(directory)
    wait_until(lambda: not list_processes(directory))
    with EmbeddedPostgres(directory) as url:
        assert_table(url)


def test_start_and_close_can_be_repeated(directory: Path) -> None:
    postgres = EmbeddedPostgres(directory, durable=False)
    assert postgres.start() == postgres.start()
    postgres.close()
    postgres.close()
    assert query(postgres.start(), "SELECT 1") == 1
    postgres.close()


@pytest.fixture(scope="module")
def shared_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PGPORT", "6000")
        patch.setenv("PGTZ", "Asia/Tokyo")
        patch.setenv("LC_ALL", "no_SUCH.locale")
        postgres = EmbeddedPostgres(tmp_path_factory.mktemp("settings"), durable=False)
        url = postgres.start()
    yield url
    postgres.close()


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("current_setting('server_version_num')::int / 10000", 18),
        ("current_setting('listen_addresses')", ""),
        ("current_setting('max_connections')", "200"),
        ("current_setting('TimeZone')", "UTC"),
        ("current_setting('server_encoding')", "UTF8"),
        ("current_setting('data_checksums')", "on"),
        ("lower('ÄÖ') || (SELECT datlocale FROM pg_database WHERE datname = 'template1')", "äöC.UTF-8"),
    ],
)
def test_embedded_settings_do_not_depend_on_the_machine(shared_url: str, expression: str, value: object) -> None:
    assert query(shared_url, f"SELECT {expression}") == value


@pytest.mark.parametrize(("durable", "fsync"), [(True, "on"), (False, "off")])
def test_only_durable_servers_use_fsync(directory: Path, durable: bool, fsync: str) -> None:
    with EmbeddedPostgres(directory, durable=durable) as url:
        assert query(url, "SHOW fsync") == fsync


def test_processes_share_one_server(directory: Path) -> None:
    make_table(directory)
    with another_user(directory) as (_, their_url), EmbeddedPostgres(directory) as url:
        assert url == their_url
        assert query(url, "SELECT pg_postmaster_start_time()") == query(their_url, "SELECT pg_postmaster_start_time()")


def test_concurrent_first_starts_succeed(directory: Path) -> None:
    processes = [spawn_user(directory) for _ in range(4)]
    urls = [process.stdout.readline() for process in processes if process.stdout]
    assert urls[0].startswith("postgresql://postgres@/postgres?host=/")
    assert len(set(urls)) == 1
    assert len(list_processes(directory, "supervisor.py")) == 1
    for process in processes:
        process.communicate()
        assert process.returncode == 0


def test_server_ends_when_its_last_process_is_killed(directory: Path) -> None:
    with another_user(directory) as (first, url), another_user(directory) as (second, _):
        first.kill()
        first.wait()
        assert query(url, "SELECT 1") == 1
        second.kill()
        second.wait()
        wait_until(lambda: not list_processes(directory))


def test_child_programs_do_not_keep_the_server_alive(directory: Path) -> None:
    with EmbeddedPostgres(directory, durable=False):
        child = subprocess.Popen(["sleep", "60"], close_fds=False)
    try:
        wait_until(lambda: not list_processes(directory))
    finally:
        child.kill()
        child.wait()


def test_server_ends_when_its_supervisor_is_terminated(directory: Path) -> None:
    with EmbeddedPostgres(directory, durable=False):
        for pid in list_processes(directory, "supervisor.py"):
            os.kill(pid, signal.SIGTERM)
        wait_until(lambda: not list_processes(directory))


def test_killed_supervisor_is_replaced(directory: Path) -> None:
    with another_user(directory) as (_, url):
        started = query(url, "SELECT pg_postmaster_start_time()")
        kill_all(directory, "supervisor.py")
        with EmbeddedPostgres(directory) as again:
            assert query(again, "SELECT pg_postmaster_start_time()") == started


def test_killed_server_is_restarted_for_its_users(directory: Path) -> None:
    make_table(directory, durable=True)
    with EmbeddedPostgres(directory) as url:
        kill_all(directory, "-D")
        with EmbeddedPostgres(directory) as again:
            assert again == url
            assert_table(url)
        kill_all(directory, "-D")
        wait_until(lambda: list_processes(directory, "-D"))


def test_server_recovers_after_all_processes_were_killed(directory: Path) -> None:
    make_table(directory, durable=True)
    with another_user(directory) as (user, _):
        kill_all(directory, "supervisor.py")
        kill_all(directory, "-D")
        user.kill()
    with EmbeddedPostgres(directory) as url:
        assert_table(url)


def test_stale_process_ids_are_ignored(directory: Path) -> None:
    make_table(directory)
    wait_until(lambda: not list_processes(directory))
    # That id is in use, as it may well be after a reboot.
    (directory / "data" / "postmaster.pid").write_text(f"{os.getpid()}\n{directory}/data\n0\n5432\n/tmp\n")
    with EmbeddedPostgres(directory) as url:
        assert_table(url)


def test_interrupted_initdb_is_repeated(directory: Path) -> None:
    with spawn_user(directory) as user:
        wait_until(lambda: (directory / "data.new").exists() or (directory / "data").exists())
        kill_all(directory, "supervisor.py")
        user.kill()
    (directory / "data.new").mkdir(exist_ok=True)
    (directory / "data.new" / "PG_VERSION").write_text("18\n")
    make_table(directory)
    assert not (directory / "data.new").exists()


def test_foreign_files_are_kept(directory: Path) -> None:
    (directory / "data").mkdir(parents=True)
    (directory / "data" / "diary").touch()
    with pytest.raises(EmbeddedPostgresError, match="move it away"):
        EmbeddedPostgres(directory).start()
    assert (directory / "data" / "diary").exists()


def test_data_of_another_major_version_is_refused(directory: Path) -> None:
    (directory / "data").mkdir(parents=True)
    (directory / "data" / "PG_VERSION").write_text("17\n")
    with pytest.raises(EmbeddedPostgresError, match="comes from PostgreSQL 17, and this is 18"):
        EmbeddedPostgres(directory).start()


def test_start_failure_shows_the_log(directory: Path) -> None:
    make_table(directory)
    wait_until(lambda: not list_processes(directory))
    broken = directory / "data" / "postgresql.auto.conf"
    broken.write_text("nonsense = 1\n")
    with pytest.raises(EmbeddedPostgresError, match="unrecognized configuration parameter"):
        EmbeddedPostgres(directory).start()
    broken.write_text("")
    with EmbeddedPostgres(directory) as url:
        assert_table(url)


def test_file_in_place_of_the_data_directory_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EmbeddedPostgresError, match="set DATABASE_URL"):
        EmbeddedPostgres(tmp_path / "file").start()


def test_server_log_stays_small(directory: Path) -> None:
    directory.mkdir()
    (directory / "log").write_bytes(b"x" * 5_000_000)
    with EmbeddedPostgres(directory, durable=False):
        wait_until(lambda: (directory / "log").stat().st_size < 100_000)


@pytest.mark.parametrize("name", ["x" * 200, "a b,c:d'\"$e`é%41"])
def test_paths_too_long_for_a_socket_work(directory: Path, name: str) -> None:
    with EmbeddedPostgres(directory / name, durable=False) as url:
        assert query(url, "SELECT 1") == 1
        socket_directory = Path(url.partition("host=")[2].partition("&")[0])
        assert socket_directory.stat().st_mode & 0o777 == 0o700
    wait_until(lambda: not socket_directory.exists())


@pytest.mark.parametrize("mode", [0o700, 0o755])
def test_parent_folders_keep_their_permissions(mode: int) -> None:
    """As root the server runs as somebody else, who cannot pass through 0700."""
    parent = Path(tempfile.mkdtemp()).resolve()
    parent.chmod(mode)
    above = [path for path in (parent, *parent.parents) if path.exists()]
    before = [(path.stat().st_mode, path.stat().st_uid, path.stat().st_gid) for path in above]
    directory = parent / "project" / "postgres"
    try:
        make_table(directory)
        with EmbeddedPostgres(directory) as url:
            assert_table(url)
            assert (directory / "data").stat().st_mode & 0o777 == 0o700
            assert (directory / "data").stat().st_uid != 0
        assert [(path.stat().st_mode, path.stat().st_uid, path.stat().st_gid) for path in above] == before
        wait_until(lambda: not list_processes(directory))
    finally:
        shutil.rmtree(parent)
