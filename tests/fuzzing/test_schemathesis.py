"""Schemathesis against a live server: all phases, all checks, a fixed seed; it finds nothing.

`SCHEMATHESIS_EXAMPLES=2000` runs it for longer (CONTRIBUTING.md).
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from app.db.config import Database
from app.db.migrate import migrate
from app.lib.settings import PROJECT, Settings
from tests.live import Server, environment
from tests.support import SECRET, token_for

HERE = Path(__file__).parent
SNAPSHOT = PROJECT / "tests" / "lib" / "openapi.json"
EXAMPLES = os.environ.get("SCHEMATHESIS_EXAMPLES")
USERS = {"alice": "fuzzing-alice", "bob": "fuzzing-bob"}
A_DAY = 24 * 3600


def users_file(directory: Path) -> Path:
    """Write the users' tokens in the format of Web Fuzzing Commons."""
    expires = int(time.time()) + A_DAY
    tokens = {name: token_for(user_id, exp=expires, role="admin") for name, user_id in USERS.items()}
    users = [
        {"name": name, "fixedHeaders": [{"name": "Authorization", "value": f"Bearer {token}"}]}
        for name, token in tokens.items()
    ]
    path = directory / "users.json"
    path.write_text(json.dumps({"auth": users}))
    return path


@pytest.fixture
async def server(new_database: Callable[[], Any]) -> AsyncIterator[Server]:
    """Give a server on a migrated database of its own."""
    url = await new_database()
    database = Database(Settings(environment="test", database_url=url, better_auth_secret=SECRET))
    await migrate(database)
    await database.close()
    with Server(environment(database_url=url, better_auth_secret=SECRET, log_level="error")) as server:
        yield server


@pytest.mark.parametrize(("phases", "examples"), [("examples,coverage,fuzzing", "10"), ("stateful", "60")])
def test_schemathesis_finds_no_failure(server: Server, tmp_path: Path, phases: str, examples: str) -> None:
    command = ["run", str(SNAPSHOT), "--url", server.url, "--phases", phases, "--max-examples", EXAMPLES or examples]
    given = {"USER_ID": USERS["alice"], "USERS_FILE": str(users_file(tmp_path)), "PYTHONPATH": str(PROJECT)}
    found = subprocess.run(
        [sys.executable, "-m", "schemathesis.cli", "--config-file", str(HERE / "schemathesis.toml"), *command],
        env=environment(**given),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    print(found.stdout)  # noqa: T201 - shown with -s
    assert found.returncode == 0, found.stdout + found.stderr
