"""References to what this server has, as its clients see it: URIs (RFC 3986), below the prefix that a proxy strips."""

from urllib.parse import quote

from litestar.types import Scope

from app.lib.client_address import ClientAddress
from app.lib.settings import PATH_PREFIX, Settings

HEADER = b"x-forwarded-prefix"
_SAFE = "/:@!$&'()*+,;="  # what a path has unescaped, beside unreserved characters


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


def reference(scope: Scope, path: str) -> str:
    """Return the reference to a decoded path, with one slash at its beginning: two would begin a host."""
    prefix: str = scope["state"].get("prefix", "")
    return f"{prefix}/{quote(path.lstrip('/'), safe=_SAFE)}"
