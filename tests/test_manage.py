"""The front door, as somebody at a terminal and as a script meets it."""

import asyncio
import json
import os
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import jwt
import psutil
import pytest
from msgspec import Struct

import manage as front_door
from app.db.migrate import revisions
from app.domain.users.services import TRUST_SECONDS
from app.lib.cli import friendly_errors
from app.lib.settings import PROJECT, Environment, Settings
from tests.live import Server, call, environment, manage, query, wait_until
from tests.support import SECRET, admin_url, token_for, url_of

HEAD = revisions()[-1].revision
PASSWORD = "hunter2-and-more"
NOWHERE = f"postgresql://todo:{PASSWORD}@127.0.0.1:1/todo"  # port 1 is nobody's
COMMANDS = ["run", "migrate", "makemigrations", "showmigrations", "seed", "token", "routes", "check", "health", "users"]
COMMANDS += ["exportuser", "importuser", "eraseuser", "startapp"]
HELP = [*([name] for name in COMMANDS), *(["users", name] for name in ("list", "show", "deactivate", "activate"))]
ON_A_DATABASE = (
    ["migrate"],
    ["makemigrations"],
    ["makemigrations", "--check"],
    ["showmigrations"],
    ["seed"],
    ["check"],
    ["health"],
    ["users", "list"],
    ["users", "show", "demo"],
    ["users", "deactivate", "demo"],
    ["exportuser", "demo"],
    ["eraseuser", "demo", "--yes"],
    ["run"],
)


def make_settings(url: str, **changes: Any) -> Settings:
    return Settings(_env_file=None, environment="test", database_url=url, better_auth_secret=SECRET, **changes)


def env_of(settings: Settings, **changes: object) -> dict[str, str]:
    assert settings.database_url
    url = url_of(settings)
    return environment(**{"environment": "test", "database_url": url, "better_auth_secret": SECRET} | changes)


def headers_of(user_id: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token_for(user_id)}"}


def processes_in(directory: Path) -> list[psutil.Process]:
    """Give the processes that name a directory: the server of its database, and who looks after it."""
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if any(str(directory) in word for word in process.info["cmdline"] or ())
    ]


def assert_explained(status: int, output: str, *, lines: int = 3) -> None:
    assert status == 1
    assert output.startswith("Error: ")
    assert len(output.strip().splitlines()) <= lines
    assert "Traceback" not in output
    assert PASSWORD not in output


@pytest.fixture(scope="class")
def empty(new_database: Callable[[], Any]) -> Settings:
    """Settings that name an empty database."""
    return make_settings(asyncio.run(new_database()))


@pytest.fixture(scope="class")
def migrated(empty: Settings) -> Settings:
    """Settings that name a migrated database."""
    assert call(empty, "migrate")[0] == 0
    return empty


@pytest.fixture
def type_in(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """Give a function that runs `manage.py` within this process, from the very first line."""

    def run(arguments: list[str], **settings: object) -> tuple[int, str]:
        for name in os.environ.keys() - environment().keys():
            monkeypatch.delenv(name)
        for name, value in environment(**settings).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, "argv", ["manage.py", *arguments])
        monkeypatch.setattr(sys, "path", [*sys.path])
        with pytest.raises(SystemExit) as end:
            front_door.main()
        said = capsys.readouterr()
        text = end.value.code if isinstance(end.value.code, str) else ""
        return 1 if text else int(end.value.code or 0), said.out + said.err + text

    return run


class Story(Struct):
    """What somebody saw who followed the README."""

    directory: Path
    printed: str
    line: str
    pasted: str
    while_it_ran: str
    server_processes: int
    after_a_restart: list[dict[str, Any]]
    exit_status: int
    workers: list[psutil.Process]


def paste(line: str) -> str:
    """Run a line as a shell would; give what it printed."""
    words = shlex.split(line)
    if shutil.which("curl"):
        return subprocess.run([*words, "--silent", "--fail"], capture_output=True, text=True, check=True).stdout
    pairs = dict(zip(words[1::2], words[2::2], strict=False))  # the address stands behind -X POST
    headers = dict(words[at + 1].split(": ", 1) for at, word in enumerate(words) if word == "-H")
    return httpx.request(pairs["-X"], words[3], headers=headers, content=pairs["-d"]).raise_for_status().text


