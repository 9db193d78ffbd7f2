"""`manage.py check --deploy`: each finding has settings that provoke it, and good settings have none."""

from typing import Any

import pytest

from app.domain.system.deployment import CHECKS, deployment_findings
from app.lib.settings import Settings
from tests.live import call

GOOD: dict[str, Any] = {
    "environment": "production",
    "database_url": "postgresql://app:secret@db.example.com/app?sslmode=verify-full",
    "better_auth_secret": "q8Zr1V0mYt7Lx3PwKd9sBn5HcUf2Ja6E",
    "better_auth_jwks_url": "https://app.example.com/api/auth/jwks",
    "better_auth_issuer": "https://app.example.com",
    "better_auth_audience": ["https://app.example.com"],
    "cors_origins": ["https://app.example.com"],
    "allowed_hosts": ["api.example.com"],
    "rate_limit_per_minute": 600,
    "auth_failures_per_minute": 60,
}
BAD: dict[str, list[dict[str, Any]]] = {
    "S001": [{"environment": "development"}, {"environment": "test"}],
    "S002": [{"better_auth_secret": "a" * 40}, {"better_auth_secret_previous": "secretsecretsecretsecretsecretsecret"}],
    "S003": [{"cors_origins": ["*"]}],
    "S004": [{"database_url": f"postgresql://u:p@db.example.com/d{query}"} for query in ("", "?sslmode=prefer")]
    + [{"database_url": "postgresql://u:p@192.0.2.1/d?sslmode=disable"}],
    "S005": [{"environment": "development", "database_url": None}],
    "S006": [{"better_auth_audience": []}],
    "S007": [{"better_auth_issuer": []}],
    "S008": [{"open_paths": ["/api/health"]}],
    "S009": [{"allowed_hosts": []}],
    "S010": [{"rate_limit_per_minute": 0}, {"auth_failures_per_minute": 0}],
    "S011": [{"log_level": "debug"}],
    "S012": [{"rate_limit_store_url": f"{scheme}://u:p@store.example.com"} for scheme in ("redis", "valkey")],
}


def numbers(**changes: Any) -> set[str]:
    return {finding.number for finding in deployment_findings(Settings(_env_file=None, **(GOOD | changes)))}


def test_every_deployment_check_has_a_case() -> None:
    assert list(dict.fromkeys(number for number, *_ in CHECKS)) == list(BAD)


@pytest.mark.parametrize(("jwks_url", "level"), [(None, "warning"), ("https://app.example.com/jwks", "error")])
def test_an_unset_audience_is_an_error_with_published_keys(jwks_url: str | None, level: str) -> None:
    changes: dict[str, Any] = {"better_auth_jwks_url": jwks_url, "better_auth_audience": []}
    findings = deployment_findings(Settings(_env_file=None, **(GOOD | changes)))
    assert [(finding.number, finding.level) for finding in findings] == [("S006", level)]


def test_good_settings_have_no_findings() -> None:
    assert numbers() == set()


@pytest.mark.parametrize(("number", "changes"), [(number, each) for number, all_ in BAD.items() for each in all_])
def test_bad_settings_are_reported(number: str, changes: dict[str, Any]) -> None:
    assert number in numbers(**changes)


@pytest.mark.parametrize(
    "url", ["postgresql://u:p@localhost/d", "postgresql://u:p@127.0.0.1/d", "postgresql:///d?host=/s"]
)
def test_loopback_database_needs_no_tls(url: str) -> None:
    assert "S004" not in numbers(database_url=url)


@pytest.mark.parametrize("url", ["redis://localhost", "valkey://127.0.0.1:6379", "rediss://u:p@store.example.com"])
def test_loopback_or_tls_rate_limit_store_is_accepted(url: str) -> None:
    assert "S012" not in numbers(rate_limit_store_url=url)


def test_deployment_error_exits_with_1(settings: Settings) -> None:
    status, said = call(settings, "check", "--deploy")
    assert status == 1
    assert "error: S001" in said
    status, said = call(settings, "check")
    # Other tests store time zones that nobody knows in the same database: nothing else may be found.
    lines = [line for line in said.splitlines() if not line.startswith("warning: D009 ")]
    assert (status, lines) in ((0, ["No problems found."]), (0, ["No errors found."]))
