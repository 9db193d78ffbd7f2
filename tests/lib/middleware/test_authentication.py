"""The auth wall: no valid token, no further; no path but one's own."""

import base64
import hashlib
import hmac
import json
import re
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import httpx
import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from litestar import Controller, Litestar, get

from app import domain
from app.lib.auth import tokens as auth
from app.lib.auth.guards import owns
from app.lib.auth.keys import Key, SharedSecrets
from app.lib.auth.tokens import MAX_CACHED_TOKENS, MAX_TOKEN_BYTES, Identity, TokenVerifier
from app.lib.errors import InvalidToken
from app.lib.http.routes import operations
from app.lib.setting_types import OPENABLE_PATHS
from app.lib.settings import Settings
from app.main import create_app
from tests.asgi import asgi_transport
from tests.lib.raw import ask, bearer
from tests.support import SECRET, Client, JsonObject, assert_problem, running, token_for

INVALID = "Invalid or expired token"
MISSING = "Missing authentication token"
FORBIDDEN = "Forbidden: not authorized to access this resource"
ME = "mallory"
CLAIMS = ["sub", "id", "exp", "nbf", "iat", "aud", "iss", "jti", "role", "email", "name"]


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def signed(payload: bytes, header: dict[str, Any] | None = None) -> str:
    """Sign any bytes as HS256 would, whatever the header says."""
    head = json.dumps({"alg": "HS256", "typ": "JWT"} | (header or {})).encode()
    text = f"{encoded(head)}.{encoded(payload)}"
    return f"{text}.{encoded(hmac.digest(SECRET.encode(), text.encode(), hashlib.sha256))}"


def claims(**changes: Any) -> bytes:
    """Give claims that hold but for the changes; NaN is written as JavaScript would."""
    return json.dumps({"sub": ME, "exp": int(time.time()) + 600} | changes).encode()


def unsigned(algorithm: str) -> str:
    return f"{encoded(json.dumps({'alg': algorithm}).encode())}.{encoded(claims())}."


