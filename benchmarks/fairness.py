"""What one user can do to the others: each attack runs on its own, while honest users go on.

Run by `python -m benchmarks.hostile`. An honest user's p99 under an attack should stay below five times its calm p99,
without a single 503.

Server, load generator and PostgreSQL share the machine's cores. The times that count are therefore those without the
time for which the client or the server was ready and waited for a core (`/proc/PID/schedstat`); the table shows the
others, too. `lag` is what the server's event loop kept a timer waiting while it used CPU itself.
"""

import asyncio
import http.client
import json
import multiprocessing
import random
import secrets
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count, permutations
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Event
from pathlib import Path

import asyncpg
from rich.console import Console
from rich.table import Table

from benchmarks.database import fetch
from benchmarks.monitored import SAMPLE
from benchmarks.servers import HOST, Running
from benchmarks.traffic import KID, SHOT_SECONDS, Client, Issuer, Memory, forged, post, request

ATTACKER = "mallory"
HONEST_USERS = 12  # in turn, so that none of them meets the rate limit
HONEST_PAUSE = 0.02
TARGETS = 100  # todos of the attacker, with descriptions of 10,000 characters
TASKS = 3000
MOST_TIMES_SLOWER = 5


@dataclass
class Stage:
    """What an attack has: a server, an issuer of tokens, and the ids of the attacker's todos."""

    server: Running
    issuer: Issuer
    database_url: str
    token: str
    lag_file: Path
    todos: list[str] = field(default_factory=list)
    answers: Counter[str] = field(default_factory=Counter)

    def path(self, rest: str) -> str:
        return f"/api/{ATTACKER}/{rest}"

    async def repeat(self, make: Callable[[], bytes], connections: int) -> None:
        """Send requests on so many connections until cancelled, and count the answers."""

        async def shoot() -> None:
            client = Client(self.server.port)
            try:
                while True:
                    self.answers[status := await client.send(make())] += 1
                    await asyncio.sleep(0.05 if status in ("closed", "429", "503") else 0)
            finally:
                await client.close()

        await asyncio.gather(*(shoot() for _ in range(connections)))


async def slow_bodies(stage: Stage) -> None:
    """505 bodies of 1 MiB, at 1 KiB a second."""

    async def dribble() -> None:
        while True:
            with suppress(OSError):
                reader, writer = await asyncio.open_connection(HOST, stage.server.port)
                try:
                    writer.write(post(stage.token, stage.path("todos"), b"", 1_000_000))
                    answer = asyncio.ensure_future(reader.read(65536))
                    while not (await asyncio.wait({answer}, timeout=1))[0]:
                        writer.write(b" " * 1024)
                    stage.answers[answer.result().split(b" ")[1].decode() if answer.result() else "closed"] += 1
                finally:
                    writer.transport.abort()
            await asyncio.sleep(0.1)

    await asyncio.gather(*(dribble() for _ in range(505)))


async def locked_row(stage: Stage) -> None:
    """40 PATCHes at a time of a row that something else holds locked."""
    connection = await asyncpg.connect(stage.database_url)
    try:
        async with connection.transaction():
            await connection.fetch("SELECT 1 FROM app.todos WHERE id = $1 FOR UPDATE", stage.todos[0])
            await stage.repeat(lambda: patch(stage, stage.todos[0]), 40)
    finally:
        connection.terminate()


async def batches(stage: Stage) -> None:
    """40 batches at a time of 100 updates each, of the same rows."""

    def batch() -> bytes:
        ids = random.sample(stage.todos, 100)
        operations = [{"op": "update", "id": one, "data": {"title": secrets.token_hex(8)}} for one in ids]
        return post(stage.token, stage.path("todos/batch"), json.dumps({"operations": operations}).encode())

    await stage.repeat(batch, 40)


