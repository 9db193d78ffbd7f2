"""Variables of a developer's shell lead nobody elsewhere, and sockets may be named as libpq names them."""

import os
from urllib.parse import quote

import pytest
from sqlalchemy import make_url

from app.db.libpq import VARIABLES
from app.lib.settings import Settings
from tests.live import call, query
from tests.support import SECRET, admin_url

BAD = {"PGPORT": "1", "PGSSLKEY": "/no/such", "PGSSLCERT": "/no/such", "PGGSSLIB": "none", "PGSSLMODE": "verify-full"}
BAD |= {"PGTARGETSESSIONATTRS": "standby", "PGSSLNEGOTIATION": "none", "PGHOST": "host.invalid", "PGUSER": "nobody"}
BAD |= {"PGDATABASE": "none", "PGPASSFILE": "/no/such", "PGPASSWORD": "wrong", "PGSERVICE": "none"}


def settings_of(url: str) -> Settings:
    return Settings(_env_file=None, environment="test", database_url=url, better_auth_secret=SECRET)


def test_libpq_variables_are_reported_and_ignored(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    assert BAD.keys() <= VARIABLES
    for name, value in BAD.items():
        monkeypatch.setenv(name, value)
    status, output = call(settings, "check")
    assert status == 0
    assert "warning: E002" in output
    assert all(name in output for name in BAD)
    assert "wrong" not in output
    assert not VARIABLES & os.environ.keys()


def test_misspelled_setting_is_reported(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CORS_ORIGIN", "https://app.example.com")
    status, output = call(settings, "check")
    assert status == 0
    assert "E001 CORS_ORIGIN is set, and is no setting: CORS_ORIGINS is probably meant" in output


def test_database_url_with_a_socket_as_host(server_url: str) -> None:
    directories = query(server_url, "SELECT current_setting('unix_socket_directories'), current_setting('port')")
    directory, port = directories[0]
    url = make_url(admin_url(server_url))
    user = quote(url.username or "")
    socket = quote(directory.split(",")[0].strip(), safe="")
    status, output = call(settings_of(f"postgresql://{user}@{socket}:{port}/{url.database}"), "health")
    assert "database reachable" in output, (status, output)
