"""The keys that tokens are verified with. A key says which algorithm it serves; a token never does."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from msgspec import Struct


class Key(Struct, frozen=True):
    """A key and the one algorithm that it is used with, under every name that it goes by."""

    algorithms: tuple[str, ...]
    material: Any


class KeySource(Protocol):
    """Where keys come from."""

    async def keys_for(self, header: Mapping[str, Any]) -> Sequence[Key]:
        """Give the keys that may have signed a token with this, unverified, header.

        Raises `Unavailable` while keys cannot be had at all.
        """


@runtime_checkable
class ReplaceableKeys(Protocol):
    """A source whose keys may be replaced under the same id."""

    def suspect(self, header: Mapping[str, Any]) -> None:
        """Look for other keys in the background: the signature of a token with this header is bad."""

    def withdrawals(self) -> int:
        """Return how often keys were withdrawn, and look for other keys in the background when these are stale."""


class SharedSecrets:
    """HS256 with the secret that is shared with Better Auth, and with the one before it while it is rotated."""

    def __init__(self, *secrets: bytes) -> None:
        self._keys = [Key(("HS256",), secret) for secret in secrets]

    async def keys_for(self, header: Mapping[str, Any]) -> Sequence[Key]:
        """Give the secrets, and nothing to a token of another kind."""
        return self._keys if header.get("alg") == "HS256" else ()


class KeyRing:
    """Several sources as one."""

    def __init__(self, *sources: KeySource) -> None:
        self._sources = sources
        self._replaceable = [source for source in sources if isinstance(source, ReplaceableKeys)]

    async def keys_for(self, header: Mapping[str, Any]) -> Sequence[Key]:
        """Give the keys of every source."""
        return [key for source in self._sources for key in await source.keys_for(header)]

    def suspect(self, header: Mapping[str, Any]) -> None:
        """Pass it on to the sources whose keys may be replaced."""
        for source in self._replaceable:
            source.suspect(header)

    def withdrawals(self) -> int:
        """Return the sum of those of its sources."""
        return sum([source.withdrawals() for source in self._replaceable])