BAD_TOKENS: dict[str, Callable[[], str]] = {
    "empty": lambda: "",
    "spaces": lambda: "   ",
    "a word": lambda: "token",
    "dots": lambda: "..",
    "two parts": lambda: token_for(ME).rpartition(".")[0],
    "four parts": lambda: f"{token_for(ME)}.x",
    "not base64": lambda: "a!.b!.c!",
    "junk inside": lambda: f"{token_for(ME)}!!!!",
    "padded": lambda: f"{token_for(ME)}=",
    "another token behind": lambda: f"{token_for(ME)} {token_for(ME)}",
    "two with a comma": lambda: f"{token_for(ME)}, {token_for(ME)}",
    "not UTF-8": lambda: f"\xff\xfe{token_for(ME)}",
    "NUL": lambda: f"{token_for(ME)}\x00",
    "truncated": lambda: token_for(ME)[:-1],
    "half": lambda: token_for(ME)[:60],
    "16 kB": lambda: token_for(ME, padding="x" * 12_000),
    "16 kB of dots": lambda: "." * 16_384,
    "expired": lambda: token_for(ME, exp=int(time.time()) - 60),
    "expired in 1970": lambda: token_for(ME, exp=0),
    "expired before that": lambda: token_for(ME, exp=-(10**30)),
    "not yet valid": lambda: token_for(ME, nbf=int(time.time()) + 60),
    "other secret": lambda: token_for(ME, secret="x" * 40),
    "empty secret's signature": lambda: signed(claims()).rpartition(".")[0] + "." + encoded(b"\0" * 32),
    "no signature": lambda: signed(claims()).rpartition(".")[0] + ".",
    "changed payload": lambda: _with_payload(token_for("victim")),
    "alg none": lambda: unsigned("none"),
    "alg None": lambda: unsigned("None"),
    "alg NONE": lambda: unsigned("NONE"),
    "alg nOnE": lambda: unsigned("nOnE"),
    "alg empty": lambda: unsigned(""),
    "alg none, well signed": lambda: signed(claims(), {"alg": "none"}),
    "alg hs256": lambda: signed(claims(), {"alg": "hs256"}),
    "alg a list": lambda: signed(claims(), {"alg": ["HS256"]}),
    "alg null": lambda: signed(claims(), {"alg": None}),
    "HS384": lambda: token_for(ME, secret=SECRET * 2, algorithm="HS384"),
    "HS512 by name": lambda: signed(claims(), {"alg": "HS512"}),
    "RS256 by name": lambda: signed(claims(), {"alg": "RS256"}),
    "crit": lambda: signed(claims(), {"crit": ["exp"]}),
    "crit empty": lambda: signed(claims(), {"crit": []}),
    "b64 false": lambda: signed(claims(), {"b64": False}),
    "kid a number": lambda: signed(claims(), {"kid": 1}),
    "claims a list": lambda: signed(b"[]"),
    "claims a string": lambda: signed(b'"sub"'),
    "claims not JSON": lambda: signed(b"{"),
    "claims not UTF-8": lambda: signed(b'{"sub": "\xff"}'),
    "claims nested deep": lambda: signed(b"[" * 5000),
    "exp missing": lambda: token_for(ME, exp=None),
    "exp null": lambda: signed(claims(exp=None)),
    "exp a string": lambda: signed(claims(exp=str(int(time.time()) + 600))),
    "exp true": lambda: signed(claims(exp=True)),
    "exp NaN": lambda: signed(claims(exp=float("nan"))),
    "exp Infinity": lambda: signed(claims(exp=float("inf"))),
    "exp 1e400": lambda: signed(claims()[:-1] + b', "exp": 1e400}'),
    "exp of 5000 digits": lambda: signed(claims()[:-1] + b', "exp": ' + b"9" * 5000 + b"}"),
    "exp a list": lambda: signed(claims(exp=[2**40])),
    "exp an object": lambda: signed(claims(exp={"at": 2**40})),
    "iat in the future": lambda: token_for(ME, iat=int(time.time()) + 600),
    "nbf a list": lambda: signed(claims(nbf=[])),
    "sub missing": lambda: token_for(None),
    "sub empty": lambda: token_for(""),
    "sub a number": lambda: token_for(1),
    "sub true": lambda: token_for(True),
    "sub a list": lambda: token_for([ME]),
    "sub an object": lambda: token_for({"id": ME}),
    "sub empty, id good": lambda: token_for("", id=ME),
    "sub a number, id good": lambda: token_for(1, id=ME),
    "id a number": lambda: token_for(None, id=1),
}


def _with_payload(token: str) -> str:
    header, _, signature = token.split(".")
    return f"{header}.{encoded(claims())}.{signature}"


def targets(app: Litestar, user_id: str = ME) -> list[tuple[str, str]]:
    """Every operation of the application, as of a user, and paths that it does not have."""
    known = [(item.method, filled(item.path, user_id)) for item in operations(app)]
    unknown = ["/", "/api", "/api/", "/nowhere", "/api/nowhere", f"/api/{user_id}", f"/api/{user_id}/nowhere"]
    return [*known, *(("GET", path) for path in unknown), *(("OPTIONS", path) for _, path in known)]


def filled(path: str, user_id: str) -> str:
    """Put a user, and things that do not exist, into the placeholders of a path."""
    return re.sub(r"\{(\w+)\}", lambda match: user_id if match[1] == "user_id" else str(uuid4()), path)


class TestWithoutToken:
    async def test_every_operation_without_token_is_401(self, app: Litestar, anonymous: httpx.AsyncClient) -> None:
        found = list(operations(app))
        assert len(found) > 8
        for method, path in targets(app):
            response = await anonymous.request(method, path)
            assert_problem(response, 401, MISSING)
            assert response.headers["www-authenticate"] == "Bearer"

    async def test_unknown_methods_without_token_are_401(self, anonymous: httpx.AsyncClient) -> None:
        for method in ("TRACE", "CONNECT", "PROPFIND", "get", "QUERY"):
            assert_problem(await anonymous.request(method, "/api/health"), 401, MISSING)

    async def test_body_is_not_read_without_token(self, anonymous: httpx.AsyncClient, alice: Client) -> None:
        response = await anonymous.post(alice.todos(), content=b"{" * 3_000_000)
        assert_problem(response, 401, MISSING)

    async def test_token_outside_the_header_is_ignored(self, anonymous: httpx.AsyncClient) -> None:
        token = token_for(ME)
        anonymous.cookies.set("better-auth.session_token", token)
        headers = {"X-Authorization": f"Bearer {token}", "Proxy-Authorization": f"Bearer {token}"}
        response = await anonymous.get(f"/api/{ME}/todos?access_token={token}", headers=headers)
        assert_problem(response, 401, MISSING)


