"""Databases as operators have them: other encodings, other locales, and roles that may do little."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from sqlalchemy import make_url

from app.lib.settings import Settings
from tests.live import call, fetch, free_port
from tests.support import SECRET, admin_url, database_url


def settings_of(url: str) -> Settings:
    return Settings(_env_file=None, environment="test", database_url=url, better_auth_secret=SECRET, database_rls=False)


async def run(url: str, *command: str) -> tuple[int, str]:
    """Run a command outside of this event loop."""
    return await asyncio.to_thread(call, settings_of(url), *command)


@pytest.fixture
async def made_with(server_url: str) -> AsyncIterator[Callable[[str], Any]]:
    """A function that makes a database with these options, and returns its URL."""
    names: list[str] = []

    async def make(options: str) -> str:
        names.append(f"options_{free_port()}")
        await fetch(server_url, f"CREATE DATABASE {names[-1]} TEMPLATE template0 {options}")
        return database_url(server_url, names[-1])

    yield make
    for name in names:
        await fetch(server_url, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
async def test_database_encoding_other_than_utf8_is_refused(made_with: Callable[[str], Any], encoding: str) -> None:
    url = await made_with(f"ENCODING '{encoding}' LOCALE 'C' LOCALE_PROVIDER libc")
    for command in (["migrate"], ["run", "--port", str(free_port())], ["check"]):
        status, output = await run(url, *command)
        assert status == 1
        assert encoding in output
        assert "UTF8" in output
    assert await fetch(url, "SELECT 1 FROM pg_namespace WHERE nspname = 'app'") == []


async def test_ctype_that_cannot_fold_case_is_a_warning(made_with: Callable[[str], Any]) -> None:
    url = await made_with("ENCODING 'UTF8' LOCALE 'C' LOCALE_PROVIDER libc")
    assert (await run(url, "migrate"))[0] == 0
    status, output = await run(url, "check")
    assert status == 0
    assert "warning: D008" in output


@pytest.fixture
async def role_url(new_database: Callable[[], Any]) -> AsyncIterator[str]:
    """The URL of an empty database, for a role that may not create schemas in it."""
    admin, role = admin_url(await new_database()), f"role_{free_port()}"
    name = make_url(admin).database
    await fetch(admin, f"CREATE ROLE {role} LOGIN PASSWORD 'p'; REVOKE ALL ON DATABASE \"{name}\" FROM PUBLIC;")
    await fetch(admin, f'GRANT CONNECT ON DATABASE "{name}" TO {role};')
    yield make_url(admin).set(username=role, password="p").render_as_string(hide_password=False)
    await fetch(admin, f"DROP OWNED BY {role} CASCADE; DROP SCHEMA IF EXISTS app CASCADE; DROP ROLE {role};")


async def test_role_without_create_migrates_an_existing_schema(role_url: str) -> None:
    status, output = await run(role_url, "migrate")
    assert status == 1
    assert "permission denied" in output
    await fetch(admin_url(role_url), f"CREATE SCHEMA app AUTHORIZATION {make_url(role_url).username};")
    for command in (["migrate"], ["migrate"], ["check"], ["migrate", "zero"]):
        status, output = await run(role_url, *command)
        assert status == 0, output


async def test_role_without_ddl_rights_finds_nothing_to_migrate(role_url: str) -> None:
    assert (await run(admin_url(role_url), "migrate"))[0] == 0
    role = make_url(role_url).username
    grants = f"""
        GRANT USAGE ON SCHEMA app TO {role}; GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA app TO {role};
    """
    await fetch(admin_url(role_url), grants)
    assert (await run(role_url, "migrate"))[1].startswith("Already at")
    assert (await run(role_url, "health"))[0] == 0
