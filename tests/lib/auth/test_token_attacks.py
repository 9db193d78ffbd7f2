"""What attackers do to tokens: foreign keys in the header, strange key ids and subjects, and changes to good ones."""

import json
import time
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st
from jwt.algorithms import ECAlgorithm, RSAAlgorithm
from litestar import Litestar
from sqlalchemy import event

from app.lib.auth.keys import KeyRing, SharedSecrets
from app.lib.auth.tokens import TokenVerifier
from app.lib.errors import InvalidToken
from app.lib.settings import Settings
from tests.lib.auth.test_jwks import PRIVATE, Server, key_set, published
from tests.lib.auth.test_jwks import signed as signed_by
from tests.lib.middleware.test_authentication import BAD_TOKENS, claims, encoded, signed
from tests.lib.raw import ask
from tests.support import SECRET, Client, token_for

ATTACKER = rsa.generate_private_key(65537, 2048)
ATTACKERS_JWK = json.loads(RSAAlgorithm.to_jwk(ATTACKER.public_key())) | {"alg": "RS256", "kid": "one"}
URL = "https://attacker.example/jwks"

# Signed by the attacker, who says in the header where to find the key.
OWN_KEY_IN_HEADER: dict[str, dict[str, Any]] = {
    "jwk": {"jwk": ATTACKERS_JWK},
    "jku": {"jku": URL},
    "x5u": {"x5u": URL},
    "x5c": {"x5c": [encoded(b"certificate")]},
    "x5t": {"x5t": encoded(b"thumbprint")},
    "jwk, with the kid of a good one": {"jwk": ATTACKERS_JWK, "kid": "one"},
}
KEY_IDS: dict[str, Any] = {
    "unknown": "two",
    "a path": "../../../../dev/null",
    "an absolute path": "/etc/passwd",
    "SQL": "one' UNION SELECT 'secret' --",
    "a command": "|/usr/bin/id",
    "a URL": URL,
    "10 kB": "k" * 10_000,
    "NUL": "one\x00",
    "empty": "",
    "with spaces": " one ",
    "in capitals": "ONE",
}
NO_STRINGS: dict[str, Any] = {"a number": 1, "a list": ["one"], "an object": {"kid": "one"}, "true": True}
SUBJECTS = ["   ", " mallory", "mallory ", "mal\x00lory", "mallory\n", "ｍallory", "mаllory", "MALLORY", "mallor\u0443"]  # noqa: RUF001 - look-alikes are meant


def verifier() -> TokenVerifier:
    """Both kinds of keys at once, as a deployment may have them."""
    ring = KeyRing(
        SharedSecrets(SECRET.encode()), Server(key_set(published("RS256"), published("ES256", "two"))).keys()
    )
    return TokenVerifier(ring, Settings(_env_file=None))


class TestHeader:
    @pytest.mark.parametrize("name", OWN_KEY_IN_HEADER)
    async def test_key_inside_the_token_is_ignored(self, name: str) -> None:
        payload = {"sub": "mallory", "exp": int(time.time()) + 600}
        token = jwt.encode(payload, ATTACKER, "RS256", headers=OWN_KEY_IN_HEADER[name])
        with pytest.raises(InvalidToken):
            await verifier().verify(token.encode())

    async def test_key_inside_a_valid_token_is_ignored(self) -> None:
        token = signed(claims(), {"jku": URL, "x5u": URL, "jwk": ATTACKERS_JWK})
        assert (await verifier().verify(token.encode())).id == "mallory"

    async def test_compressed_token_is_refused(self) -> None:
        token = signed(b"\x78\x9c\x03\x00\x00\x00\x00\x01", {"zip": "DEF"})
        with pytest.raises(InvalidToken):
            await verifier().verify(token.encode())

    @pytest.mark.parametrize("name", [name for name in KEY_IDS if name != "unknown"])
    async def test_hostile_key_ids_are_refused(self, name: str) -> None:
        with pytest.raises(InvalidToken):
            await verifier().verify(signed_by("RS256", KEY_IDS[name] or "\x01"))

    @pytest.mark.parametrize("name", NO_STRINGS)
    async def test_key_id_must_be_a_string(self, name: str) -> None:
        with pytest.raises(InvalidToken):
            await verifier().verify(signed(claims(), {"kid": NO_STRINGS[name]}).encode())

    async def test_key_of_another_id_is_refused(self) -> None:
        with pytest.raises(InvalidToken):
            await verifier().verify(signed_by("RS256", "two"))

    async def test_zero_ecdsa_signature_is_refused(self) -> None:
        """CVE-2022-21449: r and s of zero verified everything."""
        head, payload, _ = signed_by("ES256", "two").decode().split(".")
        with pytest.raises(InvalidToken):
            await verifier().verify(f"{head}.{payload}.{encoded(bytes(64))}".encode())

    async def test_key_on_another_curve_is_refused(self) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        jwk = json.loads(ECAlgorithm.to_jwk(key.public_key()))
        token = jwt.encode(json.loads(claims()), key, "ES256", headers={"kid": "two", "jwk": jwk})
        with pytest.raises(InvalidToken):
            await verifier().verify(token.encode())