class TestBadToken:
    @pytest.mark.parametrize("name", BAD_TOKENS)
    async def test_every_operation_with_bad_token_is_401(
        self, app: Litestar, anonymous: httpx.AsyncClient, name: str
    ) -> None:
        header = [(b"Authorization", b"Bearer " + BAD_TOKENS[name]().encode("latin-1"))]
        for method, path in targets(app):
            response = await anonymous.request(method, path, headers=header)
            assert_problem(response, 401, INVALID)
            assert response.headers["www-authenticate"] == 'Bearer error="invalid_token"'

    @pytest.mark.parametrize("scheme", ["Basic ", "Bearer", "Bearer:", "Bearer\t", "JWT ", "Token ", "", " "])
    async def test_other_authorization_schemes_are_401(self, app: Litestar, scheme: str) -> None:
        for method, path in targets(app):
            answer = await ask(app, path, ("Authorization", scheme + token_for(ME)), method=method)
            assert (answer.status, json.loads(answer.body)["detail"]) == (401, INVALID)

    async def test_two_authorization_headers_are_401(self, app: Litestar) -> None:
        for method, path in targets(app):
            for second in (bearer(ME), ("Authorization", "Basic bWU6bWU="), ("authorization", "")):
                assert (await ask(app, path, bearer(ME), second, method=method)).status == 401
                assert (await ask(app, path, second, bearer(ME), method=method)).status == 401

    async def test_response_401_repeats_nothing_of_the_token(self, anonymous: httpx.AsyncClient) -> None:
        token = token_for(ME, exp=1)
        response = await anonymous.get("/api/health", headers={"Authorization": f"Bearer {token}"})
        assert token[:20] not in str(response.headers) + response.text

    async def test_head_with_bad_token_is_401_without_body(self, anonymous: httpx.AsyncClient) -> None:
        response = await anonymous.head("/api/health", headers={"Authorization": "Bearer x"})
        assert (response.status_code, response.content) == (401, b"")
        assert response.headers["www-authenticate"] == 'Bearer error="invalid_token"'


class TestGoodToken:
    @pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "bEaReR"])
    async def test_bearer_scheme_is_case_insensitive(self, client_of: Any, scheme: str) -> None:
        client = client_of(ME, headers={"Authorization": f"{scheme} {token_for(ME)}"})
        assert (await client.get(client.todos())).status_code == 200

    @pytest.mark.parametrize(
        "extra",
        [
            {"user": {"id": "other", "nested": {"deep": [None, {"x": 1}]}}},
            {"email": None, "name": None, "image": None, "role": None, "emailVerified": False},
            {"email": {"not": "text"}, "name": ["a"], "image": 1, "role": {"admin": True}},
            {"name": "Zoë 🦄 名前", "email": "zoë@例え.jp", "role": "администратор"},
            {"name": "nul\x00", "email": "lone \ud800", "image": "\udfff"},
            {"name": "n" * 1000, "email": "e" * 1000, "image": "i" * 2500},
            {"typ": "JWT", "jti": "x", "iss": "anybody", "aud": "anything", "azp": None},
            {"aud": ["several", "audiences"], "iss": "https://auth.example.com"},
            {"__proto__": {}, "": "", "a.b": 1, "sub.id": "other", "banned": True},
            {"createdAt": "2026-01-01T00:00:00.000Z", "big": 10**300, "huge": 2**63},
        ],
    )
    async def test_additional_claims_are_ignored(self, client_of: Any, extra: dict[str, Any]) -> None:
        user_id = f"extra-{uuid4()}"
        client = client_of(user_id, headers={"Authorization": f"Bearer {token_for(user_id, **extra)}"})
        assert (await client.create())["user_id"] == user_id

    @pytest.mark.parametrize("header", [{"kid": "k1"}, {"x5u": "http://x"}])
    async def test_additional_header_members_are_ignored(self, client_of: Any, header: dict[str, Any]) -> None:
        client = client_of(ME, headers={"Authorization": f"Bearer {signed(claims(), header)}"})
        assert (await client.get(client.todos())).status_code == 200

    async def test_token_without_iat_is_accepted(self, client_of: Any) -> None:
        client = client_of(ME, headers={"Authorization": f"Bearer {token_for(ME, iat=None)}"})
        assert (await client.get(client.todos())).status_code == 200

    async def test_token_of_maximum_length_is_accepted(self, client_of: Any) -> None:
        token = token_for(ME, padding="x" * 5900)
        assert 7900 < len(token) <= MAX_TOKEN_BYTES
        client = client_of(ME, headers={"Authorization": f"Bearer {token}"})
        assert (await client.get(client.todos())).status_code == 200


