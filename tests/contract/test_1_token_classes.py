"""1. Authentication and authorization: session tokens, access tokens of OAuth clients, and what is neither."""

from typing import Any

import pytest

from .api import Api, User, body, problem, section
from .routes import ACCOUNT, ADMIN, CORE, LISTS, OWN, TASKS, TODOS, Route
from .tokens import Tokens

pytestmark = pytest.mark.full
says = section("1. Authentication and authorization")

INVALID = "Invalid or expired token"
AS_ACCESS_TOKEN = {"alg": "HS256", "typ": "at+jwt"}


@pytest.fixture
def granting(api: Api) -> Tokens:
    """Give the tokens of a server that accepts access tokens."""
    if not (api.tokens.secret and api.tokens.issuer and api.tokens.resource):
        pytest.skip("needs --secret, --issuer and --resource")
    return api.tokens


def granted(tokens: Tokens, user: User, scope: Any = "todos:read", **claims: Any) -> dict[str, Any]:
    """Give the claims of an access token."""
    return tokens.claims(user.id, **{"aud": tokens.resource, "client_id": "agent", "scope": scope} | claims)


def with_token(user: User, token: str) -> User:
    return User(user.http, user.id, token)


def scope_of(route: Route) -> str:
    if route in OWN:
        return "profile"
    if route in ACCOUNT:
        return "account"
    return "todos:read" if route.method == "GET" else "todos:write"


@says("A token has one of two classes.")
@says("Every other token is a session token, without typ or with JWT (case-insensitive)")
@pytest.mark.parametrize("kind", ["logout+jwt", "dpop+jwt", "application/jwt", "", " JWT", None, 1, ["JWT"]])
def test_other_token_types_are_refused(api: Api, alice: User, kind: object) -> None:
    header = {"alg": "HS256", "typ": kind}
    problem(with_token(alice, api.tokens.sign(api.tokens.claims(alice.id), header)).get("/todos"), 401, INVALID)


@says("any other typ, a claim cnf, or a claim of ID and logout tokens that is not null")
@pytest.mark.parametrize(
    "name", ["cnf", "acr", "amr", "at_hash", "auth_time", "azp", "c_hash", "events", "nonce", "s_hash"]
)
def test_claims_of_other_tokens_are_refused(api: Api, alice: User, name: str) -> None:
    token = api.tokens.sign(api.tokens.claims(alice.id, **{name: {"jkt": "x"}}))
    problem(with_token(alice, token).get("/todos"), 401, INVALID)


@says(
    "It is an access token of an OAuth client if typ is at+jwt or application/at+jwt, or if it has "
    "a claim client_id or scope."
)
def test_access_token_is_known_by_type_or_claims(granting: Tokens, alice: User) -> None:
    for header in (AS_ACCESS_TOKEN, {"alg": "HS256", "typ": "application/at+jwt"}, {"alg": "HS256", "typ": "JWT"}):
        limited = with_token(alice, granting.sign(granted(granting, alice), header))
        body(limited.get("/todos"))
        problem(limited.post("/todos", json={"title": "Not granted"}), 403)
    for claims in (granted(granting, alice, client_id=None), granting.claims(alice.id, client_id="agent")):
        problem(with_token(alice, granting.sign(claims)).get("/todos"), 401, INVALID)


@says("An access token is accepted if RESOURCE is set and its aud has that value or a path below it")
@says("Its user is sub, and it has no role")
@pytest.mark.parametrize(
    "claims",
    [
        {"aud": "https://other.example"},
        {"iss": "https://other.example"},
        {"client_id": 1},
        {"scope": 1},
        {"scope": ["todos:read", None]},
        {"sub": "agent"},
        {"sub": None, "id": "alice"},
    ],
)
def test_access_token_needs_all_of_its_claims(granting: Tokens, alice: User, claims: dict[str, Any]) -> None:
    longer = [f"{granting.resource}/{alice.id}"]
    body(with_token(alice, granting.sign(granted(granting, alice) | {"aud": longer}, AS_ACCESS_TOKEN)).get("/todos"))
    body(with_token(alice, granting.sign(granted(granting, alice, ["todos:read"]), AS_ACCESS_TOKEN)).get("/todos"))
    token = granting.sign(granted(granting, alice) | claims, AS_ACCESS_TOKEN)
    problem(with_token(alice, token).get("/todos"), 401, INVALID)


@says("An access token needs the scope of its route (HEAD and OPTIONS as GET)")
@says('otherwise 403, WWW-Authenticate: Bearer error="insufficient_scope", scope="…" with the missing scope')
@pytest.mark.parametrize("route", CORE + TASKS + TODOS + LISTS + OWN + ACCOUNT, ids=lambda route: "-".join(route[:2]))
def test_route_names_the_scope_that_is_missing(granting: Tokens, alice: User, route: Route) -> None:
    others = " ".join({"todos:read", "todos:write", "profile", "account"} - {scope_of(route)})
    limited = with_token(alice, granting.sign(granted(granting, alice, others), AS_ACCESS_TOKEN))
    for method in {route.method, "HEAD", "OPTIONS"} if route.method == "GET" else {route.method}:
        response = limited.request(**route.of() | {"method": method})
        assert response.status_code == 403
        challenge = f'Bearer error="insufficient_scope", scope="{scope_of(route)}"'
        assert response.headers["www-authenticate"] == challenge


@says("No scope gives access to /admin or to a route that declares no scope")
@pytest.mark.parametrize("route", ADMIN, ids=lambda route: route.path)
def test_no_scope_grants_administration(granting: Tokens, alice: User, route: Route) -> None:
    scopes = "todos:read todos:write profile account admin"
    limited = with_token(alice, granting.sign(granted(granting, alice, scopes, role="admin"), AS_ACCESS_TOKEN))
    response = limited.request(**route.of())
    problem(response, 403)
    assert response.headers["www-authenticate"] == 'Bearer error="insufficient_scope"'