@pytest.fixture(scope="class")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    """Run, paste, look, stop, run again: with nothing configured, and the data in a directory of its own."""
    directory = tmp_path_factory.mktemp("embedded").resolve()
    env = environment(data_dir=directory)
    with Server(env) as server:
        line = server.wait_until_it_says("curl ")
        pasted = paste(line)
        listed = manage(env, "users", "list", directory=directory)
        servers = len([process for process in processes_in(directory) if process.name() == "postgres"])
        server.process.send_signal(signal.SIGINT)  # Ctrl-C
        status = server.process.wait()
        printed = server.output
    token = line.split("Bearer ")[1].split("'")[0]
    with Server(env, "--workers", "2") as server:
        server.wait_until_it_says("curl ")
        answer = httpx.get(f"{server.url}/api/demo/todos", headers={"Authorization": f"Bearer {token}"})
        workers = psutil.Process(server.process.pid).children()
        server.kill()
    items = answer.json()["items"]
    return Story(directory, printed, line, pasted, listed.stdout + listed.stderr, servers, items, status, workers)


class TestFirstRun:
    def test_first_run_prints_its_address(self, story: Story) -> None:
        assert "Listening on http://127.0.0.1:" in story.printed

    def test_first_run_prints_a_token(self, story: Story) -> None:
        tokens = [line for line in story.printed.splitlines() if line.count(".") == 2 and line.startswith("eyJ")]
        assert jwt.decode(tokens[0], options={"verify_signature": False})["sub"] == "demo"

    def test_printed_curl_line_creates_a_todo(self, story: Story) -> None:
        assert json.loads(story.pasted)["title"] == "Try the API"

    def test_command_shares_the_embedded_database(self, story: Story) -> None:
        assert story.while_it_ran == "demo\t-\tactive\n"
        assert story.server_processes == 1

    def test_todo_and_token_outlive_a_restart(self, story: Story) -> None:
        assert story.after_a_restart == [json.loads(story.pasted)]

    def test_interrupted_run_exits_cleanly(self, story: Story) -> None:
        assert story.exit_status in (0, 130)
        assert "Traceback" not in story.printed

    def test_first_run_prints_no_noise(self, story: Story) -> None:
        said = [line for line in story.printed.splitlines() if line and not line.startswith(("{", "eyJ", "curl "))]
        assert [line.partition(" ")[0] for line in said] == ["Listening", "A", "Try"]

    def test_first_run_secret_is_readable_by_its_owner_only(self, story: Story) -> None:
        assert (story.directory / "better_auth_secret").stat().st_mode & 0o077 == 0

    def test_workers_end_with_their_killed_parent(self, story: Story) -> None:
        assert len(story.workers) >= 2
        wait_until(lambda: not any(worker.is_running() for worker in story.workers))

    def test_first_run_leaves_no_process(self, story: Story) -> None:
        wait_until(lambda: not processes_in(story.directory))


@pytest.fixture(scope="class")
def server(migrated: Settings) -> Iterator[Server]:
    """A server on a migrated database."""
    with Server(env_of(migrated)) as server:
        yield server


