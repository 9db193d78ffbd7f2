"""A client that reads a response message by message, or stops reading."""

import asyncio

from litestar import Litestar
from litestar.types import HTTPReceiveMessage, Message

from tests.asgi import http_scope
from tests.support import Client, JsonObject


class Reader:
    """Requests a path below `/api/{user_id}`; each message is taken when `more` is released."""

    def __init__(self, client: Client, path: str) -> None:
        self.taken: list[JsonObject] = []
        self.gone, self.more = asyncio.Event(), asyncio.Semaphore(0)
        headers = {"host": "testserver"} | dict(client.headers)
        encoded = [(name.encode(), value.encode()) for name, value in headers.items()]
        self._scope = http_scope(client.path(path), *encoded)
        self._asked = False

    async def ask(self, app: Litestar) -> None:
        await app(self._scope, self._receive, self._send)

    async def _receive(self) -> HTTPReceiveMessage:
        if self._asked:
            await self.gone.wait()
            return {"type": "http.disconnect"}
        self._asked = True
        return {"type": "http.request", "body": b"", "more_body": False}

    async def _send(self, message: Message) -> None:
        self.taken.append({**message})
        await self.more.acquire()
