"""What `app.lib.http.uvicorn_protocol` relies on in uvicorn and httptools."""

import asyncio
import inspect
import re
from typing import Any, cast, override

import httptools
import pytest
import uvicorn
from uvicorn.protocols.http import httptools_impl
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from app.lib.http.request_parser import RequestParser
from app.lib.http.uvicorn_protocol import BoundedHttp

OVERRIDDEN = {
    "connection_made": ["transport"],
    "connection_lost": ["exc"],
    "data_received": ["data"],
    "on_message_begin": [],
    "on_header": ["name", "value"],
    "on_headers_complete": [],
    "on_body": ["body"],
    "on_message_complete": [],
    "on_response_complete": [],
    "send_400_response": ["msg"],
    "pause_writing": [],
    "resume_writing": [],
    "timeout_keep_alive_handler": [],
}


def test_overridden_uvicorn_methods_exist() -> None:
    public = {name for name, _ in inspect.getmembers(BoundedHttp, inspect.isfunction) if not name.startswith("_")}
    ours = {name for name in public if getattr(BoundedHttp, name) is not getattr(HttpToolsProtocol, name, None)}
    assert ours == OVERRIDDEN.keys()
    for name, parameters in OVERRIDDEN.items():
        assert list(inspect.signature(getattr(HttpToolsProtocol, name)).parameters)[1:] == parameters


async def protocol() -> HttpToolsProtocol:
    config = uvicorn.Config(nothing, ws="none", log_config=None)
    return HttpToolsProtocol(config=config, server_state=ServerState(), app_state={})


async def nothing(scope: Any, receive: Any, send: Any) -> None:
    """Be an application."""


async def test_own_names_do_not_collide_with_uvicorn() -> None:
    theirs = {*dir(HttpToolsProtocol), *vars(await protocol())}
    ours = {name for name in vars(BoundedHttp) if not name.startswith("__") and name not in OVERRIDDEN}
    set_by_us = set(re.findall(r"self\.(_\w+)(?:: [^=]+)? = ", inspect.getsource(BoundedHttp)))
    assert not theirs & (ours | set_by_us)


async def test_used_uvicorn_attributes_exist() -> None:
    instance = vars(await protocol())
    assert {"parser", "headers", "url", "cycle", "expect_100_continue", "transport", "flow", "loop", "logger"} <= (
        instance.keys() | {"url"}  # begins with a request
    )
    assert instance["connections"] == set()
    made = inspect.signature(RequestResponseCycle).parameters
    arguments: dict[str, Any] = dict.fromkeys(made) | {"keep_alive": True, "expect_100_continue": True}
    cycle = RequestResponseCycle(**arguments | {"message_event": asyncio.Event()})
    state = (cycle.response_complete, cycle.keep_alive, cycle.waiting_for_100_continue, cycle.more_body)
    assert state == (False, True, True, True)
    assert cycle.message_event.is_set() is False
    assert STATUS_LINE[400] == b"HTTP/1.1 400 Bad Request\r\n"


def test_parser_has_every_method_that_uvicorn_calls() -> None:
    source = inspect.getsource(httptools_impl)
    called = set(re.findall(r"self\.parser\.(\w+)", source)) - {"set_dangerous_leniencies"}
    assert called == {"feed_data", "get_http_version", "get_method", "should_keep_alive", "should_upgrade"}
    assert called <= {*dir(RequestParser), *vars(RequestParser(cast("HttpToolsProtocol", Silent())))}
    assert source.count("HttpRequestParser(self)") == 1


