"""The secret of a deployment, from which the keys of cursors and of user names in the log are derived."""

from hashlib import blake2b

from app.lib.errors import Unavailable
from app.lib.settings import Settings


class DeploymentSecret:
    """`BETTER_AUTH_SECRET`; a random one in the database where tokens are verified with published keys alone."""

    def __init__(self, settings: Settings) -> None:
        self._secret = settings.secrets[0] if settings.secrets else None
        self._keys: dict[bytes, bytes] = {}

    @property
    def is_known(self) -> bool:
        """Whether keys can be derived."""
        return self._secret is not None

    def learn(self, secret: bytes) -> None:
        """Set the secret that the database keeps."""
        self._secret = secret

    def key(self, purpose: bytes) -> bytes:
        """Return the key for a purpose, of 32 bytes. Raises `Unavailable` while the secret is not known."""
        if (key := self._keys.get(purpose)) is None:
            if self._secret is None:
                raise Unavailable
            key = self._keys[purpose] = blake2b(self._secret, digest_size=32, person=purpose).digest()
        return key
