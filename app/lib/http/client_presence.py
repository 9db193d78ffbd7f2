"""Notices that a client leaves while its request waits for something else than the client."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from litestar.types import Receive


class ClientLeft(Exception):
    """The client has closed the connection."""


class ClientPresence:
    """Waits for something, unless the client leaves; what is received before that is kept for `receive`.

    Of a body at most the first part is received: the client cannot be seen leaving before the rest.
    """

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._kept: list[Any] = []
        self._has_left = False

    async def receive(self) -> Any:
        """Receive what was kept, then what follows."""
        if not self._kept:
            return await self._receive()
        message = self._kept.pop(0)
        if isinstance(message, Exception):
            raise message
        return message

    async def until(self, event: Coroutine[Any, Any, None]) -> None:
        """Await the event. Raises `ClientLeft`, and what the event raises."""
        try:
            async with asyncio.timeout(None) as patience:
                task = asyncio.create_task(self._listen(patience))
                try:
                    await event
                finally:
                    task.cancel()  # not awaited: nothing may come between a place that is taken and its use
        except TimeoutError:
            if self._has_left:
                raise ClientLeft from None
            raise

    async def _listen(self, patience: asyncio.Timeout) -> None:
        try:
            message = await self._keep()
            if not message.get("more_body"):
                message = await self._keep()
        except Exception as error:  # noqa: BLE001 - whoever reads the body handles it
            self._kept.append(error)
            return
        if message["type"] == "http.disconnect":
            self._has_left = True
            patience.reschedule(asyncio.get_running_loop().time())

    async def _keep(self) -> Any:
        message: Any = await self._receive()
        self._kept.append(message)
        return message
