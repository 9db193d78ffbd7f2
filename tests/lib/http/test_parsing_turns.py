"""Turns of parsing: bounded for each site in an iteration of the loop, in order, and with nothing lost."""

import asyncio
from typing import Any

import pytest

from app.lib.http import parsing_turns
from app.lib.http.connections import Flow
from app.lib.http.parsing_turns import PIECE_BYTES, PieceReader, SiteTurns


class Transport(asyncio.Transport):
    """Knows only whether it is read."""

    def __init__(self) -> None:
        super().__init__()
        self._reading = True

    def is_closing(self) -> bool:
        return False

    def is_reading(self) -> bool:
        return self._reading

    def pause_reading(self) -> None:
        self._reading = False

    def resume_reading(self) -> None:
        self._reading = True


class Connection:
    def __init__(self, turns: SiteTurns, site: str, parsed: list[tuple[Any, bytes]]) -> None:
        self.transport = Transport()
        self.reader = PieceReader(self._parse, Flow(self.transport), turns, site)
        self._parsed = parsed

    def _parse(self, data: bytes) -> None:
        self._parsed.append((self, data))


async def iterations(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_connections_of_one_site_do_not_delay_others() -> None:
    """Of a hundred requests that arrive together, those of another site are not behind all others."""
    parsed: list[tuple[Any, bytes]] = []
    turns = SiteTurns(most=10)
    crowd = [Connection(turns, "crowd", parsed) for _ in range(100)]
    single = Connection(turns, "single", parsed)
    for connection in (*crowd, single):
        connection.reader.receive(b"GET")
    assert [connection for connection, _ in parsed] == [*crowd[:10], single]
    assert not any(connection.transport.is_reading() for connection in crowd[10:])
    await iterations(2)
    assert 20 <= len(parsed) <= 31
    await iterations(12)
    assert [connection for connection, _ in parsed if connection is not single] == crowd
    assert all(connection.transport.is_reading() for connection in crowd)
    assert (turns._taken, turns._waiting) == ({}, {})


async def test_long_turn_ends_and_goes_on_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a millisecond of parsing, what is left waits with all that follows, and the site has no turn left."""
    monkeypatch.setattr(parsing_turns, "TURN_SECONDS", -1)
    parsed: list[tuple[Any, bytes]] = []
    turns = SiteTurns()
    connection, neighbour = Connection(turns, "site", parsed), Connection(turns, "site", parsed)
    data = bytes(range(256)) * 64
    connection.reader.receive(data)
    neighbour.reader.receive(b"later")
    connection.reader.receive(b"end")
    assert [size for _, size in parsed] == [data[:PIECE_BYTES]]
    await iterations(10)
    assert b"".join(part for each, part in parsed if each is connection) == data + b"end"
    assert parsed.count((neighbour, b"later")) == 1
    assert connection.transport.is_reading()


async def test_failure_of_one_turn_does_not_stop_the_others() -> None:
    parsed: list[tuple[Any, bytes]] = []
    turns = SiteTurns(most=1)
    first, failing, last = (Connection(turns, "site", parsed) for _ in range(3))
    errors: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context["exception"]))

    def fail(_: bytes) -> None:
        raise RuntimeError

    failing.reader._parse = fail
    for connection in (first, failing, last):
        connection.reader.receive(b"GET")
    await iterations(6)
    assert [connection for connection, _ in parsed] == [first, last]
    assert [type(error) for error in errors] == [RuntimeError]
