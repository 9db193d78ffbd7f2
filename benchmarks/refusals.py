"""CPU of refused requests against that of a small POST: `uv run --group bench python -m benchmarks.refusals`.

Each shape is 1 MiB and is refused. Reading 1 MiB costs something whatever is in it, so the first shape is one that is
refused at its first byte; the last column leaves that out.
"""

import argparse
import http.client
import json
import secrets
import sys
from contextlib import ExitStack
from urllib.parse import quote

from rich.console import Console
from rich.table import Table

from benchmarks.database import BenchmarkError, environment, manage, scratch_database
from benchmarks.load import Tokens
from benchmarks.servers import HOST, SERVERS, Running, running

MIB = 1024 * 1024
ROOM = 128  # for what stands around
USER = "alice"
SMALL = b'{"title": "Water the plants", "priority": "low", "tags": ["home"]}'
READ = "refused at the first byte"


def filled(start: str, item: str, end: str) -> bytes:
    """Repeat an item, with commas, up to 1 MiB."""
    item += ","
    return (start + (item * ((MIB - ROOM) // len(item.encode()))).removesuffix(",") + end).encode()


def text(start: str, part: str, end: str) -> bytes:
    """Repeat a part of a text up to 1 MiB."""
    return (start + part * ((MIB - ROOM) // len(part.encode())) + end).encode()


def names(size: int) -> bytes:
    """Make an object of different unknown names."""
    return json.dumps({f"name{number:06}": 1 for number in range(size // 18)}).encode()


OPERATION = '{"op":"create","data":{"title":"%s"}}'
BIG_OPERATION = '{"op":"create","data":{"title":"%s","description":"%s"}}'
HUNDRED = [BIG_OPERATION % ("", "x" * 10_000)] * 100
BODIES: dict[str, tuple[str, bytes]] = {
    READ: ("todos", b"x" * MIB),
    "spaces": ("todos", b" " * MIB),
    "deep arrays": ("todos", b"[" * MIB),
    "deep, closed arrays": ("todos", b"[" * (MIB // 2) + b"]" * (MIB // 2)),
    "deep objects": ("todos", b'{"a":' * (MIB // 5)),
    "wide array": ("todos", filled("[", "0", "]")),
    "wide array of arrays": ("todos", filled("[", "[]", "]")),
    "wide array of a field": ("todos", filled('{"title":"a","tags":[', '"a"', "]}")),
    "wide object, unknown names": ("todos", names(MIB)),
    "wide object, unknown names, tasks": ("tasks", names(MIB)),
    "repeated names": ("todos", filled("{", '"title":"a"', "}")),
    "a long text": ("todos", text('{"title":"', "a", '"}')),
    "a long text, not ASCII": ("todos", text('{"title":"', "й", '"}')),
    "a long text of commas": ("todos", text('{"title":"', ",", '"}')),
    "a long text of commas and escapes": ("todos", text('{"title":"', ",\\n", '"}')),
    "a long name": ("todos", text('{"title":"a","', "a", '":1}')),
    "short escapes": ("todos", text('{"title":"', "\\n", '"}')),
    "escaped quotes": ("todos", text('{"title":"', '\\"', '"}')),
    "long escapes": ("todos", text('{"title":"', "\\u0041", '"}')),
    "lone surrogates": ("todos", text('{"title":"', "\\ud800", '"}')),
    "combining characters": ("todos", text('{"title":"', "\u0316\u0300", '"}')),
    "NUL at the end": ("todos", text('{"title":"a","description":"', "a", '\\u0000"}')),
    "invalid UTF-8": ("todos", b'{"title":"' + b"\xff" * (MIB - ROOM) + b'"}'),
    "invalid UTF-8 at the end": ("todos", text('{"title":"', "й", "").removesuffix(b"\xb9") + b'"}'),
    "a huge number": ("todos", b'{"title":' + b"1" * (MIB - ROOM) + b"}"),
    "many huge numbers": ("todos", filled('{"title":"a","tags":[', "1" * 400, "]}")),
    "a text without end": ("todos", text('{"title":"', "a", "")),
    "a batch of many operations": ("todos/batch", filled('{"operations":[', OPERATION % "a", "]}")),
    "a batch of 1,200 operations": ("todos/batch", f'{{"operations":[{",".join([OPERATION % "a"] * 1200)}]}}'.encode()),
    "a batch of 100 long invalid operations": ("todos/batch", f'{{"operations":[{",".join(HUNDRED)}]}}'.encode()),
    "many empty objects": ("todos/batch", filled('{"operations":[', "{}", "]}")),
    "4,900 names that nobody knows": ("todos", names(4900 * 18)),
    "4,900 values with escapes": ("todos", f'{{"tags":[{",".join(['"\\u0041"'] * 4900)}]}}'.encode()),
}
QUERIES = {
    "60 KiB of one parameter": "search=" + "a" * 60_000,
    "60 KiB of combining characters": "tag=" + quote("\u0316\u0300") * 5000,
    "100 unknown parameters": "&".join(f"{'x' * 500}{number}=1" for number in range(100)),
    "more parameters than are taken": "a=1&" * 15_000,
    "a sort of 60 KiB": "sort=" + "title," * 10_000,
}


class Meter:
    """Sends a request many times, and measures what the server spends on it."""

    def __init__(self, server: Running, token: str, rounds: int) -> None:
        self._server = server
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        self._rounds = rounds

    def measure(self, method: str, path: str, body: bytes | None = None) -> tuple[str, float]:
        """Return the statuses and the milliseconds of one request."""
        statuses = {self._send(method, path, body) for _ in range(3)}
        before = self._server.cpu_seconds()
        statuses |= {self._send(method, path, body) for _ in range(self._rounds)}
        spent = self._server.cpu_seconds() - before
        return ", ".join(map(str, sorted(statuses))), spent / self._rounds * 1000

    def _send(self, method: str, path: str, body: bytes | None) -> int:
        connection = http.client.HTTPConnection(HOST, self._server.port, timeout=30)
        connection.request(method, f"/api/{USER}/{path}", body, self._headers)
        response = connection.getresponse()
        response.read()
        connection.close()
        return response.status


def run(options: argparse.Namespace) -> Table:
    """Measure each shape against a small POST."""
    with ExitStack() as stack:
        url = stack.enter_context(scratch_database(options.database_url))
        secret = secrets.token_urlsafe(32)
        env = environment(url, secret, 5)
        manage("migrate", env=env)
        server = stack.enter_context(running(SERVERS["app"], env))
        meter = Meter(server, Tokens(secret).of(USER), options.rounds)
        meter.measure("POST", "todos", SMALL)
        _, small = Meter(server, Tokens(secret).of(USER), 10 * options.rounds).measure("POST", "todos", SMALL)
        reading = meter.measure("POST", *BODIES[READ])[1]
        table = Table(title=f"a small POST: {small:.2f} ms of the server's CPU; reading 1 MiB: {reading:.2f} ms")
        for heading in ("shape", "KiB", "status", "ms", "x small POST", "x, without reading"):
            table.add_column(heading, justify="left" if heading == "shape" else "right")
        shapes = [(name, "POST", *shape) for name, shape in BODIES.items()]
        shapes += [(name, "GET", f"tasks?{query}", b"") for name, query in QUERIES.items()]
        for name, method, path, body in shapes:
            status, spent = meter.measure(method, path, body or None)
            rest = max(spent - reading * len(body) / MIB, 0.0)
            size = len(body or path) // 1024
            table.add_row(name, str(size), status, f"{spent:.2f}", f"{spent / small:.1f}", f"{rest / small:.1f}")
    return table


def main() -> int:
    """Run; the exit status is 1 when there are no numbers."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.refusals", description=__doc__)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--database-url")
    console = Console()
    console.width = max(console.width, 110)
    try:
        console.print(run(parser.parse_args()))
    except (BenchmarkError, OSError) as error:
        console.print(str(error), style="red", markup=False)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