class TestLiveServer:
    def test_token_command_gives_an_accepted_token(self, migrated: Settings, server: Server) -> None:
        status, output = call(migrated, "token", "bob", "--email", "bob@example.com", "--name", "Bob")
        answer = httpx.get(f"{server.url}/api/bob/todos", headers={"Authorization": f"Bearer {output.strip()}"})
        assert (status, answer.status_code) == (0, 200)
        assert query(url_of(migrated), "SELECT email, name FROM app.users WHERE id = 'bob'") == [
            ("bob@example.com", "Bob")
        ]

    def test_server_serves_seeded_todos(self, migrated: Settings, server: Server) -> None:
        assert call(migrated, "seed", "--user", "carol", "--todos", "50")[0] == 0
        answer = httpx.get(f"{server.url}/api/carol/todos", headers=headers_of("carol"))
        assert answer.json()["total"] == 50

    def test_server_notices_a_deactivated_user(self, migrated: Settings, server: Server) -> None:
        def status() -> int:
            return httpx.get(f"{server.url}/api/dave/todos", headers=headers_of("dave")).status_code

        assert status() == 200
        assert call(migrated, "users", "deactivate", "dave") == (0, "dave is deactivated.\n")
        assert TRUST_SECONDS <= 5
        wait_until(lambda: status() == 403)
        assert call(migrated, "users", "activate", "dave") == (0, "dave is active.\n")
        assert status() == 200

    def test_port_in_use_is_explained(self, migrated: Settings, server: Server) -> None:
        status, output = call(migrated, "run", "--port", str(server.port))
        assert_explained(status, output)
        assert str(server.port) in output

    def test_health_command_succeeds(self, migrated: Settings, server: Server) -> None:
        assert call(migrated, "health") == (0, "ok: database reachable, migrations current\n")
        assert httpx.get(f"{server.url}/api/health", headers=headers_of("any")).json()["status"] == "ok"

    def test_server_stops_on_sigterm(self, server: Server) -> None:
        assert server.stop() in (0, -signal.SIGTERM)
        assert "Traceback" not in server.output


@pytest.fixture(scope="class")
def said_in_production(empty: Settings) -> str:
    """What a server in production says on an empty database."""
    with Server(env_of(empty, environment="production")) as server:
        server.wait_until_it_says("Listening")
        server.stop()
        return server.output


class TestPendingMigrations:
    def test_run_warns_of_pending_migrations(self, empty: Settings, said_in_production: str) -> None:
        assert f"Warning: {len(revisions())} migrations are pending" in said_in_production
        assert query(url_of(empty), "SELECT count(*) FROM pg_namespace WHERE nspname = 'app'") == [(0,)]

    def test_run_prints_no_token_in_production(self, said_in_production: str) -> None:
        assert "eyJ" not in said_in_production
        assert "curl" not in said_in_production

    def test_check_reports_pending_migrations(self, empty: Settings) -> None:
        status, output = call(empty, "check")
        assert status == 1
        assert "D002" in output
        assert "manage.py migrate" in output

    def test_health_command_fails_with_pending_migrations(self, empty: Settings) -> None:
        assert call(empty, "health") == (1, "unavailable: database reachable, migrations pending\n")

    def test_showmigrations_marks_pending_migrations(self, empty: Settings) -> None:
        lines = call(empty, "showmigrations")[1].splitlines()
        assert [line.split()[:3] for line in lines] == [["[", "]", script.revision] for script in revisions()]

    @pytest.mark.parametrize("arguments", [["seed"], ["users", "list"], ["users", "show", "x"]], ids=" ".join)
    def test_commands_without_tables_explain_migrate(self, empty: Settings, arguments: list[str]) -> None:
        status, output = call(empty, *arguments)
        assert_explained(status, output)
        assert "manage.py migrate" in output

    def test_makemigrations_asks_to_migrate_first(self, empty: Settings) -> None:
        assert_explained(*call(empty, "makemigrations"))


