"""The names under which this server may be addressed."""

from collections.abc import Sequence

from litestar.types import ASGIApp, Receive, Scope, Send

from app.lib.errors import BadRequest
from app.lib.reply import problem_reply


class AllowedHosts:
    """ASGI middleware: refuses other `Host` headers; `*.example.com` stands for every name below."""

    def __init__(self, app: ASGIApp, hosts: Sequence[str]) -> None:
        self._app = app
        self._names = {host.lower() for host in hosts if not host.startswith("*.")}
        self._suffixes = tuple(host[1:].lower() for host in hosts if host.startswith("*."))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, or answer 400."""
        app = self._app
        if not self._is_allowed(dict(scope["headers"]).get(b"host", b"")):
            app = problem_reply(BadRequest("The Host header names no host of this server"), scope)
        await app(scope, receive, send)

    def _is_allowed(self, header: bytes) -> bool:
        host = header.decode("latin-1").lower()
        name = host if host.endswith("]") else host.rpartition(":")[0] or host
        return name in self._names or (bool(self._suffixes) and name.endswith(self._suffixes))
