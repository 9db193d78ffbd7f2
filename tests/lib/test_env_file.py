"""`.env` as a shell would read it, and names that nobody reads."""

from pathlib import Path

import pytest

from app.lib.env_file import EnvFileError, read_env_file
from app.lib.setting_names import SYNONYMS, lookalikes
from app.lib.settings import Settings

LINES = """\ufeff
# a comment = '${HOME}'
FIRST=one
PLAIN=${FIRST}-two
DOUBLE="${FIRST} ${MISSING:-three}"
SINGLE='${FIRST} $x ${MISSING}'
export EXPORTED = 'a${FIRST}'  # behind it
ESCAPED='it\\'s ${FIRST}'
DOLLARS=pa$$word$1
EMPTY=
ALONE
"""

OF_OTHERS = """
    PATH HOME LANG PWD SHELL HOSTNAME PORT NODE_ENV APP_ENV PYTHONPATH VIRTUAL_ENV TZ ENV_FILE CI
    TEST_DATABASE_URL TEST_DATABASE_RLS DIRECT_DATABASE_URL DATABASE_URL_UNPOOLED UV_LOG_LEVEL
    BETTER_AUTH_URL BETTER_AUTH_SECRETS BETTER_AUTH_TELEMETRY NEXT_PUBLIC_API_URL POSTGRES_URL PGHOST
"""


def test_variables_expand_but_not_inside_single_quotes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIRST", "of the environment")
    (tmp_path / "env").write_text(LINES)
    assert read_env_file(tmp_path / "env") == {
        "FIRST": "one",
        "PLAIN": "one-two",
        "DOUBLE": "one three",
        "SINGLE": "${FIRST} $x ${MISSING}",
        "EXPORTED": "a${FIRST}",
        "ESCAPED": "it's ${FIRST}",
        "DOLLARS": "pa$$word$1",
        "EMPTY": "",
        "ALONE": None,
    }


def test_malformed_line_is_reported_by_number(tmp_path: Path) -> None:
    (tmp_path / "env").write_text("A=1\nhunter2 and more = 'x\n")
    with pytest.raises(EnvFileError, match="Line 2") as error:
        read_env_file(tmp_path / "env")
    assert "hunter2" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "setting"),
    [
        ("CORS_ORIGIN", "CORS_ORIGINS"),
        ("cors-origins", "CORS_ORIGINS"),
        ("CORS_ALLOWED_ORIGINS", "CORS_ORIGINS"),
        ("ALLOWED_HOST", "ALLOWED_HOSTS"),
        ("TRUSTED_PROXY", "TRUSTED_PROXIES"),
        ("DATABASE_URI", "DATABASE_URL"),
        ("BETTER_AUTH_SECERT", "BETTER_AUTH_SECRET"),
        ("BETTERAUTH_SECRET", "BETTER_AUTH_SECRET"),
        ("BETTER_AUTH_JWKS_URI", "BETTER_AUTH_JWKS_URL"),
        ("JWKS_URL", "BETTER_AUTH_JWKS_URL"),
        ("LOGLEVEL", "LOG_LEVEL"),
        ("ENVIROMENT", "ENVIRONMENT"),
        ("OPEN_PATH", "OPEN_PATHS"),
        ("db-url", "DATABASE_URL"),
        *SYNONYMS.items(),
    ],
)
def test_misspelled_settings_are_reported(name: str, setting: str) -> None:
    assert setting.lower() in Settings.model_fields
    assert lookalikes([name], Settings.model_fields) == {name: setting}


@pytest.mark.parametrize(
    "name",
    [
        *map(str.upper, Settings.model_fields),
        *Settings.model_fields,
        *OF_OTHERS.split(),
    ],
)
def test_other_names_are_not_reported(name: str) -> None:
    assert lookalikes([name], Settings.model_fields) == {}
