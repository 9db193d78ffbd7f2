"""Logs: one line an event, JSON outside development; never a token, a body or SQL."""

import logging
import sys
import traceback
from pathlib import Path
from typing import Any

import structlog

from app.lib.settings import Settings

_PROJECT = Path(__file__).resolve().parents[2]


def configure(settings: Settings) -> None:
    """Send everything to standard error, from `LOG_LEVEL` up."""
    level = getattr(logging, settings.log_level.upper())
    pretty = sys.stderr.isatty() and not settings.in_production
    structlog.configure(
        processors=[
            structlog.stdlib.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.dev.ConsoleRenderer() if pretty else structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


def where(error: BaseException) -> dict[str, Any]:
    """Say what was raised and where, without its message: database errors carry rows in theirs."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if Path(frame.filename).is_relative_to(_PROJECT / "app")] or frames[-1:]
    causes = []
    while error is not None and len(causes) < 5:
        causes.append(f"{type(error).__module__}.{type(error).__qualname__}")
        error = error.__cause__ or error.__context__  # type: ignore[assignment]
    at = [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in own[-3:]]
    return {"error": causes, "at": at}
