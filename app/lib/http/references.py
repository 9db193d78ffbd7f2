"""References to what this server has, as its clients see it: URIs (RFC 3986), below the prefix that a proxy strips."""

import re
from typing import cast
from urllib.parse import quote

from litestar.types import Scope

from app.lib.http.client_address import ClientAddress
from app.lib.setting_types import PATH_PREFIX
from app.lib.settings import Settings

HEADER = b"x-forwarded-prefix"
_SAFE = "/:@!$&'()*+,;="  # what a path has unescaped, beside unreserved characters
_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_ESCAPED = re.compile(rb"%([0-9A-Fa-f]{2})|[^A-Za-z0-9._~/:@!$&'()*+,;=-]")
_DOTS = re.compile(rb"(?<![^/])\.{1,2}(?![^/])")


class PublicPrefix:
    """The path below which clients see the server: `ROOT_PATH`, or what a trusted proxy says of itself."""

    def __init__(self, settings: Settings) -> None:
        self._fixed = settings.root_path
        self._address = ClientAddress(settings.trusted_proxies)
        self._asks_proxies = bool(settings.trusted_proxies) and not settings.root_path

    def of(self, scope: Scope) -> str:
        """Return the prefix for a request; empty where there is none."""
        return self._forwarded(scope) if self._asks_proxies else self._fixed

    def _forwarded(self, scope: Scope) -> str:
        values = [value for name, value in scope["headers"] if name == HEADER]
        if not values or not self._address.is_of_proxy(scope):
            return ""
        nearest = values[-1].decode("latin-1").rpartition(",")[2].strip().rstrip("/")  # what is before it, anybody sent
        return nearest if PATH_PREFIX.fullmatch(nearest) else ""


def reference(scope: Scope) -> str:
    """Return the reference to the request's path as the client wrote it.

    One slash is at its beginning: two would begin a host.
    """
    prefix: str = scope["state"].get("prefix", "")
    return f"{prefix}/{_normalised(_raw_path(scope)).lstrip('/')}"


def resource_reference(scope: Scope, *below: object) -> str:
    """Return the reference to what the router found, or to what is below it: no segment is empty, as for the router."""
    prefix: str = scope["state"].get("prefix", "")
    segments = filter(None, _normalised(_raw_path(scope)).split("/"))
    return "/".join((prefix, *segments, *map(str, below)))


def _raw_path(scope: Scope) -> bytes:
    """Return the path with its escapes; servers may leave it out (ASGI), then the decoded one is quoted."""
    raw = cast("bytes | None", scope.get("raw_path"))
    return quote(scope["path"], safe=_SAFE).encode() if raw is None else raw


def _normalised(path: bytes) -> str:
    """Normalise escapes (RFC 3986, 6.2.2), quote what no path has, and keep segments of dots from being resolved."""
    path = _ESCAPED.sub(_escape, path)
    if b"." in path:
        path = _DOTS.sub(lambda dots: b"%2E" * len(dots[0]), path)
    return path.decode()


def _escape(match: re.Match[bytes]) -> bytes:
    code = int(match[1], 16) if match[1] else ord(match[0])
    return b"%c" % code if code in _UNRESERVED else b"%%%02X" % code
