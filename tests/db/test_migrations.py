"""Migrations: equal to the models, there and back, all or nothing, one at a time, and blind to what is not ours."""

import asyncio
import re
import shutil
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from alembic.config import Config
from sqlalchemy import Column, Index, Integer, Table, Text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.exc import DBAPIError
from sqlalchemy.schema import CreateSchema
from sqlmodel import AutoString

from app.db import migrate as migrations
from app.db import suitability
from app.db.base import SCHEMA, metadata
from app.db.config import Database
from app.db.migrate import current_revision, differences, make_migration, migrate, pending_revisions
from app.lib.cli import friendly_errors
from app.lib.errors import OperatorError
from app.lib.settings import PROJECT, Settings
from tests.live import environment, fetch, until
from tests.support import SECRET, admin_url

HEAD = migrations.revisions()[-1].revision

TABLES = """
    SELECT relname, attname, format_type(atttypid, atttypmod), attnotnull, pg_get_expr(adbin, adrelid)
    FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid
    LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
    WHERE relnamespace = $1::text::regnamespace AND relkind = 'r' AND attnum > 0 AND NOT attisdropped
"""
CONSTRAINTS = """
    SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid)
    FROM pg_constraint WHERE connamespace = $1::text::regnamespace
"""
INDEXES = "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = $1"
OTHERS = """
    SELECT relname, relkind::text FROM pg_class
    WHERE relnamespace = $1::text::regnamespace AND relkind NOT IN ('r', 'i')
"""
FUNCTIONS = "SELECT pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = $1::text::regnamespace ORDER BY oid"

WAITING = """
    SELECT count(*) FROM pg_locks JOIN pg_database ON pg_database.oid = database
    WHERE locktype = 'advisory' AND NOT granted AND datname = current_database()
"""

BETTER_AUTH = """
    CREATE TABLE "user" (id text PRIMARY KEY, name text NOT NULL, email text NOT NULL UNIQUE, "createdAt" timestamptz);
    CREATE TABLE session (id text PRIMARY KEY, token text UNIQUE, "userId" text REFERENCES "user" ON DELETE CASCADE);
    CREATE TABLE account (id text PRIMARY KEY, "userId" text NOT NULL REFERENCES "user", password text);
    CREATE TABLE verification (id text PRIMARY KEY, value text NOT NULL);
    CREATE TABLE jwks (id text PRIMARY KEY, "publicKey" text NOT NULL, "privateKey" text NOT NULL);
    CREATE TABLE users (id int PRIMARY KEY, nothing_of_ours text);
    CREATE TABLE alembic_version (version_num text PRIMARY KEY);
    CREATE INDEX sessions_of_a_user ON session ("userId");
    INSERT INTO "user" VALUES ('alice', 'Alice', 'alice@example.com', '2025-01-01');
    INSERT INTO session VALUES ('1', 'token', 'alice');
    INSERT INTO account VALUES ('1', 'alice', 'hash');
    INSERT INTO verification VALUES ('1', 'code');
    INSERT INTO jwks VALUES ('1', 'public', 'private');
    INSERT INTO users VALUES (1, 'kept');
    INSERT INTO alembic_version VALUES ('of-another-application');
"""
THEIRS = ('"user"', "session", "account", "verification", "jwks", "users", "alembic_version")

BROKEN = """
import sqlalchemy as sa
from alembic import op

revision = "20991231_2359"
down_revision = "{head}"


def upgrade():
    op.create_table("half", sa.Column("id", sa.Integer), schema="app")
    op.execute("UPDATE app.todos SET title = 'changed'")
    op.execute("SELECT 1 / 0")


def downgrade():
    pass
"""


@asynccontextmanager
async def opened(url: str, **changes: Any) -> AsyncIterator[Database]:
    settings = Settings(_env_file=None, environment="test", database_url=url, better_auth_secret=SECRET, **changes)
    database = Database(settings)
    try:
        yield database
    finally:
        await database.close()


@pytest.fixture
async def url(new_database: Callable[[], Any]) -> str:
    """The URL of an empty database."""
    made: str = await new_database()
    return made


