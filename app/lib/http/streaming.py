"""Answers that are sent while they are made."""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing, suppress
from typing import Any

import msgspec
from litestar import Response
from litestar.types import ASGIApp, Receive, Scope, Send

from app.lib.http.asgi import JSON, header_pairs

JSON_LINES = "application/jsonl"
_encoder = msgspec.json.Encoder()
MAX_STALL_SECONDS = 60.0  # for which a client may take nothing


class Streamed(Response[Any]):
    """A body that is sent while it is made. What fails in its midst leaves it incomplete, which the client notices."""

    def __init__(
        self, chunks: AsyncGenerator[bytes], media_type: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(b"", media_type=media_type, headers=headers)
        self._chunks = chunks

    def to_asgi_response(self, *_: Any, **__: Any) -> ASGIApp:  # type: ignore[override]
        """Build the ASGI app that sends it."""
        return self._send_until_the_client_leaves

    async def _send_until_the_client_leaves(self, scope: Scope, receive: Receive, send: Send) -> None:
        first = await anext(self._chunks, b"")  # before the answer begins: what fails here is answered as elsewhere
        if scope["state"].get("is_head"):
            await self._chunks.aclose()
        presence = asyncio.timeout(None)
        try:
            async with aclosing(self._chunks), presence:
                # The chunks are made in the request's own task, where their time is charged to its user.
                listener = asyncio.create_task(_expire_when_left(receive, presence))
                try:
                    await self._send(first, send)
                finally:
                    listener.cancel()
        except TimeoutError:
            if not presence.expired():
                raise

    async def _send(self, first: bytes, send: Send) -> None:
        headers = [(b"content-type", str(self.media_type).encode()), *header_pairs(self.headers)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await _body(send, first, more=True)
        async for chunk in self._chunks:
            await _body(send, chunk, more=True)
        await _body(send, b"", more=False)


class JsonLines(Streamed):
    """A stream of JSON Lines."""

    def __init__(self, lines: AsyncGenerator[bytes]) -> None:
        super().__init__(lines, JSON_LINES)


class JsonArray(Streamed):
    """A JSON array, whose items come some at a time."""

    def __init__(self, chunks: AsyncGenerator[Sequence[Any]], headers: Mapping[str, str] | None = None) -> None:
        super().__init__(_array(chunks), JSON.decode(), headers)


async def _array(chunks: AsyncGenerator[Sequence[Any]]) -> AsyncGenerator[bytes]:
    """Yield the array in pieces: what fails leaves it without its end."""
    opening = b"["
    async with aclosing(chunks):
        async for items in chunks:
            if items:
                yield opening + _encoder.encode(items)[1:-1]
                opening = b","
    yield b"]" if opening == b"," else b"[]"


async def _body(send: Send, body: bytes, *, more: bool) -> None:
    async with asyncio.timeout(MAX_STALL_SECONDS):
        await send({"type": "http.response.body", "body": body, "more_body": more})


async def _expire_when_left(receive: Receive, presence: asyncio.Timeout) -> None:
    with suppress(Exception):  # a client that cannot be received from has left, too
        while (await receive())["type"] != "http.disconnect":
            pass
    presence.reschedule(asyncio.get_running_loop().time())