def slow_readers(rest: str, times: int) -> Callable[[Stage], Awaitable[None]]:
    async def attack(stage: Stage) -> None:
        """Ask on 60 connections, and read a kibibyte a second."""

        async def dawdle() -> None:
            while True:
                with suppress(OSError):
                    reader, writer = await asyncio.open_connection(HOST, stage.server.port, limit=1024)
                    try:
                        writer.write(request(stage.token, stage.path(rest)) * times)
                        stage.answers[(await reader.readuntil(b"\r\n")).split(b" ")[1].decode()] += 1
                        while await reader.read(1024):  # noqa: ASYNC110 - time is what it is about
                            await asyncio.sleep(1)
                    except asyncio.IncompleteReadError:
                        stage.answers["closed"] += 1
                    finally:
                        writer.transport.abort()
                await asyncio.sleep(0.1)

        await asyncio.gather(*(dawdle() for _ in range(60)))

    return attack


async def refused_json(stage: Stage) -> None:
    """1 MiB of JSON, all of it wrong."""
    bodies = [
        json.dumps({"title": "x", "tags": [{"a": number} for number in range(80_000)]}).encode(),
        json.dumps({str(number): [number] for number in range(60_000)}).encode(),
        b'{"tags": [' + b"[[]]," * 200_000 + b"0]}",
    ]
    await stage.repeat(lambda: post(stage.token, stage.path("todos"), random.choice(bodies)), 8)


async def hostile_text(stage: Stage) -> None:
    """Batches of 90 todos with text that is expensive to make searchable."""

    def batch() -> bytes:
        operations = [{"op": "create", "data": {"title": "x", "description": "a_" * 5000}} for _ in range(90)]
        return post(stage.token, stage.path("todos/batch"), json.dumps({"operations": operations}).encode())

    await stage.repeat(batch, 8)


async def silent_issuer(stage: Stage) -> None:
    """Made-up key ids, while the server with the keys says nothing."""
    stage.issuer.silent.set()
    try:
        await stage.repeat(lambda: request(forged(kid=secrets.token_urlsafe(16))), 550)
    finally:
        stage.issuer.silent.clear()


SORTS = list(permutations(("created_at", "updated_at", "due_at", "priority", "title", "position", "completed"), 4))


