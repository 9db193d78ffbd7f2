"""The class of a token: session, access, or refused. Every family of JWTs that one key set may sign."""

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.lib.auth.keys import SharedSecrets
from app.lib.auth.tokens import Identity, TokenVerifier
from app.lib.errors import InvalidToken
from app.lib.settings import ConfigurationError, Settings
from tests.contract.tokens import signed
from tests.support import SECRET

ORIGIN = "https://app.example.com"
ISSUER = f"{ORIGIN}/api/auth"
RESOURCE = "https://api.example.com/api"
LEFT_OUT: Any = object()
VALUES: st.SearchStrategy[object] = st.sampled_from(
    [None, True, 0, "", "agent", "alice", RESOURCE, [], ["todos:read"], {}]
)

SESSION = {"sub": "alice", "iss": ORIGIN, "aud": ORIGIN, "email": "alice@example.com", "role": "admin"}
ACCESS = {
    "sub": "alice",
    "iss": ISSUER,
    "aud": [RESOURCE, f"{ISSUER}/oauth2/userinfo"],
    "client_id": "agent",
    "azp": "agent",
    "scope": "openid todos:read",
    "sid": "s1",
    "jti": "j1",
    "role": "admin",
}
TYPE: dict[str, dict[str, Any]] = {"session": {}, "access": {"typ": "at+jwt"}}
BASE: dict[str, dict[str, Any]] = {"session": SESSION, "access": ACCESS}
NAMED = {"iss", "aud"}  # claims that are compared with settings alone
ID_TOKEN = {"sub": "alice", "iss": ISSUER, "aud": "agent", "acr": "0", "at_hash": "x", "sid": "s1"}

# Families that are refused whatever they are derived from: changes to the header, and to the claims.
REFUSED: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "logout token": ({"typ": "logout+jwt"}, {"events": {"http://schemas.openid.net/event/backchannel-logout": {}}}),
    "security event": ({"typ": "secevent+jwt"}, {}),
    "DPoP proof": ({"typ": "dpop+jwt"}, {"htm": "GET", "htu": RESOURCE}),
    "introspection": ({"typ": "token-introspection+jwt"}, {}),
    "session cookie": ({"typ": "better-auth.session-cache+jwt"}, {}),
    "session cookie in capitals": ({"typ": "Better-Auth.Session-Cache+JWT"}, {}),
    "typ application/jwt": ({"typ": "application/jwt"}, {}),
    "typ rt+jwt": ({"typ": "rt+jwt"}, {}),
    "typ empty": ({"typ": ""}, {}),
    "typ with a space": ({"typ": " JWT"}, {}),
    "typ a number": ({"typ": 1}, {}),
    "typ a list": ({"typ": ["JWT"]}, {}),
    "typ null": ({"typ": None}, {}),
    "bound to a DPoP key": ({}, {"cnf": {"jkt": "x"}}),
    "bound to a certificate": ({}, {"cnf": {"x5t#S256": "x"}}),
    "cnf null": ({}, {"cnf": None}),
    "cnf empty": ({}, {"cnf": {}}),
    "another issuer": ({}, {"iss": "https://evil.example"}),
    "no issuer": ({}, {"iss": LEFT_OUT}),
    "issuers in a list": ({}, {"iss": [ORIGIN, ISSUER]}),
    "both issuers in one text": ({}, {"iss": f"{ORIGIN},{ISSUER}"}),
    "another audience": ({}, {"aud": "https://other.example/api"}),
    "no audience": ({}, {"aud": LEFT_OUT}),
    "audience not all text": ({}, {"aud": [RESOURCE, ORIGIN, 1]}),
    "client credentials": ({"typ": "at+jwt"}, {"sub": "agent", "client_id": "agent", "azp": "agent", "aud": RESOURCE}),
    "client_id null": ({}, {"client_id": None, "aud": RESOURCE}),
    "client_id empty": ({}, {"client_id": "", "aud": RESOURCE}),
    "client_id a list": ({}, {"client_id": ["agent"], "aud": RESOURCE}),
    "client_id with a line break": ({}, {"client_id": "agent\n{}", "aud": RESOURCE}),
    "client_id of another script": ({}, {"client_id": "агент", "aud": RESOURCE}),
    "only a scope": ({}, {"scope": "todos:read", "client_id": LEFT_OUT, "aud": RESOURCE}),
    "scope null": ({}, {"scope": None, "client_id": "agent", "aud": RESOURCE}),
    "scope a number": ({}, {"scope": 1, "client_id": "agent", "aud": RESOURCE}),
    "scope an object": ({}, {"scope": {"todos:read": True}, "client_id": "agent", "aud": RESOURCE}),
    "scopes not all text": ({}, {"scope": ["todos:read", 1], "client_id": "agent", "aud": RESOURCE}),
    "scopes in an item": ({}, {"scope": ["todos:read todos:write"], "client_id": "agent", "aud": RESOURCE}),
    "scope with a quote": ({}, {"scope": 'todos:read"', "client_id": "agent", "aud": RESOURCE}),
    "scope with a tab": ({}, {"scope": "todos:read\ttodos:write", "client_id": "agent", "aud": RESOURCE}),
}
FOREIGN = {"nonce": "n", "at_hash": "h", "c_hash": "h", "s_hash": "h", "acr": "0", "amr": ["pwd"], "auth_time": 1}
FOREIGN |= {"azp": "agent", "events": {}}


