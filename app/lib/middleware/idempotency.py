"""`Idempotency-Key`: a POST that is repeated is executed once, and gets the first response again."""

import re
from hashlib import blake2b
from http import HTTPStatus
from typing import Protocol

import msgspec
from litestar.types import ASGIApp, Message, Receive, Scope, Send
from litestar.types.asgi_types import HTTPRequestEvent
from msgspec import Struct

from app.lib.errors import ApiError, BadRequest, Conflict, FieldError, Invalid, PayloadTooLarge
from app.lib.http.asgi import problem_response
from app.lib.http.hooks import IN_PLACE_OF_THE_HANDLER
from app.lib.persistence.session import Session
from app.lib.validation.json_body import is_encoded

HEADER = b"idempotency-key"
REPLAYED = (b"idempotency-replayed", b"true")
VISIBLE_ASCII = re.compile(rb"[\x21-\x7e]{1,255}")
BAD_KEY = FieldError("Expected 1 to 255 visible ASCII characters", parameter="Idempotency-Key")
IN_PROGRESS = "A request with this Idempotency-Key is being processed"
OTHER_REQUEST = FieldError("The key was used for another request", parameter="Idempotency-Key")


class RecordedResponse(Struct, array_like=True):
    """A response as the router sent it: `headers` lack those that outer middleware adds to every response."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


class Stored(Struct):
    """The first response to a key."""

    fingerprint: bytes  # of the request
    answer: bytes  # a `RecordedResponse` as MessagePack


class AnswerStore(Protocol):
    """Stores first responses by user and key, in the session's transaction."""

    async def claim(self, session: Session, user_id: str, key: str) -> bool:
        """Lock the key until the transaction ends; False if another request has locked it."""

    async def find(self, session: Session, user_id: str, key: str) -> Stored | None:
        """Return the stored response unless it has expired. Raises `Forbidden` for a user deactivated since."""

    async def save(self, session: Session, user_id: str, key: str, stored: Stored) -> None:
        """Store the first response."""


class IdempotencyMiddleware:
    """Runs a request with a key and stores its response in one transaction: both are committed, or none."""

    def __init__(self, app: ASGIApp, store: AnswerStore, body_limit: int) -> None:
        self._app = app
        self._store = store
        self._body_limit = body_limit
        self._running: set[tuple[str, str]] = set()  # in this process, where a user's transactions wait for each other

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        keys = [value for name, value in scope["headers"] if name == HEADER]
        if not keys or scope.get("method") != "POST" or not scope.get("user"):
            await self._app(scope, receive, send)
            return
        body = b""
        try:
            if len(keys) > 1 or not VISIBLE_ASCII.fullmatch(keys[0]):
                raise Invalid([BAD_KEY])
            # A handler with a body refuses an encoded one; other handlers ignore it.
            body = b"" if is_encoded(scope["headers"]) else await _read(receive, self._body_limit)
            response = await self._run_once(scope, keys[0].decode("ascii"), body)
        except ApiError as error:
            response = await self._behind_the_guards(scope, body, problem_response(error, scope))
        await _send(response, send)

    async def _behind_the_guards(self, scope: Scope, body: bytes, reply: ASGIApp) -> RecordedResponse:
        """Send a response in place of the handler, so that errors of the route, its methods and guards come first."""
        scope["state"][IN_PLACE_OF_THE_HANDLER] = reply
        return await _record(self._app, scope, body)

    async def _run_once(self, scope: Scope, key: str, body: bytes) -> RecordedResponse:
        user_id: str = scope["user"].id
        if (user_id, key) in self._running:
            raise Conflict(IN_PROGRESS)
        self._running.add((user_id, key))
        try:
            return await self._run_claimed(scope, user_id, key, body)
        finally:
            self._running.discard((user_id, key))

    async def _run_claimed(self, scope: Scope, user_id: str, key: str, body: bytes) -> RecordedResponse:
        session: Session = scope["litestar_app"].state.database.session(user_id)
        fingerprint = _fingerprint(scope, body)
        async with session.atomic():
            if not await self._store.claim(session, user_id, key):
                raise Conflict(IN_PROGRESS)
            if not (stored := await self._store.find(session, user_id, key)):
                scope["state"]["session"] = session
                response = await _record(self._app, scope, body)
                if response.status < HTTPStatus.BAD_REQUEST:
                    packed = msgspec.msgpack.encode(response)
                    await self._store.save(session, user_id, key, Stored(fingerprint, packed))
                else:  # an error is not stored: the client may correct the request and use the key again
                    await session.rollback()
                return response
        return await self._behind_the_guards(scope, body, _replayed(stored, fingerprint))


def _replayed(stored: Stored, fingerprint: bytes) -> ASGIApp:
    if stored.fingerprint != fingerprint:
        raise Invalid([OTHER_REQUEST])
    response = msgspec.msgpack.decode(stored.answer, type=RecordedResponse)
    response.headers.append(REPLAYED)

    async def replay(_: Scope, __: Receive, send: Send) -> None:
        await _send(response, send)

    return replay


def _fingerprint(scope: Scope, body: bytes) -> bytes:
    parts = (scope["path"].encode(), scope["query_string"], body)
    return blake2b(msgspec.msgpack.encode(parts), digest_size=32).digest()


async def _read(receive: Receive, limit: int) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise BadRequest("The client left before the body was complete")
        body += message.get("body", b"")
        if len(body) > limit:
            raise PayloadTooLarge
        if not message.get("more_body", False):
            return bytes(body)


async def _record(app: ASGIApp, scope: Scope, body: bytes) -> RecordedResponse:
    """Run the request without sending its response, which must be stored first."""
    response = RecordedResponse(500, [], b"")

    async def receive() -> HTTPRequestEvent:
        return {"type": "http.request", "body": body, "more_body": False}

    async def record(message: Message) -> None:
        if message["type"] == "http.response.start":
            response.status, response.headers = message["status"], list(message["headers"])
        elif message["type"] == "http.response.body":
            response.body += message.get("body", b"")

    await app(scope, receive, record)
    return response


async def _send(response: RecordedResponse, send: Send) -> None:
    await send({"type": "http.response.start", "status": response.status, "headers": response.headers})
    await send({"type": "http.response.body", "body": response.body, "more_body": False})
