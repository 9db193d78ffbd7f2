"""Logs: one line an event, JSON outside development; never a token, a body or SQL."""

import logging
import sys
import traceback
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import structlog

from app.lib.settings import Settings

_PROJECT = Path(__file__).resolve().parents[2]


def configure(settings: Settings) -> None:
    """Send everything to standard error, from `LOG_LEVEL` up."""
    level = getattr(logging, settings.log_level.upper())
    structlog.configure(
        processors=[
            structlog.stdlib.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.dev.ConsoleRenderer() if _is_pretty(settings) else structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


def where(error: BaseException) -> dict[str, Any]:
    """Say what was raised and where, without its message: database errors carry rows in theirs."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if Path(frame.filename).is_relative_to(_PROJECT / "app")] or frames[-1:]
    causes: list[str] = []
    while error is not None and len(causes) < 5:
        causes.append(f"{type(error).__module__}.{type(error).__qualname__}")
        error = error.__cause__ or error.__context__  # type: ignore[assignment]
    at = [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in own[-3:]]
    return {"error": causes, "at": at}


class _Line(logging.Formatter):
    """Renders a record of the server as one event, without its traceback."""

    def __init__(self, pretty: bool) -> None:
        super().__init__()
        self._render = structlog.dev.ConsoleRenderer() if pretty else structlog.processors.JSONRenderer()

    def format(self, record: logging.LogRecord) -> str:
        event: dict[str, Any] = {
            "event": record.getMessage().splitlines()[0],
            "level": record.levelname.lower(),
        }
        if record.exc_info and record.exc_info[1]:
            event |= where(record.exc_info[1])
        event["timestamp"] = datetime.fromtimestamp(record.created, UTC).isoformat()
        return str(self._render(None, "", event))


def uvicorn_logging(settings: Settings) -> dict[str, Any]:
    """Configure uvicorn's loggers: what it says below a warning is its own business."""
    level = "DEBUG" if settings.log_level == "debug" else "WARNING"
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"()": "app.lib.log._Line", "pretty": _is_pretty(settings)}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line", "stream": "ext://sys.stderr"}},
        "loggers": {"uvicorn": {"handlers": ["stderr"], "level": level, "propagate": False}},
    }


def _is_pretty(settings: Settings) -> bool:
    return sys.stderr.isatty() and not settings.in_production
