"""`docs/contract.md` and `tests/contract` belong together: every clause has a test, and every test its clause."""

import ast
import importlib
import inspect
import re
import sys
from collections.abc import Iterator
from functools import cache
from types import ModuleType
from typing import Any

import pytest

from app.lib.settings import PROJECT

SUITE = PROJECT / "tests" / "contract"
CONTRACT = PROJECT / "docs" / "contract.md"
NEEDED = {"httpx", "hypothesis", "pytest"}
LEVELS = {"core", "full"}

# What a client can neither see nor bring about, and which tests hold it instead.
ELSEWHERE = {
    "PUT does not use the preferences.": "tests/domain/todos/test_defaults.py",
    "Quota: a user has at most": "tests/domain/todos/test_quota.py",
    "A request for more gets 409": "tests/domain/todos/test_quota.py",
    "The limit is exact for each server process": "tests/domain/todos/test_quota.py",
    "several processes can exceed it together": "tests/domain/todos/test_quota.py",
    "MAX_ROWS_PER_USER: 100000": "tests/domain/todos/test_quota.py",
    "409 beyond;": "tests/domain/todos/test_quota.py",
    "The end is after the last todo of the list": "tests/domain/todos/test_clock.py",
    "A time zone that the database does not know": "tests/domain/todos/test_due.py",
    "It has the tasks that matched when it began": "tests/domain/todos/tasks/test_task_stream.py",
    "a task that no longer matches when its chunk": "tests/domain/todos/tasks/test_task_stream.py",
    "After a failure midway the array has no end": "tests/domain/todos/tasks/test_task_stream.py",
    "EdDSA, ES256, ES512, PS256, RS256 from the JWKS": "tests/better_auth/test_jwt_plugin.py",
    "exp, nbf and iat are numbers (RFC 7519, 4.1)": "tests/lib/middleware/test_authentication.py",
    "an iat in the future, beyond the leeway, is refused": "tests/lib/middleware/test_authentication.py",
    "While keys are known, requests never wait for an unknown kid": "tests/lib/auth/test_jwks.py",
    "When a key is removed from the key set, its tokens are refused": "tests/lib/auth/test_jwks.py",
    "The set expires after the max-age of its response": "tests/lib/auth/test_jwks.py",
    "A client that gets 401 for the first token of a new key": "tests/lib/auth/test_jwks.py",
    "The request that causes that fetch does not wait for it.": "tests/lib/auth/test_jwks.py",
    "While the key server is unavailable, the known keys stay in use.": "tests/lib/auth/test_jwks.py",
    "A stored response is replayed only if the guards": "tests/test_idempotency.py",
    "A symmetric secret is at least 32 bytes.": "tests/lib/test_settings.py",
    "408 the request is not received in time": "tests/test_server.py",
    "the authority of an absolute target takes its place": "tests/lib/middleware/test_allowed_hosts.py",
    "the servers of the OpenAPI document have that prefix": "tests/lib/http/test_prefix.py",
    "CONNECT, other HTTP versions and other transfer codings than chunked get 400": "tests/test_framing.py",
    "So does a chunked body with far more framing": "tests/test_connections.py",
    "If the response is sent before the body was received": "tests/test_connections.py",
    "a longer body closes the connection": "tests/test_connections.py",
    "Responses with 429 to one user or address": "tests/lib/middleware/test_refusal_pace.py",
    "While three quarters of the connections": "tests/test_connections.py",
    "One user cannot block another.": "tests/test_fairness.py",
    "A user has a limited number of requests in progress at a time": "tests/lib/middleware/test_user_share.py",
    "A write that waits too long": "tests/test_fairness.py",
    "If a user leaves more than 16 MiB of responses unread": "tests/test_fairness.py",
    "GET /api/health answers within a second": "tests/test_fairness.py",
    "MAX_REQUESTS_PER_USER (in progress, in each process)": "tests/test_fairness.py",
    "429 and 503 beyond;": "tests/lib/middleware/test_load_shedding.py",
    "DATABASE_LOCK_TIMEOUT: 2 s": "tests/test_fairness.py",
    "500 without internal details": "tests/lib/test_errors.py",
    "503 with Retry-After while the database cannot be reached": "tests/test_resilience.py",
    "A violated database constraint that this page": "tests/db/test_failover.py",
    "A database that refuses writes is 503 there, too.": "tests/db/test_failover.py",
    "An empty value counts as unset": "tests/lib/test_settings.py",
    "Origins and hosts are compared as browsers": "tests/lib/test_origins.py",
    "A value that can never match is refused at start": "tests/lib/test_origins.py",
    "and cost the same on the last page as on the first": "benchmarks/explain.py",
    "a thin controller on the same service, enabled by a setting": "tests/domain/todos/tasks/test_tasks.py",
    "All routes are under /api.": "tests/test_manage.py",
    "ENVIRONMENT: development": "tests/lib/test_settings.py",
    "production, test": "tests/lib/test_settings.py",
    "DATABASE_URL: the embedded PostgreSQL": "tests/test_manage.py",
    "required in production": "tests/lib/test_settings.py",
    "BETTER_AUTH_SECRET and/or BETTER_AUTH_JWKS_URL: generated once in development": "tests/lib/test_settings.py",
    "one is required in production": "tests/lib/test_settings.py",
    "BETTER_AUTH_ISSUER, BETTER_AUTH_AUDIENCE, USER_ID_CLAIMS, ROLE_CLAIM:": "tests/test_env_example.py",
    "RESOURCE: unset: no access token of an OAuth client is accepted;": "tests/lib/auth/test_token_classes.py",
    "needs BETTER_AUTH_ISSUER;": "tests/lib/auth/test_token_classes.py",
    "CORS_ORIGINS, CORS_ALLOW_HEADERS, ALLOWED_HOSTS, TRUSTED_PROXIES, ROOT_PATH": "tests/test_env_example.py",
    "More than 60 combinations of filters and sort keys": "tests/lib/persistence/test_statement_budget.py",
    "0 disables it": "tests/lib/test_rate_limit.py",
}


