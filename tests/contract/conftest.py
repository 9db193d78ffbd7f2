"""`docs/contract.md` held against a server, over HTTP alone.

    pytest tests/contract --base-url https://api.example.com --secret "$BETTER_AUTH_SECRET"
    pytest tests/contract --base-url https://api.example.com --token-command 'mint-a-token {user} {role}'
    pytest tests/contract --level core

Needs httpx, pytest and hypothesis, and nothing of the project. Without `--base-url` it asks `python -m tests.serve` for
a server of this repository. Each test makes users of its own, so that it may run beside others and on a database in
use. The server must not limit failed authentications (`AUTH_FAILURES_PER_MINUTE=0`): there will be hundreds.
"""

import json
import secrets
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from .api import Api, User
from .tokens import Tokens

LEVELS = ("core", "full")


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("contract", "the contract's server")
    group.addoption("--base-url", help="The server to hold to the contract; none: one of this repository is started.")
    group.addoption("--secret", help="The secret that the server checks tokens with (HS256).")
    group.addoption("--token-command", help="A command that prints a token of {user}, with the {role} if any.")
    group.addoption("--issuer", help="The `iss` that the server demands, if any.")
    group.addoption("--audience", help="The `aud` that the server demands, if any.")
    group.addoption("--resource", help="The `aud` of access tokens that the server takes, if any.")
    group.addoption("--level", choices=LEVELS, default="full", help="How much of the contract; `full` by default.")
    group.addoption("--server", default="app", help="Which of the repository's own to start: app or peer.")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--level", "full") == "core":
        beyond = [item for item in items if item.get_closest_marker("full")]
        items[:] = [item for item in items if item not in beyond]
        config.hook.pytest_deselected(items=beyond)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Put the broken sentence beside a failure."""
    report = yield
    if report.failed:
        said = [f"{mark.args[0]}: {mark.args[1]}" for mark in item.iter_markers("contract")]
        report.sections.append(("docs/contract.md", "\n".join(said)))
    return report


@pytest.fixture(scope="session")
def server(pytestconfig: pytest.Config) -> Iterator[tuple[str, Tokens]]:
    """Give the base URL of the server under test, and its users' tokens."""
    options = pytestconfig.option
    if base_url := getattr(options, "base_url", None):
        if not (options.secret or options.token_command):
            raise pytest.UsageError("--base-url needs --secret or --token-command")
        yield (
            base_url,
            Tokens(options.secret, options.token_command, options.issuer, options.audience, options.resource),
        )
        return
    command = [sys.executable, "-m", "tests.serve", getattr(options, "server", "app")]
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        started = process.stdout.readline()
        assert started, "the server did not start"
        found = json.loads(started)
        yield found.pop("base_url"), Tokens(**found)
        process.communicate()  # its standard input ends, and so does the server


@pytest.fixture(scope="session")
def api(pytestconfig: pytest.Config, server: tuple[str, Tokens]) -> Iterator[Api]:
    """Give the server under test."""
    base_url, tokens = server
    with httpx.Client(base_url=base_url, timeout=30) as http:
        yield Api(http, tokens, wholly=getattr(pytestconfig.option, "level", "full") == "full")


@pytest.fixture(scope="session")
def new_user(api: Api) -> Callable[..., User]:
    """Give a function that makes a user whom nobody has seen before."""

    def make(name: str = "user", role: str | None = None) -> User:
        return api.user(f"{name}-{secrets.token_hex(10)}", role)

    return make


@pytest.fixture
def alice(new_user: Callable[..., User]) -> User:
    return new_user("alice")


@pytest.fixture
def bob(new_user: Callable[..., User]) -> User:
    return new_user("bob")


@pytest.fixture
def anybody(api: Api) -> Callable[..., Any]:
    """Give a function that sends a request without a token."""
    return api.http.request