class TestMigrate:
    def test_migrate_to_zero_and_back(self, migrated: Settings) -> None:
        assert call(migrated, "migrate", "zero") == (0, f"{HEAD} -> zero\n")
        assert call(migrated, "migrate", "zero") == (0, "Already at zero.\n")
        assert call(migrated, "migrate") == (0, f"zero -> {HEAD}\n")
        assert call(migrated, "migrate") == (0, f"Already at {HEAD}.\n")

    def test_migrate_to_a_revision(self, migrated: Settings) -> None:
        assert call(migrated, "migrate", "zero")[0] == 0
        assert call(migrated, "migrate", HEAD) == (0, f"zero -> {HEAD}\n")

    @pytest.mark.parametrize("target", ["bogus", "", "+x", "head~9"])
    def test_migrate_to_an_unknown_revision_fails(self, migrated: Settings, target: str) -> None:
        status, output = call(migrated, "migrate", target)
        assert_explained(status, output)
        assert "showmigrations" in output

    def test_migrate_base_is_zero(self, migrated: Settings) -> None:
        assert call(migrated, "migrate", "base")[1].endswith("zero\n")
        assert call(migrated, "migrate")[0] == 0

    def test_showmigrations_marks_applied_migrations(self, migrated: Settings) -> None:
        status, output = call(migrated, "showmigrations")
        assert status == 0
        assert [line[:4] for line in output.splitlines()] == ["[X] "] * len(revisions())

    @pytest.mark.parametrize("options", [[], ["--check"], ["-m", "nothing"]])
    def test_makemigrations_writes_nothing_without_a_change(self, migrated: Settings, options: list[str]) -> None:
        versions = PROJECT / "app/db/migrations/versions"
        before = set(versions.glob("*.py"))
        assert call(migrated, "makemigrations", *options) == (0, "No changes in the models.\n")
        assert set(versions.glob("*.py")) == before

    def test_check_of_a_migrated_database_succeeds(self, migrated: Settings) -> None:
        assert call(migrated, "check") == (0, "No problems found.\n")

    def test_check_reports_a_schema_that_differs_from_the_models(self, migrated: Settings) -> None:
        query(url_of(migrated), "ALTER TABLE app.todos ADD COLUMN stray int;")
        status, output = call(migrated, "check")
        assert status == 1
        assert "D003" in output
        assert_explained(*call(migrated, "makemigrations", "--check"))
        query(url_of(migrated), "ALTER TABLE app.todos DROP COLUMN stray;")

    def test_check_reports_unknown_time_zones(self, migrated: Settings) -> None:
        values = "('ann', 'Mars/Base'), ('ben', 'Mars/Base'), ('cem', 'Europe/Berlin')"
        query(url_of(migrated), f"INSERT INTO app.users (id, time_zone) VALUES {values};")
        try:
            status, output = call(migrated, "check")
        finally:
            query(url_of(migrated), "DELETE FROM app.users WHERE id IN ('ann', 'ben', 'cem');")
        assert status == 0
        assert "warning: D009 The time zone 'Mars/Base' of 2 users is not known" in output
        assert "Berlin" not in output

    def test_migrate_without_rights_is_explained(self, migrated: Settings) -> None:
        url, role = url_of(migrated), f"without_rights_{secrets.token_hex(8)}"
        query(url, f"CREATE ROLE {role};")
        try:
            limited = make_settings(f"{url}{'&' if '?' in url else '?'}options=-c%20role%3D{role}")
            assert_explained(*call(limited, "users", "list"))
            assert_explained(*call(limited, "migrate", "zero"))
        finally:
            query(url, f"DROP ROLE {role};")


class TestSeed:
    def test_seed_creates_users_with_todos(self, migrated: Settings) -> None:
        status, output = call(migrated, "seed", "--users", "3", "--todos", "50", "--reset")
        assert status == 0
        assert "Seeded 3 users with 50 todos each." in output
        counts = query(url_of(migrated), "SELECT count(*) FROM app.todos GROUP BY user_id")
        assert counts == [(50,)] * 3

    def test_seed_adds_to_a_given_user(self, migrated: Settings) -> None:
        before = query(url_of(migrated), "SELECT count(*) FROM app.users")
        for _ in range(2):
            assert call(migrated, "seed", "--user", "auth0|erin", "--todos", "5")[0] == 0
        assert query(url_of(migrated), "SELECT count(*) FROM app.todos WHERE user_id = 'auth0|erin'") == [(10,)]
        assert query(url_of(migrated), "SELECT count(*) FROM app.users") == [(before[0][0] + 1,)]

    def test_seed_reset_removes_existing_rows(self, migrated: Settings) -> None:
        assert call(migrated, "seed", "--user", "frank", "--todos", "2")[0] == 0
        assert call(migrated, "seed", "--users", "1", "--todos", "0", "--reset")[0] == 0
        assert query(url_of(migrated), "SELECT (SELECT count(*) FROM app.users), count(*) FROM app.todos") == [(1, 0)]

    def test_seed_reset_is_refused_in_production(self, migrated: Settings) -> None:
        assert call(migrated, "seed", "--user", "grace", "--todos", "1")[0] == 0
        production = migrated.model_copy(update={"environment": Environment.PRODUCTION})
        assert_explained(*call(production, "seed", "--reset"))
        assert query(url_of(migrated), "SELECT count(*) FROM app.users WHERE id = 'grace'") == [(1,)]

    def test_failed_seed_is_rolled_back(self, migrated: Settings) -> None:
        users = query(url_of(migrated), "SELECT count(*) FROM app.users")
        query(url_of(migrated), "ALTER TABLE app.todos ADD CONSTRAINT ck_todos_stray CHECK (false) NOT VALID;")
        with pytest.raises(BaseException, match="ck_todos_stray"):
            call(migrated, "seed")
        query(url_of(migrated), "ALTER TABLE app.todos DROP CONSTRAINT ck_todos_stray;")
        assert query(url_of(migrated), "SELECT count(*) FROM app.users") == users


