"""Send hostile requests to a server of its own: `uv run --group bench python -m benchmarks.hostile`.

Bad tokens, keys that nobody published, headers and bodies without end, clients that never finish; meanwhile one honest
user goes on. Before that, each attack that one user with a good token can make on the others (`--part fairness`).
Everything listens on 127.0.0.1, and the run is bounded in requests and in time.
"""

import argparse
import asyncio
import http.client
import json
import multiprocessing
import random
import secrets
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Event
from pathlib import Path
from tempfile import NamedTemporaryFile

import psutil
from rich.console import Console
from rich.table import Table

from app.db.supervisor import EmbeddedPostgresError
from benchmarks.database import BenchmarkError, environment, manage, scratch_database
from benchmarks.fairness import ATTACKER, Stage, compare
from benchmarks.monitored import LAG_FILE
from benchmarks.servers import HOST, MONITORED, SERVERS, Running, running
from benchmarks.traffic import HONEST, KID, MIB, SHOT_SECONDS, Client, Issuer, Memory, chunked, forged, post, request

MALLORIES = 200
HONEST_PAUSE = 0.2  # seconds: 300 requests in a minute, half of what a user may send
CLIENT_TIMEOUT = 2  # seconds that the server gives a slow client

console = Console()
console.width = max(console.width, 160)


@dataclass(frozen=True)
class Attack:
    """One kind of hostile request; `share` is a weight."""

    name: str
    share: int
    make: Callable[[], bytes]


def attacks(issuer: Issuer) -> list[Attack]:
    expired = issuer.token(HONEST, exp=int(time.time()) - 3600)
    mistakes = json.dumps({str(number): number for number in range(10_000)}).encode()
    known = [(name, issuer.token(name)) for name in (f"mallory-{number}" for number in range(MALLORIES))]

    def some() -> tuple[str, str]:
        name, token = random.choice(known)
        return token, f"/api/{name}/todos"

    return [
        Attack("no token", 100, request),
        Attack("not a token", 150, lambda: request(secrets.token_urlsafe(200))),
        Attack("wrong signature", 200, lambda: request(forged(kid=KID))),
        Attack("unknown kid", 200, lambda: request(forged(kid=secrets.token_urlsafe(16)))),
        Attack("alg none, HS256, …", 100, lambda: request(forged(alg=random.choice(["none", "HS256", "RS256"])))),
        Attack("expired", 50, lambda: request(expired)),
        Attack("token of 16 kB", 20, lambda: request("x" * 16_000)),
        Attack("another user's path", 100, lambda: request(some()[0])),
        Attack("headers of 100 kB", 20, lambda: request(more=f"X-Filler: {'x' * 100_000}\r\n")),
        Attack("no HTTP", 20, lambda: secrets.token_bytes(100) + b"\r\n\r\n"),
        Attack("body of 2 MiB, declared", 10, lambda: post(*some(), b"", 2 * MIB)),
        Attack("body of 2 MiB, chunked", 5, lambda: chunked(*some(), 2 * MIB)),
        Attack("JSON 100,000 deep", 10, lambda: post(*some(), b"[" * 100_000)),
        Attack("JSON of 10,000 mistakes", 5, lambda: post(*some(), mistakes)),
    ]


async def slow(port: int) -> str:
    """Begin a request and go on a byte at a time, until the server has had enough."""
    try:
        reader, writer = await asyncio.open_connection(HOST, port)
        writer.write(random.choice([b"", b"GET /", request()[:-2], post("x", "/api/x/todos", b"", 1_000_000)]))
        answer = b""
        while data := await _next(reader, writer):
            answer += data
        return answer.split(b" ")[1].decode() if answer else "closed"
    except OSError:
        return "closed"
    finally:
        with suppress(UnboundLocalError):
            writer.transport.abort()