async def new_statements(stage: Stage) -> None:
    """Sorts and filters that nobody has asked for yet."""
    numbers = count()

    def page() -> bytes:
        number = next(numbers)
        sort = ",".join(SORTS[number % len(SORTS)])
        more = "&completed=false" * (number % 2) + "&priority=low" * (number // 2 % 2)
        return request(stage.token, stage.path(f"todos?limit=1&sort={sort}{more}"))

    await stage.repeat(page, 16)


async def busy(stage: Stage) -> None:
    """Nothing hostile: small requests on 16 connections, as fast as they are answered."""
    await stage.repeat(lambda: request(stage.token, stage.path(f"todos/{stage.todos[0]}")), 16)


async def large_pages(stage: Stage) -> None:
    """Pages of 1 MB on 16 connections, read at once."""
    await stage.repeat(lambda: request(stage.token, stage.path("todos?limit=100&sort=created_at")), 16)


async def bad_tokens(stage: Stage) -> None:
    """Tokens that nobody signed, each on a connection of its own."""

    async def shoot() -> None:
        while True:
            client = Client(stage.server.port)
            stage.answers[await client.send(request(forged(kid=KID)))] += 1
            await client.close()

    await asyncio.gather(*(shoot() for _ in range(64)))


def patch(stage: Stage, todo_id: str) -> bytes:
    body = b'{"title": "Again"}'
    more = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return request(stage.token, stage.path(f"todos/{todo_id}"), method="PATCH", more=more) + body


ATTACKS: dict[str, Callable[[Stage], Awaitable[None]]] = {
    "control: a busy user": busy,
    "505 slow bodies": slow_bodies,
    "40 PATCHes of a locked row": locked_row,
    "40 batches": batches,
    "slow readers of /tasks": slow_readers("tasks", 1),
    "slow readers of /export": slow_readers("export", 1),
    "slow readers of pages": slow_readers("todos?limit=100", 4),
    "refused JSON of 1 MiB": refused_json,
    "text hostile to search": hostile_text,
    "silent issuer, made-up keys": silent_issuer,
    "new sorts and filters": new_statements,
    "large pages, read at once": large_pages,
    "bad tokens, new connections": bad_tokens,
}


@dataclass(frozen=True)
class Shot:
    """One request of an honest user, in milliseconds; `waited` is for a core, in the client or the server."""

    status: int
    elapsed: float
    waited: float

    @property
    def served(self) -> float:
        return max(self.elapsed - self.waited, 0.0)


@dataclass
class Seen:
    """What honest users saw, and what the server did meanwhile."""

    requests: list[Shot] = field(default_factory=list)
    health: list[Shot] = field(default_factory=list)
    memory: float = 0.0  # MiB
    cpu: float = 0.0  # of the event loop's thread, as a share of the time
    lag: list[float] = field(default_factory=list)  # milliseconds

    def elapsed(self, at: float) -> float:
        return quantile([shot.elapsed for shot in self.requests], at)

    def served(self, at: float) -> float:
        return quantile([shot.served for shot in self.requests], at)

    def count(self, status: int) -> int:
        return sum(shot.status == status for shot in (*self.requests, *self.health))


def quantile(values: list[float], at: float) -> float:
    return sorted(values)[int((len(values) - 1) * at)] if values else float("nan")


def scheduled(process: int | str) -> tuple[float, float]:
    """Return for how many milliseconds the main thread of a process has run, and has waited for a core."""
    run, waited, _ = Path(f"/proc/{process}/schedstat").read_text().split()
    return int(run) / 1e6, int(waited) / 1e6


def waited_for_core(server: int) -> float:
    return scheduled("self")[1] + scheduled(server)[1]


@dataclass(frozen=True)
class Target:
    """The server that honest users ask."""

    port: int
    process: int
    tokens: dict[str, str]


def be_honest(target: Target, ready: Event, over: Event, results: "Queue[Seen]") -> None:
    """Read and write as frontends do, and check the health, in a process of its own."""
    seen, server, tokens = Seen(), target.process, target.tokens
    ready.set()
    connection = http.client.HTTPConnection(HOST, target.port, timeout=SHOT_SECONDS)
    for turn in count():
        if over.is_set():
            break
        user, token = random.choice([*tokens.items()])
        method, body = random.choice([("GET", None), ("GET", None), ("POST", '{"title": "Water the plants"}')])
        is_check = turn % 10 == 0
        path, method, body = ("/api/health", "GET", None) if is_check else (f"/api/{user}/todos", method, body)
        start, waited = time.perf_counter(), waited_for_core(server)
        try:
            headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            response.read()
            status = response.status
        except (OSError, http.client.HTTPException):
            connection.close()
            status = 0
        elapsed = (time.perf_counter() - start) * 1000
        shot = Shot(status, elapsed, waited_for_core(server) - waited)
        (seen.health if is_check else seen.requests).append(shot)
        over.wait(HONEST_PAUSE)
    results.put(seen)


async def watch(stage: Stage, attack: Callable[[Stage], Awaitable[None]] | None, seconds: float) -> Seen:
    """Let honest users go on for so long, under an attack or in peace."""
    context = multiprocessing.get_context("spawn")
    ready, over, results = context.Event(), context.Event(), context.Queue()
    tokens = {user: stage.issuer.token(user) for user in (f"honest-{number}" for number in range(HONEST_USERS))}
    server = stage.server.process.pid
    arguments = (Target(stage.server.port, server, tokens), ready, over, results)
    process = context.Process(target=be_honest, args=arguments, daemon=True)
    process.start()
    await asyncio.to_thread(ready.wait, SHOT_SECONDS)
    since, ran = time.time(), scheduled(server)[0]
    task = asyncio.ensure_future(attack(stage)) if attack else None
    memory = Memory(stage.server.process)
    with memory.watched():
        await asyncio.sleep(seconds)
        over.set()
        seen: Seen = await asyncio.to_thread(results.get, timeout=2 * SHOT_SECONDS)
    seen.memory = max(memory.samples)
    seen.cpu = (scheduled(server)[0] - ran) / 1000 / (time.time() - since)
    seen.lag = own_lag(stage.lag_file, since)
    process.join(SHOT_SECONDS)
    if task:
        task.cancel()
        for result in await asyncio.gather(task, return_exceptions=True):
            if isinstance(result, Exception):
                raise result
    return seen


def own_lag(file: Path, since: float) -> list[float]:
    """Return the milliseconds of each tick's delay that the server's own CPU time explains."""
    samples = SAMPLE.iter_unpack(file.read_bytes())
    return [min(late, cpu) * 1000 for moment, late, cpu in samples if moment >= since]


async def prepare(stage: Stage) -> None:
    """Give the attacker rows, and wake what is made at first use."""
    client = Client(stage.server.port)
    await client.send(request(stage.token, stage.path("todos")))
    for number in range(HONEST_USERS):
        await client.send(request(stage.issuer.token(user := f"honest-{number}"), f"/api/{user}/todos"))
    await client.close()
    long, short = [json.dumps({"title": "x", "description": "y" * 10_000})] * TARGETS, [json.dumps({"title": "x"})]
    operations = [f'{{"op": "create", "data": {data}}}' for data in (*long, *short * (TASKS - TARGETS))]
    for start in range(0, len(operations), 50):
        client = Client(stage.server.port)
        body = ('{"operations": [' + ",".join(operations[start : start + 50]) + "]}").encode()
        await client.send(post(stage.token, stage.path("todos/batch"), body))
        await client.close()
    query = "SELECT id::text FROM app.todos WHERE user_id = $1 ORDER BY id LIMIT $2"
    rows = await asyncio.to_thread(fetch, stage.database_url, query, ATTACKER, TARGETS)
    stage.todos = [row["id"] for row in rows]


COLUMNS = (
    "attack",
    "p50 calm",
    "p50",
    "p99 calm",
    "p99",
    "times",
    "wall p99",
    "times",
    "lag p99",
    "loop",
    "health",
    "503",
    "other",
    "MiB",
    "answers",
)


async def compare(stage: Stage, only: list[str], seconds: float, rounds: int, console: Console) -> None:
    """Run the attacks one after the other, calm and attacked in turn, and print what honest users saw."""
    await prepare(stage)
    table = Table(title="honest users, calm and under the attack of one user (ms, without waits for a core)")
    for name in COLUMNS:
        table.add_column(name, justify="left" if name in ("attack", "answers") else "right")
    await watch(stage, None, 2)
    for name, attack in ATTACKS.items():
        if only and not any(part in name for part in only):
            continue
        stage.answers.clear()
        calm, seen = Seen(), Seen()
        for _ in range(rounds):
            _add(calm, await watch(stage, None, seconds))
            _add(seen, await watch(stage, attack, seconds))
            await asyncio.sleep(1)
        table.add_row(name, *_cells(calm, seen, rounds, stage), style="red" if _is_bad(calm, seen) else "")
    console.print(table)


def _add(total: Seen, seen: Seen) -> None:
    total.requests += seen.requests
    total.health += seen.health
    total.lag += seen.lag
    total.cpu += seen.cpu
    total.memory = max(total.memory, seen.memory)


def _others(seen: Seen) -> int:
    return sum(shot.status not in (200, 201, 503) for shot in (*seen.requests, *seen.health))


def _is_bad(calm: Seen, seen: Seen) -> bool:
    is_slow = not seen.served(0.99) <= MOST_TIMES_SLOWER * calm.served(0.99)
    return is_slow or seen.count(503) > 0 or _others(seen) > 0


def _cells(calm: Seen, seen: Seen, rounds: int, stage: Stage) -> list[str]:
    lags = f"{quantile(calm.lag, 0.99):.1f} / {quantile(seen.lag, 0.99):.1f}"
    return [
        *(f"{one.served(at):.1f}" for at in (0.5, 0.99) for one in (calm, seen)),
        f"{seen.served(0.99) / calm.served(0.99):.1f}",
        f"{calm.elapsed(0.99):.0f} / {seen.elapsed(0.99):.0f}",
        f"{seen.elapsed(0.99) / calm.elapsed(0.99):.1f}",
        lags,
        f"{calm.cpu / rounds:.0%} / {seen.cpu / rounds:.0%}",
        f"{max((shot.elapsed for shot in seen.health), default=float('nan')):.0f}",
        str(seen.count(503)),
        str(_others(seen)),
        f"{seen.memory:.0f}",
        ", ".join(f"{status}: {number}" for status, number in sorted(stage.answers.items())),
    ]