@pytest.fixture(scope="class")
def two_users(migrated: Settings) -> None:
    """Two rows, the older one with an address."""
    query(
        url_of(migrated),
        "INSERT INTO app.users (id, email, created_at) VALUES ('old', 'old@example.com', '2020-01-01'),"
        " ('new', NULL, '2025-01-01');",
    )


@pytest.mark.usefixtures("two_users")
class TestUsers:
    def test_users_list_is_oldest_first(self, migrated: Settings) -> None:
        assert call(migrated, "users", "list") == (0, "old\told@example.com\tactive\nnew\t-\tactive\n")

    def test_users_list_is_paged(self, migrated: Settings) -> None:
        assert call(migrated, "users", "list", "--limit", "1", "--offset", "1") == (0, "new\t-\tactive\n")

    def test_users_list_prints_no_control_characters(self, migrated: Settings) -> None:
        hostile = "\x1b]0;owned\x07\u202eevil\nid: root\x9b2J\\x1b"

        async def insert() -> None:
            connection = await asyncpg.connect(url_of(migrated))
            await connection.execute("INSERT INTO app.users (id, email, name) VALUES ('eve', $1, $1)", hostile)
            await connection.close()

        asyncio.run(insert())
        for arguments in (("list",), ("show", "eve")):
            status, output = call(migrated, "users", *arguments)
            assert status == 0
            assert all(each.isprintable() or each in "\n\t" for each in output)
            assert "\\x1b]0;owned\\x07\\u202eevil\\nid: root\\x9b2J\\\\x1b" in output

    def test_users_show_prints_every_field(self, migrated: Settings) -> None:
        status, output = call(migrated, "users", "show", "old")
        assert status == 0
        assert [line.split(": ")[0] for line in output.splitlines()] == [
            "id",
            "email",
            "name",
            "created_at",
            "deactivated_at",
        ]

    def test_second_deactivation_keeps_the_time(self, migrated: Settings) -> None:
        times = set()
        for _ in range(2):
            assert call(migrated, "users", "deactivate", "new")[0] == 0
            times |= set(query(url_of(migrated), "SELECT deactivated_at FROM app.users WHERE id = 'new'"))
        assert len(times) == 1
        assert "deactivated 20" in call(migrated, "users", "list")[1]
        assert call(migrated, "users", "activate", "new")[0] == 0

    @pytest.mark.parametrize("verb", ["show", "deactivate", "activate"])
    def test_unknown_user_is_an_error(self, migrated: Settings, verb: str) -> None:
        status, output = call(migrated, "users", verb, "nobody")
        assert_explained(status, output)
        assert "nobody" in output


