"""The HTTP protocol of the server: uvicorn's, with bounds on what is sent and how slowly, and errors in our shape.

`tests/lib/http/test_server_parts.py` holds what it takes for granted of uvicorn's private classes.
"""

import asyncio
import time
from enum import Enum, auto
from functools import partial
from typing import Any

from uvicorn._types import ASGIReceiveCallable, ASGIReceiveEvent, ASGISendCallable, ASGISendEvent
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from app.lib.errors import ApiError, BadRequest, Overloaded, RequestTimeout
from app.lib.http.asgi import security_headers
from app.lib.http.authority import from_absolute_target, judged_by
from app.lib.http.client_address import holder_of
from app.lib.http.connections import Flow, GentleTransport, OpenConnections
from app.lib.http.own_response import own_response
from app.lib.http.request_parser import RequestParser, fault_in_head, is_plain_head
from app.lib.http.unread_responses import ReadingWatch, UnreadResponses
from app.lib.settings import Settings

MAX_HEADER_BYTES = 64 * 1024
PIECE_BYTES = 4 * 1024
TURN_SECONDS = 0.001  # of parsing what one connection sent, before others have their turn
MAX_REST_BYTES = 256 * 1024  # of a body behind its response: a connection with a smaller rest is kept
MAX_FRAMING_BYTES = 64 * 1024  # of a body: heads of chunks, their extensions, trailers
FRAMING_OF_A_BYTE = 8  # more for each byte of content: a chunk of one byte has 5
MIN_BYTES_PER_SECOND = 1024  # of a body, and of an answer that is read: a bad mobile line has twice that


class _Phase(Enum):
    """What of a request is to come."""

    HEADERS = auto()
    BODY = auto()
    NOTHING = auto()


