"""The names under which this server may be addressed."""

import re
from collections.abc import Sequence
from functools import lru_cache
from ipaddress import AddressValueError, IPv6Address

from litestar.types import ASGIApp, Receive, Scope, Send

from app.lib.errors import BadRequest
from app.lib.http.asgi import problem_reply

MAX_PORT = 65535
MAX_BYTES = 255 + len(":65535")  # RFC 1035, 2.3.4
_LABEL = rb"[A-Za-z0-9_~-]+"
_AUTHORITY = re.compile(rb"(?:(%b(?:\.%b)*)\.?|\[([0-9A-Fa-f:.]+)\])(?::([0-9]{0,5}))?" % (_LABEL, _LABEL))
_ABSOLUTE = re.compile(rb"https?://([^/?#]*)(.*)", re.IGNORECASE | re.DOTALL)


class AllowedHosts:
    """ASGI middleware: refuses requests without one valid `Host` (RFC 9112, 3.2), and other hosts than the allowed.

    `*.example.com` allows every name below; without any entry, every host is allowed.
    """

    def __init__(self, app: ASGIApp, hosts: Sequence[str]) -> None:
        self._app = app
        self._allows_all = not hosts
        self._names = {_normalised(host) for host in hosts if not host.startswith("*.")}
        self._suffixes = tuple(f".{_normalised(host[2:])}" for host in hosts if host.startswith("*."))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, or answer 400."""
        app = self._app
        if detail := self._fault(scope):
            app = problem_reply(BadRequest(detail), scope)
        await app(scope, receive, send)

    def _fault(self, scope: Scope) -> str | None:
        values = [value for name, value in scope["headers"] if name == b"host"]
        if len(values) > 1:
            return "The Host header must be sent once"
        if not values:
            may_be_missing = self._allows_all and scope.get("http_version") == "1.0"
            return None if may_be_missing else "The Host header is missing"
        name = host_name(values[0])
        if name is None:
            return "The Host header is not a host with an optional port"
        return None if self._is_allowed(name) else "The Host header names no host of this server"

    def _is_allowed(self, name: str) -> bool:
        return self._allows_all or name in self._names or (bool(self._suffixes) and name.endswith(self._suffixes))


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


def _normalised(host: str) -> str:
    return host_name(host.encode()) or host.lower()