class TestForeignPath:
    async def test_every_operation_on_another_users_path_is_403(
        self, app: Litestar, alice: Client, bob: Client
    ) -> None:
        mine = [(item.method, filled(item.path, alice.user_id)) for item in operations(app) if "{user_id}" in item.path]
        assert len(mine) > 6
        for method, path in [*mine, *(("HEAD", path) for _, path in mine), *(("OPTIONS", path) for _, path in mine)]:
            response = await bob.request(method, path)
            assert response.status_code == 403, (method, path)
            if method != "HEAD":
                assert_problem(response, 403, FORBIDDEN)

    async def test_another_users_path_is_403_before_404_and_405(self, alice: Client, bob: Client) -> None:
        for method, *parts in (
            ("GET", "nowhere"),
            ("GET", "todos", "not-a-uuid"),
            ("GET", "todos", uuid4(), "nowhere"),
            ("PUT", "todos"),
            ("DELETE", "todos"),
            ("GET", "todos", uuid4(), "toggle-complete"),
            ("TRACE", "todos"),
            ("BREW", "todos"),
        ):
            assert_problem(await bob.request(method, alice.path(*parts)), 403, FORBIDDEN)

    async def test_another_users_path_is_403_before_other_errors(self, alice: Client, bob: Client) -> None:
        huge = b'{"title": "' + b"x" * 2_000_000 + b'"}'
        for content, kind in ((b"x", "text/plain"), (b"{", "application/json"), (huge, "application/json")):
            response = await bob.post(f"{alice.todos()}?unknown=1", content=content, headers={"Content-Type": kind})
            assert_problem(response, 403, FORBIDDEN)

    async def test_user_ids_are_compared_byte_by_byte(self, app: Litestar) -> None:
        cases = [("alice", "Alice"), ("alice", "alic"), ("alice", "alice."), ("1", "01"), ("a", "a|"), ("a", "%61%20")]
        for mine, theirs in cases:
            assert (await ask(app, f"/api/{theirs}/todos", bearer(mine))).status == 403

    async def test_invalid_subject_owns_no_path(self, app: Litestar) -> None:
        for user_id in ("a b", "ä", "a%2Fb", "a\n", "a\x00", " ", "x" * 129, "a/b", "*", "a,b", "\ud800"):
            path = f"/api/{quote(user_id, safe='', errors='surrogatepass')}/todos"
            assert (await ask(app, path, bearer(user_id))).status in (403, 404)

    async def test_user_id_may_be_health(self, alice: Client, client_of: Callable[..., Client]) -> None:
        assert_problem(await alice.get("/api/health/nowhere"), 403)
        health = client_of("health")
        assert (await health.create())["user_id"] == "health"
        assert (await health.get("/api/health")).json()["status"] == "ok"
        assert_problem(await alice.get(alice.path("nowhere")), 404)