def plain(text: str) -> str:
    """Take away what is only there for the eye."""
    return " ".join(re.sub(r"[`*]", "", text.replace("\\|", "|")).split())


@cache
def sections() -> dict[str, str]:
    """Give the plain text of each section; a row of a table reads `first: second: third;`."""
    found: dict[str, str] = {}
    title = ""
    lines = CONTRACT.read_text().splitlines()
    for line, after in zip(lines, [*lines[1:], ""], strict=True):
        if line.startswith("##"):
            title = plain(line.lstrip("#"))
            found[title] = ""
        elif title and line.startswith("| ") and not line.startswith("| --") and not after.startswith("| --"):
            cells = map(plain, re.split(r"(?<!\\)\|", line.strip("|")))
            found[title] += ": ".join(cell for cell in cells if cell) + "; "
        elif title and not line.startswith(("|", "```", "#")):
            found[title] += plain(line) + " "
    return {title: " ".join(text.split()) for title, text in found.items()}


def clauses() -> Iterator[tuple[str, range]]:
    """Give each clause of the contract: its section, and from where to where in it."""
    for title, text in sections().items():
        for match in re.finditer(r"\S.*?(?:(?<=\S[.;])(?= )|$)", text):
            yield title, range(*match.span())


def modules() -> Iterator[ModuleType]:
    """Give the tests."""
    for file in sorted(SUITE.glob("test_*.py")):
        yield importlib.import_module(f"tests.contract.{file.stem}")


def contract_tests() -> Iterator[tuple[str, list[pytest.Mark]]]:
    """Give each test function and its marks."""
    for module in modules():
        outer = marks_of(module)
        for name, member in vars(module).items():
            if inspect.isclass(member) and name.startswith("Test"):
                inner = [(f"{name}.{each}", function) for each, function in vars(member).items()]
                of_class = marks_of(member)
            else:
                inner, of_class = [(name, member)], []
            for each, function in inner:
                if each.rpartition(".")[2].startswith("test_"):
                    yield f"{module.__name__}.{each}", [*outer, *of_class, *marks_of(function)]


def marks_of(thing: Any) -> list[pytest.Mark]:
    found = getattr(thing, "pytestmark", [])
    return [
        each.mark if isinstance(each, pytest.MarkDecorator) else each
        for each in (found if isinstance(found, list) else [found])
    ]


def quotes() -> Iterator[tuple[str, str, str]]:
    """Give what each test says that it tests: its name, the section, the words."""
    for name, marks in contract_tests():
        for mark in marks:
            if mark.name == "contract":
                yield name, *mark.args


def test_every_contract_test_quotes_the_contract() -> None:
    assert sum(1 for _ in contract_tests()) > 90
    quoting = {name for name, _, _ in quotes()}
    assert [name for name, _ in contract_tests() if name not in quoting] == []


def test_every_quote_is_in_the_contract() -> None:
    wrong = [str(quote) for quote in quotes() if plain(quote[2]) not in sections().get(quote[1], "")]
    assert not wrong, "\n".join(wrong)


def test_every_clause_of_the_contract_has_a_test() -> None:
    held: dict[str, set[int]] = {title: set() for title in sections()}
    for _, title, quote in quotes():
        for match in re.finditer(re.escape(plain(quote)), sections()[title]):
            held[title].update(range(*match.span()))
    silent = [
        (title, sections()[title][where.start : where.stop])
        for title, where in clauses()
        if held[title].isdisjoint(where)
    ]
    missing = [f"{title}: {text}" for title, text in silent if not text.startswith(tuple(ELSEWHERE))]
    assert not missing, "\n".join(missing)


def test_clauses_tested_elsewhere_name_existing_tests() -> None:
    text = " ".join(sections().values())
    assert [clause for clause in ELSEWHERE if clause not in text] == []
    assert [file for file in ELSEWHERE.values() if not (PROJECT / file).is_file()] == []


def test_every_contract_test_has_a_level() -> None:
    """By its own marks, or by those of its parameters, in `routes.parameters`."""
    for name, marks in contract_tests():
        levels = [mark.name for mark in marks if mark.name in LEVELS]
        by_route = any(
            hasattr(value, "marks") for mark in marks if mark.name == "parametrize" for value in mark.args[1]
        )
        assert len(levels) == (0 if by_route else 1), name


def test_contract_tests_import_nothing_of_the_project() -> None:
    for file in SUITE.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module or ""]
            else:
                assert not (isinstance(node, ast.ImportFrom) and node.level > 1), file
                continue
            assert {name.partition(".")[0] for name in names} <= {*sys.stdlib_module_names, *NEEDED}, file
