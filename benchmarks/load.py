"""What is asked of a server, and how hard."""

import http.client
import json
import random
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import quote

import jwt

from benchmarks.database import BenchmarkError, fetch
from benchmarks.servers import HOST, Running

SCRIPT = Path(__file__).with_name("load.lua")
IDS_PER_USER = 40
PAGE_SIZE = 20
NEW = '{{"title":"Water the plants {n}","description":"The ferns, too","priority":"high","tags":["home","garden"]}}'
CHANGED = '{{"title":"Water the plants {n}","priority":"low"}}'
FIELDS = frozenset(
    [
        "id",
        "user_id",
        "title",
        "description",
        "completed",
        "completed_at",
        "priority",
        "due_date",
        "due_at",
        "tags",
        "created_at",
        "updated_at",
        "version",
    ]
)


@dataclass(frozen=True)
class Case:
    """One kind of request. Braces in path and body are filled in for each todo of the sample."""

    name: str
    method: str
    path: str
    body: str = ""
    status: int = 200


TODO = "/api/{user}/todos/{id}"
CASES = {
    case.name: case
    for case in (
        Case("get", "GET", TODO),
        Case("page", "GET", f"/api/{{user}}/todos?limit={PAGE_SIZE}"),
        Case("post", "POST", "/api/{user}/todos", NEW, 201),
        Case("patch", "PATCH", TODO, CHANGED),
        Case("toggle", "POST", TODO + "/toggle-complete"),
    )
}


@dataclass(frozen=True)
class Sample:
    """Todos of many users, shuffled: one after the other, so that no two requests at once meet in one row.

    Only the `writers`, a fifth of the users, get new todos: the lists of the others stay as long as they are.
    """

    readers: list[tuple[str, str]]
    writers: list[tuple[str, str]]

    def todos(self, case: Case) -> list[tuple[str, str]]:
        return self.writers if case.name == "post" else self.readers


def take_sample(url: str) -> Sample:
    """Choose users and todos, always the same of the same data."""
    query = """
        SELECT user_id, id::text FROM (
            SELECT user_id, id, row_number() OVER (PARTITION BY user_id ORDER BY id) AS place FROM app.todos
        ) AS numbered WHERE place <= $1 ORDER BY user_id, id
    """
    rows = [(row["user_id"], row["id"]) for row in fetch(url, query, IDS_PER_USER)]
    random.Random(1).shuffle(rows)
    users = sorted({user for user, _ in rows})
    writers = set(users[-max(1, len(users) // 5) :])
    if len(users) < 2:
        raise BenchmarkError("At least two users are needed")
    return Sample([row for row in rows if row[0] not in writers], [row for row in rows if row[0] in writers])


class Tokens:
    """Tokens as Better Auth issues them, one for each user."""

    def __init__(self, secret: str) -> None:
        self._secret = secret
        self._issued: dict[str, str] = {}

    def of(self, user: str) -> str:
        if user not in self._issued:
            now = int(time.time())
            claims = {
                "sub": user,
                "email": f"{user}@example.com",
                "name": user,
                "iat": now,
                "exp": now + 86_400,
            }
            self._issued[user] = jwt.encode(claims, self._secret, "HS256")
        return self._issued[user]


def request_lines(case: Case, sample: Sample, tokens: Tokens) -> Iterator[str]:
    """Write requests as `load.lua` reads them."""
    for number, (user, todo_id) in enumerate(sample.todos(case)):
        path = case.path.format(user=quote(user, safe=""), id=todo_id)
        yield "\t".join((case.method, path, tokens.of(user), case.body.format(n=number)))


@dataclass(frozen=True)
class Shot:
    """One case against one server, in one round. Times of answers are in milliseconds."""

    requests: int
    seconds: float
    cpu_seconds: float
    p50: float
    p99: float

    @property
    def per_second(self) -> float:
        return self.requests / self.seconds

    @property
    def cpu_ms(self) -> float:
        return self.cpu_seconds / self.requests * 1000

    @property
    def busy(self) -> float:
        return self.cpu_seconds / self.seconds


def find_wrk() -> str:
    """Raises `BenchmarkError` where it is not installed."""
    if (wrk := shutil.which("wrk")) is None:
        raise BenchmarkError("wrk is not installed: apt-get install wrk (or brew install wrk)")
    return wrk


class Gun:
    """Fires the requests of each case with wrk. Use as a context manager: it keeps them in files."""

    def __init__(self, wrk: str, sample: Sample, tokens: Tokens, connections: int) -> None:
        self._wrk = wrk
        self._sample = sample
        self._tokens = tokens
        self._connections = connections
        self._directory = tempfile.TemporaryDirectory(prefix="bench-")

    def __enter__(self) -> Self:
        for case in CASES.values():
            lines = request_lines(case, self._sample, self._tokens)
            self._file(case).write_text("\n".join(lines) + "\n")
        return self

    def __exit__(self, *_: object) -> Literal[False]:
        self._directory.cleanup()
        return False

    def _file(self, case: Case) -> Path:
        return Path(self._directory.name) / case.name

    def fire(self, target: Running, case: Case, seconds: int) -> Shot:
        """Raises `BenchmarkError` when an answer was no success: a fast refusal is no speed."""
        before = target.cpu_seconds()
        found = self._run_wrk(target, case, seconds)
        cpu_seconds = target.cpu_seconds() - before
        if found["refused"] or found["broken"] or not found["requests"]:
            raise BenchmarkError(
                f"{target.server.name}, {case.name}: {found['refused']} of {found['requests']} answers were "
                f"errors, {found['broken']} connections broke or timed out"
            )
        return Shot(
            requests=found["requests"],
            seconds=found["microseconds"] / 1_000_000,
            cpu_seconds=cpu_seconds,
            p50=found["p50"] / 1000,
            p99=found["p99"] / 1000,
        )

    def _run_wrk(self, target: Running, case: Case, seconds: int) -> dict[str, Any]:
        # One thread is enough to saturate one worker, and leaves most of the other core to PostgreSQL.
        options = f"--threads 1 --connections {self._connections} --duration {seconds}s --timeout 10s".split()
        url = f"http://{HOST}:{target.port}"
        command = [self._wrk, *options, "--script", str(SCRIPT), url, "--", str(self._file(case))]
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 60, check=False)
        if done.returncode != 0:
            raise BenchmarkError(f"wrk failed:\n{done.stdout}{done.stderr}")
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return found

    def check(self, target: Running, case: Case) -> Any:
        """Ask once, and see that the answer is what was meant; wrk looks at nothing but the status."""
        line = next(request_lines(case, self._sample, self._tokens))
        method, path, token, body = line.split("\t")
        headers = {"Authorization": f"Bearer {token}"} | ({"Content-Type": "application/json"} if body else {})
        connection = http.client.HTTPConnection(HOST, target.port, timeout=10)
        try:
            connection.request(method, path, body or None, headers)
            answer = connection.getresponse()
            text = answer.read().decode(errors="replace")
        finally:
            connection.close()
        todo = _todo_in(case, json.loads(text)) if answer.status == case.status else None
        if todo is None:
            said = f"{answer.status} {text[:500]}"
            raise BenchmarkError(f"{target.server.name}, {case.name}: unexpected answer to {method} {path}: {said}")
        return todo


def _todo_in(case: Case, document: Any) -> Any:
    """The todo in an answer, or the first of a page; None where it is not what the contract describes."""
    if case.name == "page":
        complete = len(document["items"]) == PAGE_SIZE and isinstance(document["total"], int)
        return _todo_in(CASES["get"], document["items"][0]) if complete else None
    return document if document.keys() >= FIELDS else None
