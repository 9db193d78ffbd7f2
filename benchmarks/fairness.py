"""What one user can do to the others: each attack runs on its own, while honest users go on.

Run by `python -m benchmarks.hostile`. An honest user's p99 under an attack should stay below five times its calm p99,
without a single 503.
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

import asyncpg
from rich.console import Console
from rich.table import Table

from benchmarks.database import fetch
from benchmarks.servers import HOST, Running
from benchmarks.traffic import SHOT_SECONDS, Client, Issuer, Memory, forged, post, request

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


def patch(stage: Stage, todo_id: str) -> bytes:
    body = b'{"title": "Again"}'
    more = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return request(stage.token, stage.path(f"todos/{todo_id}"), method="PATCH", more=more) + body


ATTACKS: dict[str, Callable[[Stage], Awaitable[None]]] = {
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
}


@dataclass(frozen=True)
class Seen:
    """What honest users saw: statuses with milliseconds, and the times of health checks."""

    requests: list[tuple[int, float]]
    health: list[tuple[int, float]]

    def quantile(self, at: float) -> float:
        times = sorted(milliseconds for _, milliseconds in self.requests)
        return times[int((len(times) - 1) * at)] if times else float("nan")

    def count(self, status: int) -> int:
        return sum(each == status for each, _ in (*self.requests, *self.health))


def be_honest(port: int, tokens: dict[str, str], ready: Event, over: Event, told: "Queue[Seen]") -> None:
    """Read and write as frontends do, and check the health, in a process of its own."""
    seen = Seen([], [])
    ready.set()
    connection = http.client.HTTPConnection(HOST, port, timeout=SHOT_SECONDS)
    for turn in count():
        if over.is_set():
            break
        user, token = random.choice([*tokens.items()])
        method, body = random.choice([("GET", None), ("GET", None), ("POST", '{"title": "Water the plants"}')])
        is_check = turn % 10 == 0
        path, method, body = ("/api/health", "GET", None) if is_check else (f"/api/{user}/todos", method, body)
        start = time.perf_counter()
        try:
            headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            response.read()
            status = response.status
        except (OSError, http.client.HTTPException):
            connection.close()
            status = 0
        (seen.health if is_check else seen.requests).append((status, (time.perf_counter() - start) * 1000))
        over.wait(HONEST_PAUSE)
    told.put(seen)


async def watch(stage: Stage, attack: Callable[[Stage], Awaitable[None]] | None, seconds: float) -> tuple[Seen, float]:
    """Let honest users go on for so long, under an attack or in peace; give what they saw, and the most memory."""
    context = multiprocessing.get_context("spawn")
    ready, over, told = context.Event(), context.Event(), context.Queue()
    tokens = {user: stage.issuer.token(user) for user in (f"honest-{number}" for number in range(HONEST_USERS))}
    process = context.Process(target=be_honest, args=(stage.server.port, tokens, ready, over, told), daemon=True)
    process.start()
    await asyncio.to_thread(ready.wait, SHOT_SECONDS)
    task = asyncio.ensure_future(attack(stage)) if attack else None
    memory = Memory(stage.server.process)
    with memory.watched():
        await asyncio.sleep(seconds)
        over.set()
        seen = await asyncio.to_thread(told.get, timeout=2 * SHOT_SECONDS)
    process.join(SHOT_SECONDS)
    if task:
        task.cancel()
        for result in await asyncio.gather(task, return_exceptions=True):
            if isinstance(result, Exception):
                raise result
    return seen, max(memory.samples)


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


async def compare(stage: Stage, only: list[str], seconds: float, console: Console) -> None:
    """Run the attacks one after the other, and print what honest users saw of them."""
    await prepare(stage)
    table = Table(title="honest users, calm and under the attack of one user (times in ms)")
    for name in (
        "attack",
        "p50 calm",
        "p50",
        "p99 calm",
        "p99",
        "times",
        "health max",
        "503",
        "other",
        "MiB",
        "answers",
    ):
        table.add_column(name, justify="left" if name in ("attack", "answers") else "right")
    await watch(stage, None, 2)
    for name, attack in ATTACKS.items():
        if only and not any(part in name for part in only):
            continue
        calm, _ = await watch(stage, None, seconds)
        stage.answers.clear()
        seen, memory = await watch(stage, attack, seconds)
        times = seen.quantile(0.99) / calm.quantile(0.99)
        other = sum(status not in (200, 201, 503) for status, _ in (*seen.requests, *seen.health))
        health = max((milliseconds for _, milliseconds in seen.health), default=float("nan"))
        bad = not times <= MOST_TIMES_SLOWER or seen.count(503) or other
        figures = (calm.quantile(0.5), seen.quantile(0.5), calm.quantile(0.99), seen.quantile(0.99), times, health)
        answers = ", ".join(f"{status}: {number}" for status, number in sorted(stage.answers.items()))
        cells = (*(f"{figure:.1f}" for figure in figures), str(seen.count(503)), str(other), f"{memory:.0f}", answers)
        table.add_row(name, *cells, style="red" if bad else "")
        await asyncio.sleep(1)
    console.print(table)