class TestUserId:
    @pytest.mark.parametrize(
        "user_id",
        [
            "1",
            "Zz09",
            "a.b",
            "a_b",
            "a~b",
            "a:b",
            "a@b.example",
            "auth0|123",
            "a-b",
            "7c9e6679-7425-40de-944b-e07fc1f90ae7",
            "x" * 128,
            "health",
        ],
    )
    async def test_every_allowed_user_id_character_works(self, app: Litestar, user_id: str) -> None:
        encoded_whole = "".join(f"%{byte:02X}" for byte in user_id.encode())
        for written in (user_id, quote(user_id, safe=""), encoded_whole, encoded_whole.lower()):
            answer = await ask(app, f"/api/{written}/todos", bearer(user_id))
            assert answer.status == 200, (written, answer.body)

    async def test_user_id_may_be_only_dots(self, app: Litestar) -> None:
        for user_id in (".", "..", "..."):
            assert (await ask(app, f"/api/{user_id}/todos", bearer("other"))).status in (401, 403, 404)

    async def test_path_is_decoded_once(self, app: Litestar) -> None:
        for written in ("%2561lice", "alice%257C1", "%25252e"):
            assert (await ask(app, f"/api/{written}/todos", bearer("alice"))).status == 403
        assert (await ask(app, "/api/auth0%257C1/todos", bearer("auth0|1"))).status == 403

    async def test_location_contains_the_encoded_user_id(self, app: Litestar) -> None:
        headers = (bearer("auth0|loc"), ("Content-Type", "application/json"))
        made = await ask(app, "/api/auth0%7Cloc/todos", *headers, method="POST", body=b'{"title": "x"}')
        assert made.status == 201
        assert (await ask(app, made.headers["location"], bearer("auth0|loc"))).status == 200

    @pytest.mark.parametrize(
        "path",
        [
            "//api/{}/todos",
            "/api//{}/todos",
            "/api/{}//todos",
            "/api/{}/todos/",
            "/api/{}/todos//",
            "/api/./{}/todos",
            "/api/x/../{}/todos",
            "/api/mallory/../{}/todos",
            "/api/mallory/%2e%2e/{}/todos",
            "/api/mallory%2F..%2F{}/todos",
            "/api/mallory%2F{}/todos",
            "/api%2F{}%2Ftodos",
            "/%2Fapi/{}/todos",
            "/api/{}%2Ftodos",
            "/api/{}/todos%2F",
            "/api/{}%00/todos",
            "/api/{}%20/todos",
            "/api/{};a=b/todos",
            "/api/{}%3Fx/todos",
            "/API/{}/todos",
            "/api\\{}\\todos",
            "api/{}/todos",
            "/api/mallory/todos/../../{}/todos",
        ],
    )
    async def test_path_tricks_reach_no_other_user(self, app: Litestar, alice: Client, path: str) -> None:
        todo = await alice.create(title="private")
        answer = await ask(app, path.format(alice.user_id), bearer(ME))
        assert answer.status in (403, 404), answer.body
        assert todo["id"].encode() not in answer.body
        assert (await ask(app, path.format(alice.user_id))).status == 401

    @given(path=st.text("/.%2eFmalicey|@api\x00 ", max_size=40))
    async def test_no_path_reaches_another_users_rows(self, app: Litestar, path: str) -> None:
        answer = await ask(app, f"/api{path}", bearer(ME))
        assert answer.status in (200, 403, 404, 405, 422)
        assert answer.status != 200 or path.split("/")[1] == ME

    @given(user_id=st.text(max_size=140))
    def test_path_owner_needs_a_valid_user_id(self, user_id: str) -> None:
        allowed = set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._~:@|-")
        assert owns(Identity(user_id), user_id) == (
            1 <= len(user_id) <= 128 and set(user_id) <= allowed and user_id not in (".", "..")
        )


def verifier(clock: Callable[[], float] = time.time, **options: Any) -> TokenVerifier:
    settings = Settings(environment="test", better_auth_secret=SECRET, **options)
    return TokenVerifier(SharedSecrets(*settings.secrets), settings, clock)


async def refused(verify: TokenVerifier, token: str) -> bool:
    try:
        await verify.verify(token.encode())
    except InvalidToken:
        return True
    return False


class CountingKeys:
    """Counts how often a signature had to be checked."""

    def __init__(self) -> None:
        self.asked = 0

    async def keys_for(self, header: Any) -> list[Key]:  # noqa: ARG002 - one key for all tokens
        self.asked += 1
        return [Key(("HS256",), SECRET.encode())]


