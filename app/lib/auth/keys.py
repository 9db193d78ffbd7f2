"""Keys that verify tokens. The key decides the algorithm, never the token (RFC 8725, 3.1)."""

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

from jwt.algorithms import AllowedPublicKeys
from msgspec import Struct

type JoseHeader = Mapping[str, object]
"""The header of a JWS (RFC 7515, 4), parsed and not verified."""


class Key(Struct, frozen=True):
    algorithms: tuple[str, ...]  # one algorithm, under each of its names: RFC 9864 renamed EdDSA
    material: AllowedPublicKeys | bytes


class KeySource(Protocol):
    async def keys_for(self, header: JoseHeader) -> Sequence[Key]:
        """Return the keys that may have signed a token with this unverified header.

        Raises `Unavailable` while no key set could be fetched yet.
        """


@runtime_checkable
class ReplaceableKeys(Protocol):
    """A source whose keys can change while the server runs."""

    def suspect(self, header: JoseHeader) -> None:
        """Fetch the keys again in the background, after a bad signature: the key may have been replaced."""

    def withdrawals(self) -> int:
        """Return how often keys were withdrawn; start a fetch in the background if the keys are stale."""


class SharedSecrets:
    """HS256 secrets shared with Better Auth: the current one, and the previous one during a rotation."""

    def __init__(self, *secrets: bytes) -> None:
        self._keys = [Key(("HS256",), secret) for secret in secrets]

    async def keys_for(self, header: JoseHeader) -> Sequence[Key]:
        return self._keys if header.get("alg") == "HS256" else ()


class KeyRing:
    def __init__(self, *sources: KeySource) -> None:
        self._sources = sources
        self._replaceable = [source for source in sources if isinstance(source, ReplaceableKeys)]

    async def keys_for(self, header: JoseHeader) -> Sequence[Key]:
        return [key for source in self._sources for key in await source.keys_for(header)]

    def suspect(self, header: JoseHeader) -> None:
        for source in self._replaceable:
            source.suspect(header)

    def withdrawals(self) -> int:
        return sum([source.withdrawals() for source in self._replaceable])
