"""Published keys: which are taken, and when they are fetched."""

import asyncio
import hmac
import json
import time
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from app.lib.auth import key_set_loading, published_keys
from app.lib.auth.jwks import parse_key_set
from app.lib.auth.key_set_loading import Document, from_file, from_url
from app.lib.auth.keys import KeyRing, SharedSecrets
from app.lib.auth.published_keys import PublishedKeys
from app.lib.auth.tokens import TokenVerifier
from app.lib.errors import InvalidToken, Unavailable
from app.lib.settings import Settings
from tests.live import until
from tests.support import SECRET, JsonObject

type PrivateKey = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

PRIVATE: dict[str, PrivateKey] = {
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "ES512": ec.generate_private_key(ec.SECP521R1()),
    "RS256": rsa.generate_private_key(65537, 2048),
}
PRIVATE["PS256"] = PRIVATE["RS256"]


def public_jwk(key: PrivateKey) -> JsonObject:
    match key:
        case ed25519.Ed25519PrivateKey():
            jwk = OKPAlgorithm.to_jwk(key.public_key(), as_dict=True)
        case ec.EllipticCurvePrivateKey():
            jwk = ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
        case _:
            jwk = RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
    return jwk


def published(algorithm: str, kid: object = "one", **members: object) -> JsonObject:
    """Give the public JWK of a key, as Better Auth would publish it; a member given as None is left out."""
    key = public_jwk(PRIVATE[algorithm])
    given = {name: value for name, value in key.items() if name != "key_ops"} | {"alg": algorithm, "kid": kid} | members
    return {name: value for name, value in given.items() if value is not None}


def key_set(*keys: Any) -> bytes:
    return json.dumps({"keys": keys}).encode()


def signed(algorithm: str, kid: str | None = "one", *, header_alg: str | None = None, **claims: Any) -> bytes:
    headers = {"kid": kid} if kid else {}
    payload = {"sub": "someone", "exp": int(time.time()) + 600} | claims
    return jwt.encode(payload, PRIVATE[algorithm], header_alg or algorithm, headers=headers).encode()


async def idle() -> None:
    """Let what runs in the background come to its end."""
    for _ in range(10):
        await asyncio.sleep(0)


class Server:
    """What would be fetched: a document, or a failure, counted."""

    def __init__(self, document: bytes | Exception, fresh_seconds: float = 300) -> None:
        self.document, self.fresh_seconds, self.fetches, self.now = document, fresh_seconds, 0, 0.0
        self.silent: asyncio.Event | None = None

    async def load(self) -> Document:
        self.fetches += 1
        await (self.silent.wait() if self.silent else asyncio.sleep(0))
        if isinstance(self.document, Exception):
            raise self.document
        return self.document, self.fresh_seconds

    def keys(self) -> PublishedKeys:
        return PublishedKeys(self.load, lambda: self.now)

    def verifier(self) -> TokenVerifier:
        return TokenVerifier(self.keys(), Settings(_env_file=None))


class TestVerification:
    @pytest.mark.parametrize("algorithm", PRIVATE)
    async def test_each_algorithm_of_published_keys_is_accepted(self, algorithm: str) -> None:
        verifier = Server(key_set(published(algorithm))).verifier()
        assert (await verifier.verify(signed(algorithm))).id == "someone"

    async def test_eddsa_is_accepted_under_its_new_name(self) -> None:
        verifier = Server(key_set(published("EdDSA", alg="Ed25519"))).verifier()
        assert (await verifier.verify(signed("EdDSA", header_alg="Ed25519"))).id == "someone"

    async def test_key_id_is_optional(self) -> None:
        verifier = Server(key_set(published("ES256", "other"), published("EdDSA"))).verifier()
        assert (await verifier.verify(signed("EdDSA", kid=None))).id == "someone"

    @pytest.mark.parametrize(("key", "token"), [("RS256", "PS256"), ("PS256", "RS256"), ("EdDSA", "ES256")])
    async def test_token_algorithm_must_be_that_of_the_key(self, key: str, token: str) -> None:
        with pytest.raises(InvalidToken):
            await Server(key_set(published(key))).verifier().verify(signed(token))

    async def test_public_key_is_not_accepted_as_hmac_secret(self) -> None:
        """The classic confusion: HS256 with what everybody can read."""
        document = key_set(published("RS256"))
        ring = KeyRing(SharedSecrets(SECRET.encode()), Server(document).keys())
        verifier = TokenVerifier(ring, Settings(_env_file=None))
        modulus = json.loads(document)["keys"][0]["n"]
        for secret in (document, modulus.encode(), json.dumps(json.loads(document)["keys"][0]).encode()):
            unsigned = jwt.encode({"sub": "x", "exp": int(time.time()) + 60}, SECRET, "HS256").rpartition(".")[0]
            signature = urlsafe_b64encode(hmac.digest(secret, unsigned.encode(), "sha256")).rstrip(b"=")
            with pytest.raises(InvalidToken):
                await verifier.verify(unsigned.encode() + b"." + signature)

    async def test_previous_secret_still_verifies(self) -> None:
        old, new = b"o" * 32, b"n" * 32
        verifier = TokenVerifier(SharedSecrets(new, old), Settings(_env_file=None))
        claims = {"sub": "someone", "exp": int(time.time()) + 60}
        for secret in (old, new):
            assert (await verifier.verify(jwt.encode(claims, secret, "HS256").encode())).id == "someone"
        with pytest.raises(InvalidToken):
            await verifier.verify(jwt.encode(claims, b"x" * 32, "HS256").encode())

    async def test_session_cookie_is_refused(self) -> None:
        verifier = TokenVerifier(SharedSecrets(SECRET.encode()), Settings(_env_file=None, user_id_claims=["user.id"]))
        claims = {"user": {"id": "someone"}, "exp": int(time.time()) + 60}
        assert (await verifier.verify(jwt.encode(claims, SECRET, "HS256").encode())).id == "someone"
        cookie = jwt.encode(claims, SECRET, "HS256", headers={"typ": "better-auth.session-cache+jwt"})
        with pytest.raises(InvalidToken):
            await verifier.verify(cookie.encode())