class TestDates:
    @pytest.mark.parametrize("name", ["iat", "nbf", "exp"])
    @pytest.mark.parametrize("value", ["1700000000", True, [1], {}, "soon", "", float("nan")])
    async def test_token_dates_must_be_numbers(self, name: str, value: Any) -> None:
        assert await refused(verifier(), token_for(ME, **{name: value}))

    async def test_iat_in_the_future_is_refused_beyond_the_leeway(self) -> None:
        now = int(time.time())
        assert not await refused(verifier(), token_for(ME, iat=now + 5))
        assert await refused(verifier(), token_for(ME, iat=now + 60, exp=now + 600))

    async def test_iat_may_be_missing_or_fractional(self) -> None:
        assert not await refused(verifier(), token_for(ME, iat=None))
        assert not await refused(verifier(), token_for(ME, iat=time.time() - 0.5))


@pytest.mark.parametrize("user_id", [".", ".."])
async def test_dot_segments_are_not_resolved_to_a_user(app: Litestar, user_id: str) -> None:
    headers = {"Authorization": f"Bearer {token_for(user_id)}"}
    transport = asgi_transport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://testserver", headers=headers) as client:
        answer = await client.get(f"/api/{user_id.replace('.', '%2E')}/todos")
    assert_problem(answer, 403)


class TestTime:
    async def test_leeway_applies_to_exp_and_nbf(self) -> None:
        now = int(time.time())
        assert not await refused(verifier(), token_for(ME, exp=now - 5))
        assert await refused(verifier(), token_for(ME, exp=now - 12))
        assert not await refused(verifier(), token_for(ME, nbf=now + 5))
        assert await refused(verifier(), token_for(ME, nbf=now + 30))

    async def test_leeway_may_be_zero(self) -> None:
        now = int(time.time())
        assert await refused(verifier(jwt_leeway=0), token_for(ME, exp=now - 1))
        assert not await refused(verifier(jwt_leeway=300), token_for(ME, exp=now - 200))

    async def test_fractional_exp_is_accepted(self) -> None:
        assert not await refused(verifier(), token_for(ME, exp=time.time() + 60.5))

    async def test_exp_in_the_far_future_is_accepted(self) -> None:
        for exp in (10**15, 10**400, 1e300):
            assert not await refused(verifier(), token_for(ME, exp=exp))


class TestCache:
    @staticmethod
    def counting(clock: Callable[[], float] = time.time) -> tuple[TokenVerifier, CountingKeys]:
        keys = CountingKeys()
        return TokenVerifier(keys, Settings(environment="test", better_auth_secret=SECRET), clock), keys

    async def test_verified_token_is_cached(self) -> None:
        verify, keys = self.counting()
        token = token_for(ME).encode()
        assert await verify.verify(token) == await verify.verify(token)
        assert keys.asked == 1

    async def test_cached_token_is_refused_after_exp(self) -> None:
        now = time.time()
        verify, keys = self.counting(lambda: now)
        token = token_for(ME, exp=int(now) + 60).encode()
        await verify.verify(token)
        for later, asked in ((59, 1), (60, 2), (61, 3)):
            now = int(time.time()) + later
            await verify.verify(token)
            assert keys.asked == asked

    async def test_expired_token_is_refused_though_cached(self) -> None:
        verify, _ = self.counting()
        token = token_for(ME, exp=int(time.time()) - 8).encode()  # in the leeway
        await verify.verify(token)
        verify._leeway = 0
        with pytest.raises(InvalidToken):
            await verify.verify(token)

    async def test_failed_verification_is_not_cached(self) -> None:
        verify, keys = self.counting()
        for _ in range(3):
            assert await refused(verify, token_for(ME, secret="y" * 40))
        assert (keys.asked, len(verify._verified)) == (3, 0)

    async def test_token_cache_is_bounded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(auth, "MAX_CACHED_TOKENS", 3)
        verify, keys = self.counting()
        tokens = [token_for(f"user-{number}").encode() for number in range(5)]
        for token in tokens:
            await verify.verify(token)
        assert len(verify._verified) == 3
        await verify.verify(tokens[-1])
        assert keys.asked == 5
        assert (await verify.verify(tokens[0])).id == "user-0"
        assert len(verify._verified) == 3

    async def test_verifying_a_cached_token_evicts_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(auth, "MAX_CACHED_TOKENS", 2)
        now = time.time()
        verify, _ = self.counting(lambda: now)
        short, long = token_for("a", exp=int(now) + 5).encode(), token_for("b").encode()
        await verify.verify(short)
        await verify.verify(long)
        now += 6
        await verify.verify(short)
        assert len(verify._verified) == 2

    async def test_token_cache_stores_no_token(self) -> None:
        verify, _ = self.counting()
        token = token_for(ME).encode()
        await verify.verify(token)
        assert token not in verify._verified
        assert all(len(digest) == 32 for digest in verify._verified)

    async def test_token_cache_never_mixes_users(self) -> None:
        verify, _ = self.counting()
        tokens = {f"user-{number}": token_for(f"user-{number}").encode() for number in range(50)}
        for _ in range(2):
            for user_id, token in tokens.items():
                assert (await verify.verify(token)).id == user_id

    def test_token_cache_is_large_enough(self) -> None:
        assert MAX_CACHED_TOKENS >= 10_000