@pytest.fixture
async def database(url: str) -> AsyncIterator[Database]:
    """An empty database."""
    async with opened(url) as database:
        yield database


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the migrations, in use in place of the real ones; gives the folder of their versions."""
    copy = tmp_path / "migrations"
    shutil.copytree(Path(migrations.__file__).parent / "migrations", copy)
    original = migrations.alembic_config

    def config() -> Config:
        config = original()
        config.set_main_option("script_location", str(copy))
        return config

    monkeypatch.setattr(migrations, "alembic_config", config)
    migrations.scripts.cache_clear()
    yield copy / "versions"
    migrations.scripts.cache_clear()


@pytest.fixture
def new_table() -> Iterator[Table]:
    """A table that the models have and no migration makes."""
    table = Table(
        "experiments",
        metadata,
        Column("id", Integer, primary_key=True),
        Column("name", AutoString, nullable=False),
        Column("tags", ARRAY(Text), server_default="{}", nullable=False),
        Index(None, "name"),
    )
    yield table
    metadata.remove(table)


async def snapshot(url: str, schema: str = SCHEMA) -> dict[str, set[tuple[Any, ...]]]:
    """Describe all that a schema holds, without Alembic's own table."""
    parts = {
        "columns": TABLES,
        "constraints": CONSTRAINTS,
        "indexes": INDEXES,
        "others": OTHERS,
        "functions": FUNCTIONS,
    }
    rows = {name: await fetch(url, sql, schema) for name, sql in parts.items()}
    return {name: {row for row in found if "alembic_version" not in str(row)} for name, found in rows.items()}


async def all_rows(url: str) -> list[Any]:
    return [await fetch(url, f"SELECT * FROM public.{table}") for table in THEIRS]


class TestEquality:
    async def test_alembic_finds_no_difference_to_the_models(self, database: Database) -> None:
        await migrate(database)
        assert await differences(database) == []

    async def test_models_and_migrations_make_the_same_schema(self, url: str, new_database: Callable[[], Any]) -> None:
        modelled = await new_database()
        async with opened(url) as database:
            await migrate(database)
        async with opened(modelled) as database, database.begin(unscoped="tests") as connection:
            await connection.execute(CreateSchema(SCHEMA))
            for (function,) in await fetch(url, FUNCTIONS, SCHEMA):  # migrations alone make them
                await connection.exec_driver_sql(function)
            await connection.run_sync(metadata.create_all)
        assert await snapshot(url) == await snapshot(modelled)

    async def test_every_constraint_and_index_has_a_name_of_the_convention(self, database: Database, url: str) -> None:
        await migrate(database)
        found = await snapshot(url)
        names = {row[1] for row in found["constraints"]} | {row[0] for row in found["indexes"]}
        assert all(re.fullmatch(r"(pk|fk|ck|uq|ix)_[a-z_]+|\w+_not_null", name) for name in names)

    async def test_upgrade_downgrade_upgrade_gives_the_same_schema(self, database: Database, url: str) -> None:
        await migrate(database)
        first = await snapshot(url)
        await migrate(database, "zero")
        assert not any((await snapshot(url)).values())
        await migrate(database)
        assert await snapshot(url) == first
        assert first["columns"]

    async def test_each_downgrade_and_upgrade_gives_the_same_schema(self, database: Database, url: str) -> None:
        for script in migrations.revisions():
            await migrate(database, script.revision)
            before = await snapshot(url)
            assert script.down_revision is None or isinstance(script.down_revision, str)
            await migrate(database, script.down_revision or "zero")
            await migrate(database, script.revision)
            assert await snapshot(url) == before

    async def test_revisions_have_one_head(self) -> None:
        assert len(migrations.scripts().get_heads()) == 1
        assert [script.revision for script in migrations.revisions()] == sorted(
            script.revision for script in migrations.revisions()
        )


class TestProgress:
    async def test_empty_database_has_no_revision(self, database: Database) -> None:
        assert await current_revision(database) is None
        assert await pending_revisions(database) == [script.revision for script in migrations.revisions()]

    async def test_migrated_database_is_at_the_head(self, database: Database) -> None:
        await migrate(database)
        assert await current_revision(database) == HEAD
        assert await pending_revisions(database) == []

    async def test_database_of_a_newer_release_has_nothing_pending(self, database: Database, url: str) -> None:
        await migrate(database)
        await fetch(url, "UPDATE app.alembic_version SET version_num = '20991231_2359';")
        assert await pending_revisions(database) == []
        with pytest.raises(OperatorError, match="20991231_2359"):
            await migrate(database)

    async def test_database_migrated_to_zero_has_no_revision(self, database: Database) -> None:
        await migrate(database)
        await migrate(database, "zero")
        assert await current_revision(database) is None


