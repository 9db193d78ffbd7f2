"""Answers that are sent while they are made."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

from litestar import Response
from litestar.types import ASGIApp, Receive, Scope, Send

JSON_LINES = "application/jsonl"
MAX_STALL_SECONDS = 60.0  # for which a client may take nothing


class JsonLines(Response[bytes]):
    """A stream of JSON Lines. What fails in its midst leaves the body incomplete, which the client notices."""

    def __init__(self, lines: AsyncGenerator[bytes]) -> None:
        super().__init__(b"", media_type=JSON_LINES)
        self._lines = lines

    def to_asgi_response(self, *_: Any, **__: Any) -> ASGIApp:  # type: ignore[override]
        """Build the ASGI app that sends it."""
        return self._send_until_the_client_leaves

    async def _send_until_the_client_leaves(self, scope: Scope, receive: Receive, send: Send) -> None:
        del scope
        first = await anext(self._lines, b"")  # before the answer begins: what fails here is answered as elsewhere
        tasks = [asyncio.ensure_future(self._send(first, send)), asyncio.ensure_future(_left(receive))]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            sent, _ = await asyncio.gather(*tasks, return_exceptions=True)
            await self._lines.aclose()
        if isinstance(sent, Exception):
            raise sent

    async def _send(self, first: bytes, send: Send) -> None:
        headers = [(b"content-type", JSON_LINES.encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await _body(send, first, more=True)
        async for lines in self._lines:
            await _body(send, lines, more=True)
        await _body(send, b"", more=False)


async def _body(send: Send, body: bytes, *, more: bool) -> None:
    async with asyncio.timeout(MAX_STALL_SECONDS):
        await send({"type": "http.response.body", "body": body, "more_body": more})


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