class TestIssuerAndAudience:
    async def test_issuer_and_audience_are_not_checked_unless_configured(self) -> None:
        extras: list[JsonObject] = [{"iss": "x"}, {"aud": "x"}, {"aud": ["x", "y"]}, {"aud": []}]
        for extra in extras:
            assert not await refused(verifier(), signed(claims(**extra)))

    async def test_configured_issuer_must_match(self) -> None:
        strict = verifier(better_auth_issuer="https://auth.example.com")
        assert not await refused(strict, token_for(ME, iss="https://auth.example.com"))
        wrong = ("https://auth.example.com/", "https://AUTH.example.com", "", 1, ["https://auth.example.com"], None)
        for issuer in wrong:
            assert await refused(strict, signed(claims(iss=issuer)))

    async def test_one_configured_audience_must_match(self) -> None:
        strict = verifier(better_auth_audience=["web", "mobile"])
        good: list[object] = ["web", "mobile", ["other", "web"], ["web", "mobile"]]
        for audience in good:
            assert not await refused(strict, signed(claims(aud=audience)))
        wrong: list[object] = ["other", ["other"], [], "", "we", [["web"]], 1, {"web": 1}, ["web", 1], None]
        for audience in wrong:
            assert await refused(strict, signed(claims(aud=audience)))


class TestUserClaim:
    @pytest.mark.parametrize(
        ("names", "extra", "user_id"),
        [
            (["sub", "id"], {"sub": "a", "id": "b"}, "a"),
            (["sub", "id"], {"sub": None, "id": "b"}, "b"),
            (["id", "sub"], {"sub": "a", "id": "b"}, "b"),
            (["user.id"], {"sub": "a", "user": {"id": "c"}}, "c"),
            (["user.id"], {"user.id": "d", "user": {"id": "c"}}, "d"),
            (["user.id", "sub"], {"sub": "a", "user": None}, "a"),
            (["user.id", "sub"], {"sub": "a", "user": "c"}, "a"),
            (["a.b.c"], {"a": {"b": {"c": "deep"}}}, "deep"),
        ],
    )
    async def test_user_claim_is_found(self, names: list[str], extra: dict[str, Any], user_id: str) -> None:
        token = token_for(extra.get("sub"), **extra).encode()
        assert (await verifier(user_id_claims=names).verify(token)).id == user_id

    @pytest.mark.parametrize("user", [None, "text", [], {"id": ""}, {"id": 5}, {"id": None}, {"id": {"id": "x"}}])
    async def test_user_claim_must_be_text(self, user: Any) -> None:
        assert await refused(verifier(user_id_claims=["user.id"]), token_for("a", user=user))

    async def test_null_user_claim_counts_as_missing(self) -> None:
        payload = claims(sub=None, id="b")
        assert (await verifier().verify(signed(payload).encode())).id == "b"

    async def test_role_claim_may_be_nested(self) -> None:
        identity = await verifier(role_claim="user.role").verify(token_for(ME, user={"role": "admin"}).encode())
        assert identity.roles == {"admin"}

    @pytest.mark.parametrize(
        ("claim", "roles"),
        [
            ("admin", {"admin"}),
            ("admin,user", {"admin", "user"}),
            (" user , admin ", {"admin", "user"}),
            (["user", "admin"], {"admin", "user"}),
            (["admin,user", 5, None, ["x"]], {"admin", "user"}),
            ("administrator", {"administrator"}),
            ("Admin", {"Admin"}),
            (None, set()),
            (5, set()),
            (True, set()),
            ({"admin": True}, set()),
        ],
    )
    async def test_role_claim_may_have_several_roles(self, claim: Any, roles: set[str]) -> None:
        assert (await verifier().verify(token_for(ME, role=claim).encode())).roles == roles

    @given(token=st.binary(max_size=200) | st.from_regex(rb"[\w-]{1,40}\.[\w-]{1,40}\.[\w-]{0,40}", fullmatch=True))
    async def test_arbitrary_bytes_are_no_token(self, token: bytes) -> None:
        with pytest.raises(InvalidToken):
            await verifier().verify(token)

    json_values = st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=5,
    )

    @given(
        payload=st.dictionaries(st.sampled_from(CLAIMS), json_values),
        header=st.dictionaries(st.sampled_from(["alg", "typ", "kid", "crit", "b64"]), json_values),
    )
    async def test_arbitrary_signed_claims_are_an_identity_or_refused(
        self, payload: dict[str, Any], header: dict[str, Any]
    ) -> None:
        token = signed(json.dumps(payload).encode(), header).encode()
        try:
            identity = await verifier().verify(token)
        except InvalidToken:
            return
        assert identity.id
        assert payload["exp"] > time.time() - 20


