"""What the README promises holds: its tour runs, its commands exist, its tree is there."""

import re
import shutil
import subprocess
import sys

import pytest

from app.lib.settings import PROJECT, Settings
from tests.live import MANAGE, Server, environment
from tests.support import SECRET, url_of

README = (PROJECT / "README.md").read_text()


@pytest.fixture(scope="module")
def tour(settings: Settings) -> list[str]:
    """Run the tour as a reader would, and give the answers, one for each curl."""
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed: apt-get install curl")
    script = re.search(r"```bash\n(.*?)```", README, re.DOTALL)
    assert script
    env = environment(database_url=url_of(settings), better_auth_secret=SECRET)
    with Server(env) as server:
        text = script[1].replace("http://127.0.0.1:8000", server.url)
        text = text.replace("uv run manage.py", f"'{sys.executable}' '{MANAGE}'")
        text = re.sub(r"^(curl .*)$", r"echo @@@; \1", text, flags=re.MULTILINE)
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", text], env=env, capture_output=True, text=True, check=False, timeout=60
        )
    assert done.returncode == 0, done.stderr
    return done.stdout.split("@@@\n")[1:]


def test_readme_tour_responses_are_true(tour: list[str]) -> None:
    expected = ["201", '"total":1', "200", '"version":2', '"status":412']
    expected += ["Book the train", '"total":1', "Plan the trip", '"status":201', '"completed":true', '"completed":true']
    expected += ['"status":422', '"status":403', '"status":401', "204", '"total":2', '"deleted_at":null']
    assert len(tour) == len(expected)
    for answer, part in zip(tour, expected, strict=True):
        assert part in answer


def test_readme_tour_reports_every_error(tour: list[str]) -> None:
    assert all(pointer in tour[11] for pointer in ("/title", "/priority", "/colour"))


@pytest.mark.parametrize("command", ["uv run manage.py run", "uv run pytest"])
def test_readme_names_the_two_commands(command: str) -> None:
    assert command in README


def test_readme_names_every_command() -> None:
    table = README.partition("## manage.py")[2].partition("## ")[0]
    names = re.findall(r"`([a-z]+)", table)
    shown = subprocess.run(
        [sys.executable, str(MANAGE), "--help"], env=environment(), capture_output=True, text=True, check=True
    ).stdout
    commands = set(re.findall(r"^│ ([a-z]+) ", shown, re.MULTILINE))
    assert commands <= set(names)


def test_readme_tree_exists() -> None:
    tree = re.search(r"## Project structure\n\n```\n(.*?)```", README, re.DOTALL)
    assert tree
    for line in tree[1].splitlines():
        assert (PROJECT / line.split()[0]).exists(), line


def test_readme_links_resolve() -> None:
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (PROJECT / target).exists(), target
