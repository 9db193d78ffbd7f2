"""Calls of the application without a server: HTTPX transports, and ASGI scopes as a server builds them."""

from collections.abc import Awaitable, Callable
from typing import cast
from urllib.parse import unquote

import httpx
from litestar import Litestar
from litestar.types import HTTPScope


def asgi_transport(app: Litestar, *, address: str = "127.0.0.1", raises: bool = False) -> httpx.ASGITransport:
    """Return a transport from this client address; with `raises`, errors of the application reach the test."""
    call = cast("Callable[..., Awaitable[None]]", app)  # HTTPX and Litestar type the same ASGI messages differently
    return httpx.ASGITransport(call, raise_app_exceptions=raises, client=(address, 123))


def http_scope(
    target: str, *headers: tuple[bytes, bytes], method: str = "GET", version: str = "1.1", **members: object
) -> HTTPScope:
    """Return the scope of a request to this path and query; `members` replace or add to what follows from them."""
    raw_path, _, query = target.partition("?")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": version,
        "method": method,
        "scheme": "http",
        "path": unquote(raw_path),
        "raw_path": raw_path.encode(),
        "root_path": "",
        "query_string": query.encode(),
        "headers": [(name.lower(), value) for name, value in headers],
        "client": ("127.0.0.1", 50000),
        "server": ("testserver", 80),
        "state": {},
    }
    return cast("HTTPScope", scope | members)