class TestOpenPaths:
    async def test_only_configured_open_paths_need_no_token(self, settings: Settings) -> None:
        for opened in OPENABLE_PATHS:
            app = create_app(settings.model_copy(update={"open_paths": [opened]}))
            async with running(app):
                for method, path in targets(app):
                    expected = 401 if path != opened else (204 if method == "OPTIONS" else 200)
                    assert (await ask(app, path, method=method)).status == expected, path
                assert (await ask(app, opened, method="HEAD")).status == 200
                assert (await ask(app, opened, method="DELETE")).status == 405

    async def test_paths_near_open_paths_need_a_token(self, settings: Settings) -> None:
        app = create_app(settings.model_copy(update={"open_paths": list(OPENABLE_PATHS)}))
        near = ["/api/health/", "/api/health//", "//api/health", "/api/healthy", "/api/health/todos", "/API/health"]
        async with running(app):
            for path in [*near, "/api/x/health", "/api/schema/", "/api/schema/x", "/api/health%00", "/api/health;x"]:
                assert (await ask(app, path)).status == 401, path

    async def test_open_path_ignores_a_bad_token(self, settings: Settings) -> None:
        app = create_app(settings.model_copy(update={"open_paths": ["/api/health"]}))
        async with running(app):
            assert (await ask(app, "/api/health", ("Authorization", "Bearer x"))).status == 200


class TestCreateApp:
    @pytest.mark.parametrize("path", ["/{user_id:str}/notes", "/shared/{user_id:str}"])
    def test_create_app_refuses_an_unguarded_controller(
        self, settings: Settings, monkeypatch: pytest.MonkeyPatch, path: str
    ) -> None:
        class Unguarded(Controller):
            tags = ["notes"]

            @get(path)
            async def list_notes(self) -> None: ...

        monkeypatch.setattr(domain, "CONTROLLERS", (*domain.CONTROLLERS, Unguarded))
        with pytest.raises(RuntimeError, match="Not guarded by requires_owner: GET"):
            create_app(settings)

    async def test_no_token_is_accepted_without_a_secret(self) -> None:
        app = create_app(Settings(environment="test", database_url="postgresql://localhost/x"))
        text = signed(claims()).rpartition(".")[0]
        token = f"{text}.{encoded(hmac.digest(b'', text.encode(), hashlib.sha256))}"
        async with running(app):
            assert (await ask(app, "/api/schema", ("Authorization", f"Bearer {token}"))).status == 401


async def test_handmade_tokens_equal_those_of_pyjwt() -> None:
    """The bad tokens above are refused for the reason that their name says: the same maker's good one holds."""
    assert jwt.decode(signed(claims()), SECRET, ["HS256"])["sub"] == ME
    assert not await refused(verifier(), signed(claims()))