async def _next(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    while True:
        writer.write(b"x")
        with suppress(TimeoutError):
            return await asyncio.wait_for(reader.read(65536), 0.5)


type Answers = dict[str, Counter[str]]


async def assault(port: int, kinds: list[Attack], options: argparse.Namespace) -> Answers:
    """Send everything, and count the answers of each kind."""
    answers: Answers = defaultdict(Counter)
    shots = iter(random.choices(kinds, [kind.share for kind in kinds], k=options.requests - options.slow))
    slow_ones = iter(range(options.slow))
    end = time.monotonic() + options.seconds

    async def shoot() -> None:
        client = Client(port)
        for kind in shots:
            answers[kind.name][await client.send(kind.make())] += 1
            if time.monotonic() > end:
                break
        await client.close()

    async def dawdle() -> None:
        for _ in slow_ones:
            answers["slow client"][await slow(port)] += 1
            if time.monotonic() > end:
                break

    await asyncio.gather(
        *(shoot() for _ in range(options.connections)), *(dawdle() for _ in range(min(options.slow, 200)))
    )
    return answers


def be_honest(port: int, token: str, over: Event, told: "Queue[list[tuple[int, float]]]") -> None:
    """Read and write as a frontend does, in a process of its own; tell statuses and milliseconds."""
    seen: list[tuple[int, float]] = []
    connection = http.client.HTTPConnection(HOST, port, timeout=SHOT_SECONDS)
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    while not over.is_set():
        method, body = random.choice([("GET", None), ("GET", None), ("POST", '{"title": "Water the plants"}')])
        start = time.perf_counter()
        connection.request(method, f"/api/{HONEST}/todos", body, headers)
        response = connection.getresponse()
        response.read()
        seen.append((response.status, (time.perf_counter() - start) * 1000))
        over.wait(HONEST_PAUSE)
    told.put(seen)


@contextmanager
def honest_user(port: int, token: str) -> Iterator[list[tuple[int, float]]]:
    """Let somebody use the API meanwhile; give what they saw, at the end."""
    context = multiprocessing.get_context("spawn")
    over, told = context.Event(), context.Queue()
    process = context.Process(target=be_honest, args=(port, token, over, told), daemon=True)
    process.start()
    seen: list[tuple[int, float]] = []
    try:
        yield seen
        over.set()
        seen += told.get(timeout=2 * SHOT_SECONDS)
    finally:
        over.set()
        process.join(SHOT_SECONDS)


def run(options: argparse.Namespace) -> None:
    issuer = Issuer()
    with ExitStack() as stack:
        url = stack.enter_context(scratch_database(options.database_url))
        env = environment(url, secrets.token_urlsafe(32), 20) | {
            "BETTER_AUTH_JWKS_URL": stack.enter_context(issuer.published()),
            "RATE_LIMIT_PER_MINUTE": "600",
            "LOG_LEVEL": "info",
            "CLIENT_TIMEOUT": str(CLIENT_TIMEOUT),
        }
        manage("migrate", env=env)
        server = stack.enter_context(running(SERVERS["app"], env))
        token = issuer.token(HONEST)
        kinds = attacks(issuer)
        asyncio.run(warm_up(server.port, token, kinds))
        memory, fetches, said = Memory(server.process), issuer.fetches, server.log.seek(0, 2)
        start = time.monotonic()
        with honest_user(server.port, token) as seen, memory.watched():
            answers = asyncio.run(assault(server.port, kinds, options))
        seconds = time.monotonic() - start
        time.sleep(2 * CLIENT_TIMEOUT)
        report(answers, seen, seconds)
        lines = log_lines(server, said)
        console.print(f"memory of the server in MiB: {memory.fifths()}; at most {max(memory.samples):.1f}, ", end="")
        console.print(f"{memory.now():.1f} when it was over; connections left: {connections(server)}")
        console.print(f"key sets fetched: {fetches} before, {issuer.fetches - fetches} meanwhile")
        console.print(f"lines of the log: {sum(lines.values())} ({dict(lines.most_common(8))})")


async def warm_up(port: int, token: str, kinds: list[Attack]) -> None:
    """Let the server load what it loads once; it may not serve an honest user any worse later."""
    client = Client(port)
    for _ in range(50):
        if (status := await client.send(request(token))) != "200":
            raise BenchmarkError(f"an honest user is answered {status}")
    for kind in kinds:
        for _ in range(5):
            await client.send(kind.make())
    await client.close()


def report(answers: Answers, seen: list[tuple[int, float]], seconds: float) -> None:
    total = sum(counts.total() for counts in answers.values())
    table = Table(title=f"{total} hostile requests in {seconds:.0f} s, {total / seconds:.0f} a second")
    table.add_column("kind")
    table.add_column("requests", justify="right")
    table.add_column("answers")
    for name, counts in answers.items():
        table.add_row(name, str(counts.total()), ", ".join(f"{status}: {n}" for status, n in sorted(counts.items())))
    console.print(table)
    times = sorted(milliseconds for _, milliseconds in seen)
    statuses = Counter(status for status, _ in seen)
    console.print(f"an honest user meanwhile: {len(seen)} requests, answers {dict(statuses)}, ", end="")
    console.print(", ".join(f"{name} {times[int(len(times) * at)]:.1f} ms" for name, at in QUANTILES))


QUANTILES = (("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("longest", 0.999999))


def log_lines(server: Running, start: int) -> Counter[str]:
    """Count what the server has told since, by its event."""
    server.log.seek(start)
    return Counter(json.loads(line)["event"] for line in server.log.read().splitlines() if line.startswith(b"{"))


def connections(server: Running) -> int:
    found = server.process.net_connections("tcp")
    return sum(one.laddr.port == server.port and one.status == psutil.CONN_ESTABLISHED for one in found)


def run_fairness(options: argparse.Namespace) -> None:
    """Run the attacks of one user on the others, each on its own."""
    issuer = Issuer()
    with ExitStack() as stack:
        url = stack.enter_context(scratch_database(options.database_url))
        env = environment(url, secrets.token_urlsafe(32), 10) | {
            "BETTER_AUTH_JWKS_URL": stack.enter_context(issuer.published()),
            "RATE_LIMIT_PER_MINUTE": str(options.rate_limit),
            "DATABASE_POOL_OVERFLOW": "10",
        }
        manage("migrate", env=env)
        lag_file = Path(stack.enter_context(NamedTemporaryFile()).name)
        server = stack.enter_context(running(MONITORED, env | {LAG_FILE: str(lag_file)}))
        stage = Stage(server, issuer, url, issuer.token(ATTACKER), lag_file)
        asyncio.run(compare(stage, options.only, options.each, options.rounds, console))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hostile", description=__doc__)
    parser.add_argument("--requests", type=int, default=100_000, help="of all kinds (100000)")
    parser.add_argument("--slow", type=int, default=1000, help="slow clients among them (1000)")
    parser.add_argument("--connections", type=int, default=64, help="that attack at once, beside 200 slow ones (64)")
    parser.add_argument("--seconds", type=int, default=600, help="after which it ends in any case (600)")
    parser.add_argument("--database-url", help="a PostgreSQL where databases can be created; else the embedded one")
    parser.add_argument("--part", choices=("flood", "fairness", "all"), default="all", help="of the run (all)")
    parser.add_argument("--each", type=float, default=10, help="seconds of each attack of one user (10)")
    parser.add_argument("--rounds", type=int, default=1, help="of calm and attack in turn, for each attack (1)")
    parser.add_argument("--only", action="append", default=[], help="those attacks with this in their name")
    parser.add_argument("--rate-limit", type=int, default=0, help="requests of a user in a minute (0: none)")
    options = parser.parse_args()
    try:
        if options.part in ("fairness", "all"):
            run_fairness(options)
        if options.part in ("flood", "all"):
            run(options)
    except (BenchmarkError, EmbeddedPostgresError, OSError) as error:
        console.print(str(error), style="red", markup=False, highlight=False)
        return 1
    except KeyboardInterrupt:
        console.print("Interrupted: servers are stopped, the database is dropped")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
