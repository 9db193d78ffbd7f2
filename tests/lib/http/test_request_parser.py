"""The parser alone: the same requests, whatever upgrade they ask for, and wherever reads end."""

from typing import cast

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.lib.http.request_parser import RequestParser

UPGRADES: tuple[list[bytes], ...] = (
    [],
    [b"Connection: Upgrade", b"Upgrade: h2c"],
    [b"Upgrade: websocket", b"Connection: close, upgrade"],
)
type Message = tuple[bytes, bytes, bool]


class Recorder:
    """Collects whole requests: target, body, and whether the connection goes on."""

    def __init__(self) -> None:
        self.parser = RequestParser(cast("HttpToolsProtocol", self))
        self.requests: list[Message] = []
        self.headers: list[tuple[bytes, bytes]] = []
        self.url = self.body = b""
        self.keeps_alive = True

    def on_message_begin(self) -> None:
        self.headers, self.url, self.body = [], b"", b""

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self.keeps_alive = self.parser.should_keep_alive()

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        if not self.parser.is_cut_short:
            self.requests.append((self.url, self.body, self.keeps_alive))


@st.composite
def streams(draw: st.DrawFn) -> tuple[bytes, list[Message]]:
    """Write a few requests, and what a parser must find in them."""
    stream, messages = b"", []
    for number in range(draw(st.integers(1, 5))):
        upgrade = draw(st.sampled_from(UPGRADES))
        body = draw(st.one_of(st.binary(max_size=60), st.just(b"GET /smuggled HTTP/1.1\r\n\r\n")))
        lines = [b"POST /%d HTTP/1.1" % number, b"Host: x", *upgrade]
        if draw(st.booleans()):
            sizes = draw(st.integers(1, 20))
            chunks = [body[at : at + sizes] for at in range(0, len(body), sizes)]
            content = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
            lines.append(b"Transfer-Encoding: chunked")
            content += draw(st.sampled_from([b"0\r\n\r\n", b"0\r\nX-Trailer: y\r\n\r\n"]))
        else:
            lines += [b"Content-Length: %d" % len(body)] if body or draw(st.booleans()) else []
            content = body
        stream += b"\r\n".join(lines) + b"\r\n\r\n" + content
        keeps_alive = b"close" not in b"".join(upgrade)
        messages.append((b"/%d" % number, body, keeps_alive))
        if not keeps_alive:
            return stream + b"GET /behind HTTP/1.1\r\n\r\n", messages
    return stream, messages


@given(streams(), st.lists(st.integers(1, 40), min_size=1, max_size=20))
def test_parsing_does_not_depend_on_read_boundaries(stream: tuple[bytes, list[Message]], sizes: list[int]) -> None:
    text, messages = stream
    recorder, start = Recorder(), 0
    while start < len(text):
        size = sizes[start % len(sizes)]
        recorder.parser.feed_data(text[start : start + size])
        start += size
    assert recorder.requests == messages


@given(streams())
def test_parsing_byte_by_byte_equals_one_read(stream: tuple[bytes, list[Message]]) -> None:
    text, messages = stream
    whole, bytewise = Recorder(), Recorder()
    whole.parser.feed_data(text)
    for byte in text:
        bytewise.parser.feed_data(bytes([byte]))
    assert whole.requests == bytewise.requests == messages


def test_thousands_of_upgrades_in_one_read_do_not_recurse() -> None:
    one = b"POST / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: a\r\nContent-Length: 1\r\n\r\nx"
    recorder = Recorder()
    recorder.parser.feed_data(one * 3000)
    assert recorder.requests == [(b"/", b"x", True)] * 3000


@pytest.mark.parametrize("framing", [b"Transfer-Encoding: gzip", b"Transfer-Encoding: chunked"])
def test_bad_framing_behind_an_upgrade_is_an_error(framing: bytes) -> None:
    recorder = Recorder()
    with pytest.raises(httptools.HttpParserError):
        recorder.parser.feed_data(b"POST / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: a\r\n" + framing + b"\r\n\r\nzz")
    assert recorder.requests == []
