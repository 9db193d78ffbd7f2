"""A real Better Auth server beside the application, on the same database: its tokens, its keys, its tables."""

import asyncio
import subprocess
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest

from app.lib.auth import key_set_loading, published_keys
from tests.better_auth.server import (
    FRONTEND,
    NAME,
    PASSWORD,
    PUBLISHED,
    SECRET,
    TABLES,
    BetterAuth,
    accepted,
    api,
    bearer,
    claims_of,
    migrated,
    node,
    sign_up,
    status,
)
from tests.live import environment, fetch, free_port, until
from tests.support import assert_problem

by_algorithm = pytest.mark.parametrize("server", PUBLISHED, indirect=True)


# Tokens


@by_algorithm
async def test_token_reads_and_writes_under_its_users_path(server: BetterAuth, http: httpx.AsyncClient) -> None:
    person = await sign_up(http, server)
    headers = bearer(await person.token())
    async with api(server) as client:
        created = await client.post(person.todos, json={"title": "Water the plants"}, headers=headers)
        listed = await client.get(person.todos, headers=headers)
    assert created.status_code == 201, created.text
    assert created.json()["user_id"] == person.id
    assert listed.json()["items"] == [created.json()]


@by_algorithm
async def test_token_names_the_algorithm_and_a_published_key(server: BetterAuth, http: httpx.AsyncClient) -> None:
    token = await (await sign_up(http, server)).token()
    published = {key["kid"]: key["alg"] for key in (await http.get(server.jwks_url)).json()["keys"]}
    header = jwt.get_unverified_header(token)
    assert header == {"alg": published[header["kid"]], "kid": header["kid"]}, "and has no typ"


async def test_token_has_the_user_row_and_expires_after_15_minutes(server: BetterAuth, http: httpx.AsyncClient) -> None:
    person = await sign_up(http, server)
    claims = claims_of(await person.token())
    assert claims["sub"] == claims["id"] == person.id
    assert len(person.id) == 32
    assert person.id.isalnum()
    assert claims["iss"] == claims["aud"] == server.url
    assert claims["exp"] - claims["iat"] == 15 * 60
    row = {"id", "name", "email", "emailVerified", "image", "createdAt", "updatedAt"}
    assert claims.keys() == {"sub", "iss", "aud", "exp", "iat"} | row


async def test_user_row_has_name_and_email_of_the_sign_up(server: BetterAuth, http: httpx.AsyncClient) -> None:
    person = await sign_up(http, server)
    async with api(server) as client:
        assert await status(client, person, await person.token()) == 200
    rows = await fetch(server.database_url, "SELECT email, name, image FROM app.users WHERE id = $1", person.id)
    assert rows == [(person.email, NAME, None)]


async def test_another_users_path_is_forbidden(server: BetterAuth, http: httpx.AsyncClient) -> None:
    alice, bob = await sign_up(http, server), await sign_up(http, server)
    async with api(server) as client:
        headers = bearer(await alice.token())
        assert_problem(await client.get(bob.todos, headers=headers), 403)
        assert_problem(await client.post(bob.todos, json={"title": "Mine"}, headers=headers), 403)
        assert_problem(await client.get(alice.todos.replace(alice.id, alice.id.swapcase()), headers=headers), 403)


async def test_token_of_the_session_header_is_accepted(server: BetterAuth, http: httpx.AsyncClient) -> None:
    person = await sign_up(http, server)
    session = await http.get(f"{server.url}/api/auth/get-session", headers=bearer(person.session))
    async with api(server) as client:
        assert await status(client, person, session.headers["set-auth-jwt"]) == 200


async def test_token_of_the_frontend_client_is_accepted(
    server: BetterAuth, http: httpx.AsyncClient, installed: Path
) -> None:
    person = await sign_up(http, server)
    env = environment(better_auth_url=server.url, session_token=person.session)
    command = (node(), "client.mjs")
    process = await asyncio.create_subprocess_exec(*command, cwd=installed, env=env, stdout=subprocess.PIPE)
    token, _ = await process.communicate()
    assert process.returncode == 0
    async with api(server) as client:
        assert await status(client, person, token.decode().strip()) == 200


async def test_other_better_auth_credentials_are_refused(server: BetterAuth, http: httpx.AsyncClient) -> None:
    person = await sign_up(http, server)
    url = f"{server.url}/api/auth/sign-in/email"
    body = {"email": person.email, "password": PASSWORD}
    signed_in = await http.post(url, json=body, headers={"Origin": FRONTEND})
    cookie = signed_in.cookies["better-auth.session_data"]
    assert jwt.get_unverified_header(cookie)["kid"] in await server.key_ids(http), "signed with the key of tokens"
    assert claims_of(cookie)["sub"] == person.id
    async with api(server) as client:
        assert await status(client, person, await person.token()) == 200
        for other in (person.session, signed_in.headers["set-auth-token"], cookie):
            assert_problem(await client.get(person.todos, headers=bearer(other)), 401, "Invalid or expired token")