class TestAlgorithm:
    """The algorithm is the key's, though the token says another, and is well signed with it."""

    @pytest.mark.parametrize("algorithm", ["HS384", "HS512"])
    async def test_secret_verifies_only_hs256(self, algorithm: str) -> None:
        payload = json.loads(claims())
        long = TokenVerifier(SharedSecrets(SECRET.encode() * 2), Settings(_env_file=None))
        assert (await long.verify(jwt.encode(payload, SECRET * 2, "HS256").encode())).id == "mallory"
        with pytest.raises(InvalidToken):
            await long.verify(jwt.encode(payload, SECRET * 2, algorithm).encode())

    @pytest.mark.parametrize("algorithm", ["RS384", "RS512", "PS256", "PS512"])
    async def test_rsa_key_verifies_only_its_algorithm(self, algorithm: str) -> None:
        payload = json.loads(claims())
        assert (await verifier().verify(jwt.encode(payload, PRIVATE["RS256"], "RS256", {"kid": "one"}).encode())).id
        with pytest.raises(InvalidToken):
            await verifier().verify(jwt.encode(payload, PRIVATE["RS256"], algorithm, {"kid": "one"}).encode())


class TestSubject:
    @pytest.mark.parametrize("subject", SUBJECTS)
    async def test_look_alike_subject_is_another_user(self, app: Litestar, subject: str) -> None:
        token = token_for(subject)
        answer = await ask(app, "/api/mallory/todos", ("Authorization", f"Bearer {token}"))
        assert answer.status in (401, 403)

    async def test_duplicate_claims_are_read_consistently(self, app: Litestar) -> None:
        token = signed(b'{"sub": "mallory", "exp": 99999999999, "sub": "alice"}')
        header = ("Authorization", f"Bearer {token}")
        assert (await ask(app, "/api/mallory/todos", header)).status == 403
        assert (await ask(app, "/api/alice/todos", header)).status == 200


class TestChanges:
    @given(data=st.data())
    async def test_modified_token_is_refused(self, data: st.DataObject) -> None:
        token = data.draw(st.sampled_from([GOOD, GOOD_RS256, GOOD_ES256]))
        change = data.draw(st.sampled_from(CHANGES))
        changed = change(token, data)
        if changed == token:
            return
        with pytest.raises(InvalidToken):
            await verifier().verify(changed)


def _replace(token: bytes, data: st.DataObject) -> bytes:
    at = data.draw(st.integers(0, len(token) - 1))
    return token[:at] + bytes([data.draw(st.integers(0, 255))]) + token[at + 1 :]


def _insert(token: bytes, data: st.DataObject) -> bytes:
    at = data.draw(st.integers(0, len(token)))
    return token[:at] + data.draw(st.binary(min_size=1, max_size=5)) + token[at:]


def _drop(token: bytes, data: st.DataObject) -> bytes:
    at = data.draw(st.integers(0, len(token) - 1))
    return token[:at] + token[at + data.draw(st.integers(1, 20)) :]


def _swap_parts(token: bytes, data: st.DataObject) -> bytes:
    return b".".join(data.draw(st.permutations(token.split(b"."))))


def _mix(token: bytes, data: st.DataObject) -> bytes:
    other = data.draw(st.sampled_from([GOOD, GOOD_RS256, GOOD_ES256])).split(b".")
    parts = [data.draw(st.sampled_from(pair)) for pair in zip(token.split(b"."), other, strict=True)]
    mixed = b".".join(parts)
    return token if mixed == b".".join(other) else mixed


CHANGES: list[Callable[[bytes, st.DataObject], bytes]] = [_replace, _insert, _drop, _swap_parts, _mix]
GOOD = token_for("mallory").encode()
GOOD_RS256 = signed_by("RS256")
GOOD_ES256 = signed_by("ES256", "two")


async def test_refused_token_uses_no_connection(app: Litestar, alice: Client) -> None:
    """Whoever has no token cannot use up the pool."""
    taken: list[object] = []
    pool = app.state.database.engine.pool
    listen: Callable[..., None] = lambda *arguments: taken.append(arguments)  # noqa: E731
    event.listen(pool, "checkout", listen)
    try:
        assert (await ask(app, alice.todos())).status == 401
        for make in BAD_TOKENS.values():
            assert (await ask(app, alice.todos(), ("Authorization", f"Bearer {make()}"))).status == 401
    finally:
        event.remove(pool, "checkout", listen)
    assert taken == []
