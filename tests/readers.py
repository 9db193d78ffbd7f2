"""A client that takes an answer piece by piece, or not at all."""

import asyncio
from typing import Any

from litestar import Litestar

from tests.support import Client


class Reader:
    """Asks for a path below `/api/{user_id}`; each message is taken when `more` is released."""

    def __init__(self, client: Client, path: str) -> None:
        self.taken: list[dict[str, Any]] = []
        self.gone, self.more = asyncio.Event(), asyncio.Semaphore(0)
        headers = {"host": "testserver"} | dict(client.headers)
        self._headers = [(name.encode(), value.encode()) for name, value in headers.items()]
        self._path, _, self._query = client.path(path).partition("?")
        self._asked = False

    async def ask(self, app: Litestar) -> None:
        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": "GET",
            "path": self._path,
            "raw_path": self._path.encode(),
            "root_path": "",
            "query_string": self._query.encode(),
            "headers": self._headers,
            "scheme": "http",
            "client": ("127.0.0.1", 1),
            "server": ("testserver", 80),
            "state": {},
        }
        await app(scope, self._receive, self._send)

    async def _receive(self) -> dict[str, Any]:
        if self._asked:
            await self.gone.wait()
            return {"type": "http.disconnect"}
        self._asked = True
        return {"type": "http.request", "body": b"", "more_body": False}

    async def _send(self, message: dict[str, Any]) -> None:
        self.taken.append(message)
        await self.more.acquire()
