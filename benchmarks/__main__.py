"""Compare the app with its yardsticks: `uv run --group bench python -m benchmarks`."""

import argparse
import secrets
import signal
import sys
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console

from app.db.supervisor import EmbeddedPostgresError
from benchmarks.database import (
    BenchmarkError,
    copy_to_peer,
    environment,
    fetch,
    manage,
    scratch_database,
    settle,
    tidy,
)
from benchmarks.load import CASES, Case, Gun, Shot, Tokens, find_wrk, take_sample
from benchmarks.report import medians, print_table, write_json
from benchmarks.servers import DEFAULT_SERVERS, SERVERS, Running, running

type Options = argparse.Namespace

console = Console()
console.width = max(console.width, 100)
NOISY_PERCENT = 10
SAME = ("id", "user_id", "title", "description", "completed", "priority", "due_date", "tags", "version")


def main() -> int:
    """Run; the exit status is 1 when the numbers would mean nothing."""
    options = parse()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # clean up as on Ctrl-C
    try:
        shots = run(options)
    except (BenchmarkError, EmbeddedPostgresError, OSError) as error:
        console.print(str(error), style="red", markup=False, highlight=False)
        return 1
    except KeyboardInterrupt:
        console.print("Interrupted: servers are stopped, the database is dropped")
        return 130
    found = medians(shots)
    print_table(found, console)
    if options.json:
        write_json(options.json, found, shots, {name: str(value) for name, value in vars(options).items()})
    return 0


def parse() -> Options:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=positive, default=5)
    parser.add_argument("--duration", type=positive, default=5, help="seconds of one case on one server (5)")
    parser.add_argument("--warm-up", type=positive, default=3, help="seconds of each case before the first round (3)")
    parser.add_argument("--connections", type=positive, default=16)
    parser.add_argument("--pool-size", type=positive, default=20, help="connections of a server to PostgreSQL (20)")
    parser.add_argument("--users", type=positive, default=50)
    parser.add_argument("--todos", type=positive, default=1000, help="todos of each user (1000)")
    parser.add_argument("--only", type=one_of(CASES), help=f"cases, of {','.join(CASES)}", metavar="CASE,…")
    parser.add_argument(
        "--servers",
        type=one_of(SERVERS),
        default=DEFAULT_SERVERS,
        help=f"of {','.join(SERVERS)}; by default {','.join(DEFAULT_SERVERS)}",
        metavar="NAME,…",
    )
    parser.add_argument("--database-url", help="a PostgreSQL where databases can be created; else the embedded one")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all numbers, too")
    return parser.parse_args()


def positive(text: str) -> int:
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def one_of(known: dict[str, Any]) -> Any:
    def names(text: str) -> tuple[str, ...]:
        chosen = tuple(text.split(","))
        if unknown := set(chosen) - known.keys():
            raise argparse.ArgumentTypeError(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(known)}")
        return chosen

    return names


def run(options: Options) -> dict[tuple[str, str], list[Shot]]:
    """Set everything up, measure, and take everything down."""
    servers = [SERVERS[name] for name in options.servers]
    cases = [CASES[name] for name in options.only or CASES]
    secret = secrets.token_urlsafe(32)
    schemas = {server.schema for server in servers}
    wrk = find_wrk()
    with ExitStack() as stack:
        url = stack.enter_context(scratch_database(options.database_url))
        env = environment(url, secret, options.pool_size)
        with console.status(f"Seeding {options.users} users with {options.todos} todos each"):
            # Secured where a server asks for it: the others are superusers, to whom it means nothing.
            secured = any(server.ordinary for server in servers)
            manage("migrate", env=env | {"DATABASE_RLS": str(secured).lower()})
            manage("seed", "--users", str(options.users), "--todos", str(options.todos), env=env)
        # All servers are up all the time, and one is loaded while the others idle. Idle ones take no CPU to
        # speak of, and each keeps its warm state, as a server in production would; starting one for each turn
        # would measure its start-up, cold caches and unprepared statements again and again.
        targets = [stack.enter_context(running(server, env)) for server in servers]
        if "peer" in schemas:
            copy_to_peer(url)
        settle(url, schemas)
        gun = stack.enter_context(Gun(wrk, take_sample(url), Tokens(secret), options.connections))
        check(gun, targets, cases)
        return measure(url, gun, targets, cases, options)


def check(gun: Gun, targets: list[Running], cases: list[Case]) -> None:
    """All servers must answer, and give the same row."""
    rows = [gun.check(target, CASES["get"]) for target in targets]
    for row, target in zip(rows, targets, strict=True):
        if any(row[name] != rows[0][name] for name in SAME):
            raise BenchmarkError(f"{target.server.name} answers {row}, {targets[0].server.name} {rows[0]}")
    for case in cases:
        for target in targets:
            gun.check(target, case)


def measure(
    url: str, gun: Gun, targets: list[Running], cases: list[Case], options: Options
) -> dict[tuple[str, str], list[Shot]]:
    """Take turns, so that a drift of the machine hits all servers alike."""
    schemas = {target.server.schema for target in targets}
    since = fetch(url, "SELECT clock_timestamp()")[0][0]
    if (others := psutil.cpu_percent(interval=1)) > NOISY_PERCENT:
        console.print(f"[yellow]Other processes use {others:.0f} % of this machine: expect noise")
    turns = [(case, target) for case in cases for target in targets]
    shots: dict[tuple[str, str], list[Shot]] = defaultdict(list)
    with console.status("") as status:
        for case, target in turns:
            status.update(f"Warming up: {case.name}, {target.server.title}")
            gun.fire(target, case, options.warm_up)
        tidy(url, schemas, since)
        for number in range(1, options.rounds + 1):
            for case, target in turns:
                status.update(f"Round {number} of {options.rounds}: {case.name}, {target.server.title}")
                shots[case.name, target.server.name].append(gun.fire(target, case, options.duration))
            tidy(url, schemas, since)
    return shots


if __name__ == "__main__":
    sys.exit(main())
