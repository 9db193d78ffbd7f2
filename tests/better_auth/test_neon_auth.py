"""Neon Auth, played by a real Better Auth with its paths, its UUIDs and its role: the settings of the README."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest

from tests.better_auth.server import BetterAuth, api, bearer, claims_of, migrated, sign_up, status


@pytest.fixture(scope="module")
async def branches(installed: Path, new_database: Callable[[], Any]) -> AsyncIterator[list[BetterAuth]]:
    """Give the servers of two branches, each with keys and an issuer of its own."""
    servers = [BetterAuth(installed, await new_database(), neon="true") for _ in range(2)]
    try:
        await migrated(servers[0].database_url)
        yield list(await asyncio.gather(*(asyncio.to_thread(server.start) for server in servers)))
    finally:
        for server in servers:
            server.stop()


async def test_only_tokens_of_the_configured_branch_are_accepted(
    branches: list[BetterAuth], http: httpx.AsyncClient
) -> None:
    ours, other = branches
    person, stranger = [await sign_up(http, branch) for branch in branches]
    token = await person.token()
    assert str(UUID(person.id)) == person.id
    assert claims_of(token)["iss"] == claims_of(token)["aud"] == ours.url
    assert ours.jwks_url == f"{ours.url}/neondb/auth/.well-known/jwks.json"
    async with api(ours, better_auth_issuer=ours.url, better_auth_audience=ours.url) as client:
        created = await client.post(person.todos, json={"title": "On a branch"}, headers=bearer(token))
        assert created.status_code == 201, created.text
        assert created.json()["user_id"] == person.id
        assert (await client.get(f"/api/{person.id}/admin/users", headers=bearer(token))).status_code == 403
        assert await status(client, stranger, await stranger.token()) == 401
    async with api(ours, better_auth_issuer=other.url) as client:
        assert await status(client, person, token) == 401
