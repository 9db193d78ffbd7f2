"""A real Better Auth that is an OAuth provider: which of the tokens that it signs are accepted, and for what."""

import base64
import hashlib
import secrets
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import jwt
import pytest

from tests.better_auth.server import BetterAuth, Person, api, bearer, claims_of, migrated, sign_up, status
from tests.support import JsonObject, assert_problem, json_object

RESOURCE = "https://api.example.com/api"
INVALID = "Invalid or expired token"


@pytest.fixture(scope="module", params=["oauthProvider", "mcp"])
async def provider(
    request: pytest.FixtureRequest, installed: Path, new_database: Callable[[], Any]
) -> AsyncIterator[BetterAuth]:
    """Give a server that is an OAuth provider, by either plugin, on a migrated database."""
    server = BetterAuth(installed, await new_database(), "oauth.mjs", provider=request.param, resource=RESOURCE)
    try:
        await migrated(server.database_url)
        yield server.start()
    finally:
        server.stop()


@pytest.fixture(scope="module")
async def person(provider: BetterAuth, http: httpx.AsyncClient) -> Person:
    return await sign_up(http, provider)


@pytest.fixture
async def client(provider: BetterAuth) -> AsyncIterator[httpx.AsyncClient]:
    """Give a client of the application, configured as the README says for an OAuth provider."""
    issuers = f"{provider.url},{provider.url}/api/auth"
    async with api(
        provider, better_auth_issuer=issuers, better_auth_audience=provider.url, resource=RESOURCE
    ) as client:
        yield client


async def tokens_of(http: httpx.AsyncClient, person: Person, scope: str, resource: str = RESOURCE) -> JsonObject:
    """Let the person grant the scopes to the client `agent`, and exchange the code for tokens."""
    server, verifier = person.server, secrets.token_urlsafe(32)
    agent, base = server.printed["clients"]["agent"], f"{server.url}/api/auth/oauth2"
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    asked = {"client_id": agent["client_id"], "response_type": "code", "redirect_uri": server.printed["redirect"]}
    asked |= {"scope": scope, "resource": resource, "state": "s", "nonce": "n"}
    asked |= {"code_challenge": challenge, "code_challenge_method": "S256"}
    authorized = await http.get(f"{base}/authorize", params=asked, headers=bearer(person.session))
    location = authorized.headers.get("location") or authorized.json()["url"]
    assert "code=" in location, location
    code = parse_qs(urlsplit(location).query)["code"][0]
    exchanged = {"grant_type": "authorization_code", "code": code, "code_verifier": verifier, "resource": resource}
    return await token_response(http, server, "agent", exchanged | {"redirect_uri": server.printed["redirect"]})


async def token_response(http: httpx.AsyncClient, server: BetterAuth, name: str, body: dict[str, str]) -> JsonObject:
    client = server.printed["clients"][name]
    credentials = (client["client_id"], client["client_secret"])
    return json_object(await http.post(f"{server.url}/api/auth/oauth2/token", data=body, auth=credentials))


async def test_access_token_is_limited_to_its_scopes(
    provider: BetterAuth, person: Person, http: httpx.AsyncClient, client: httpx.AsyncClient
) -> None:
    token = (await tokens_of(http, person, "openid todos:read"))["access_token"]
    assert jwt.get_unverified_header(token)["typ"] == "at+jwt"
    claims = claims_of(token)
    assert claims["sub"] == person.id
    assert claims["iss"] == f"{provider.url}/api/auth"
    assert claims["client_id"] == provider.printed["clients"]["agent"]["client_id"]
    assert await status(client, person, token) == 200
    refused = await client.post(person.todos, json={"title": "Not granted"}, headers=bearer(token))
    assert_problem(refused, 403)
    assert refused.headers["www-authenticate"] == 'Bearer error="insufficient_scope", scope="todos:write"'
    for path in ("profile", "export", "admin/users"):
        assert_problem(await client.get(f"/api/{person.id}/{path}", headers=bearer(token)), 403)
    writing = (await tokens_of(http, person, "todos:read todos:write"))["access_token"]
    assert (await client.post(person.todos, json={"title": "Granted"}, headers=bearer(writing))).status_code == 201


async def test_other_tokens_of_the_same_keys_are_refused(
    provider: BetterAuth, person: Person, http: httpx.AsyncClient, client: httpx.AsyncClient
) -> None:
    granted = await tokens_of(http, person, "openid todos:read")
    elsewhere = await tokens_of(http, person, "openid todos:read", "https://other.example/api")
    machine = await token_response(
        http, provider, "machine", {"grant_type": "client_credentials", "scope": "todos:read", "resource": RESOURCE}
    )
    id_token = granted["id_token"]
    assert claims_of(id_token)["sub"] == claims_of(granted["access_token"])["sub"] == person.id
    others = {"ID": id_token, "another resource": elsewhere["access_token"], "machine": machine["access_token"]}
    async with api(provider) as unconfigured:
        for name, token in (others | {"access": granted["access_token"]}).items():
            key_id = jwt.get_unverified_header(token)["kid"]
            assert key_id in await provider.key_ids(http), name
            path = f"/api/{claims_of(token)['sub']}/todos"
            assert_problem(await unconfigured.get(path, headers=bearer(token)), 401, INVALID)
            if name != "access":
                assert_problem(await client.get(path, headers=bearer(token)), 401, INVALID)


async def test_session_token_comes_from_the_frontends_own_route(
    provider: BetterAuth, person: Person, http: httpx.AsyncClient, client: httpx.AsyncClient
) -> None:
    closed = await http.get(f"{provider.url}/api/auth/token", headers=bearer(person.session))
    assert closed.status_code == 404, "the OAuth provider's /token is another"
    token = (await http.get(f"{provider.url}/api/session-token", headers=bearer(person.session))).json()["token"]
    assert claims_of(token)["iss"] == claims_of(token)["aud"] == provider.url
    for path in ("todos", "profile", "export"):
        assert (await client.get(f"/api/{person.id}/{path}", headers=bearer(token))).status_code == 200