def verifier(**options: Any) -> TokenVerifier:
    values = {
        "better_auth_issuer": f"{ORIGIN}, {ISSUER}",
        "better_auth_audience": ORIGIN,
        "resource": RESOURCE,
    } | options
    settings = Settings(environment="test", better_auth_secret=SECRET, **values)
    return TokenVerifier(SharedSecrets(*settings.secrets), settings)


def encode(claims: dict[str, Any], header: dict[str, Any] | None = None) -> bytes:
    now = int(time.time())
    kept = {name: value for name, value in claims.items() if value is not LEFT_OUT}
    return signed({"iat": now, "exp": now + 600} | kept, SECRET, {"alg": "HS256"} | (header or {})).encode()


async def verified(claims: dict[str, Any], header: dict[str, Any] | None = None, /, **options: Any) -> Identity | None:
    try:
        return await verifier(**options).verify(encode(claims, header))
    except InvalidToken:
        return None


@pytest.mark.parametrize("header", [{"typ": "JWT"}, {"typ": "jwt"}, {"typ": "Jwt"}, {}])
async def test_session_token_has_no_grant(header: dict[str, Any]) -> None:
    identity = await verified(SESSION, header)
    assert identity is not None
    assert (identity.id, identity.roles, identity.grant) == ("alice", frozenset({"admin"}), None)


@pytest.mark.parametrize("kind", ["at+jwt", "AT+JWT", "application/at+jwt", "Application/At+Jwt", "JWT"])
async def test_access_token_has_its_scopes_and_no_roles(kind: str) -> None:
    identity = await verified(ACCESS, {"typ": kind})
    assert await verified(ACCESS) == identity, "the claims alone make it one"
    assert identity is not None
    assert identity.grant is not None
    assert (identity.id, identity.roles) == ("alice", frozenset())
    assert (identity.grant.client_id, identity.grant.scopes) == ("agent", frozenset({"openid", "todos:read"}))


async def test_cached_token_keeps_its_class() -> None:
    verify = verifier()
    token = encode(ACCESS, {"typ": "at+jwt"})
    first = await verify.verify(token)
    again = await verify.verify(token)
    assert again is first
    assert again.grant is not None


@pytest.mark.parametrize("kind", BASE)
@pytest.mark.parametrize("family", REFUSED)
async def test_other_token_families_are_refused(family: str, kind: str) -> None:
    header, claims = REFUSED[family]
    assert await verified(BASE[kind], TYPE[kind]) is not None
    assert await verified(BASE[kind] | claims, TYPE[kind] | header) is None


@pytest.mark.parametrize(
    "family", [name for name, (header, claims) in REFUSED.items() if header or claims.keys() - NAMED]
)
async def test_other_token_families_are_refused_without_configuration(family: str) -> None:
    header, claims = REFUSED[family]
    unset: dict[str, list[str] | None] = {"better_auth_issuer": [], "better_auth_audience": [], "resource": None}
    assert await verified(SESSION, **unset) is not None
    assert await verified(SESSION | claims, header, **unset) is None


@pytest.mark.parametrize("audience", [[], ORIGIN, "agent"])
@pytest.mark.parametrize("name", FOREIGN)
async def test_id_token_is_refused_whatever_the_audience(name: str, audience: Any) -> None:
    assert await verified(ID_TOKEN, better_auth_audience=audience) is None
    claims = SESSION | {"aud": audience or "agent", name: FOREIGN[name]}
    assert await verified(claims, better_auth_audience=audience) is None


@pytest.mark.parametrize("name", FOREIGN)
async def test_null_claim_of_an_id_token_is_ignored(name: str) -> None:
    assert await verified(SESSION | {name: None}) is not None


