"""1. Authentication and authorization: tokens."""

import json
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from .api import Api, User, body, problem, section
from .tokens import Tokens, encoded, signed

pytestmark = pytest.mark.core
says = section("1. Authentication and authorization")

MISSING = "Missing authentication token"
INVALID = "Invalid or expired token"
type Asking = Callable[..., httpx.Response]


@pytest.fixture
def ask(api: Api, alice: User) -> Asking:
    """Give a function that asks for Alice's todos with an Authorization header, or none."""

    def send(authorization: str | None = None, **options: Any) -> httpx.Response:
        headers = options.pop("headers", {}) | ({"Authorization": authorization} if authorization else {})
        return api.http.get(options.pop("path", alice.at("/todos")), headers=headers, **options)

    return send


def refused(response: httpx.Response) -> None:
    """Assert that credentials were sent and are refused, with no word about why."""
    assert problem(response, 401, INVALID)
    assert 'error="invalid_token"' in response.headers["www-authenticate"]


@says("RFC 6750: no error code when no credentials were sent")
@says("There are only two details: Missing authentication token, and Invalid or expired token for every other cause")
@pytest.mark.contract("2. Errors", "401; 403; 404; 405")
def test_request_without_token_is_401(ask: Asking) -> None:
    response = ask()
    problem(response, 401, MISSING)
    assert "error" not in response.headers["www-authenticate"]


@says("Authorization: Bearer <jwt>")
def test_token_outside_the_header_is_ignored(ask: Asking, alice: User) -> None:
    for name in ("token", "access_token", "authorization"):
        problem(ask(params={name: alice.token}), 401, MISSING)
        problem(ask(headers={"Cookie": f"{name}={alice.token}"}), 401, MISSING)
    problem(ask(headers={"X-Authorization": f"Bearer {alice.token}"}), 401, MISSING)


@says("the scheme is case-insensitive")
@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "bEaReR"])
def test_bearer_scheme_is_case_insensitive(ask: Asking, alice: User, scheme: str) -> None:
    body(ask(f"{scheme} {alice.token}"))


@says("a token that is missing, malformed")
@pytest.mark.parametrize("scheme", ["Basic", "Token", "JWT", "Digest", "Bearer:", "BearerBearer"])
def test_other_authorization_schemes_are_refused(ask: Asking, alice: User, scheme: str) -> None:
    refused(ask(f"{scheme} {alice.token}"))


@says("a token that is missing, malformed")
@pytest.mark.parametrize(
    "token",
    [
        "nonsense",
        ".",
        "..",
        "...",
        "a.b",
        "a.b.c",
        "a.b.c.d.e",
        "e30.e30.e30",
        "null",
        "Bearer",
        "{}",
        "😀".encode().hex(),
    ],
)
def test_malformed_jwt_is_refused(ask: Asking, token: str) -> None:
    refused(ask(f"Bearer {token}"))


@says("a token that is missing, malformed")
def test_modified_token_is_refused(ask: Asking, alice: User) -> None:
    header, claims, signature = alice.token.split(".")
    for part in (f"{header}.{claims}", f"{header}.{claims}.", f"{alice.token}.{signature}"):
        refused(ask(f"Bearer {part}"))
    for position in (0, len(signature) // 2):
        other = "A" if signature[position] != "A" else "B"
        changed = signature[:position] + other + signature[position + 1 :]
        refused(ask(f"Bearer {header}.{claims}.{changed}"))
    stolen = encoded(json.dumps({"sub": alice.id, "exp": 2**33}).encode())
    refused(ask(f"Bearer {header}.{stolen}.{signature}"))


@says("wrongly signed")
def test_token_of_another_secret_is_refused(api: Api, ask: Asking, alice: User) -> None:
    for secret in ("another-secret-of-32-bytes-or-more", "", " "):
        refused(ask(f"Bearer {signed(api.tokens.claims(alice.id), secret)}"))


@says("wrongly signed, of a wrong alg")
@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "nOnE", "", None, "HS257", 256, ["HS256"]])
def test_unsigned_token_is_refused(api: Api, ask: Asking, alice: User, algorithm: object) -> None:
    header, claims, signature = api.tokens.sign(api.tokens.claims(alice.id), {"alg": algorithm}).split(".")
    refused(ask(f"Bearer {header}.{claims}.{signature}"))
    refused(ask(f"Bearer {header}.{claims}."))


@says("The algorithm comes from the key's configuration, never from the token")
@pytest.mark.parametrize("hashed", ["HS384", "HS512"])
def test_other_hmac_algorithms_are_refused(api: Api, ask: Asking, alice: User, hashed: str) -> None:
    refused(ask(f"Bearer {api.tokens.sign(api.tokens.claims(alice.id), {'alg': hashed}, hashed)}"))


