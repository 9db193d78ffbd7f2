"""Where a request comes from: the peer, or what a trusted proxy says of it."""

from collections.abc import Sequence
from ipaddress import ip_address, ip_network

from litestar.types import Scope

UNKNOWN = "unknown"  # a Unix socket has no address


class ClientAddress:
    """Reads `X-Forwarded-For` from the right, as far as the hops are trusted; from nobody else."""

    def __init__(self, trusted_proxies: Sequence[str]) -> None:
        self._trusted = [ip_network(network, strict=False) for network in trusted_proxies]

    def of(self, scope: Scope) -> str:
        """Give the address of the client, in its shortest form."""
        address = scope["client"][0] if scope.get("client") else UNKNOWN  # type: ignore[index]
        hops = [value.decode("latin-1") for name, value in scope["headers"] if name == b"x-forwarded-for"]
        for hop in reversed(",".join(hops).split(",")):
            if not self._is_trusted(address) or not _is_address(hop.strip()):
                break
            address = hop.strip()
        return str(ip_address(address)) if _is_address(address) else address

    def _is_trusted(self, address: str) -> bool:
        return _is_address(address) and any(ip_address(address) in network for network in self._trusted)


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