def test_uvicorn_uses_the_parser_as_expected() -> None:
    source = inspect.getsource(HttpToolsProtocol.data_received)
    assert "self.parser.feed_data(data)" in source
    assert re.search(r"except httptools\.HttpParserError:(?s:.*)self\.send_400_response\(", source)
    source = inspect.getsource(HttpToolsProtocol.on_headers_complete)
    for part in ("RequestResponseCycle(", "self.expect_100_continue", "self.pipeline.appendleft", "self.url"):
        assert part in source
    assert "cycle.run_asgi(app)" in inspect.getsource(HttpToolsProtocol._start_asgi_task)
    assert re.search(r"self\.scope, self\.receive, self\.send", inspect.getsource(RequestResponseCycle.run_asgi))
    for part in ("self.message_event.wait()", "self.more_body", "self.waiting_for_100_continue"):
        assert part in inspect.getsource(RequestResponseCycle.receive)
    assert inspect.signature(HttpToolsProtocol.shutdown).parameters.keys() == {"self"}
    assert "self.transport.close()" in inspect.getsource(HttpToolsProtocol.shutdown)
    assert re.search(r"if not self\.keep_alive:\s+self\.transport\.close\(\)", inspect.getsource(RequestResponseCycle))


def test_uvicorn_responses_use_only_known_transport_methods() -> None:
    source = inspect.getsource(RequestResponseCycle)
    used = set(re.findall(r"self\.transport\.(\w+)", source))
    assert used == {"write", "close", "is_closing"}
    assert re.search(r"self\.transport\.close\(\)\s+self\.on_response\(\)", source)


def test_only_flow_control_pauses_reading() -> None:
    assert not re.findall(r"transport\.(?:pause|resume)_reading", inspect.getsource(httptools_impl))
    source = inspect.getsource(FlowControl)
    assert source.count("self._transport.pause_reading()") == source.count("self._transport.resume_reading()") == 1
    assert set(re.findall(r"self\.(read_paused|_transport) = ", source)) == {"read_paused", "_transport"}
    assert "self.client = get_remote_addr(transport)" in inspect.getsource(HttpToolsProtocol.connection_made)


class Silent:
    """Callbacks that record nothing but the end."""

    def __init__(self) -> None:
        self.headers: list[tuple[bytes, bytes]] = []
        self.ends = 0

    def on_message_begin(self) -> None: ...
    def on_url(self, url: bytes) -> None: ...
    def on_header(self, name: bytes, value: bytes) -> None: ...
    def on_headers_complete(self) -> None: ...
    def on_body(self, body: bytes) -> None: ...

    def on_message_complete(self) -> None:
        self.ends += 1


HEAD = b"POST / HTTP/1.1\r\nConnection: close, Upgrade\r\nUpgrade: a\r\nContent-Length: 4\r\n\r\n"


class TestHttptools:
    def test_httptools_ends_an_upgrade_at_its_headers(self) -> None:
        callbacks = Silent()
        parser = httptools.HttpRequestParser(callbacks)
        parser.feed_data(HEAD[:20])
        with pytest.raises(httptools.HttpParserUpgrade) as raised:
            parser.feed_data(memoryview(HEAD[20:] + b"body"))
        assert raised.value.args == (len(HEAD) - 20,)
        assert callbacks.ends == 1
        assert parser.should_upgrade()
        assert (parser.get_http_version(), parser.should_keep_alive()) == ("1.1", False)

    def test_httptools_wraps_errors_of_callbacks(self) -> None:
        class Failing(Silent):
            @override
            def on_headers_complete(self) -> None:
                raise ZeroDivisionError

        callbacks = Failing()
        with pytest.raises(httptools.HttpParserError) as raised:
            httptools.HttpRequestParser(callbacks).feed_data(b"GET / HTTP/1.1\r\n\r\n")
        assert isinstance(raised.value.__context__, ZeroDivisionError)
        assert callbacks.ends == 0

    def test_httptools_ignores_data_after_close(self) -> None:
        callbacks = Silent()
        parser = httptools.HttpRequestParser(callbacks)
        parser.set_dangerous_leniencies(lenient_data_after_close=True)
        parser.feed_data(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\nGET / HTTP/1.1\r\n\r\n")
        assert callbacks.ends == 1
