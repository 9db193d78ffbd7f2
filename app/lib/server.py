"""The HTTP protocol of the server: uvicorn's, with bounds on what is sent and how slowly, and errors in our shape."""

import asyncio
from enum import Enum, auto
from functools import partial
from typing import Any

from uuid_utils import uuid7
from uvicorn._types import ASGIReceiveCallable, ASGIReceiveEvent, ASGISendCallable, ASGISendEvent
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from app.lib.errors import ApiError, BadRequest, Overloaded, RequestTimeout, problem_body
from app.lib.reply import PROBLEM_HEADERS, header_pairs, security_headers
from app.lib.settings import Settings
from app.lib.unread import UnreadResponses
from app.lib.user_share import holder_of

MAX_HEADER_BYTES = 64 * 1024
PIECE_BYTES = 16 * 1024
MIN_BYTES_PER_SECOND = 1024  # of a body, and of an answer that is read: a bad mobile line has twice that


class _Phase(Enum):
    """What of a request is to come."""

    HEADERS = auto()
    BODY = auto()
    NOTHING = auto()


class BoundedHttp(HttpToolsProtocol):
    """Ends connections that wait for their client too long, and keeps trailers from being taken for headers.

    Whenever it is the client's turn, a timer runs: uvicorn's own only does between requests.
    """

    _phase = _Phase.HEADERS
    _bytes = 0  # of this phase
    _since: float | None = None  # when the client's turn began
    _timer: asyncio.TimerHandle | None = None
    _given_up: RequestResponseCycle | None = None
    _unread = 0
    _reading_timer: asyncio.TimerHandle | None = None

    def __init__(
        self,
        *arguments: Any,
        patience: float,
        max_connections: int,
        fixed: list[tuple[bytes, bytes]],
        unread: UnreadResponses,
        **options: Any,
    ) -> None:
        super().__init__(*arguments, **options)
        self._unread_responses = unread
        self._patience = patience
        self._max_connections = max_connections
        self._fixed = fixed

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection, if there are not too many."""
        super().connection_made(transport)
        if self._max_connections and len(self.connections) > self._max_connections:
            self._refuse(Overloaded())
        else:
            self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop all timers."""
        super().connection_lost(exc)
        self._stop_watching()
        self._stop_watching_reading()

    def data_received(self, data: bytes) -> None:
        """Parse, then see whose turn it is; what may be headers in small pieces, for their end is not known before."""
        if len(data) > PIECE_BYTES and self._phase is not _Phase.BODY:
            for start in range(0, len(data), PIECE_BYTES):
                if not self.transport.is_closing():
                    self._receive_piece(data[start : start + PIECE_BYTES])
        else:
            self._receive_piece(data)

    def _receive_piece(self, data: bytes) -> None:
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._phase is _Phase.NOTHING and self._answer_is_due:
            self._stop_watching()
            return
        self._bytes += len(data)
        if self._phase is _Phase.HEADERS and self._bytes > MAX_HEADER_BYTES:
            self._refuse(BadRequest("The headers are too large"))
        else:
            self._watch()

    def on_message_begin(self) -> None:
        """Begin to count."""
        super().on_message_begin()
        self._enter(_Phase.HEADERS)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header, and no trailer."""
        if self._phase is _Phase.HEADERS:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Hand the request over."""
        self._enter(_Phase.BODY)
        super().on_headers_complete()
        self.cycle.send = partial(self._send, self.cycle, self.cycle.send)  # type: ignore[method-assign]

    def on_message_complete(self) -> None:
        """Expect nothing more."""
        self._enter(_Phase.NOTHING)
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP, of which uvicorn has told the log."""
        self._answer_and_close(BadRequest(msg))

    def pause_writing(self) -> None:
        """See to it that the client reads."""
        super().pause_writing()
        self._watch_reading()

    def resume_writing(self) -> None:
        """The client has read."""
        super().resume_writing()
        self._stop_watching_reading()

    def timeout_keep_alive_handler(self) -> None:
        """Close what is idle, once the last answer is read."""
        super().timeout_keep_alive_handler()
        if self.transport.get_write_buffer_size():
            self._watch_reading()

    @property
    def _answer_is_due(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _enter(self, phase: _Phase) -> None:
        self._phase, self._bytes, self._since = phase, 0, None

    def _watch(self) -> None:
        if self._since is None:
            self._since = self.loop.time()
            if self._phase is _Phase.BODY:  # of a request that is handed over, and not begun before this returns
                self.cycle.receive = partial(self._receive, self.cycle, self.cycle.receive)  # type: ignore[method-assign]
        if self._timer is None:
            self._timer = self.loop.call_later(self._patience, self._check)

    def _stop_watching(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _check(self) -> None:
        """End the client's turn, unless it was not theirs, or they are as fast as can be asked of them."""
        self._timer = None
        if self.transport.is_closing():
            return
        now = self.loop.time()
        in_body = self._phase is _Phase.BODY
        is_ours = self.flow.read_paused or (
            self._answer_is_due and (not in_body or self.cycle.waiting_for_100_continue)
        )
        if is_ours or self._since is None:
            self._since = now
        until = self._since + self._patience + (self._bytes / MIN_BYTES_PER_SECOND if in_body else 0)
        if now < until:
            self._timer = self.loop.call_at(until, self._check)
        elif in_body and self._answer_is_due:
            self._give_up_on_body()
        elif self._phase is _Phase.HEADERS and self._bytes:
            self._refuse(RequestTimeout())
        else:
            self.transport.close()

    def _give_up_on_body(self) -> None:
        """Let the application answer: what waits for the body gets an error in its place."""
        self._given_up = self.cycle
        self.cycle.keep_alive = False
        self.cycle.message_event.set()

    async def _receive(self, cycle: RequestResponseCycle, receive: ASGIReceiveCallable) -> ASGIReceiveEvent:
        message = await receive()
        if self._given_up is cycle and message["type"] == "http.request" and message["more_body"]:
            raise RequestTimeout
        return message

    async def _send(self, cycle: RequestResponseCycle, send: ASGISendCallable, message: ASGISendEvent) -> None:
        """Send, and return when the client has read: until then the request is in progress, for its user."""
        await send(message)
        if self.flow.write_paused and not cycle.disconnected:
            await self._unread_responses.drain(holder_of(cycle.scope), self.transport, self.flow.drain)  # type: ignore[arg-type]

    def _watch_reading(self) -> None:
        self._unread = self.transport.get_write_buffer_size()
        if self._reading_timer is None:
            self._reading_timer = self.loop.call_later(self._patience, self._check_reading)

    def _stop_watching_reading(self) -> None:
        if self._reading_timer is not None:
            self._reading_timer.cancel()
            self._reading_timer = None

    def _check_reading(self) -> None:
        self._reading_timer = None
        size = self.transport.get_write_buffer_size()
        if size > self._unread - self._patience * MIN_BYTES_PER_SECOND:
            self.transport.abort()
        else:
            self._watch_reading()

    def _refuse(self, error: ApiError) -> None:
        self.logger.warning(error.message)
        self._answer_and_close(error)

    def _answer_and_close(self, error: ApiError) -> None:
        """Answer in the application's place, if no other answer is on its way."""
        if not self._answer_is_due:
            request_id = str(uuid7())
            body = problem_body(error, instance="/", request_id=request_id)
            headers = [
                *PROBLEM_HEADERS,
                *header_pairs(error.headers),
                *self._fixed,
                (b"content-length", b"%d" % len(body)),
                (b"connection", b"close"),
                (b"x-request-id", request_id.encode()),
            ]
            lines = (name + b": " + value + b"\r\n" for name, value in headers)
            self.transport.write(b"".join((STATUS_LINE[error.status], *lines, b"\r\n", body)))
        self.transport.close()


def bounded_http(settings: Settings) -> Any:
    """Give the protocol as uvicorn takes it, bounded as the settings say."""
    return partial(
        BoundedHttp,
        patience=settings.client_timeout,
        max_connections=settings.max_connections,
        fixed=security_headers(settings),
        unread=UnreadResponses(),
    )