class BoundedHttp(HttpToolsProtocol):
    """Ends connections that wait for their client too long, and keeps trailers from being taken for headers.

    Whenever it is the client's turn, a timer runs: uvicorn's own only does between requests.
    Each request gets one response, in order; nothing is parsed behind an error of the server's own.
    """

    flow: Flow
    _phase = _Phase.HEADERS
    _bytes = 0  # of this phase
    _since: float | None = None  # when the client's turn began
    _timer: asyncio.TimerHandle | None = None
    _is_over = False  # nothing more is parsed
    _fault: ApiError | None = None  # in the head that is being parsed
    _last_error: ApiError | None = None  # to be sent when all before it is answered
    _given_up: tuple[RequestResponseCycle, ApiError] | None = None
    _content = 0  # bytes of the body
    _rest = 0  # bytes of the body that came behind its response
    _to_parse = b""  # when this connection has its next turn

    def __init__(
        self,
        *arguments: Any,
        patience: float,
        fixed: list[tuple[bytes, bytes]],
        root: str,
        unread: UnreadResponses,
        open_: OpenConnections,
        **options: Any,
    ) -> None:
        super().__init__(*arguments, **options)
        self._unread_responses = unread
        self._patience = patience
        self._open = open_
        self._fixed = fixed
        self._root = root
        self.parser = RequestParser(self)  # type: ignore[assignment]

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection, if there are not too many, of all or of its address."""
        super().connection_made(transport)
        self.flow = Flow(transport)
        address = self.client[0] if self.client else None
        self._site = self._open.add(address)
        self._reading = ReadingWatch(transport, self._patience, self._patience * MIN_BYTES_PER_SECOND)
        self._gentle = GentleTransport(self._reading, self.flow, self._open, self._site, self._is_all_read)
        if self._open.has_place(self._site, address, len(self.connections)):
            self._watch()
        else:
            self._refuse(Overloaded())

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop all timers."""
        super().connection_lost(exc)
        self._is_over = True
        self._open.remove(self._site)
        self._gentle.lose()
        self._stop_watching()
        self._reading.stop()

    def data_received(self, data: bytes) -> None:
        """Parse, then see whose turn it is."""
        if self._is_over or self._gentle.is_closing():
            self._gentle.drop(len(data))
        elif len(data) <= PIECE_BYTES and not self._to_parse:
            self._receive_piece(data)
        else:
            self._parse(self._to_parse + data)

    def _parse(self, data: bytes) -> None:
        """Parse in small pieces, for bounds are checked after each; let others have a turn now and then."""
        self._to_parse = b""
        until = time.monotonic() + TURN_SECONDS
        for start in range(0, len(data), PIECE_BYTES):
            if start and time.monotonic() > until:
                self._to_parse = data[start:]
                self.flow.hold()
                self.loop.call_soon(self._go_on)
                return
            self._receive_piece(data[start : start + PIECE_BYTES])

    def _go_on(self) -> None:
        if not self._is_over:
            self._parse(self._to_parse)
        if self._is_over or not self._to_parse:
            self._to_parse = b""
            self.flow.release()

    def _receive_piece(self, data: bytes) -> None:
        if self._is_over or self._gentle.is_closing():
            return
        super().data_received(data)
        if self._is_over or self._gentle.is_closing():
            return
        if self._phase is _Phase.NOTHING and self._answer_is_due:
            self._stop_watching()
            return
        self._bytes += len(data)
        if self._phase is _Phase.HEADERS and self._bytes > MAX_HEADER_BYTES:
            self._refuse(BadRequest("The headers are too large"))
        elif self._phase is not _Phase.BODY or self._may_go_on(len(data)):
            self._watch()

    def _may_go_on(self, size: int) -> bool:
        """Return whether more of the body is parsed: neither without end behind the response, nor without content."""
        if not self._answer_is_due:
            self._rest += size
            if self._rest > MAX_REST_BYTES:
                self._end_gently()
        elif self._bytes - self._content > MAX_FRAMING_BYTES + FRAMING_OF_A_BYTE * self._content:
            self._refuse(BadRequest("The body has too much besides its content: chunk extensions, trailers"))
        return not self._is_over

    def on_message_begin(self) -> None:
        """Begin to count."""
        super().on_message_begin()
        self._enter(_Phase.HEADERS)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header, and no trailer."""
        if self._phase is _Phase.HEADERS:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Hand the request over, or refuse it: what is raised ends the parser."""
        method, version = self.parser.get_method(), self.parser.get_http_version()
        if not is_plain_head(method, self.url, version, self.headers):
            self._look_closely(method, version)
        super().on_headers_complete()
        self.cycle.transport = self._gentle  # type: ignore[assignment]
        self._content = self._rest = 0
        self._enter(_Phase.BODY)
        if self.expect_100_continue:
            self.cycle.send = partial(_send_without_continue, self.cycle, self.cycle.send)  # type: ignore[method-assign]
        self.cycle.send = partial(self._send, self.cycle, self.cycle.send)  # type: ignore[method-assign]

    def _look_closely(self, method: bytes, version: str) -> None:
        self._fault = fault_in_head(method, self.url, version, self.headers)
        if self._fault is not None:
            raise self._fault
        if absolute := from_absolute_target(self.url):
            authority, self.url = absolute
            self.headers[:] = judged_by(authority, version, self.headers)
        if version == "1.0":
            self.expect_100_continue = False  # RFC 9110, 10.1.1: such a client takes a 100 for the response

    def on_body(self, body: bytes) -> None:
        """Count what is content."""
        self._content += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Expect nothing more of the request, if this is its end."""
        if not self.parser.is_cut_short:  # type: ignore[attr-defined]
            self._enter(_Phase.NOTHING)
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """Go on with the next request; behind the last one, send the error that waits for its turn."""
        if self._gentle.is_lingering:
            self._end_gently()
            return
        super().on_response_complete()
        if self._last_error is not None and not self._answer_is_due and not self._gentle.is_closing():
            self._write_and_close(self._last_error)

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP, of which uvicorn has told the log."""
        self._end(self._fault or BadRequest(msg))

    def pause_writing(self) -> None:
        """See to it that the client reads."""
        super().pause_writing()
        self._reading.watch()

    def resume_writing(self) -> None:
        """The client has read."""
        super().resume_writing()
        self._reading.stop()

    def timeout_keep_alive_handler(self) -> None:
        """Close what is idle, once the last answer is read."""
        super().timeout_keep_alive_handler()
        if self.transport.get_write_buffer_size():
            self._reading.watch()

    @property
    def _answer_is_due(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _is_all_read(self) -> bool:
        """Return whether the client sent all of a request, and nothing behind it that is not parsed."""
        return self._phase is _Phase.NOTHING and not self._is_over and not self._to_parse

    def _end_gently(self) -> None:
        """Parse nothing more, and close behind what is written."""
        self._is_over = True
        self._stop_watching()
        self._gentle.close()

    def _enter(self, phase: _Phase) -> None:
        self._phase, self._bytes, self._since = phase, 0, None

    def _watch(self) -> None:
        if self._since is None:
            self._since = self.loop.time()
            if self._phase is _Phase.BODY:
                self._watch_body()
        if self._timer is None:
            self._timer = self.loop.call_later(self._patience, self._check)

    def _watch_body(self) -> None:
        """Let the body be given up; the request was handed over just now, and is not begun before this returns."""
        self.cycle.receive = partial(self._receive, self.cycle, self.cycle.receive)  # type: ignore[method-assign]

    def _stop_watching(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _check(self) -> None:
        """End the client's turn, unless it was not theirs, or they are as fast as can be asked of them."""
        self._timer = None
        if self._gentle.is_closing():
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
            self._end(RequestTimeout())
        elif self._phase is _Phase.HEADERS and self._bytes:
            self._refuse(RequestTimeout())
        elif in_body:
            self._end_gently()
        else:
            self.transport.close()

    def _give_up_on_body(self, error: ApiError) -> None:
        """Let the application answer: what waits for the body gets an error in its place."""
        if self._since is None:
            self._watch_body()
        self._given_up = (self.cycle, error)
        self.cycle.keep_alive = False
        self.cycle.message_event.set()

    async def _receive(self, cycle: RequestResponseCycle, receive: ASGIReceiveCallable) -> ASGIReceiveEvent:
        message = await receive()
        if self._given_up and self._given_up[0] is cycle and message["type"] == "http.request" and message["more_body"]:
            raise self._given_up[1]
        return message

    async def _send(self, cycle: RequestResponseCycle, send: ASGISendCallable, message: ASGISendEvent) -> None:
        """Send, and return when the client has read: until then the request is in progress, for its user."""
        if cycle is self.cycle and self._phase is _Phase.BODY and self._rest_is_large():
            cycle.keep_alive = False  # the response says so, and nobody sends another request
        await send(message)
        if self.flow.write_paused and not cycle.disconnected:
            await self._unread_responses.drain(holder_of(cycle.scope), self.transport, self.flow.drain)  # type: ignore[arg-type]

    def _rest_is_large(self) -> bool:
        length = next((value for name, value in self.headers if name == b"content-length"), None)
        if length is None:  # chunked: the end of one that is large already is not waited for
            return self._content > MAX_REST_BYTES
        return int(length) - self._content > MAX_REST_BYTES

    def _refuse(self, error: ApiError) -> None:
        self.logger.warning(error.message)
        self._end(error)

    def _end(self, error: ApiError) -> None:
        """Parse nothing more; answer the request at fault, once those before it are answered, and close."""
        self._is_over = True
        self._stop_watching()
        if self._phase is _Phase.BODY and self._answer_is_due:
            self._give_up_on_body(error)
        elif self._phase is _Phase.BODY:  # answered before its body came
            self._gentle.close()
        elif self._answer_is_due:
            self._last_error = error
        else:
            self._write_and_close(error)

    def _write_and_close(self, error: ApiError) -> None:
        """Answer in the application's place."""
        self.transport.write(own_response(error, self._fixed, self._root))
        self._gentle.close()


async def _send_without_continue(cycle: RequestResponseCycle, send: ASGISendCallable, message: ASGISendEvent) -> None:
    """Close behind a response that comes in place of 100: whether the body follows is up to the client then."""
    if cycle.waiting_for_100_continue and cycle.more_body:
        cycle.keep_alive = False
    await send(message)


def bounded_http(settings: Settings) -> Any:
    """Give the protocol as uvicorn takes it, bounded as the settings say."""
    return partial(
        BoundedHttp,
        patience=settings.client_timeout,
        fixed=security_headers(settings),
        root=f"{settings.root_path}/",
        unread=UnreadResponses(),
        open_=OpenConnections(settings.max_connections, settings.trusted_proxies),
    )