class TestToken:
    settings = make_settings(NOWHERE)

    def claims(self, *options: str, settings: Settings = settings) -> dict[str, Any]:
        status, output = call(settings, "token", *options)
        assert status == 0
        return jwt.decode(output.strip(), SECRET, ["HS256"], options={"verify_aud": False})

    def test_token_command_expires_after_an_hour(self) -> None:
        claims = self.claims("alice")
        assert claims.keys() == {"sub", "iat", "exp"}
        assert (claims["sub"], claims["exp"] - claims["iat"]) == ("alice", 3600)

    def test_token_command_sets_requested_claims(self) -> None:
        claims = self.claims("alice", "--ttl", "5", "--role", "admin", "--email", "a@example.com", "--name", "Élise")
        assert claims["exp"] - claims["iat"] == 5
        assert (claims["role"], claims["email"], claims["name"]) == ("admin", "a@example.com", "Élise")

    def test_token_command_uses_configured_claims(self) -> None:
        settings = make_settings(
            NOWHERE, user_id_claims="user.id,sub", role_claim="kind", better_auth_issuer="i", better_auth_audience="a,b"
        )
        claims = self.claims("alice", "--role", "admin", settings=settings)
        assert (claims["user"], claims["kind"], claims["iss"], claims["aud"]) == ({"id": "alice"}, "admin", "i", "a")

    def test_token_command_with_scope_gives_an_access_token(self) -> None:
        settings = make_settings(NOWHERE, better_auth_issuer="i,j", resource="https://api.example.com/api")
        claims = self.claims("alice", "--scope", "todos:read profile", "--client-id", "agent", settings=settings)
        assert (claims["scope"], claims["client_id"]) == ("todos:read profile", "agent")
        assert (claims["iss"], claims["aud"]) == ("i", "https://api.example.com/api")

    def test_token_command_with_scope_has_no_role(self) -> None:
        status, output = call(make_settings(NOWHERE), "token", "alice", "--scope", "todos:read", "--role", "admin")
        assert_explained(status, output)

    def test_token_command_with_scope_needs_a_resource(self) -> None:
        status, output = call(make_settings(NOWHERE), "token", "alice", "--scope", "todos:read")
        assert_explained(status, output)
        assert "RESOURCE" in output

    def test_token_command_is_refused_in_production(self) -> None:
        status, output = call(
            make_settings(NOWHERE).model_copy(update={"environment": Environment.PRODUCTION}), "token", "x"
        )
        assert_explained(status, output)
        assert "eyJ" not in output


class TestRoutes:
    def test_routes_command_lists_every_route_with_its_guard(self) -> None:
        status, output = call(make_settings(NOWHERE), "routes")
        rows = [line.split(maxsplit=4) for line in output.splitlines()]
        assert status == 0
        assert all(len(row) == 5 for row in rows)
        assert ["POST", "/api/{user_id}/todos", "create_todo", "todos:write", "requires_owner"] in rows
        assert ["GET", "/api/health", "get_health", "todos:read", "requires_scope"] in rows
        assert all(row[4].split(", ")[0] == "requires_owner" for row in rows if "{user_id}" in row[1])


class TestArguments:
    @pytest.mark.parametrize("command", HELP, ids=" ".join)
    def test_every_command_has_help(self, command: list[str]) -> None:
        status, output = call(make_settings(NOWHERE), *command, "--help")
        assert status == 0
        assert f"manage.py {' '.join(command)}" in output

    @pytest.mark.parametrize(
        "arguments",
        [
            ["nonsense"],
            ["users", "nonsense"],
            ["users", "show"],
            ["users", "show", "a b"],
            ["users", "show", "\udcff"],
            ["users", "list", "--limit", "0"],
            ["token"],
            ["token", ""],
            ["token", "a/b"],
            ["token", "x" * 129],
            ["token", "alice", "--ttl", "0"],
            ["token", "alice", "--ttl", "soon"],
            ["seed", "--users", "0"],
            ["seed", "--todos", "-1"],
            ["seed", "--user", ""],
            ["seed", "--user", "x" * 129],
            ["run", "--port", "65536"],
            ["run", "--workers", "0"],
            ["run", "--nonsense"],
            ["migrate", "zero", "extra"],
            ["makemigrations", "-m"],
            ["check", "extra"],
        ],
        ids=lambda arguments: " ".join(arguments)[:30].encode("ascii", "replace").decode(),
    )
    def test_wrong_arguments_are_usage_errors(self, arguments: list[str]) -> None:
        status, output = call(make_settings(NOWHERE), *arguments)
        assert status == 2
        assert "Error" in output

    def test_reload_needs_one_worker(self) -> None:
        assert_explained(*call(make_settings(NOWHERE), "run", "--reload", "--workers", "2"))

    def test_usage_error_of_the_process_has_no_traceback(self) -> None:
        ended = manage(environment(database_url=NOWHERE, better_auth_secret=SECRET), "users", "list")
        assert_explained(ended.returncode, ended.stderr)
        assert ended.stdout == ""


