"""`.env.example` names every setting, each with its true default."""

import re

import pytest

from app.lib.settings import PROJECT, Settings

LINE = re.compile(r"^# ([A-Z_]+)=(.*)$", re.MULTILINE)
EXAMPLE = (PROJECT / ".env.example").read_text()


def test_env_example_names_every_setting_and_no_other() -> None:
    assert {name.lower() for name, _ in LINE.findall(EXAMPLE)} == Settings.model_fields.keys()


def test_env_example_shows_true_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    unset = {"DATABASE_URL", "DATA_DIR", "CORS_ORIGINS", "ALLOWED_HOSTS", "TRUSTED_PROXIES"}
    unset |= {"RATE_LIMIT_STORE_URL", "RESOURCE", "ROOT_PATH"}
    shown = {
        name.lower(): value
        for name, value in LINE.findall(EXAMPLE)
        if name not in unset and not (value and name.startswith("BETTER_AUTH_"))
    }
    given, defaults = Settings(_env_file=None, **shown), Settings(_env_file=None)
    assert given == defaults


def test_env_example_examples_are_valid() -> None:
    assert Settings(_env_file=None, **{name.lower(): value for name, value in LINE.findall(EXAMPLE)})