@says("The algorithm comes from the key's configuration, never from the token")
@pytest.mark.parametrize("algorithm", ["RS256", "PS256", "ES256", "ES512", "EdDSA", "HS384", "HS512"])
def test_claimed_algorithm_is_not_trusted(api: Api, ask: Asking, alice: User, algorithm: str) -> None:
    refused(ask(f"Bearer {api.tokens.sign(api.tokens.claims(alice.id), {'alg': algorithm})}"))


@says("Algorithms: HS256 with BETTER_AUTH_SECRET (its UTF-8 bytes)")
@says("typ, nbf, jti, kid are not required")
def test_token_of_the_shared_secret_is_accepted(api: Api, ask: Asking, alice: User) -> None:
    body(ask(f"Bearer {api.tokens.sign(api.tokens.claims(alice.id, iat=None), {'alg': 'HS256'})}"))
    body(ask(f"Bearer {api.tokens.sign(api.tokens.claims(alice.id), {'alg': 'HS256', 'typ': 'JWT', 'kid': '1'})}"))


@says("expired, not yet valid")
def test_token_times_are_checked(api: Api, ask: Asking, alice: User) -> None:
    now = int(time.time())
    for claims in ({"exp": now - 30}, {"exp": 0}, {"exp": -1}, {"nbf": now + 60}, {"nbf": now + 60, "iat": now + 60}):
        refused(ask(f"Bearer {api.tokens.sign(api.tokens.claims(alice.id, **claims))}"))


@says("the clock leeway is 10 s")
def test_clock_skew_is_tolerated(api: Api, ask: Asking, alice: User) -> None:
    now = int(time.time())
    for claims in ({"exp": now - 3}, {"nbf": now + 8}):
        body(ask(f"Bearer {api.tokens.sign(api.tokens.claims(alice.id, **claims))}"))


@says("exp is required")
@pytest.mark.parametrize("exp", [None, "never", "33000000000", True, [], {}, float("nan"), float("inf")])
def test_token_without_exp_is_refused(api: Api, ask: Asking, alice: User, exp: object) -> None:
    refused(ask(f"Bearer {api.tokens.sign(api.tokens.claims(alice.id, exp=exp))}"))


@says("or without sub/exp")
@pytest.mark.parametrize("sub", [None, "", 1, True, [], ["alice"], {}, {"id": "alice"}])
def test_token_without_subject_is_refused(api: Api, ask: Asking, sub: object) -> None:
    refused(ask(f"Bearer {api.tokens.sign(api.tokens.claims(sub))}"))


@says("a token that is missing, malformed")
@pytest.mark.parametrize("claims", [[], "alice", 1, None, [{"sub": "alice"}]])
def test_claims_must_be_an_object(api: Api, ask: Asking, claims: object) -> None:
    refused(ask(f"Bearer {api.tokens.sign(claims)}"))


@says("The user is the claim sub, or id without a sub")
def test_user_id_is_read_from_the_subject(api: Api, ask: Asking, alice: User) -> None:
    body(ask(f"Bearer {api.tokens.sign(api.tokens.claims(None, id=alice.id))}"))
    body(ask(f"Bearer {api.tokens.sign(api.tokens.claims(alice.id, id='another'))}"))
    problem(ask(f"Bearer {api.tokens.sign(api.tokens.claims('another', id=alice.id))}"), 403)


@pytest.fixture
def demanding(api: Api) -> Tokens:
    """Give the tokens of a server that demands an issuer and an audience."""
    if not (api.tokens.secret and api.tokens.issuer and api.tokens.audience):
        pytest.skip("needs --secret, --issuer and --audience")
    return api.tokens


@says("iss and aud (string or list) are checked when configured")
@pytest.mark.parametrize("claim", ["iss", "aud"])
def test_other_issuer_or_audience_is_refused(demanding: Tokens, ask: Asking, alice: User, claim: str) -> None:
    right = demanding.claims(alice.id)[claim]
    for wrong in (
        None,
        "",
        "https://evil.example.com",
        f"{right}/",
        right.upper(),
        [],
        ["https://evil.example.com"],
        1,
    ):
        refused(ask(f"Bearer {demanding.sign(demanding.claims(alice.id, **{claim: wrong}))}"))


@says("iss and aud (string or list) are checked when configured")
def test_one_of_several_audiences_is_enough(demanding: Tokens, ask: Asking, alice: User) -> None:
    for audiences in ([demanding.audience], ["https://other.example.com", demanding.audience]):
        body(ask(f"Bearer {demanding.sign(demanding.claims(alice.id, aud=audiences))}"))


@says("other claims, also nested, null or non-ASCII ones, are ignored")
def test_token_with_the_whole_user_row_is_accepted(api: Api, ask: Asking, alice: User) -> None:
    row = {
        "email": "älice@example.com",
        "emailVerified": False,
        "image": None,
        "name": "Ålice 😀 O'Neill \u0000",
        "createdAt": "2026-01-01T00:00:00.000Z",
        "nested": {"a": [None, {"b": 1e300}]},
        "role": ["x"],
    }
    token = api.tokens.sign(api.tokens.claims(alice.id) | row)
    assert body(ask(f"Bearer {token}"))["items"] == []
