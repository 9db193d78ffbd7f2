"""Refuse requests for hosts that this server does not serve."""

from collections.abc import Sequence

from litestar.types import ASGIApp, Receive, Scope, Send

from app.lib.errors import BadRequest
from app.lib.http.asgi import problem_response
from app.lib.http.authority import host_name


class AllowedHostsMiddleware:
    """Answers 400 without exactly one valid `Host` (RFC 9112, 3.2), and for a host that is not in `hosts`.

    `*.example.com` allows every name below it. An empty list allows every host.
    """

    def __init__(self, app: ASGIApp, hosts: Sequence[str]) -> None:
        self._app = app
        self._allows_all = not hosts
        self._names = {_normalised(host) for host in hosts if not host.startswith("*.")}
        self._suffixes = tuple(f".{_normalised(host[2:])}" for host in hosts if host.startswith("*."))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self._app
        if detail := self._problem(scope):
            app = problem_response(BadRequest(detail), scope)
        await app(scope, receive, send)

    def _problem(self, scope: Scope) -> str | None:
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


def _normalised(host: str) -> str:
    return host_name(host.encode()) or host.lower()