class TestKeySet:
    @pytest.mark.parametrize(
        "member",
        [
            {"kty": "oct", "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LTEyMw", "alg": "HS256", "kid": "one"},
            OKPAlgorithm.to_jwk(ed25519.Ed25519PrivateKey.generate(), as_dict=True) | {"kid": "one"},
            published("RS256", alg="RS512"),
            published("RS256", alg="none"),
            published("ES256", alg="ES512"),
            published("ES256", use="enc"),
            published("ES256", key_ops=["sign"]),
            published("ES256", kid=7),
            published("ES256", kid="x" * 300),
            published("ES256", x="AA"),
            published("ES256", crv="P-384"),
            json.loads(RSAAlgorithm.to_jwk(rsa.generate_private_key(65537, 1024).public_key())),
            {"kty": ["RSA"]},
            "RSA",
            None,
        ],
    )
    def test_unusable_keys_are_left_out(self, member: Any) -> None:
        assert parse_key_set(key_set(member)) == {}
        assert list(parse_key_set(key_set(member, published("EdDSA", "good")))) == ["good"]

    @pytest.mark.parametrize("document", [b"", b"{", b"[]", b"{}", b'{"keys": {}}', b"\xff", b"[" * 10**5])
    def test_malformed_key_set_is_refused(self, document: bytes) -> None:
        with pytest.raises(ValueError, match="JWK set"):
            parse_key_set(document)

    async def test_token_without_key_id_is_tried_with_the_newest_keys(self) -> None:
        many = [published("EdDSA", str(number)) for number in range(100)]
        keys = Server(key_set(*many)).keys()
        assert len(await keys.keys_for({"alg": "EdDSA"})) == published_keys.MAX_TRIED
        for kid in ("0", "99"):
            assert len(await keys.keys_for({"alg": "EdDSA", "kid": kid})) == 1