@pytest.mark.parametrize(
    ("setting", "suffix", "expected"),
    [
        ("better_auth_issuer", "", 200),
        ("better_auth_issuer", "/", 401),
        ("better_auth_issuer", "/api/auth", 401),
        ("better_auth_audience", "", 200),
        ("better_auth_audience", ",http://api.example.com", 200),
        ("better_auth_audience", "/", 401),
    ],
)
async def test_issuer_and_audience_are_the_base_url_and_checked_when_set(
    server: BetterAuth, http: httpx.AsyncClient, setting: str, suffix: str, expected: int
) -> None:
    person = await sign_up(http, server)
    async with api(server, **{setting: server.url + suffix}) as client:
        assert await status(client, person, await person.token()) == expected


# The shared secret


@pytest.mark.parametrize("server", ["HS256"], indirect=True)
async def test_token_signed_with_the_shared_secret_is_accepted(server: BetterAuth, http: httpx.AsyncClient) -> None:
    person = await sign_up(http, server)
    token = await person.token()
    assert jwt.get_unverified_header(token) == {"alg": "HS256", "typ": "JWT"}
    async with api(server, better_auth_secret=SECRET) as client:
        assert await status(client, person, token) == 200
    async with api(server, better_auth_secret="another" * 8) as client:
        assert await status(client, person, token) == 401


@pytest.mark.parametrize("server", ["HS256"], indirect=True)
async def test_session_cookie_is_accepted_only_if_its_claim_is_configured(
    server: BetterAuth, http: httpx.AsyncClient
) -> None:
    person = await sign_up(http, server)
    body = {"email": person.email, "password": PASSWORD}
    signed_in = await http.post(f"{server.url}/api/auth/sign-in/email", json=body, headers={"Origin": FRONTEND})
    cookie = signed_in.cookies["better-auth.session_data"]
    async with api(server, better_auth_secret=SECRET) as client:
        assert await status(client, person, cookie) == 401
    async with api(server, better_auth_secret=SECRET, user_id_claims="user.id") as client:
        assert await status(client, person, cookie) == 200


async def test_secret_and_published_keys_work_together(
    servers: Callable[[str], Awaitable[BetterAuth]], http: httpx.AsyncClient
) -> None:
    published, shared = await servers("EdDSA"), await servers("HS256")
    one, other = await sign_up(http, published), await sign_up(http, shared)
    async with api(published, better_auth_secret=SECRET, better_auth_jwks_url=published.jwks_url) as client:
        assert await status(client, one, await one.token()) == 200
        assert await status(client, other, await other.token()) == 200
    async with api(published) as client:
        assert await status(client, other, await other.token()) == 401


# Keys that change, and a server that is away


@pytest.mark.parametrize("server", ["EdDSA", "RS256"], indirect=True)
@pytest.mark.usefixtures("no_interval")
async def test_after_a_rotation_new_and_old_tokens_are_accepted(server: BetterAuth, http: httpx.AsyncClient) -> None:
    person = await sign_up(http, server)
    old, unseen = await person.tokens(2)
    async with api(server) as client:
        assert await status(client, person, old) == 200
        await server.expire_keys(timedelta(seconds=1))
        new = await person.token()
        ids = {jwt.get_unverified_header(token)["kid"] for token in (old, new)}
        assert len(ids) == 2
        assert ids <= await server.key_ids(http), "the old key stays published for its grace period"
        await accepted(client, person, new)
        for token in (new, old, unseen, new):
            assert await status(client, person, token) == 200


@pytest.mark.parametrize("server", ["EdDSA", "RS256"], indirect=True)
@pytest.mark.usefixtures("no_interval")
async def test_tokens_of_a_key_that_is_no_longer_published_are_refused(
    server: BetterAuth, http: httpx.AsyncClient
) -> None:
    person = await sign_up(http, server)
    old, unseen = await person.tokens(2)
    async with api(server) as client:
        assert await status(client, person, old) == 200
        await server.expire_keys(timedelta(days=31))
        new = await person.token()
        assert jwt.get_unverified_header(unseen)["kid"] not in await server.key_ids(http)
        await accepted(client, person, new)
        assert await status(client, person, unseen) == 401


@pytest.mark.usefixtures("no_interval")
async def test_rotation_of_the_plugin_is_followed(rotating_server: BetterAuth, http: httpx.AsyncClient) -> None:
    person = await sign_up(http, rotating_server)
    tokens: dict[str, str] = {}
    async with api(rotating_server) as client:
        while len(tokens) < 3:
            token = await person.token()
            tokens.setdefault(jwt.get_unverified_header(token)["kid"], token)
            await accepted(client, person, token)
        for token in tokens.values():
            assert await status(client, person, token) == 200


