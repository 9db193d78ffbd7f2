"""The HTTP protocol of the server: uvicorn's, with bounds on what is sent and how slowly, and errors in our shape.

`tests/lib/http/test_server_parts.py` holds what it takes for granted of uvicorn's private classes.
"""

import asyncio
from dataclasses import dataclass
from functools import partial
from typing import Any

from uvicorn._types import ASGIReceiveCallable, ASGIReceiveEvent, ASGISendCallable, ASGISendEvent
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from app.lib.errors import ApiError, BadRequest, Overloaded, RequestTimeout
from app.lib.http.asgi import security_headers
from app.lib.http.authority import from_absolute_target, judged_by
from app.lib.http.client_address import holder_of
from app.lib.http.client_patience import MIN_BYTES_PER_SECOND, Patience, Phase
from app.lib.http.connections import Flow, GentleTransport, OpenConnections
from app.lib.http.own_response import own_response
from app.lib.http.parsing_turns import PieceReader, SiteTurns
from app.lib.http.request_parser import RequestParser, fault_in_head, is_plain_head
from app.lib.http.unread_responses import ReadingWatch, UnreadResponses
from app.lib.settings import Settings

MAX_HEADER_BYTES = 64 * 1024
MAX_REST_BYTES = 256 * 1024  # of a body behind its response: a connection with a smaller rest is kept
MAX_FRAMING_BYTES = 64 * 1024  # of a body: heads of chunks, their extensions, trailers
FRAMING_OF_A_BYTE = 8  # more for each byte of content: a chunk of one byte has 5


@dataclass(frozen=True)
class Bounds:
    """What all connections of a process share."""

    patience: float  # seconds
    fixed: list[tuple[bytes, bytes]]  # headers of every response
    root: str  # the path of references in the server's own responses
    unread: UnreadResponses
    open_: OpenConnections
    turns: SiteTurns