class TestConfigurationErrors:
    def test_production_without_settings_is_refused(self, type_in: Callable[..., tuple[int, str]]) -> None:
        status, output = type_in(["run"], environment="production")
        assert_explained(status, output)
        assert "DATABASE_URL is required" in output
        assert "BETTER_AUTH_SECRET is required" in output

    def test_short_secret_is_not_repeated(self, type_in: Callable[..., tuple[int, str]]) -> None:
        status, output = type_in(["run"], database_url=NOWHERE, better_auth_secret="short-and-private")
        assert_explained(status, output)
        assert "at least 32" in output
        assert "short-and-private" not in output

    @pytest.mark.parametrize(
        "url",
        [
            f"mysql://todo:{PASSWORD}@host/todo",
            f"todo:{PASSWORD}@host/todo",
            f"postgresql://todo:{PASSWORD}@host:port/todo",
            f"postgresql://todo:{PASSWORD}@host",
            f"postgresql://todo:{PASSWORD}@host/todo?nonsense=1",
            f"postgresql://todo:{PASSWORD}@host/todo?sslmode=maybe",
        ],
        ids=lambda url: url.replace(PASSWORD, "…"),
    )
    def test_bad_database_url_is_not_repeated(self, type_in: Callable[..., tuple[int, str]], url: str) -> None:
        status, output = type_in(["check"], database_url=url, better_auth_secret=SECRET)
        assert_explained(status, output)
        assert "DATABASE_URL" in output

    def test_all_configuration_problems_are_reported_at_once(self, type_in: Callable[..., tuple[int, str]]) -> None:
        settings = {"environment": "staging", "body_limit": "many", "cors_origins": "example.com", "log_level": "loud"}
        status, output = type_in(["routes"], **settings)
        assert_explained(status, output, lines=5)
        assert all(name.upper() in output for name in settings)

    @pytest.mark.parametrize("arguments", ON_A_DATABASE, ids=" ".join)
    def test_unreachable_database_is_explained(self, arguments: list[str]) -> None:
        status, output = call(make_settings(NOWHERE), *arguments)
        assert status == 1
        assert len(output.strip().splitlines()) <= 2
        assert "database" in output
        assert PASSWORD not in output

    @pytest.mark.parametrize("arguments", [["migrate"], ["check"], ["users", "list"]], ids=" ".join)
    def test_unknown_database_host_is_explained(self, arguments: list[str]) -> None:
        status, output = call(make_settings(f"postgresql://todo:{PASSWORD}@host.invalid/todo"), *arguments)
        assert status == 1
        assert len(output.strip().splitlines()) <= 2
        assert PASSWORD not in output

    def test_unknown_database_is_explained(self, server_url: str) -> None:
        url = admin_url(server_url).replace("/postgres?", "/missing?")
        url = url if "/missing?" in url else f"{url.rsplit('/', 1)[0]}/missing"
        assert_explained(*call(make_settings(url), "users", "list"))

    def test_server_that_is_not_postgresql_is_explained(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            settings = make_settings(
                f"postgresql://todo:{PASSWORD}@127.0.0.1:{server.getsockname()[1]}/todo", database_connect_timeout=0.2
            )
            assert_explained(*call(settings, "users", "list"))

    @pytest.mark.parametrize("name", ["postgres", "better_auth_secret"])
    def test_unusable_data_directory_is_explained(
        self, type_in: Callable[..., tuple[int, str]], tmp_path: Path, name: str
    ) -> None:
        directory = tmp_path / "data"
        directory.write_text("a file, not a directory")
        given = {"better_auth_secret": SECRET} if name == "postgres" else {}
        status, output = type_in(["check"], data_dir=directory, **given)
        assert_explained(status, output)

    def test_interrupted_command_exits_with_130(self) -> None:
        with pytest.raises(SystemExit) as end, friendly_errors():
            raise KeyboardInterrupt
        assert end.value.code == 130

    def test_foreign_listen_address_is_explained(self) -> None:
        assert_explained(*call(make_settings(NOWHERE), "run", "--host", "192.0.2.1"))