async def test_next_key_may_have_another_algorithm(
    own_server: BetterAuth, http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_server.start()
    person = await sign_up(http, own_server)
    for name in ("FIRST_INTERVAL_SECONDS", "MIN_INTERVAL_SECONDS"):
        monkeypatch.setattr(published_keys, name, 0.0)
    async with api(own_server) as client:
        used = []
        for _ in range(2):
            token = await person.token()
            assert await status(client, person, token) == 200
            used.append(jwt.get_unverified_header(token)["alg"])
            own_server.restart(key_algorithm="RS256")
        await own_server.expire_keys(timedelta(seconds=1))
        new = await person.token()
        assert [*used, jwt.get_unverified_header(new)["alg"]] == ["EdDSA", "EdDSA", "RS256"]
        await accepted(client, person, new)
        assert await status(client, person, token) == 200


async def test_newest_of_many_published_keys_is_used(rotating_server: BetterAuth, http: httpx.AsyncClient) -> None:
    person = await sign_up(http, rotating_server)
    days_of_grace = 30  # Better Auth's default: a daily rotation leaves this many old keys
    while len(await rotating_server.key_ids(http)) <= days_of_grace:
        token = await person.token()
    async with api(rotating_server) as client:
        assert await status(client, person, token) == 200


async def test_known_keys_are_used_while_better_auth_is_down(
    own_server: BetterAuth, http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_server.start()
    person = await sign_up(http, own_server)
    tokens = await person.tokens(4)
    for name in ("FIRST_INTERVAL_SECONDS", "MIN_INTERVAL_SECONDS"):
        monkeypatch.setattr(published_keys, name, 0.0)
    for name in ("DEFAULT_FRESH_SECONDS", "MIN_FRESH_SECONDS"):
        # The keys are stale at once, and fetched again with each new token.
        monkeypatch.setattr(key_set_loading, name, 0.0)
    failures: list[BaseException] = []

    def summarize(error: BaseException) -> dict[str, str]:
        """Stand in for what logs a failed fetch."""
        failures.append(error)
        return {}

    monkeypatch.setattr(published_keys, "exception_summary", summarize)
    async with api(own_server) as client:
        assert await status(client, person, tokens.pop()) == 200
        own_server.stop()
        for fetches, token in enumerate(tokens, 1):
            assert await status(client, person, token) == 200
            await until(lambda: len(failures) >= fetches)  # noqa: B023 - called within this turn of the loop
        assert {type(error) for error in failures} == {httpx.ConnectError}


@pytest.mark.usefixtures("no_interval")
async def test_missing_keys_are_503_until_better_auth_is_up(own_server: BetterAuth, http: httpx.AsyncClient) -> None:
    own_server.start()
    person = await sign_up(http, own_server)
    token = await person.token()
    own_server.stop()
    async with api(own_server) as client:
        for _ in range(2):
            answer = await client.get(person.todos, headers=bearer(token))
            assert_problem(answer, 503)
            assert int(answer.headers["retry-after"]) > 0
        assert_problem(await client.get(person.todos), 401, "Missing authentication token")
        own_server.restart()
        assert await status(client, person, token) == 200


async def test_malformed_key_set_is_503(server: BetterAuth, http: httpx.AsyncClient) -> None:
    person = await sign_up(http, server)
    token = await person.token()
    elsewhere = (f"{server.url}/api/auth/ok", f"{server.url}/none", f"http://127.0.0.1:{free_port()}/api/auth/jwks")
    for url in elsewhere:
        async with api(server, better_auth_jwks_url=url) as client:
            assert_problem(await client.get(person.todos, headers=bearer(token)), 503)


# One database for both


async def rows_of(database_url: str) -> dict[str, list[tuple[Any, ...]]]:
    """Give all rows of Better Auth's tables."""
    return {name: sorted(await fetch(database_url, f'SELECT t::text FROM public."{name}" t')) for name in TABLES}


async def tables_in(database_url: str, schema: str) -> set[str]:
    """Give the tables of a schema."""
    return {
        name for (name,) in await fetch(database_url, "SELECT tablename FROM pg_tables WHERE schemaname = $1", schema)
    }


async def test_migrations_of_both_applications_are_independent(own_server: BetterAuth, http: httpx.AsyncClient) -> None:
    url = own_server.database_url
    assert await migrated(url) == []
    ours = await tables_in(url, "app")
    own_server.start()
    assert set(own_server.created) == await tables_in(url, "public") == set(TABLES)
    assert await tables_in(url, "app") == ours
    assert await migrated(url) == []

    person = await sign_up(http, own_server)
    async with api(own_server) as client:
        headers = bearer(await person.token())
        assert (await client.post(person.todos, json={"title": "Theirs"}, headers=headers)).status_code == 201
    theirs = await rows_of(url)
    assert {name: len(rows) for name, rows in theirs.items()} == dict.fromkeys(TABLES, 1) | {"verification": 0}

    await migrated(url, "zero")
    assert "todos" not in await tables_in(url, "app")
    assert await rows_of(url) == theirs
    again = await sign_up(http, own_server)
    assert claims_of(await person.token())["sub"] == person.id

    assert await migrated(url) == []
    own_server.restart()
    assert own_server.created == [], "Better Auth finds nothing to migrate"
    async with api(own_server) as client:
        for user in (person, again):
            answer = await client.get(user.todos, headers=bearer(await user.token()))
            assert answer.json()["items"] == []
    assert {name: len(rows) for name, rows in (await rows_of(url)).items()} == {
        "user": 2,
        "session": 2,
        "account": 2,
        "verification": 0,
        "jwks": 1,
    }
    assert await fetch(url, "SELECT count(*) FROM app.users") == [(2,)]