@pytest.mark.parametrize("options", [{"resource": None}, {"resource": None, "better_auth_audience": RESOURCE}])
async def test_access_token_is_refused_without_a_resource(options: dict[str, Any]) -> None:
    assert await verified(ACCESS, {"typ": "at+jwt"}, **options) is None
    assert await verified(ACCESS, **options) is None
    assert await verified(SESSION | {"scope": "openid"}, **options) is None


@pytest.mark.parametrize(
    ("audience", "accepted"),
    [
        (RESOURCE, True),
        (f"{RESOURCE}/", True),
        (f"{RESOURCE}/alice/todos", True),
        (f"{RESOURCE}/auth0%7Calice", True),
        (["https://other.example", RESOURCE], True),
        ("HTTPS://API.Example.com:443/api/alice", True),
        ("https://api.example.com:8443/api", False),
        ("http://api.example.com/api", False),
        ("https://api.example.com:x/api", False),
        ("https://api.example.com", False),
        ("https://api.example.com/", False),
        (f"{RESOURCE}x", False),
        (f"{RESOURCE}.evil.example", False),
        (f"{RESOURCE}@evil.example", False),
        (f"{RESOURCE}?x", False),
        (f"{RESOURCE}#x", False),
        (f"{RESOURCE}/x?y", False),
        (f"{RESOURCE}/../admin", False),
        (f"{RESOURCE}/%2e%2e/admin", False),
        (f"{RESOURCE}/x\\..\\..", False),
        (RESOURCE.upper(), False),
        (f" {RESOURCE}", False),
        (f"https://evil.example/{RESOURCE}", False),
        (ORIGIN, False),
        ("", False),
        ([], False),
        ([[RESOURCE]], False),
        ({RESOURCE: 1}, False),
    ],
)
async def test_audience_of_an_access_token(audience: Any, accepted: bool) -> None:
    assert (await verified(ACCESS | {"aud": audience}, {"typ": "at+jwt"}) is not None) is accepted


@pytest.mark.parametrize(
    ("scope", "scopes"),
    [
        ("", set()),
        (" ", set()),
        (LEFT_OUT, set()),
        ([], set()),
        ("todos:read  todos:write ", {"todos:read", "todos:write"}),
        (["todos:read", "profile"], {"todos:read", "profile"}),
        ("TODOS:READ", {"TODOS:READ"}),
    ],
)
async def test_scopes_are_a_string_or_an_array(scope: Any, scopes: set[str]) -> None:
    identity = await verified(ACCESS | {"scope": scope}, {"typ": "at+jwt"})
    assert identity is not None
    assert identity.grant is not None
    assert identity.grant.scopes == scopes


async def test_user_of_an_access_token_is_its_subject() -> None:
    claims = ACCESS | {"id": "bob", "user": {"id": "bob"}}
    identity = await verified(claims, user_id_claims=["user.id", "id", "sub"])
    assert identity is not None
    assert identity.id == "alice"
    assert await verified(claims | {"sub": LEFT_OUT}) is None


@given(
    header=st.fixed_dictionaries({}, optional={"typ": st.sampled_from(["JWT", "at+jwt", "x", ""])}),
    claims=st.dictionaries(st.sampled_from(["client_id", "scope", "cnf", "azp", "nonce", "acr", "aud", "sub"]), VALUES),
)
async def test_session_token_with_claims_of_another_class_is_refused(
    header: dict[str, Any], claims: dict[str, Any]
) -> None:
    identity = await verified(SESSION | claims, header, better_auth_audience=[])
    if identity is not None and identity.grant is None:
        assert not {"client_id", "scope", "cnf"} & claims.keys()
        assert header.get("typ", "JWT") == "JWT"
        assert not any(claims.get(name) is not None for name in ("azp", "nonce", "acr"))


@pytest.mark.parametrize(
    "value", ["api.example.com", "ftp://x", f"{RESOURCE}?a", f"{RESOURCE}#a", "https://u@x/api", "x y"]
)
def test_resource_must_be_a_plain_url(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("RESOURCE", value)
    monkeypatch.setenv("BETTER_AUTH_ISSUER", ISSUER)
    with pytest.raises(ConfigurationError, match="RESOURCE is not a URL like"):
        Settings.load()


def test_resource_needs_an_issuer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESOURCE", RESOURCE)
    with pytest.raises(ConfigurationError, match="RESOURCE needs BETTER_AUTH_ISSUER"):
        Settings.load()
