"""What is logged: one line an event, with where an error came from, and never what was in it."""

import json
import logging

import pytest

from app.lib.log import _Line, uvicorn_logging, where
from app.lib.settings import Settings


def failing(message: str) -> Exception:
    """Give an error with a cause, both raised."""
    try:
        {}[message]
    except KeyError as cause:
        error = ValueError(message)
        error.__cause__ = cause
        return error.with_traceback(cause.__traceback__)
    raise AssertionError


class TestWhere:
    def test_names_the_errors_and_the_place(self) -> None:
        told = where(failing("hunter2"))
        assert told["error"] == ["builtins.ValueError", "builtins.KeyError"]
        assert [place.split(" ")[1] for place in told["at"]] == ["failing"]

    def test_says_nothing_of_what_was_in_it(self) -> None:
        assert "hunter2" not in json.dumps(where(failing("hunter2")))

    def test_ends_for_errors_that_cause_each_other(self) -> None:
        first, second = ValueError(), KeyError()
        first.__context__, second.__context__ = second, first
        assert len(where(first)["error"]) == 5


class TestServerLog:
    @pytest.fixture
    def line(self) -> _Line:
        return _Line(pretty=False)

    def test_is_one_line_without_a_traceback(self, line: _Line) -> None:
        error = failing("hunter2")
        record = logging.LogRecord("uvicorn.error", logging.ERROR, "", 0, "It\nfailed", (), (ValueError, error, None))
        event = json.loads(line.format(record))
        assert (event["event"], event["level"]) == ("It", "error")
        assert event["error"][0] == "builtins.ValueError"
        assert "hunter2" not in line.format(record)

    @pytest.mark.parametrize(("level", "expected"), [("debug", "DEBUG"), ("info", "WARNING"), ("error", "WARNING")])
    def test_what_is_below_a_warning_is_for_debugging(self, level: str, expected: str) -> None:
        config = uvicorn_logging(Settings(_env_file=None, log_level=level))
        assert config["loggers"]["uvicorn"]["level"] == expected
