"""What a deployment to production should not have: findings about the settings, for `manage.py check --deploy`."""

from collections.abc import Callable
from ipaddress import ip_address
from urllib.parse import urlsplit

from app.domain.system.findings import Finding, Level
from app.lib.settings import Settings

MIN_DISTINCT_BYTES = 12  # 32 random bytes in base64 have about 30; a typed pass phrase has few

type Check = tuple[str, Level, Callable[[Settings], bool], str]


def _is_weak(settings: Settings) -> bool:
    return any(len(set(secret)) < MIN_DISTINCT_BYTES for secret in settings.secrets)


def _has_published_keys(settings: Settings) -> bool:
    return bool(settings.better_auth_jwks_url or settings.better_auth_jwks_file)


def _is_unencrypted(settings: Settings) -> bool:
    target = settings.connection_target
    if target is None or "host" in target.url.query or _is_loopback(target.url.host or "localhost"):
        return False
    return target.arguments.get("ssl", "prefer") in (False, "allow", "prefer")


def _has_unencrypted_store(settings: Settings) -> bool:
    if settings.rate_limit_store_url is None:
        return False
    url = urlsplit(settings.rate_limit_store_url.get_secret_value())
    return url.scheme in ("redis", "valkey") and not _is_loopback(url.hostname or "")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


CHECKS: tuple[Check, ...] = (
    ("S001", "error", lambda s: not s.in_production, "ENVIRONMENT is not production: set it, for it has no defaults."),
    ("S002", "error", _is_weak, "A BETTER_AUTH_SECRET is easy to guess: make one with `openssl rand -base64 32`."),
    ("S003", "error", lambda s: "*" in s.cors_origins, "CORS_ORIGINS lets any site call: name your frontends."),
    ("S004", "error", _is_unencrypted, "The way to the database is not encrypted: add sslmode=verify-full."),
    (
        "S005",
        "error",
        lambda s: s.database_url is None,
        "No DATABASE_URL is set: the embedded one is for development.",
    ),
    (
        "S006",
        "error",
        lambda s: _has_published_keys(s) and not s.better_auth_audience,
        "One key set signs tokens for other services, too, and they are accepted: set BETTER_AUTH_AUDIENCE.",
    ),
    (
        "S006",
        "warning",
        lambda s: not (_has_published_keys(s) or s.better_auth_audience),
        "Tokens for other services are accepted: set BETTER_AUTH_AUDIENCE.",
    ),
    (
        "S007",
        "warning",
        lambda s: _has_published_keys(s) and not s.better_auth_issuer,
        "The issuer of tokens is not checked: set BETTER_AUTH_ISSUER.",
    ),
    ("S008", "warning", lambda s: bool(s.open_paths), "OPEN_PATHS answers without a token: leave it empty if you can."),
    ("S009", "warning", lambda s: not s.allowed_hosts, "Any Host header is served: set ALLOWED_HOSTS."),
    (
        "S010",
        "warning",
        lambda s: not (s.rate_limit_per_minute and s.auth_failures_per_minute),
        "A rate limit is switched off: set RATE_LIMIT_PER_MINUTE and AUTH_FAILURES_PER_MINUTE.",
    ),
    ("S011", "warning", lambda s: s.log_level == "debug", "LOG_LEVEL is debug: it says more than operators need."),
    (
        "S012",
        "warning",
        _has_unencrypted_store,
        "The way to the store of rate limits is not encrypted: let RATE_LIMIT_STORE_URL begin with rediss://.",
    ),
)


def deployment_findings(settings: Settings) -> list[Finding]:
    """Give what is wrong, or may be, in these settings."""
    return [Finding(number, level, message) for number, level, applies, message in CHECKS if applies(settings)]