class TestFetching:
    async def test_concurrent_unknown_keys_fetch_once(self) -> None:
        server = Server(key_set(published("EdDSA")))
        verifier = server.verifier()
        await asyncio.gather(*(verifier.verify(signed("EdDSA", n=n)) for n in range(50)))
        assert server.fetches == 1

    async def test_unknown_key_ids_cannot_force_fetches(self) -> None:
        server = Server(key_set(published("EdDSA")))
        keys = server.keys()
        for number in range(100):
            assert not await keys.keys_for({"alg": "EdDSA", "kid": f"made-up-{number}"})
        assert server.fetches == 1

    async def test_rotated_key_is_fetched(self) -> None:
        server = Server(key_set(published("EdDSA")))
        verifier = server.verifier()
        await verifier.verify(signed("EdDSA"))
        server.document = key_set(published("ES256", "two"))
        server.now += published_keys.MIN_INTERVAL_SECONDS
        with pytest.raises(InvalidToken):
            await verifier.verify(signed("ES256", "two"))  # which causes the fetch
        await idle()
        assert (await verifier.verify(signed("ES256", "two"))).id == "someone"
        with pytest.raises(InvalidToken):
            await verifier.verify(signed("EdDSA", fresh=True))

    async def test_key_replaced_under_its_id_is_fetched(self) -> None:
        server = Server(key_set(published("ES256", "one")))
        verifier = TokenVerifier(KeyRing(SharedSecrets(SECRET.encode()), server.keys()), Settings(_env_file=None))
        await verifier.verify(signed("ES256", "one"))
        other = ec.generate_private_key(ec.SECP256R1())
        claims = {"sub": "someone", "exp": int(time.time()) + 600}
        token = jwt.encode(claims, other, "ES256", headers={"kid": "one"}).encode()
        members = json.loads(ECAlgorithm.to_jwk(other.public_key())) | {"kid": "one", "alg": "ES256"}
        server.document = key_set({name: value for name, value in members.items() if name != "key_ops"})
        for _ in range(20):  # within the interval, bad signatures fetch nothing
            with pytest.raises(InvalidToken):
                await verifier.verify(token)
            await idle()
        assert server.fetches == 1
        server.now += published_keys.MIN_INTERVAL_SECONDS
        with pytest.raises(InvalidToken):
            await verifier.verify(token)
        await idle()
        assert (await verifier.verify(token)).id == "someone"
        assert server.fetches == 2

    async def test_unknown_key_of_a_silent_server_is_refused_at_once(self) -> None:
        server = Server(key_set(published("EdDSA")))
        keys = server.keys()
        await keys.keys_for({"alg": "EdDSA", "kid": "one"})
        server.silent = asyncio.Event()
        server.now += 3600  # stale, too
        for number in range(100):
            asked = keys.keys_for({"alg": "EdDSA", "kid": f"made-up-{number}"})
            with pytest.raises(StopIteration) as ended:
                asked.send(None)  # it ends without giving up the event loop once
            assert ended.value.value == []
        assert len(await keys.keys_for({"alg": "EdDSA", "kid": "one"})) == 1
        await idle()
        assert server.fetches == 2
        await keys.close()

    async def test_few_requests_wait_for_the_first_keys(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(published_keys, "MAX_WAITING", 3)
        server = Server(key_set(published("EdDSA")))
        server.silent = asyncio.Event()
        keys = server.keys()
        asked = [asyncio.create_task(keys.keys_for({"alg": "EdDSA", "kid": "one"})) for _ in range(10)]
        await idle()
        assert [task.done() for task in asked] == [False] * 3 + [True] * 7
        server.silent.set()
        answers = await asyncio.gather(*asked, return_exceptions=True)
        assert [isinstance(answer, Unavailable) for answer in answers] == [False] * 3 + [True] * 7
        assert server.fetches == 1

    async def test_stale_keys_are_used_while_the_server_is_down(self) -> None:
        server = Server(key_set(published("EdDSA")), fresh_seconds=60)
        verifier = server.verifier()
        await verifier.verify(signed("EdDSA"))
        server.document = OSError("away")
        for step in range(3):
            server.now += 3600
            assert await verifier.verify(signed("EdDSA", step=step))
            await asyncio.sleep(0.01)
        assert server.fetches == 4

    async def test_missing_keys_are_unavailable(self) -> None:
        server = Server(OSError("away"))
        verifier = server.verifier()
        for _ in range(3):
            with pytest.raises(Unavailable):
                await verifier.verify(signed("EdDSA"))
        assert server.fetches == 1
        server.document = key_set(published("EdDSA"))
        server.now += published_keys.MIN_INTERVAL_SECONDS
        assert await verifier.verify(signed("EdDSA"))

    async def test_withdrawn_keys_are_removed(self) -> None:
        server = Server(key_set(published("EdDSA")))
        verifier = server.verifier()
        await verifier.verify(signed("EdDSA"))
        server.document = key_set()
        server.now += 3600
        await verifier.verify(signed("EdDSA", step=1))
        await asyncio.sleep(0.01)
        with pytest.raises(InvalidToken):
            await verifier.verify(signed("EdDSA", step=2))

    @pytest.mark.parametrize("ring", [False, True])
    async def test_withdrawn_key_ends_cached_tokens(self, ring: bool) -> None:
        server = Server(key_set(published("EdDSA"), published("ES256", "two")), fresh_seconds=60)
        keys = server.keys()
        settings = Settings(_env_file=None)
        verifier = TokenVerifier(KeyRing(SharedSecrets(SECRET.encode()), keys) if ring else keys, settings)
        withdrawn, kept = signed("EdDSA"), signed("ES256", "two")
        assert (await verifier.verify(withdrawn)).id == (await verifier.verify(kept)).id == "someone"
        server.document = key_set(published("ES256", "two"))
        server.now += 59
        assert await verifier.verify(withdrawn)
        await idle()
        assert server.fetches == 1
        server.now += 1
        assert await verifier.verify(withdrawn)  # which causes the fetch
        await idle()
        assert server.fetches == 2
        with pytest.raises(InvalidToken):
            await verifier.verify(withdrawn)
        assert await verifier.verify(kept)

    async def test_changed_key_material_ends_cached_tokens(self) -> None:
        server = Server(key_set(published("ES256")), fresh_seconds=60)
        verifier = server.verifier()
        token = signed("ES256")
        await verifier.verify(token)
        members = json.loads(ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP256R1()).public_key()))
        server.document = key_set({"kty": "EC", "kid": "one", **{name: members[name] for name in ("crv", "x", "y")}})
        server.now += 60
        await verifier.verify(token)
        await idle()
        with pytest.raises(InvalidToken):
            await verifier.verify(token)

    async def test_additional_key_keeps_cached_tokens(self) -> None:
        server = Server(key_set(published("EdDSA")), fresh_seconds=60)
        keys = server.keys()
        await keys.keys_for({"alg": "EdDSA", "kid": "one"})
        server.document = key_set(published("ES256", "two"), published("EdDSA"))
        server.now += 60
        assert keys.withdrawals() == 0
        await idle()
        assert (server.fetches, keys.withdrawals()) == (2, 0)

    async def test_token_of_the_shared_secret_fetches_no_keys(self) -> None:
        server = Server(OSError("away"))
        verifier = TokenVerifier(KeyRing(SharedSecrets(SECRET.encode()), server.keys()), Settings(_env_file=None))
        token = jwt.encode({"sub": "someone", "exp": int(time.time()) + 60}, SECRET, "HS256")
        assert await verifier.verify(token.encode())
        assert server.fetches == 0


