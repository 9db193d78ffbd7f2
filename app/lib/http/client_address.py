"""Where a request comes from: the peer, or what a trusted proxy says of it."""

from collections.abc import Hashable, Sequence
from ipaddress import IPv6Address, ip_address, ip_network

from litestar.types import Scope

UNKNOWN = "unknown"  # a Unix socket has no address
SITE_BITS = 56  # of an IPv6 address: what one customer is given, who can use any /64 of it


class ClientAddress:
    """Reads `X-Forwarded-For` from the right, as far as the hops are trusted; from nobody else."""

    def __init__(self, trusted_proxies: Sequence[str]) -> None:
        self._trusted = [ip_network(network, strict=False) for network in trusted_proxies]

    def of(self, scope: Scope) -> str:
        """Give the address of the client, in its shortest form."""
        address = address_in(scope["client"][0]) if scope.get("client") else None  # type: ignore[index]
        hops = [value.decode("latin-1") for name, value in scope["headers"] if name == b"x-forwarded-for"]
        for hop in reversed(",".join(hops).split(",")):
            before = address_in(hop.strip())
            if address is None or before is None or not self._is_trusted(address):
                break
            address = before
        return address or UNKNOWN

    def is_of_proxy(self, scope: Scope) -> bool:
        """Return whether the peer itself is a trusted proxy."""
        address = address_in(scope["client"][0]) if scope.get("client") else None  # type: ignore[index]
        return address is not None and self._is_trusted(address)

    def trusts(self, address: str) -> bool:
        """Return whether the address of a peer is that of a trusted proxy."""
        shortest = address_in(address)
        return shortest is not None and self._is_trusted(shortest)

    def _is_trusted(self, address: str) -> bool:
        return any(ip_address(address) in network for network in self._trusted)


def rate_limit_bucket(address: str) -> str:
    """Give what stands for one client in a limit: an IPv4 address, or the network of an IPv6 address."""
    return str(ip_network(f"{address}/{SITE_BITS}", strict=False)) if ":" in address else address


def address_in(text: str) -> str | None:
    """Give an address in its shortest form, as IPv4 where it is only dressed as IPv6; no zones, which are any text."""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address)


def holder_of(scope: Scope) -> Hashable:
    """Return whose a request is: its user's, or on a path without a token its address's."""
    user = scope.get("user")
    return user.id if user else (rate_limit_bucket(ClientAddress(()).of(scope)),)
