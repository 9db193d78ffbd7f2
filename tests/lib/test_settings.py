"""Settings: all problems at once, no secret repeated, nothing assumed in production."""

import multiprocessing
import stat
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from app.lib.setting_types import OPENABLE_PATHS
from app.lib.settings import PROJECT, ConfigurationError, Environment, Settings, development_secret

SECRET = "0123456789abcdef0123456789abcdef"
URL = "postgresql://u:hunter2@h/d"


@pytest.fixture
def environ(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """Give an environment with nothing set but where data goes."""
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    return monkeypatch


def load(environ: pytest.MonkeyPatch, **values: str) -> Settings:
    for name, value in values.items():
        environ.setenv(name, value)
    return Settings.load()


def problems(environ: pytest.MonkeyPatch, **values: str) -> dict[str, str]:
    """Give what is wrong, by the name of the setting."""
    with pytest.raises(ConfigurationError) as error:
        load(environ, **values)
    return {line.partition(" ")[0].rstrip(":"): line for line in error.value.problems}


class TestProblems:
    def test_all_problems_of_settings_are_reported_at_once(self, environ: pytest.MonkeyPatch) -> None:
        wrong = {
            "ENVIRONMENT": "staging",
            "DATABASE_URL": "mysql://u:hunter2@h/d",
            "DATABASE_POOL_SIZE": "0",
            "BETTER_AUTH_SECRET": "hunter2",
            "JWT_LEEWAY": "x",
            "CORS_ORIGINS": "example.com",
            "OPEN_PATHS": "/api/health,/api/{user_id}/todos",
            "BODY_LIMIT": "1 MiB",
            "LOG_LEVEL": "loud",
            "USER_ID_CLAIMS": " , ",
        }
        assert problems(environ, **wrong).keys() == wrong.keys()

    def test_problem_names_the_setting_in_one_line(self, environ: pytest.MonkeyPatch) -> None:
        found = problems(environ, DATABASE_URL="localhost", BETTER_AUTH_SECRET="short")
        assert "postgresql://user:password@host:5432/database" in found["DATABASE_URL"]
        assert "openssl" in found["BETTER_AUTH_SECRET"]
        assert "5 bytes" in found["BETTER_AUTH_SECRET"]
        assert all("\n" not in line for line in found.values())

    def test_problem_does_not_repeat_a_secret(self, environ: pytest.MonkeyPatch) -> None:
        values = {"BETTER_AUTH_SECRET": "hunter2", "BODY_LIMIT": "hunter2", "ENVIRONMENT": "hunter2"}
        for url in ("hunter2", "x://u:hunter2@h/d", "postgresql://u:hunter2@h/d?sslmode=x", "postgresql://u:hunter2@h"):
            assert "hunter2" not in str(problems(environ, DATABASE_URL=url, **values))
        for url in ("redis://u:hunter2", "redis://u:hunter2@h:x"):
            assert "hunter2" not in str(problems(environ, RATE_LIMIT_STORE_URL=url))

    def test_validation_error_does_not_repeat_a_secret(self) -> None:
        with pytest.raises(ValidationError) as error:
            Settings(better_auth_secret="hunter2", database_url="mysql://u:hunter2@h/d")
        assert "hunter2" not in str(error.value)

    @pytest.mark.parametrize(
        "origins",
        [
            "a.example",
            "https://a.example/",
            "https://a.example/x",
            "ftp://a.example",
            "https://a b",
            "https://",
            "https://a?b",
        ],
    )
    def test_cors_origin_must_be_exact(self, environ: pytest.MonkeyPatch, origins: str) -> None:
        assert problems(environ, CORS_ORIGINS=origins).keys() == {"CORS_ORIGINS"}

    @pytest.mark.parametrize(
        "name", [name.upper() for name, field in Settings.model_fields.items() if field.annotation == list[str]]
    )
    @pytest.mark.parametrize("commas", [",", " , ,"])
    def test_list_of_only_commas_is_refused(self, environ: pytest.MonkeyPatch, name: str, commas: str) -> None:
        assert "between its commas" in problems(environ, **{name: commas})[name]

    @pytest.mark.parametrize(
        ("name", "text", "told"),
        [
            ("RESOURCE", "https://a.example/x,https://b.example/x", "one URL"),
            ("RESOURCE", "https://a.example:99999/x", "port"),
            ("RESOURCE", "http://127.1/x", "write 127.0.0.1"),
            ("BETTER_AUTH_ISSUER", "https://a.example https://b.example", "with commas"),
            ("BETTER_AUTH_ISSUER", '["https://a.example"]', "with commas"),
            ("BETTER_AUTH_ISSUER", "https://a.example,\ufeffhttps://b.example", "entry 2"),
            ("BETTER_AUTH_AUDIENCE", "web\tapp", "with commas"),
            ("BETTER_AUTH_AUDIENCE", "'web',app", "entry 1"),
            ("USER_ID_CLAIMS", "sub id", "with commas"),
            ("USER_ID_CLAIMS", "sub,user..id", "entry 2"),
            ("USER_ID_CLAIMS", ".id", "name of a claim"),
            ("USER_ID_CLAIMS", 'sub,"id', "entry 2"),
            ("ROLE_CLAIM", "role,roles", "name of a claim"),
            ("ROLE_CLAIM", "user.", "name of a claim"),
            ("ROLE_CLAIM", "user role", "name of a claim"),
            ("ROLE_CLAIM", "ro\u200ble", "name of a claim"),
            ("TRUSTED_PROXIES", "10.0.0.1/8", "write 10.0.0.0/8 or 10.0.0.1/32"),
            ("TRUSTED_PROXIES", "10.0.0.1,::1/64", "entry 2 is an address within a network: write ::/64 or ::1/128"),
            ("TRUSTED_PROXIES", "proxy", "like 10.0.0.0/8"),
        ],
    )
    def test_audience_that_cannot_match_is_refused(
        self, environ: pytest.MonkeyPatch, name: str, text: str, told: str
    ) -> None:
        issuer = {"BETTER_AUTH_ISSUER": "https://app.example.com"}  # RESOURCE needs one
        assert told in problems(environ, **{**issuer, name: text})[name]

    @pytest.mark.parametrize("names", ["*", "X App", "x:y", "X-A;X-B", "X-A\nX-B", "m\u00fcller"])
    def test_allowed_header_must_have_a_name(self, environ: pytest.MonkeyPatch, names: str) -> None:
        assert problems(environ, CORS_ALLOW_HEADERS=names).keys() == {"CORS_ALLOW_HEADERS"}

    @pytest.mark.parametrize("path", ["/", "/api", "health", "/api/health/", "/api/*", "/api/alice/todos", "*"])
    def test_only_known_paths_can_be_opened(self, environ: pytest.MonkeyPatch, path: str) -> None:
        assert problems(environ, OPEN_PATHS=path).keys() == {"OPEN_PATHS"}


class TestSecrecy:
    def test_settings_representation_hides_secrets(self, environ: pytest.MonkeyPatch) -> None:
        settings = load(environ, BETTER_AUTH_SECRET=SECRET, DATABASE_URL=URL)
        for text in (repr(settings), str(settings), str(settings.model_dump()), settings.model_dump_json()):
            assert SECRET not in text
            assert "hunter2" not in text

    def test_settings_are_immutable(self, environ: pytest.MonkeyPatch) -> None:
        settings = load(environ, BETTER_AUTH_SECRET=SECRET)
        with pytest.raises(ValidationError):
            settings.environment = Environment.PRODUCTION  # type: ignore[misc]


class TestValues:
    def test_lists_are_separated_by_commas(self, environ: pytest.MonkeyPatch) -> None:
        settings = load(
            environ,
            OPEN_PATHS=" , ".join(OPENABLE_PATHS),
            CORS_ORIGINS="https://a.example, http://localhost:3000,",
            BETTER_AUTH_AUDIENCE="web",
            USER_ID_CLAIMS="user.id,sub",
        )
        assert settings.open_paths == list(OPENABLE_PATHS)
        assert settings.cors_origins == ["https://a.example", "http://localhost:3000"]
        assert (settings.better_auth_audience, settings.user_id_claims) == (["web"], ["user.id", "sub"])

    def test_blank_setting_is_unset(self, environ: pytest.MonkeyPatch) -> None:
        settings = load(environ, DATABASE_URL=" ", RESOURCE="", CORS_ORIGINS="", OPEN_PATHS=" ")
        assert settings.database_url is None
        assert settings.resource is None
        assert settings.connection_target is None
        assert settings.cors_origins == settings.open_paths == []

    @pytest.mark.parametrize("name", sorted(Settings.model_fields.keys() - {"environment", "data_dir"}))
    @pytest.mark.parametrize("blank", ["", " \t"])
    def test_blank_setting_is_the_default(self, environ: pytest.MonkeyPatch, name: str, blank: str) -> None:
        default = Settings.model_fields[name].default
        settings = load(environ, **{"BETTER_AUTH_JWKS_FILE": "/dev/null", name.upper(): blank})
        if name != "better_auth_secret":  # made in development
            assert getattr(settings, name) == default

    def test_blank_environment_is_refused(self, environ: pytest.MonkeyPatch) -> None:
        assert problems(environ, ENVIRONMENT="").keys() == {"ENVIRONMENT"}

    @pytest.mark.parametrize(
        ("name", "text", "value"),
        [
            ("LOG_LEVEL", "INFO", "info"),
            ("LOG_LEVEL", " Warning\n", "warning"),
            ("LOG_USER_IDS", "PLAIN ", "plain"),
            ("BODY_LIMIT", " 2048 ", 2048),
            ("TASKS_DIALECT", " FALSE\n", False),
            ("ENVIRONMENT", " Test ", Environment.TEST),
            ("BETTER_AUTH_ISSUER", " https://app.example.com\n", ["https://app.example.com"]),
            ("RESOURCE", "HTTPS://API.Example.com:443/Api/", "https://api.example.com/Api"),
            ("RESOURCE", "http://[0:0::1]:8000", "http://[::1]:8000"),
            ("ROLE_CLAIM", "https://example.com/role", "https://example.com/role"),
            ("USER_ID_CLAIMS", "user.id, https://example.com/id", ["user.id", "https://example.com/id"]),
            ("TRUSTED_PROXIES", "10.0.0.0/8,::1,192.0.2.1/32", ["10.0.0.0/8", "::1", "192.0.2.1/32"]),
            ("CORS_ORIGINS", "HTTPS://A.example:443", ["https://a.example"]),
            ("ALLOWED_HOSTS", "API.example.com., [::0:1]", ["api.example.com", "[::1]"]),
        ],
    )
    def test_setting_values_are_normalized(
        self, environ: pytest.MonkeyPatch, name: str, text: str, value: object
    ) -> None:
        issuer = {"BETTER_AUTH_ISSUER": "https://app.example.com"}  # RESOURCE needs one
        assert getattr(load(environ, **{**issuer, name: text}), name.lower()) == value

    @pytest.mark.parametrize("margin", [" ", "\n", "\t", "\u00a0"])
    @pytest.mark.parametrize("name", ["BETTER_AUTH_SECRET", "BETTER_AUTH_SECRET_PREVIOUS"])
    def test_whitespace_around_a_secret_is_refused(self, environ: pytest.MonkeyPatch, name: str, margin: str) -> None:
        for secret in (f"{SECRET}{margin}", f"{margin}{SECRET}"):
            assert "whitespace" in problems(environ, **{name: secret})[name]
        assert load(environ, **{name: f"{SECRET}{margin}inside"})

    @pytest.mark.parametrize("quotes", ['""', "''", "“”"])
    @pytest.mark.parametrize(
        "name", ["BETTER_AUTH_SECRET", "BETTER_AUTH_ISSUER", "DATABASE_URL", "BODY_LIMIT", "DATA_DIR"]
    )
    def test_quotes_around_a_value_are_refused(self, environ: pytest.MonkeyPatch, name: str, quotes: str) -> None:
        line = problems(environ, **{name: f"{quotes[0]}{SECRET}{quotes[1]}"})[name]
        assert "quotes" in line
        assert SECRET not in line

    @pytest.mark.parametrize(
        "mark", ["\u200b", "\ufeff", "\u00ad", "\x7f", '"', "'", "`", "\u00bb", "\u201e", "\u201d", "\uff02"]
    )
    @pytest.mark.parametrize("name", ["BETTER_AUTH_SECRET", "BETTER_AUTH_SECRET_PREVIOUS"])
    def test_unbalanced_quote_around_a_secret_is_refused(
        self, environ: pytest.MonkeyPatch, name: str, mark: str
    ) -> None:
        for secret in (f"{SECRET}{mark}", f"{mark}{SECRET}"):
            line = problems(environ, **{name: secret})[name]
            assert "begins or ends with" in line
            assert SECRET not in line
        assert load(environ, **{name: f"{SECRET}{mark}inside"})

    def test_quotes_in_the_env_file_are_removed(self, environ: pytest.MonkeyPatch, tmp_path: Path) -> None:
        secret = "0123456789${HOME}$x#'abcdef012345"
        (tmp_path / "settings").write_text("BETTER_AUTH_SECRET='{}'\n".format(secret.replace("'", "\\'")))
        settings = load(environ, ENV_FILE=str(tmp_path / "settings"))
        assert settings.secrets == [secret.encode()]

    def test_unreadable_env_file_is_a_problem(self, environ: pytest.MonkeyPatch, tmp_path: Path) -> None:
        for content, told in ((b"A=1\nhunter2 x='y\n", "Line 2"), (b"A=\xff\n", "UTF-8")):
            (tmp_path / "settings").write_bytes(content)
            environ.setenv("ENV_FILE", str(tmp_path / "settings"))
            with pytest.raises(ConfigurationError, match=told) as error:
                Settings.load()
            assert "hunter2" not in str(error.value)

    def test_setting_paths_may_start_with_tilde(self, environ: pytest.MonkeyPatch, tmp_path: Path) -> None:
        environ.setenv("HOME", str(tmp_path))
        (tmp_path / "settings").write_text("DATA_DIR=~/not here\nBETTER_AUTH_JWKS_FILE=~/settings\n")
        environ.delenv("DATA_DIR")
        settings = load(environ, ENV_FILE="~/settings")
        assert settings.data_dir == tmp_path / "not here"
        assert settings.better_auth_jwks_file == tmp_path / "settings"
        assert problems(environ, DATA_DIR="~no-such-user/x").keys() == {"DATA_DIR"}

    def test_no_path_is_open_by_default(self, environ: pytest.MonkeyPatch) -> None:
        settings = load(environ)
        assert settings.open_paths == settings.cors_origins == []
        assert (settings.environment, settings.jwt_leeway) == (Environment.DEVELOPMENT, 10)
        assert settings.body_limit == 1024 * 1024

    def test_secret_length_is_measured_in_bytes(self, environ: pytest.MonkeyPatch) -> None:
        assert load(environ, BETTER_AUTH_SECRET="ä" * 16).better_auth_secret is not None
        assert "BETTER_AUTH_SECRET" in problems(environ, BETTER_AUTH_SECRET="a" * 31)

    def test_environment_overrides_the_env_file(self, environ: pytest.MonkeyPatch, tmp_path: Path) -> None:
        (tmp_path / "settings").write_text(f"BETTER_AUTH_SECRET={SECRET}\nLOG_LEVEL=error\nUNKNOWN=1\n")
        settings = load(environ, ENV_FILE=str(tmp_path / "settings"), LOG_LEVEL="debug")
        assert settings.log_level == "debug"
        assert settings.better_auth_secret is not None
        assert settings.better_auth_secret.get_secret_value() == SECRET


class TestProduction:
    def test_production_needs_a_database_and_a_secret(self, environ: pytest.MonkeyPatch) -> None:
        for name in ("production", "PRODUCTION", "Production"):
            found = problems(environ, ENVIRONMENT=name, LOG_LEVEL="loud")
            assert {"DATABASE_URL", "BETTER_AUTH_SECRET", "LOG_LEVEL"} <= found.keys()
            assert "required in production" in found["DATABASE_URL"]

    @pytest.mark.parametrize("blank", ["", " ", "\t\n "])
    def test_blank_production_settings_count_as_missing(
        self, environ: pytest.MonkeyPatch, tmp_path: Path, blank: str
    ) -> None:
        values = {"ENVIRONMENT": "production", "DATABASE_URL": blank, "BETTER_AUTH_SECRET": blank}
        assert problems(environ, **values).keys() >= {"DATABASE_URL", "BETTER_AUTH_SECRET"}
        assert not (tmp_path / "data").exists()

    def test_short_secret_is_refused_in_production(self, environ: pytest.MonkeyPatch) -> None:
        values = {"ENVIRONMENT": "production", "DATABASE_URL": URL, "BETTER_AUTH_SECRET": "a" * 31}
        assert problems(environ, **values).keys() == {"BETTER_AUTH_SECRET"}

    def test_production_creates_no_secret(self, environ: pytest.MonkeyPatch, tmp_path: Path) -> None:
        settings = load(environ, ENVIRONMENT="production", DATABASE_URL=URL, BETTER_AUTH_SECRET=SECRET)
        assert settings.in_production
        assert not (tmp_path / "data").exists()


def secret_of(directory: Path, start: Any, answers: Any) -> None:
    start.wait()
    answers.put(development_secret(directory))


class TestDevelopmentSecret:
    def test_development_secret_is_created_once(self, environ: pytest.MonkeyPatch, tmp_path: Path) -> None:
        first, second = load(environ), Settings.load()
        assert first.better_auth_secret == second.better_auth_secret
        assert first.better_auth_secret is not None
        assert len(first.better_auth_secret.get_secret_value()) >= 32
        assert development_secret(tmp_path / "other") != first.better_auth_secret.get_secret_value()

    def test_development_secret_is_readable_by_its_owner_only(self, tmp_path: Path) -> None:
        development_secret(tmp_path)
        (file,) = tmp_path.iterdir()
        assert stat.S_IMODE(file.stat().st_mode) == 0o600

    def test_development_secret_is_not_created_beside_a_given_one(
        self, environ: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        load(environ, BETTER_AUTH_SECRET=SECRET)
        assert not (tmp_path / "data").exists()

    def test_development_secret_is_shared_by_concurrent_starts(self, tmp_path: Path) -> None:
        context = multiprocessing.get_context("spawn")
        start, answers = context.Event(), context.Queue()
        workers = [context.Process(target=secret_of, args=(tmp_path / "new", start, answers)) for _ in range(4)]
        for worker in workers:
            worker.start()
        start.set()
        assert len({answers.get(timeout=60) for _ in workers}) == 1
        for worker in workers:
            worker.join()
        assert len(list((tmp_path / "new").iterdir())) == 1


class TestInvalidValues:
    def test_blank_data_dir_is_the_default(self) -> None:
        assert Settings(_env_file=None, data_dir=" ", better_auth_secret=SECRET).data_dir == PROJECT / ".data"

    def test_unusable_paths_are_reported(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "file").touch()
        (tmp_path / "latin").write_bytes(b"ROLE_CLAIM=\xff")
        for name, value in (("DATA_DIR", str(tmp_path / "file" / "x")), ("ENV_FILE", str(tmp_path / "latin"))):
            with monkeypatch.context() as patch:
                patch.setenv(name, value)
                with pytest.raises(ConfigurationError, match=r"DATA_DIR|UTF-8"):
                    Settings.load()

    def test_wildcard_host_is_refused(self) -> None:
        with pytest.raises(ValueError, match="leave it empty"):
            Settings(_env_file=None, allowed_hosts="*")

    def test_port_out_of_range_is_refused(self) -> None:
        with pytest.raises(ValueError, match="better_auth_jwks_url"):
            Settings(_env_file=None, better_auth_jwks_url="http://127.0.0.1:99999/x")
