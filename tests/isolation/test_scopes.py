"""Every route by an access token: without a scope, with its own, and with all others. A new route joins by itself."""

import re
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, NamedTuple
from uuid import uuid4

import httpx
import pytest
from litestar import Litestar

from app.lib.auth.scopes import scope_of
from app.lib.http.routes import operations
from app.lib.settings import Settings
from app.main import create_app
from tests.asgi import asgi_transport
from tests.support import SECRET, access_token_for, assert_problem, running, token_for

ISSUER = "https://app.example.com/api/auth"
RESOURCE = "https://api.example.com/api"
USER = "granter"

# The policy, independent of what the routes declare: the first pattern that fits a path.
POLICY: list[tuple[str, str | None, str | None]] = [
    (r"/api/{user_id}/admin/.*", None, None),
    (r"/api/{user_id}/(export|account)", "account", "account"),
    (r"/api/{user_id}/(profile|preferences)", "profile", "profile"),
    (r"/api/{user_id}/(todos|tasks|lists|tags)(/.*)?", "todos:read", "todos:write"),
    (r"/api/(health|schema|schema/openapi\.json)", "todos:read", None),
]
FOREIGN_SCOPES = {
    "openid",
    "profile:read",
    "todos",
    "todos:*",
    "*",
    "admin",
    "todos:admin",
    "TODOS:READ",
    "todos:read,",
}
SCOPES = {scope for _, *both in POLICY for scope in both if scope}


class Case(NamedTuple):
    """A method on a path, and the scope that it needs."""

    method: str
    path: str
    scope: str | None


_model = create_app(Settings(environment="test", database_url="postgresql://localhost/none", better_auth_secret=SECRET))


def policy(method: str, path: str) -> str | None:
    plural = path.split("/")[3] if path.startswith("/api/{user_id}/") else ""
    of_new_domain = [f"{plural}:read", f"{plural}:write"]  # as `startapp` writes them
    read, write = next((both for pattern, *both in POLICY if re.fullmatch(pattern, path)), of_new_domain)
    return read if method in ("GET", "HEAD", "OPTIONS") else write


def cases() -> Iterator[Case]:
    methods: dict[str, list[str]] = {}
    for item in operations(_model):
        methods.setdefault(item.path, []).append(item.method)
        yield Case(item.method, item.path, policy(item.method, item.path))
        if item.method == "GET":
            yield Case("HEAD", item.path, policy("HEAD", item.path))
    for path, served in methods.items():
        likened = "GET" if "GET" in served else served[0]
        yield Case("OPTIONS", path, policy(likened, path))


CASES = list(cases())


def access_token(*scopes: str, user_id: str = USER, **claims: Any) -> str:
    return access_token_for(user_id, *scopes, iss=ISSUER, aud=RESOURCE, role="admin", **claims)


@pytest.fixture(scope="module")
async def client(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """Give a client of an application that takes access tokens."""
    app = create_app(settings.model_copy(update={"better_auth_issuer": [ISSUER], "resource": RESOURCE}))
    transport = asgi_transport(app)
    async with running(app), httpx.AsyncClient(transport=transport, base_url="http://testserver") as client:
        yield client


@pytest.fixture
def send(client: httpx.AsyncClient) -> Callable[..., Any]:
    """Give a function that sends a case with a token; a body that no route takes comes after the guards."""

    async def request(case: Case, token: str) -> httpx.Response:
        path = re.sub(r"{(\w+)}", lambda name: USER if name[1] == "user_id" else str(uuid4()), case.path)
        return await client.request(case.method, path, headers={"Authorization": f"Bearer {token}"})

    return request


def assert_insufficient(response: httpx.Response, case: Case) -> None:
    named = f', scope="{case.scope}"' if case.scope else ""
    assert response.status_code == 403
    assert response.headers["www-authenticate"] == f'Bearer error="insufficient_scope"{named}'
    if case.method != "HEAD":
        assert_problem(response, 403, "Forbidden: not authorized to access this resource")


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.method} {case.path}")
async def test_route_needs_its_scope_and_no_other(send: Callable[..., Any], case: Case) -> None:
    others = (SCOPES | FOREIGN_SCOPES) - {case.scope}
    assert_insufficient(await send(case, access_token()), case)
    assert_insufficient(await send(case, access_token(*others)), case)
    if case.scope is not None and case.path != "/api/{user_id}/account":
        response = await send(case, access_token(case.scope))
        assert response.status_code not in (401, 403), response.text
        assert "www-authenticate" not in response.headers


def test_every_route_declares_the_scope_of_the_policy() -> None:
    for item in operations(_model):
        assert scope_of(item.handler, item.method) == policy(item.method, item.path), item


@pytest.mark.parametrize(("scope", "status"), [("todos:read todos:write profile", 403), ("account", 204)])
async def test_account_erasure_needs_its_own_scope(client: httpx.AsyncClient, scope: str, status: int) -> None:
    headers = {"Authorization": f"Bearer {access_token(scope, user_id='leaver')}"}
    assert (await client.delete("/api/leaver/account", headers=headers)).status_code == status


async def test_session_token_needs_no_scope(client: httpx.AsyncClient) -> None:
    headers = {"Authorization": f"Bearer {token_for(USER, iss=ISSUER, role='admin')}"}
    for path in ("todos", "profile", "export", "admin/users", "admin/counts"):
        assert (await client.get(f"/api/{USER}/{path}", headers=headers)).status_code == 200


async def test_another_users_path_is_403_without_scope_challenge(client: httpx.AsyncClient) -> None:
    headers = {"Authorization": f"Bearer {access_token(*SCOPES)}"}
    response = await client.get("/api/victim/todos", headers=headers)
    assert_problem(response, 403)
    assert "www-authenticate" not in response.headers


async def test_access_token_is_refused_without_a_resource(app: Litestar, anonymous: httpx.AsyncClient) -> None:
    assert app.state.settings.resource is None
    headers = {"Authorization": f"Bearer {access_token(*SCOPES)}"}
    assert_problem(await anonymous.get(f"/api/{USER}/todos", headers=headers), 401, "Invalid or expired token")


async def test_batch_needs_the_write_scope(client: httpx.AsyncClient) -> None:
    body = {"operations": [{"op": "create", "data": {"title": "By an agent"}}]}
    for scope, status in (("todos:read", 403), ("todos:write", 200)):
        headers = {"Authorization": f"Bearer {access_token(scope)}"}
        response = await client.post(f"/api/{USER}/todos/batch", json=body, headers=headers)
        assert response.status_code == status, response.text