class BoundedHttp(HttpToolsProtocol):
    """Ends connections that wait for their client too long, and keeps trailers from being taken for headers.

    Whenever it is the client's turn, a timer runs: uvicorn's own only does between requests.
    Each request gets one response, in order; nothing is parsed behind an error of the server's own.
    """

    flow: Flow
    _is_over = False  # nothing more is parsed
    _fault: ApiError | None = None  # in the head that is being parsed
    _last_error: ApiError | None = None  # to be sent when all before it is answered
    _given_up: tuple[RequestResponseCycle, ApiError] | None = None
    _content = 0  # bytes of the body
    _rest = 0  # bytes of the body that came behind its response

    def __init__(self, *arguments: Any, bounds: Bounds, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._bounds = bounds
        self._patience = Patience(bounds.patience, self._is_turn_of_server, self._expire)
        self.parser = RequestParser(self)  # type: ignore[assignment]

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection, if there are not too many, of all or of its address."""
        super().connection_made(transport)
        self.flow = Flow(transport)
        address = self.client[0] if self.client else None
        open_ = self._bounds.open_
        self._site = open_.add(address)
        self._pieces = PieceReader(self._receive_piece, self.flow, self._bounds.turns, self._site)
        seconds = self._bounds.patience
        self._reading = ReadingWatch(transport, seconds, seconds * MIN_BYTES_PER_SECOND)
        self._gentle = GentleTransport(self._reading, self.flow, open_, self._site, self._is_all_read)
        if open_.has_place(self._site, address, len(self.connections)):
            self._watch()
        else:
            self._refuse(Overloaded())

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop all timers."""
        super().connection_lost(exc)
        self._is_over = True
        self._bounds.open_.remove(self._site)
        self._gentle.lose()
        self._patience.stop()
        self._reading.stop()

    def data_received(self, data: bytes) -> None:
        """Parse, then see whose turn it is."""
        if self._is_over or self._gentle.is_closing():
            self._gentle.drop(len(data))
        else:
            self._pieces.receive(data)

    def _receive_piece(self, data: bytes) -> None:
        if self._is_over or self._gentle.is_closing():
            return
        super().data_received(data)
        if self._is_over or self._gentle.is_closing():
            return
        patience = self._patience
        if patience.phase is Phase.NOTHING and self._answer_is_due:
            patience.stop()
            return
        patience.received += len(data)
        if patience.phase is Phase.HEADERS and patience.received > MAX_HEADER_BYTES:
            self._refuse(BadRequest("The headers are too large"))
        elif patience.phase is not Phase.BODY or self._may_go_on(len(data)):
            self._watch()

    def _may_go_on(self, size: int) -> bool:
        """Return whether more of the body is parsed: neither without end behind the response, nor without content."""
        if not self._answer_is_due:
            self._rest += size
            if self._rest > MAX_REST_BYTES:
                self._end_gently()
        elif self._patience.received - self._content > MAX_FRAMING_BYTES + FRAMING_OF_A_BYTE * self._content:
            self._refuse(BadRequest("The body has too much besides its content: chunk extensions, trailers"))
        return not self._is_over

    def on_message_begin(self) -> None:
        """Begin to count."""
        super().on_message_begin()
        self._patience.enter(Phase.HEADERS)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header, and no trailer."""
        if self._patience.phase is Phase.HEADERS:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Hand the request over, or refuse it: what is raised ends the parser."""
        method, version = self.parser.get_method(), self.parser.get_http_version()
        if not is_plain_head(method, self.url, version, self.headers):
            self._look_closely(method, version)
        super().on_headers_complete()
        self.cycle.transport = self._gentle  # type: ignore[assignment]
        self._content = self._rest = 0
        self._patience.enter(Phase.BODY)
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
            self._patience.enter(Phase.NOTHING)
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
        return self._patience.phase is Phase.NOTHING and not self._is_over and not self._pieces.has_unparsed

    def _end_gently(self) -> None:
        """Parse nothing more, and close behind what is written."""
        self._is_over = True
        self._patience.stop()
        self._gentle.close()

    def _watch(self) -> None:
        if self._patience.phase is Phase.BODY and not self._patience.has_begun:
            self._watch_body()
        self._patience.watch()

    def _watch_body(self) -> None:
        """Let the body be given up; the request was handed over just now, and is not begun before this returns."""
        self.cycle.receive = partial(self._receive, self.cycle, self.cycle.receive)  # type: ignore[method-assign]

    def _is_turn_of_server(self) -> bool:
        is_waited_for = self._patience.phase is not Phase.BODY or self.cycle.waiting_for_100_continue
        return self.flow.read_paused or (self._answer_is_due and is_waited_for)

    def _expire(self) -> None:
        """End the turn of a client that was too slow."""
        if self._gentle.is_closing():
            return
        in_body = self._patience.phase is Phase.BODY
        if in_body and self._answer_is_due:
            self._end(RequestTimeout())
        elif self._patience.phase is Phase.HEADERS and self._patience.received:
            self._refuse(RequestTimeout())
        elif in_body:
            self._end_gently()
        else:
            self.transport.close()

    def _give_up_on_body(self, error: ApiError) -> None:
        """Let the application answer: what waits for the body gets an error in its place."""
        if not self._patience.has_begun:
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
        if cycle is self.cycle and self._patience.phase is Phase.BODY and self._rest_is_large():
            cycle.keep_alive = False  # the response says so, and nobody sends another request
        await send(message)
        if self.flow.write_paused and not cycle.disconnected:
            await self._bounds.unread.drain(holder_of(cycle.scope), self.transport, self.flow.drain)  # type: ignore[arg-type]

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
        self._patience.stop()
        if self._patience.phase is Phase.BODY and self._answer_is_due:
            self._give_up_on_body(error)
        elif self._patience.phase is Phase.BODY:  # answered before its body came
            self._gentle.close()
        elif self._answer_is_due:
            self._last_error = error
        else:
            self._write_and_close(error)

    def _write_and_close(self, error: ApiError) -> None:
        """Answer in the application's place."""
        self.transport.write(own_response(error, self._bounds.fixed, self._bounds.root))
        self._gentle.close()


async def _send_without_continue(cycle: RequestResponseCycle, send: ASGISendCallable, message: ASGISendEvent) -> None:
    """Close behind a response that comes in place of 100: whether the body follows is up to the client then."""
    if cycle.waiting_for_100_continue and cycle.more_body:
        cycle.keep_alive = False
    await send(message)


def bounded_http(settings: Settings) -> Any:
    """Give the protocol as uvicorn takes it, bounded as the settings say."""
    bounds = Bounds(
        patience=settings.client_timeout,
        fixed=security_headers(settings),
        root=f"{settings.root_path}/",
        unread=UnreadResponses(),
        open_=OpenConnections(settings.max_connections, settings.trusted_proxies),
        turns=SiteTurns(),
    )
    return partial(BoundedHttp, bounds=bounds)
