"""Requests with strict JSON bodies."""

from typing import Any

from litestar import Request
from litestar.datastructures import State
from litestar.exceptions import InternalServerException
from litestar.typing import FieldDefinition

from app.lib.auth.tokens import Identity
from app.lib.errors import (
    BadRequest,
    UnsupportedContentEncoding,
    UnsupportedMediaType,
)
from app.lib.validation.json_body import decode, is_encoded

JSON_TYPES = ("application/json",)
PATCH_TYPES = (*JSON_TYPES, "application/merge-patch+json")


class ApiRequest(Request[Identity, None, State]):
    """A request whose body must be JSON and is decoded straight into the handler's struct.

    Where the handler's `data` has a default, there may be no body.
    """

    async def body(self) -> bytes:
        """Read the body. Raises 415 before reading, 413 over the limit, 400 when there is none and must be one."""
        if is_encoded(self.scope["headers"]):
            raise UnsupportedContentEncoding
        if self._data.has_default and not await self._whole():
            return b""
        kind = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind not in body_types(str(self.method)):
            raise UnsupportedMediaType
        if not (body := await self._whole()):
            raise BadRequest("The body is empty, JSON is expected")
        return body

    async def _whole(self) -> bytes:
        try:
            return await super().body()
        except InternalServerException:  # Litestar's word for a client that has left
            raise BadRequest("The client left before the body was complete") from None

    async def json(self) -> Any:
        """Decode the body into the type of the handler's `data`."""
        body = await self.body()
        return decode(body, self._data.annotation) if body else self._data.default

    @property
    def _data(self) -> FieldDefinition:
        return self.route_handler.parsed_fn_signature.parameters["data"]


def body_types(method: str) -> tuple[str, ...]:
    """Name the media types of the bodies that a method takes (RFC 7396: a merge patch is one of PATCH)."""
    return PATCH_TYPES if method == "PATCH" else JSON_TYPES
