"""Start `manage.py` with a sampler of the event loop's lag: `python -m benchmarks.monitored run …`.

Every 10 ms a timer notes how late it runs, and how much CPU the loop's thread used since the last one. The smaller of
the two is lag that this process caused itself: a machine shared with the load generator and with other work adds to
the first alone.
"""

import asyncio
import os
import runpy
import struct
import sys
import time
from socket import socket
from unittest.mock import patch

import uvicorn

from benchmarks.database import ROOT

LAG_FILE = "BENCHMARK_LAG_FILE"
PERIOD_SECONDS = 0.01
SAMPLE = struct.Struct("ddd")  # time.time(), seconds late, seconds of CPU


class LagSampler:
    """Appends a sample to a file at each tick."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND)
        self._loop = asyncio.get_running_loop()
        self._due = self._loop.time()
        self._cpu = time.thread_time()
        self._tick()

    def _tick(self) -> None:
        now, cpu = self._loop.time(), time.thread_time()
        os.write(self._file, SAMPLE.pack(time.time(), max(now - self._due, 0.0), cpu - self._cpu))
        self._cpu = cpu
        self._due = self._loop.time() + PERIOD_SECONDS
        self._loop.call_at(self._due, self._tick)


def install(path: str) -> None:
    """Sample in each server that is started in this process."""
    startup = uvicorn.Server.startup

    async def sampled(server: uvicorn.Server, sockets: list[socket] | None = None) -> None:
        await startup(server, sockets)
        LagSampler(path)

    patch.object(uvicorn.Server, "startup", sampled).start()


if __name__ == "__main__":
    install(os.environ[LAG_FILE])
    sys.argv[0] = str(ROOT / "manage.py")
    runpy.run_path(sys.argv[0], run_name="__main__")
