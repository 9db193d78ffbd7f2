"""Medians, ratios, a table for people and JSON for machines."""

import json
import os
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.load import Shot
from benchmarks.servers import SERVERS

YARDSTICKS = ("peer", "floor")
MEASURES = ("per_second", "cpu_ms", "p50", "p99", "busy")
PACKAGES = (
    "uvicorn",
    "uvloop",
    "httptools",
    "litestar",
    "fastapi",
    "pydantic",
    "sqlmodel",
    "sqlalchemy",
    "asyncpg",
)

type Shots = Mapping[tuple[str, str], list[Shot]]  # by case and server
type Medians = dict[str, dict[str, dict[str, float]]]  # by case, server and measure


def medians(shots: Shots) -> Medians:
    """Reduce rounds to medians."""
    found: Medians = {}
    for (case, server), taken in shots.items():
        values = {name: median(getattr(shot, name) for shot in taken) for name in MEASURES}
        for yardstick in YARDSTICKS:
            if base := shots.get((case, yardstick)):
                values |= _ratios(yardstick, taken, base)
        found.setdefault(case, {})[server] = values
    return found


def _ratios(yardstick: str, taken: list[Shot], base: list[Shot]) -> dict[str, float]:
    """Compare within each round first: its shots were fired seconds apart, in one mood of the machine."""
    pairs = list(zip(taken, base, strict=True))
    return {
        f"cpu_to_{yardstick}": median(one.cpu_ms / other.cpu_ms for one, other in pairs),
        f"per_second_to_{yardstick}": median(one.per_second / other.per_second for one, other in pairs),
    }


def print_table(found: Medians, console: Console) -> None:
    """Print one line for each case and server."""
    names = sorted({server for servers in found.values() for server in servers}, key=list(SERVERS).index)
    table = Table(
        title="Medians of all rounds. CPU ms: user and system time of the server process, per request",
        caption="; ".join(f"{name}: {SERVERS[name].title}" for name in names),
    )
    table.add_column("case")
    table.add_column("server")
    for heading in ("req/s", "CPU ms", "busy", "p50 ms", "p99 ms", "CPU:peer", "CPU:floor", "req/s:peer"):
        table.add_column(heading, justify="right")
    for case, servers in found.items():
        for place, (server, values) in enumerate(servers.items()):
            last = place == len(servers) - 1
            table.add_row("" if place else case, server, *_cells(values), end_section=last)
    console.print(table)


def _cells(values: Mapping[str, float]) -> list[str]:
    ratios = ("cpu_to_peer", "cpu_to_floor", "per_second_to_peer")
    return [
        f"{values['per_second']:,.0f}",
        f"{values['cpu_ms']:.3f}",
        f"{values['busy']:.0%}",
        f"{values['p50']:.2f}",
        f"{values['p99']:.2f}",
        *(f"{values[name]:.2f}" if name in values else "-" for name in ratios),
    ]


def write_json(file: Path, found: Medians, shots: Shots, options: Mapping[str, Any]) -> None:
    """Write the medians with every shot behind them, and where they come from."""
    document = {
        "machine": {
            "system": platform.platform(),
            "cpus": os.cpu_count(),
            "python": platform.python_version(),
        },
        "packages": {name: version(name) for name in PACKAGES},
        "options": options,
        "medians": found,
        "rounds": [
            {"case": case, "server": server, "round": number, **vars(shot)}
            for (case, server), taken in shots.items()
            for number, shot in enumerate(taken, 1)
        ],
    }
    file.write_text(json.dumps(document, indent=2) + "\n")
