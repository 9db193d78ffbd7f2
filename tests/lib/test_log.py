"""What is logged: one line an event, with where an error came from, and never what was in it."""

import json
import logging
import subprocess
import sys

import pytest

from app.lib.log import SERVER_LINES_PER_MINUTE, _Bounded, _Line, exception_summary, uvicorn_logging
from app.lib.settings import PROJECT, Settings


def failing(message: str) -> Exception:
    """Give an error with a cause, both raised."""
    try:
        dict[str, str]()[message]
    except KeyError as cause:
        error = ValueError(message)
        error.__cause__ = cause
        return error.with_traceback(cause.__traceback__)
    raise AssertionError


class TestWhere:
    def test_exception_summary_has_classes_and_place(self) -> None:
        told = exception_summary(failing("hunter2"))
        assert told["error"] == ["builtins.ValueError", "builtins.KeyError"]
        assert [place.split(" ")[1] for place in told["at"]] == ["failing"]

    def test_exception_summary_has_no_message(self) -> None:
        assert "hunter2" not in json.dumps(exception_summary(failing("hunter2")))

    def test_exception_summary_of_circular_causes_ends(self) -> None:
        first, second = ValueError(), KeyError()
        first.__context__, second.__context__ = second, first
        assert len(exception_summary(first)["error"]) == 5


class TestServerLog:
    @pytest.fixture
    def line(self) -> _Line:
        return _Line(pretty=False)

    def test_server_error_is_one_line_without_traceback(self, line: _Line) -> None:
        error = failing("hunter2")
        record = logging.LogRecord("uvicorn.error", logging.ERROR, "", 0, "It\nfailed", (), (ValueError, error, None))
        event = json.loads(line.format(record))
        assert (event["event"], event["level"]) == ("It", "error")
        assert event["error"][0] == "builtins.ValueError"
        assert "hunter2" not in line.format(record)

    def test_server_log_line_has_no_line_breaks(self) -> None:
        for message, told in (("", ""), ("\n", ""), ("a\x1b[31m\u2028b", "a\x1b[31m"), ("%s", "%s")):
            record = logging.LogRecord("uvicorn.error", logging.ERROR, "", 0, message, (), None)
            text = _Line(pretty=False).format(record)
            assert json.loads(text)["event"] == told
            assert text.isascii()
            assert text.isprintable()

    def test_server_log_has_no_terminal_escapes(self) -> None:
        record = logging.LogRecord("uvicorn.error", logging.ERROR, "", 0, "a\x1b[2Jb", (), None)
        assert "\x1b[2J" not in _Line(pretty=True).format(record)

    def test_server_log_lines_per_minute_are_limited(self) -> None:
        now = [0.0]
        bounded = _Bounded(lambda: now[0])
        first, second = (logging.LogRecord("uvicorn.error", 30, "", 0, text, (), None) for text in ("one", "two"))
        assert sum(bounded.filter(first) for _ in range(500)) == SERVER_LINES_PER_MINUTE
        assert bounded.filter(second)
        now[0] = 60.0
        assert bounded.filter(first)

    def test_tracebacks_of_libraries_have_no_messages(self, capfd: pytest.CaptureFixture[str]) -> None:
        code = (
            "import logging.config; from app.lib.log import uvicorn_logging; from app.lib.settings import Settings\n"
            "logging.config.dictConfig(uvicorn_logging(Settings(_env_file=None)))\n"
            "try:\n raise ValueError('hunter2')\n"
            "except ValueError: logging.getLogger('asyncio').exception('Task failed\\nhunter2')"
        )
        subprocess.run([sys.executable, "-c", code], check=True, cwd=PROJECT)
        event = json.loads(capfd.readouterr().err)
        assert (event["event"], event["error"]) == ("Task failed", ["builtins.ValueError"])

    @pytest.mark.parametrize(("level", "expected"), [("debug", "DEBUG"), ("info", "WARNING"), ("error", "WARNING")])
    def test_server_log_below_warning_is_debug(self, level: str, expected: str) -> None:
        config = uvicorn_logging(Settings(_env_file=None, log_level=level))
        assert config["loggers"]["uvicorn"]["level"] == expected
