"""Logs: one line an event, JSON outside development; never a token, a body or SQL."""

import logging
import sys
import time
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path
from typing import Any

import structlog

from app.lib.deployment_secret import DeploymentSecret
from app.lib.rate_limit import RateLimit
from app.lib.settings import Settings

SERVER_LINES_PER_MINUTE = 60  # of one kind, from the server beneath: some of them are a client's to provoke
UNKNOWN_USER = "unknown"
MAX_LOGGED_ID = 128  # a token may name a user by any text

_PROJECT = Path(__file__).resolve().parents[2]


def configure(settings: Settings) -> None:
    """Send everything to standard error, from `LOG_LEVEL` up."""
    level = getattr(logging, settings.log_level.upper())
    structlog.configure(
        processors=processors(_is_pretty(settings)),
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


def processors(pretty: bool) -> list[Any]:
    """Give what makes an event a line."""
    return [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        *_renderers(pretty),
    ]


def user_pseudonymizer(settings: Settings, secret: DeploymentSecret | None = None) -> Callable[[str], str] | None:
    """Give what a user is called in the log: nothing, their id, or a name that only this deployment can compute.

    While the secret of the deployment is not known, that name is `unknown`.
    """
    if settings.log_user_ids == "none":
        return None
    if settings.log_user_ids == "plain":
        return lambda user_id: user_id[:MAX_LOGGED_ID]
    secret = secret or DeploymentSecret(settings)
    return lambda user_id: _pseudonym(user_id, secret) if secret.is_known else UNKNOWN_USER


def _pseudonym(user_id: str, secret: DeploymentSecret) -> str:
    return blake2b(user_id.encode(errors="surrogatepass"), key=secret.key(b"log"), digest_size=8).hexdigest()


def exception_summary(error: BaseException) -> dict[str, Any]:
    """Say what was raised and where, without its message: database errors carry rows in theirs."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if Path(frame.filename).is_relative_to(_PROJECT / "app")] or frames[-1:]
    causes: list[str] = []
    while error is not None and len(causes) < 5:
        causes.append(f"{type(error).__module__}.{type(error).__qualname__}")
        error = error.__cause__ or error.__context__  # type: ignore[assignment]
    at = [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in own[-3:]]
    return {"error": causes, "at": at}


def _renderers(pretty: bool) -> list[Any]:
    """JSON is ASCII, with everything else escaped; a terminal would take escapes for its own."""
    return [_printable, structlog.dev.ConsoleRenderer()] if pretty else [structlog.processors.JSONRenderer()]


def _printable(_: Any, __: str, event: dict[str, Any]) -> dict[str, Any]:
    for name, value in event.items():
        if isinstance(value, str) and not value.isprintable():
            event[name] = value.encode("unicode_escape").decode()
    return event


class _Line(logging.Formatter):
    """Renders a record of the server as one event, without its traceback."""

    def __init__(self, pretty: bool) -> None:
        super().__init__()
        self._renderers = _renderers(pretty)

    def format(self, record: logging.LogRecord) -> str:
        event: Any = {
            "event": (record.getMessage().splitlines() or [""])[0],
            "level": record.levelname.lower(),
        }
        if record.exc_info and record.exc_info[1]:
            event |= exception_summary(record.exc_info[1])
        event["timestamp"] = datetime.fromtimestamp(record.created, UTC).isoformat()
        for render in self._renderers:
            event = render(None, "", event)
        return str(event)


class _Bounded(logging.Filter):
    """Lets so many lines of one kind through in a minute."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._allowance = RateLimit("log", SERVER_LINES_PER_MINUTE, clock)

    def filter(self, record: logging.LogRecord) -> bool:
        return self._allowance.use(f"{record.name} {record.msg}")[0]


def uvicorn_logging(settings: Settings) -> dict[str, Any]:
    """Configure the standard library's loggers: what the server says below a warning is its own business."""
    level = "DEBUG" if settings.log_level == "debug" else "WARNING"
    handler = {
        "class": "logging.StreamHandler",
        "formatter": "line",
        "filters": ["bounded"],
        "stream": "ext://sys.stderr",
    }
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"()": "app.lib.log._Line", "pretty": _is_pretty(settings)}},
        "filters": {"bounded": {"()": "app.lib.log._Bounded"}},
        "handlers": {"stderr": handler},
        "loggers": {"uvicorn": {"handlers": ["stderr"], "level": level, "propagate": False}},
        "root": {"handlers": ["stderr"], "level": "WARNING"},  # libraries, whose own tracebacks carry data
    }


def _is_pretty(settings: Settings) -> bool:
    return sys.stderr.isatty() and not settings.in_production
