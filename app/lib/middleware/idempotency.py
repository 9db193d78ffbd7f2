"""`Idempotency-Key`: a POST that is sent again is not done again, and gets its first answer."""

import re
from collections.abc import Iterable
from hashlib import blake2b
from http import HTTPStatus
from typing import Any, Protocol

import msgspec
from litestar.types import ASGIApp, Receive, Scope, Send
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


class Answer(Struct, array_like=True):
    """An answer as it was given: `headers` are those of the router, not those that every answer has."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


class Stored(Struct):
    """The first answer to a key, and of which request."""

    fingerprint: bytes
    answer: bytes


class AnswerStore(Protocol):
    """Keeps first answers, a user's keys apart from everybody else's, in the session's transaction."""

    async def claim(self, session: Session, user_id: str, key: str) -> bool:
        """Hold the key until the transaction ends; False if another request holds it."""

    async def find(self, session: Session, user_id: str, key: str) -> Stored | None:
        """Return what is stored and still counts. Raises `Forbidden` for a user who was deactivated since."""

    async def save(self, session: Session, user_id: str, key: str, stored: Stored) -> None:
        """Store the first answer."""


class IdempotencyMiddleware:
    """ASGI middleware behind the wall: runs the request and stores its answer in one transaction."""

    def __init__(self, app: ASGIApp, store: AnswerStore, body_limit: int) -> None:
        self._app = app
        self._store = store
        self._body_limit = body_limit
        self._running: set[tuple[str, str]] = set()  # here, where a user's transactions wait for each other

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what has no key."""
        keys = [value for name, value in scope["headers"] if name == HEADER]
        if not keys or scope.get("method") != "POST" or not scope.get("user"):
            await self._app(scope, receive, send)
            return
        body = b""
        try:
            if len(keys) > 1 or not VISIBLE_ASCII.fullmatch(keys[0]):
                raise Invalid([BAD_KEY])
            # Whoever takes a body refuses an encoded one, and that is their answer; the others have no use for it.
            body = b"" if is_encoded(scope["headers"]) else await _read(receive, self._body_limit)
            answer = await self._once(scope, keys[0].decode("ascii"), body)
        except ApiError as error:
            answer = await self._behind_the_guards(scope, body, problem_response(error, scope))
        await _send(answer, send)

    async def _behind_the_guards(self, scope: Scope, body: bytes, reply: ASGIApp) -> Answer:
        """Send a reply from where the handler would: the route, its methods and its guards come first."""
        scope["state"][IN_PLACE_OF_THE_HANDLER] = reply
        return await _answer(self._app, scope, body)

    async def _once(self, scope: Scope, key: str, body: bytes) -> Answer:
        user_id: str = scope["user"].id
        if (user_id, key) in self._running:
            raise Conflict(IN_PROGRESS)
        self._running.add((user_id, key))
        try:
            return await self._claimed(scope, user_id, key, body)
        finally:
            self._running.discard((user_id, key))

    async def _claimed(self, scope: Scope, user_id: str, key: str, body: bytes) -> Answer:
        session: Session = scope["litestar_app"].state.database.session(user_id)
        fingerprint = _fingerprint(scope, body)
        async with session.atomic():
            if not await self._store.claim(session, user_id, key):
                raise Conflict(IN_PROGRESS)
            if not (stored := await self._store.find(session, user_id, key)):
                scope["state"]["session"] = session
                answer = await _answer(self._app, scope, body)
                if answer.status < HTTPStatus.BAD_REQUEST:
                    await self._store.save(session, user_id, key, Stored(fingerprint, msgspec.msgpack.encode(answer)))
                else:  # what is refused is not stored, and may be tried again
                    await session.rollback()
                return answer
        return await self._behind_the_guards(scope, body, _replayed(stored, fingerprint))


def _replayed(stored: Stored, fingerprint: bytes) -> ASGIApp:
    if stored.fingerprint != fingerprint:
        raise Invalid([OTHER_REQUEST])
    answer = msgspec.msgpack.decode(stored.answer, type=Answer)
    answer.headers.append(REPLAYED)

    async def replay(_: Scope, __: Receive, send: Send) -> None:
        await _send(answer, send)

    return replay


def _fingerprint(scope: Scope, body: bytes) -> bytes:
    parts = (scope["path"].encode(), scope["query_string"], body)
    return blake2b(msgspec.msgpack.encode(parts), digest_size=32).digest()


async def _read(receive: Receive, limit: int) -> bytes:
    body = bytearray()
    while True:
        message: Any = await receive()
        if message["type"] == "http.disconnect":
            raise BadRequest("The client left before the body was complete")
        body += message.get("body", b"")
        if len(body) > limit:
            raise PayloadTooLarge
        if not message.get("more_body", False):
            return bytes(body)


async def _answer(app: ASGIApp, scope: Scope, body: bytes) -> Answer:
    """Run the request, and hold its answer back until it is stored."""
    answer = Answer(500, [], b"")

    async def receive() -> Any:
        return {"type": "http.request", "body": body, "more_body": False}

    async def hold(message: Any) -> None:
        if message["type"] == "http.response.start":
            answer.status, answer.headers = message["status"], list(message["headers"])
        else:
            answer.body += message.get("body", b"")

    await app(scope, receive, hold)
    return answer


async def _send(answer: Answer, send: Send) -> None:
    headers: Iterable[tuple[bytes, bytes]] = answer.headers
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body, "more_body": False})
