"""Cursors: the place of a row in a sorted list, sealed so that clients keep them as they are."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from hashlib import blake2b
from hmac import compare_digest
from typing import Any

import msgspec

from app.lib.deployment_secret import DeploymentSecret
from app.lib.errors import FieldError, Invalid

MAX_CURSOR_LENGTH = 4096
_SEAL_BYTES = 16


class CursorSeal:
    """Seals cursors with a key that all processes of a deployment share."""

    def __init__(self, secret: DeploymentSecret) -> None:
        self._secret = secret

    def encode(self, owner: str, sort: str, place: Sequence[Any]) -> str:
        """Give the cursor of a row: the values of its sort keys, for this user and this sort only."""
        body = msgspec.json.encode(place)
        return urlsafe_b64encode(self._seal(owner, sort, body) + body).decode().rstrip("=")

    def decode(self, owner: str, sort: str, cursor: str, types: Sequence[Any]) -> list[Any]:
        """Give the values back, as `types`. Raises `Invalid` for what was not sealed for this user and sort."""
        try:
            sealed = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)) if len(cursor) <= MAX_CURSOR_LENGTH else b""
            seal, body = sealed[:_SEAL_BYTES], sealed[_SEAL_BYTES:]
            if compare_digest(seal, self._seal(owner, sort, body)):
                values = zip(msgspec.json.decode(body), types, strict=True)
                return [value if value is None else msgspec.convert(value, kind) for value, kind in values]
        except ValueError:  # not base64
            pass
        raise Invalid([FieldError("Not a cursor of this list in this sort", parameter="cursor")])

    def _seal(self, owner: str, sort: str, body: bytes) -> bytes:
        context = msgspec.json.encode([owner, sort])
        return blake2b(context + body, key=self._secret.key(b"cursor"), digest_size=_SEAL_BYTES).digest()
