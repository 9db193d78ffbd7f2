"""Parse JWK sets (RFC 7517): the public keys of a Better Auth server, as its JWT plugin publishes them."""

from typing import Any

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt.algorithms import AllowedPublicKeys, OKPAlgorithm

from app.lib.auth.keys import Key

ALGORITHMS = frozenset({"EdDSA", "Ed25519", "ES256", "ES512", "RS256", "PS256"})
MIN_RSA_BITS = 2048  # RFC 7518, 3.3
MAX_KEY_ID = 256
_BY_TYPE = {("EC", "P-256"): ("ES256",), ("EC", "P-521"): ("ES512",), ("OKP", "Ed25519"): ("EdDSA", "Ed25519")}
_PRIVATE_MEMBERS = {"d", "p", "q", "dp", "dq", "qi", "oth", "k"}

type Jwk = dict[str, Any]
type KeySet = dict[str | None, list[Key]]
"""Keys by their `kid`; those without one are under None."""

# RFC 9864 names the algorithm after its curve; PyJWT knows it as EdDSA.
jwt.register_algorithm("Ed25519", OKPAlgorithm())


def parse_key_set(document: bytes) -> KeySet:
    """Return the usable public keys by their `kid`; skip all others. Raises `ValueError` if it is not a JWK set."""
    if document.lstrip().startswith(b"<"):
        raise ValueError("HTML or XML, not a JWK set")
    try:
        members = msgspec.json.decode(document, type=dict[str, object])["keys"]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, KeyError) as error:
        raise ValueError("not a JWK set") from error
    if not isinstance(members, list):
        raise ValueError("not a JWK set")  # noqa: TRY004 - invalid input, not a wrong type in the code
    keys: KeySet = {}
    for member in members:
        if isinstance(member, dict) and (key := _public_key(member)):
            keys.setdefault(member.get("kid"), []).append(key)
    return keys


def _public_key(member: Jwk) -> Key | None:
    key_id = member.get("kid")
    key_id_is_valid = key_id is None or (isinstance(key_id, str) and len(key_id) <= MAX_KEY_ID)
    algorithms = _algorithms(member)
    if algorithms is None or not key_id_is_valid or not _verifies_signatures(member):
        return None
    try:
        material: AllowedPublicKeys = jwt.PyJWK(member, algorithms[0]).key
    except (jwt.PyJWTError, ValueError, TypeError):
        return None
    is_weak = isinstance(material, RSAPublicKey) and material.key_size < MIN_RSA_BITS
    return None if is_weak else Key(algorithms, material)


def _verifies_signatures(member: Jwk) -> bool:
    operations = member.get("key_ops", ["verify"])
    is_allowed = isinstance(operations, list) and "verify" in operations and member.get("use", "sig") == "sig"
    return is_allowed and not _PRIVATE_MEMBERS & member.keys()  # a published private key is known to everybody


def _algorithms(member: Jwk) -> tuple[str, ...] | None:
    """Return the algorithm by the key's type. Its `alg` must agree; an RSA key without one is for RS256."""
    named = member.get("alg")
    if member.get("kty") == "RSA":
        return (str(named or "RS256"),) if named in (None, "RS256", "PS256") else None
    by_type = _BY_TYPE.get((str(member.get("kty")), str(member.get("crv"))))
    return by_type if by_type and named in (None, *by_type) else None
