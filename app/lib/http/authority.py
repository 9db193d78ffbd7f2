"""Hosts of requests: the Host header and absolute targets (RFC 9112, 3.2)."""

import re
from functools import lru_cache
from ipaddress import AddressValueError, IPv6Address

MAX_PORT = 65535
MAX_BYTES = 255 + len(":65535")  # RFC 1035, 2.3.4
_LABEL = rb"[A-Za-z0-9_~-]+"
_AUTHORITY = re.compile(rb"(?:(%b(?:\.%b)*)\.?|\[([0-9A-Fa-f:.]+)\])(?::([0-9]{0,5}))?" % (_LABEL, _LABEL))
_ABSOLUTE = re.compile(rb"https?://([^/?#]*)(.*)", re.IGNORECASE | re.DOTALL)


def host_name(authority: bytes) -> str | None:
    """Return the host of `host[:port]`, in lower case and without a final dot; None for anything else."""
    return _parse(authority) if len(authority) <= MAX_BYTES else None


@lru_cache(maxsize=256)
def _parse(authority: bytes) -> str | None:
    match = _AUTHORITY.fullmatch(authority)
    if match is None or int(match[3] or 0) > MAX_PORT:
        return None
    if match[2] is None:
        return match[1].decode("ascii").lower()
    try:
        return f"[{IPv6Address(match[2].decode('ascii'))}]"
    except AddressValueError:
        return None


def from_absolute_target(target: bytes) -> tuple[bytes, bytes] | None:
    """Split a target like http://host/path into its authority and its origin form; None for any other."""
    match = _ABSOLUTE.fullmatch(target)
    if match is None:
        return None
    authority, rest = match.groups()
    return authority, rest if rest.startswith(b"/") else b"/" + rest


def judged_by(authority: bytes, version: str, headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Return the headers with an absolute target's authority as the Host (RFC 9112, 3.2.2).

    A Host that is refused in itself stays, or stays missing.
    """
    hosts = [value for name, value in headers if name == b"host"]
    is_valid = host_name(hosts[0]) is not None if len(hosts) == 1 else not hosts and version == "1.0"
    return [(b"host", authority), *(pair for pair in headers if pair[0] != b"host")] if is_valid else headers
