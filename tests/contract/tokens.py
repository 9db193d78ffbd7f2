"""Tokens as Better Auth would issue them, and as nobody should: JWTs by hand, for a library refuses to forge."""

import hashlib
import hmac
import json
import shlex
import subprocess
import time
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest

HASHES = {"HS256": hashlib.sha256, "HS384": hashlib.sha384, "HS512": hashlib.sha512}


def encoded(part: bytes) -> str:
    """Give base64url without padding (RFC 7515, 2)."""
    return urlsafe_b64encode(part).rstrip(b"=").decode()


def signed(claims: Any, secret: str, header: Mapping[str, Any] | None = None, hashed: str = "HS256") -> str:
    """Sign any claims under any header with an HMAC, whatever algorithm the header names."""
    parts = [encoded(json.dumps(part).encode()) for part in (header or {"alg": "HS256"}, claims)]
    signature = hmac.new(secret.encode(), ".".join(parts).encode(), HASHES[hashed]).digest()
    return ".".join([*parts, encoded(signature)])


@dataclass(frozen=True)
class Tokens:
    """Where tokens come from: the secret that the server shares, or a command that prints one."""

    secret: str | None = None
    command: str | None = None
    issuer: str | None = None
    audience: str | None = None
    resource: str | None = None

    def mint(self, user_id: str, role: str | None = None) -> str:
        """Give a token of a user that holds."""
        if self.command is None:
            return self.sign(self.claims(user_id) | ({"role": role} if role else {}))
        if role and "{role}" not in self.command:
            pytest.skip("the token command has no {role}")
        words = [word.format(user=user_id, role=role or "") for word in shlex.split(self.command)]
        return subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()

    def claims(self, user_id: object, **others: Any) -> dict[str, Any]:
        """Give claims that hold, but for `others`; what is None there is left out."""
        now = int(time.time())
        claims = {"sub": user_id, "iat": now, "exp": now + 600, "iss": self.issuer, "aud": self.audience} | others
        return {name: value for name, value in claims.items() if value is not None}

    def sign(self, claims: Any, header: Mapping[str, Any] | None = None, hashed: str = "HS256") -> str:
        """Sign claims with the server's secret."""
        if self.secret is None:
            pytest.skip("needs --secret")
        return signed(claims, self.secret, header, hashed)