class TestOneAtATime:
    async def test_concurrent_migrations_both_succeed(self, url: str) -> None:
        async with opened(url) as database, holding_the_lock(url):
            env = environment(environment="test", database_url=url, better_auth_secret=SECRET)
            command = [sys.executable, "manage.py", "migrate"]
            processes = [await asyncio.create_subprocess_exec(*command, env=env) for _ in range(2)]

            async def both_wait() -> bool:
                return await fetch(url, WAITING) == [(2,)]

            await until(both_wait)
            assert await current_revision(database) is None
        assert [await process.wait() for process in processes] == [0, 0]
        assert await fetch(url, "SELECT version_num FROM app.alembic_version") == [(HEAD,)]

    async def test_migration_lock_timeout_is_explained(
        self, database: Database, url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(migrations, "LOCK_TIMEOUT", "50ms")
        async with holding_the_lock(url):
            with pytest.raises(SystemExit, match="Error: Another process holds the lock"), friendly_errors():
                await migrate(database)
        await migrate(database)

    async def test_migration_of_a_locked_table_times_out(
        self, database: Database, url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await migrate(database)
        monkeypatch.setattr(migrations, "LOCK_TIMEOUT", "50ms")
        connection = await asyncpg.connect(admin_url(url))
        async with connection.transaction():
            await connection.execute("SELECT * FROM app.todos")
            with pytest.raises(SystemExit, match="holds the lock"), friendly_errors():
                await migrate(database, "zero")
        await connection.close()
        assert await current_revision(database) == HEAD

    async def test_long_migration_outlives_the_statement_timeout(self, url: str, folder: Path) -> None:
        text = BROKEN.format(head=HEAD).replace("SELECT 1 / 0", "SELECT pg_sleep(0.3)")
        (folder / "20991231_2359_slow.py").write_text(text)
        async with opened(url, database_statement_timeout=0.1) as database:
            await migrate(database)
            assert await current_revision(database) == "20991231_2359"


@asynccontextmanager
async def holding_the_lock(url: str) -> AsyncIterator[None]:
    connection = await asyncpg.connect(admin_url(url))
    await connection.execute("SELECT pg_advisory_lock($1)", migrations._LOCK)
    try:
        yield
    finally:
        await connection.close()


class TestAllOrNothing:
    async def test_failed_migration_is_rolled_back(self, database: Database, url: str, folder: Path) -> None:
        await migrate(database)
        before = await snapshot(url)
        (folder / "20991231_2359_broken.py").write_text(BROKEN.format(head=HEAD))
        migrations.scripts.cache_clear()
        with pytest.raises(DBAPIError, match="division by zero"), friendly_errors():  # a bug keeps its traceback
            await migrate(database)
        assert await snapshot(url) == before
        assert await current_revision(database) == HEAD

    async def test_failed_migration_rolls_back_all_of_its_run(self, database: Database, url: str, folder: Path) -> None:
        (folder / "20991231_2359_broken.py").write_text(BROKEN.format(head=HEAD))
        with pytest.raises(DBAPIError, match="division by zero"):
            await migrate(database)
        assert await fetch(url, "SELECT count(*) FROM pg_namespace WHERE nspname = 'app'") == [(0,)]

    async def test_failed_migration_leaves_the_pool_usable(self, database: Database, folder: Path) -> None:
        broken = folder / "20991231_2359_broken.py"
        broken.write_text(BROKEN.format(head=HEAD))
        with pytest.raises(DBAPIError, match="division by zero"):
            await migrate(database)
        broken.unlink()
        migrations.scripts.cache_clear()
        await migrate(database)
        rows = await database.session(unscoped="tests").read(migrations._CURRENT, {})
        assert [tuple(row) for row in rows] == [(HEAD,)]


class TestPolicies:
    @pytest.fixture
    def owned_table(self) -> Iterator[Table]:
        """Give a table of users' rows that no migration makes."""
        table = Table("owned_experiments", metadata, Column("user_id", Text, primary_key=True))
        yield table
        metadata.remove(table)

    @pytest.mark.usefixtures("folder", "owned_table")
    async def test_new_owned_table_gets_a_policy(self, database: Database, url: str) -> None:
        await migrate(database)
        path = await make_migration(database, "add experiments")
        assert path
        upgrade, downgrade = path.read_text().split("def downgrade")
        assert upgrade.index("op.create_table('owned_experiments'") < upgrade.index("op.create_policy('owner', 'owned_")
        assert downgrade.index("op.drop_policy('owner', 'owned_experiments'") < downgrade.index("op.drop_table(")
        await migrate(database)
        assert await differences(database) == []
        found = "SELECT qual FROM pg_policies WHERE tablename = $1"
        condition = "((user_id = ( SELECT current_setting('app.user_id'::text, true) AS current_setting)) OR "
        condition += "(( SELECT current_setting('app.unscoped'::text, true) AS current_setting) <> ''::text))"
        assert await fetch(url, found, "owned_experiments") == [(condition,)]
        await migrate(database, HEAD)
        assert await fetch(url, found, "owned_experiments") == []

    @pytest.mark.usefixtures("folder")
    async def test_missing_policy_is_found_and_created(self, database: Database, url: str) -> None:
        await migrate(database)
        await fetch(url, "DROP POLICY owner ON app.todos")
        assert await differences(database) == [("CreatePolicy", "owner", "todos")]
        assert await make_migration(database, "protect todos")
        await migrate(database)
        assert await differences(database) == []

    @pytest.mark.usefixtures("folder", "new_table")
    async def test_policy_on_an_unowned_table_is_removed(self, database: Database, url: str) -> None:
        await migrate(database)
        assert await make_migration(database, "add experiments")
        await migrate(database)
        await fetch(url, "CREATE POLICY owner ON app.experiments")
        assert await differences(database) == [("DropPolicy", "owner", "experiments")]
        assert await make_migration(database, "remove it")
        await migrate(database)
        assert await differences(database) == []


class TestOthersTables:
    @pytest.fixture(autouse=True)
    async def better_auth(self, url: str) -> None:
        await fetch(url, BETTER_AUTH)

    async def test_migrations_do_not_touch_tables_of_other_applications(self, database: Database, url: str) -> None:
        before = await snapshot(url, "public"), await all_rows(url)
        await migrate(database)
        assert (await snapshot(url, "public"), await all_rows(url)) == before
        await migrate(database, "zero")
        assert (await snapshot(url, "public"), await all_rows(url)) == before

    @pytest.mark.usefixtures("folder")
    async def test_makemigrations_ignores_tables_of_other_applications(self, database: Database) -> None:
        await migrate(database)
        assert await make_migration(database, "nothing") is None

    @pytest.mark.usefixtures("folder", "new_table")
    async def test_new_migration_does_not_name_tables_of_other_applications(self, database: Database) -> None:
        await migrate(database)
        path = await make_migration(database, "experiment")
        assert path
        text = path.read_text()
        assert "public" not in text
        assert "drop_table" not in text.partition("def downgrade")[0]

    async def test_other_applications_use_another_schema(self, database: Database, url: str) -> None:
        await migrate(database)
        tables = await fetch(url, "SELECT tablename FROM pg_tables WHERE schemaname = $1", SCHEMA)
        assert {name for (name,) in tables} == {table.name for table in metadata.tables.values()} | {"alembic_version"}
        assert {table.schema for table in metadata.tables.values()} == {SCHEMA}

    async def test_version_table_of_another_application_is_ignored(self, database: Database) -> None:
        assert await current_revision(database) is None
        await migrate(database)
        assert await current_revision(database) == HEAD


class TestMakeMigration:
    @pytest.mark.usefixtures("new_table")
    async def test_makemigrations_writes_a_dated_file_that_applies(
        self, database: Database, url: str, folder: Path
    ) -> None:
        await migrate(database)
        path = await make_migration(database, "add experiments")
        assert path
        assert path.parent == folder
        assert re.fullmatch(r"20\d{6}_\d{4}_add_experiments\.py", path.name)
        before = await snapshot(url)
        await migrate(database)
        assert await differences(database) == []
        await migrate(database, HEAD)
        assert await snapshot(url) == before

    @pytest.mark.usefixtures("folder")
    async def test_makemigrations_finds_a_changed_column(self, database: Database, url: str) -> None:
        await migrate(database)
        await fetch(url, "ALTER TABLE app.todos ALTER completed DROP DEFAULT, ALTER due_date TYPE timestamp;")
        assert {change[0][0] for change in await differences(database)} == {"modify_default", "modify_type"}
        assert await make_migration(database, "repair")
        await migrate(database)
        assert await differences(database) == []

    @pytest.mark.usefixtures("folder")
    async def test_makemigrations_twice_in_one_minute(self, database: Database, new_table: Table) -> None:
        await migrate(database)
        first = await make_migration(database, "add experiments")
        await migrate(database)
        new_table.append_column(Column("more", Text))
        second = await make_migration(database, "more of them")
        assert first
        assert second
        await migrate(database)
        assert await differences(database) == []
        names = [script.revision for script in migrations.revisions()]
        assert names == sorted(set(names))

    @pytest.mark.usefixtures("new_table")
    async def test_makemigrations_refuses_an_outdated_database(self, database: Database, folder: Path) -> None:
        with pytest.raises(OperatorError):
            await make_migration(database, "too early")
        assert "too_early" not in str(sorted(folder.iterdir()))  # noqa: ASYNC240 - a local folder

    @pytest.mark.usefixtures("folder", "new_table")
    @pytest.mark.parametrize("message", ['say "hello"\\', "two\nlines", '""" + exit() + """', 'ends with quote"'])
    async def test_makemigrations_with_any_message_writes_valid_python(self, database: Database, message: str) -> None:
        await migrate(database)
        path = await make_migration(database, message)
        assert path
        compile(path.read_text(), path.name, "exec")

    @pytest.mark.usefixtures("folder", "new_table")
    async def test_makemigrations_writes_formatted_python(self, database: Database) -> None:
        await migrate(database)
        path = await make_migration(database, "add experiments")
        assert path
        ruff = [sys.executable, "-m", "ruff", "check", "--isolated", "--select=E9,F,I", "--no-cache", str(path)]
        process = await asyncio.create_subprocess_exec(*ruff, env=environment())
        assert await process.wait() == 0


async def test_project_folder_may_have_any_name(url: str, tmp_path: Path) -> None:
    project = tmp_path / "a %b$c {d} e'\"é"
    shutil.copytree(PROJECT / "app", project / "app", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(PROJECT / "manage.py", project)
    env = environment(environment="test", database_url=url, better_auth_secret=SECRET)
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(project / "manage.py"), "migrate", env=env, stdout=asyncio.subprocess.PIPE
    )
    assert (await process.communicate())[0].decode() == f"zero -> {HEAD}\n"


async def test_old_postgresql_is_refused(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suitability, "OLDEST", (99,))
    with pytest.raises(OperatorError, match="older than PostgreSQL 99"):
        await migrate(database)
    assert await current_revision(database) is None


class TestFoldedListNames:
    BEFORE = "20261121_0500"

    async def test_list_names_equal_without_case_are_numbered(self, database: Database, url: str) -> None:
        await migrate(database, self.BEFORE)
        lists = [("Work", 1), ("work", 2), ("WORK", 3), ("work (2)", 4), ("a" * 100, 5), ("A" * 100, 6)]
        lists += [("Cafe\u0301", 7), ("caf\u00e9", 8), ("\u0958" * 51, 9)]
        connection = await asyncpg.connect(url)
        await connection.execute("INSERT INTO app.users (id, name) VALUES ('alice', 'Zoe\u0301'), ('bob', 'Bob')")
        for user in ("alice", "bob"):
            for name, second in lists:
                await connection.execute(
                    "INSERT INTO app.lists (user_id, id, name, created_at)"
                    " VALUES ($1, gen_random_uuid(), $2, to_timestamp($3::int))",
                    *(user, name, second),
                )
        await connection.execute(
            "INSERT INTO app.todos (user_id, id, title, tags) VALUES ('alice', gen_random_uuid(), $1, $2)",
            *("e\u0301", ["b", "e\u0301", "a", "\u00e9", "b"]),
        )
        lines = ["a\nb", "\u200b", "\x1b[1mc", "漢"]
        for line in lines:
            await connection.execute(
                "INSERT INTO app.todos (user_id, id, title, tags) VALUES ('bob', gen_random_uuid(), $1, ARRAY[$1])",
                line,
            )
        await migrate(database)
        cleaned = await connection.fetch("SELECT title, tags, version FROM app.todos WHERE user_id = 'bob' ORDER BY id")
        expected = {("a b", 3), ("Untitled", 3), ("[1mc", 3), ("漢", 1)}  # the title, and then the tags
        assert {(row["title"], row["version"]) for row in cleaned} == expected
        assert {(row["tags"][0], row["version"]) for row in cleaned} == expected
        rows = await connection.fetch("SELECT user_id, name, version FROM app.lists ORDER BY user_id, created_at")
        names = ["Work", "work (3)", "WORK (4)", "work (2)", "a" * 100, f"{'A' * 96} (2)"]
        names += ["Caf\u00e9", "caf\u00e9 (2)", "\u0958" * 51]
        assert [row["name"] for row in rows] == names * 2
        assert [row["version"] for row in rows[:9]] == [1, 2, 2, 1, 1, 2, 2, 2, 1]
        todo = await connection.fetchrow("SELECT title, tags FROM app.todos WHERE user_id = 'alice'")
        assert todo is not None
        assert tuple(todo) == ("\u00e9", ["b", "\u00e9", "a"])
        assert await connection.fetchval("SELECT name FROM app.users WHERE id = 'alice'") == "Zo\u00e9"
        await migrate(database, self.BEFORE)
        await migrate(database)
        await connection.close()