class TestFile:
    async def test_key_file_may_be_replaced_while_the_server_runs(self, tmp_path: Path) -> None:
        path = tmp_path / "jwks.json"
        path.write_bytes(key_set(published("EdDSA")))
        now = [0.0]
        keys = PublishedKeys(from_file(path), lambda: now[0])
        assert await keys.keys_for({"alg": "EdDSA", "kid": "one"})
        path.write_bytes(key_set(published("ES256", "two")))
        now[0] += published_keys.MIN_INTERVAL_SECONDS
        assert not await keys.keys_for({"alg": "ES256", "kid": "two"})
        await until(lambda: keys.keys_for({"alg": "ES256", "kid": "two"}))


class TestUrl:
    @pytest.fixture
    async def serve(self) -> AsyncIterator[Callable[[bytes], Awaitable[str]]]:
        """Give a function that serves an answer on loopback, byte for byte, and gives its URL."""
        servers: list[asyncio.Server] = []

        async def make(answer: bytes) -> str:
            async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(answer)
                writer.close()

            servers.append(await asyncio.start_server(handle, "127.0.0.1", 0))
            return f"http://127.0.0.1:{servers[-1].sockets[0].getsockname()[1]}/jwks"

        yield make
        for server in servers:
            server.close()

    async def test_key_set_is_fresh_as_long_as_its_headers_say(self, serve: Callable[[bytes], Awaitable[str]]) -> None:
        for header, seconds in (
            (b"max-age=600", 600),
            (b"max-age=1", 60),
            (b"max-age=999999", 3600),
            (b"no-store", 300),
        ):
            body = key_set(published("EdDSA"))
            url = await serve(b"HTTP/1.1 200 OK\r\ncache-control: public, " + header + b"\r\n\r\n" + body)
            assert await from_url(url)() == (body, seconds)

    async def test_errors_redirects_and_large_key_sets_are_refused(
        self, serve: Callable[[bytes], Awaitable[str]]
    ) -> None:
        flood = b"HTTP/1.1 200 OK\r\n\r\n" + b" " * (key_set_loading.MAX_DOCUMENT_BYTES + 1)
        moved = b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\n\r\n"
        for answer in (b"HTTP/1.1 500 Oops\r\n\r\n", moved, flood):
            with pytest.raises(ValueError, match="key set"):
                await from_url(await serve(answer))()

    async def test_broken_key_response_is_handled(self, serve: Callable[[bytes], Awaitable[str]]) -> None:
        keys = PublishedKeys(from_url(await serve(b"not http at all\r\n\r\n")))
        with pytest.raises(Unavailable):
            await keys.keys_for({"alg": "EdDSA", "kid": "one"})
