"""`DATABASE_URL` as operators write it, turned into what SQLAlchemy and asyncpg take, nothing silently dropped."""

import re
import ssl
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from msgspec import Struct
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

DEFAULT_PORT = 5432
_SCHEMES = {"postgres", "postgresql", "postgresql+asyncpg", "postgresql+psycopg", "postgresql+psycopg2"}
# asyncpg negotiates these two itself; libpq's meaning of the others is an SSLContext.
_OPPORTUNISTIC = {"allow", "prefer"}
_SSL_MODES = {"disable", "require", "verify-ca", "verify-full"} | _OPPORTUNISTIC
# `options` goes to the server as it is: -c name=value, or the endpoint of Neon.
_SESSION_SETTINGS = {"application_name", "options", "search_path", "timezone"}
_FLAGS = {"true": True, "1": True, "false": False, "0": False}
# libpq options that say nothing to asyncpg: it always tries SCRAM, and has no channel binding to require.
_WITHOUT_EFFECT = {"channel_binding", "sslnegotiation", "gssencmode"}
_HOST_AND_PORT = re.compile(r"[A-Za-z0-9.-]*:(\d*)")


class DatabaseUrlError(ValueError):
    """The URL cannot be used; the message never repeats it, since it holds a password."""


class ConnectionTarget(Struct, frozen=True):
    """Where to connect and how: the URL for SQLAlchemy, the arguments for asyncpg."""

    url: URL
    arguments: dict[str, Any]
    pooled: bool
    """Behind PgBouncer's transaction pooling, where prepared statements and session state do not last."""


def parse_database_url(text: str) -> ConnectionTarget:
    """Raises `DatabaseUrlError` for anything that is not a PostgreSQL URL with options known here."""
    try:
        url = make_url(text.strip())
    except (ArgumentError, ValueError):
        raise DatabaseUrlError("is not a URL of the form postgresql://user:password@host:5432/database") from None
    if url.drivername not in _SCHEMES:
        raise DatabaseUrlError(f"has the scheme {url.drivername!r}: expected postgresql://")
    if not url.database:
        raise DatabaseUrlError("names no database: expected postgresql://user:password@host:5432/database")
    options = {key: value if isinstance(value, str) else value[-1] for key, value in url.query.items()}
    kept: dict[str, str] = {name: options.pop(name) for name in ("host", "port") if name in options}  # of a Unix socket
    if (host := unquote(url.host or "")).startswith("/"):  # libpq's way to name a socket: %2Frun%2Fpostgresql
        kept = {"host": host, "port": str(url.port or DEFAULT_PORT)} | kept
    neon_pooler = "-pooler." in (url.host or "")
    pooled = _flag(options.pop("pgbouncer", str(neon_pooler)))
    arguments = _arguments(options)
    if options:
        raise DatabaseUrlError(f"has options that are not supported: {', '.join(sorted(options))}")
    _check_ports(url.port, kept)
    # A `host` among the options wins, as in libpq.
    name, port = (None, None) if "host" in kept else (url.host, url.port)
    url = URL.create("postgresql+asyncpg", url.username, url.password, name, port, url.database, kept)
    return ConnectionTarget(url, arguments, pooled)


def _check_ports(port: int | None, options: dict[str, str]) -> None:
    """Raise `DatabaseUrlError` for a port that no server can have; libpq takes a list of hosts and of ports."""
    hosts = options.get("host", "").split(",")
    ports = options["port"].split(",") if "port" in options else []
    if ports and len(ports) != len(hosts):
        raise DatabaseUrlError("has not one port for each host")
    ports += [match[1] for match in map(_HOST_AND_PORT.fullmatch, hosts) if match]
    ports += [] if port is None else [str(port)]
    if not all(not text or (re.fullmatch(r"0*[0-9]{1,5}", text) and 0 < int(text) < 65536) for text in ports):
        raise DatabaseUrlError("has a port that is not a number from 1 to 65535")


def _arguments(options: dict[str, str]) -> dict[str, Any]:
    """Take from `options` what is known."""
    arguments: dict[str, Any] = {}
    session = {name: options.pop(name) for name in _SESSION_SETTINGS & options.keys()}
    if session:
        arguments["server_settings"] = session
    if "connect_timeout" in options:
        arguments["timeout"] = _seconds(options.pop("connect_timeout"))
    for name in _WITHOUT_EFFECT:
        options.pop(name, None)
    if mode := options.pop("sslmode", options.pop("ssl", None)):
        arguments["ssl"] = _ssl(mode, options.pop("sslrootcert", None))
    return arguments


def _ssl(mode: str, root_certificate: str | None) -> ssl.SSLContext | str | bool:
    if mode not in _SSL_MODES:
        raise DatabaseUrlError(f"has sslmode={mode}: expected one of {', '.join(sorted(_SSL_MODES))}")
    if mode == "disable":
        return False
    if mode in _OPPORTUNISTIC:
        return mode
    context = _trusting(None if root_certificate == "system" else root_certificate)
    if mode != "verify-full":
        context.check_hostname = False
    if mode == "require" and root_certificate is None:
        context.verify_mode = ssl.CERT_NONE
    return context


def _trusting(root_certificate: str | None) -> ssl.SSLContext:
    try:
        path = Path(root_certificate).expanduser() if root_certificate else None
        return ssl.create_default_context(cafile=path)
    except (OSError, RuntimeError, ssl.SSLError):
        raise DatabaseUrlError("names an sslrootcert that cannot be read") from None


def _flag(text: str) -> bool:
    if text.lower() not in _FLAGS:
        raise DatabaseUrlError("has a pgbouncer that is neither true nor false")
    return _FLAGS[text.lower()]


def _seconds(text: str) -> float:
    if not re.fullmatch(r"0*[1-9][0-9]{0,5}", text):  # none, which libpq writes as 0, would wait for ever
        raise DatabaseUrlError("has a connect_timeout that is not a number of seconds, 1 or more")
    return float(text)
