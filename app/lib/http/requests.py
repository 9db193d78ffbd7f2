"""Requests with strict JSON bodies."""

from typing import Any

from litestar import Request
from litestar.datastructures import State
from litestar.exceptions import InternalServerException, SerializationException

from app.lib.auth.tokens import Identity
from app.lib.errors import (
    BadRequest,
    UnsupportedContentEncoding,
    UnsupportedMediaType,
)
from app.lib.http.inputs import inputs_of
from app.lib.validation.json_body import decode, is_encoded

JSON_TYPES = ("application/json",)
PATCH_TYPES = (*JSON_TYPES, "application/merge-patch+json")


class ApiRequest(Request[Identity, None, State]):
    """A request whose body is decoded strictly into the struct that the handler or a dependency takes as `data`.

    Where `data` has a default, there may be no body. Where nobody takes `data`, the body may be of any type.
    """

    async def body(self) -> bytes:
        """Read the body. Raises 415 before reading, 413 over the limit, 400 when there is none and must be one."""
        if is_encoded(self.scope["headers"]):
            raise UnsupportedContentEncoding
        data = inputs_of(self.route_handler).data
        if data is None or (data.has_default and not await self._whole()):
            return await self._whole()
        media_type = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type not in body_types(str(self.method)):
            raise UnsupportedMediaType
        if not (body := await self._whole()):
            raise BadRequest("The body is empty, JSON is expected")
        return body

    async def _whole(self) -> bytes:
        try:
            return await super().body()
        except InternalServerException:  # what Litestar raises for a client that has left
            raise BadRequest("The client left before the body was complete") from None

    async def json(self) -> Any:
        """Decode the body into the struct of `data`; without `data`, into plain values as Litestar does."""
        data = inputs_of(self.route_handler).data
        if data is None:
            return await self._plain_json()
        body = await self.body()
        return decode(body, data.annotation) if body else data.default

    async def _plain_json(self) -> Any:
        try:
            return await super().json()
        except SerializationException:
            raise BadRequest("The body is not valid JSON") from None


def body_types(method: str) -> tuple[str, ...]:
    """Return the media types of the bodies that a method takes (RFC 7396: a merge patch is one of PATCH)."""
    return PATCH_TYPES if method == "PATCH" else JSON_TYPES
