"""`DATABASE_URL` as operators write it: what is understood is kept, and nothing else passes silently."""

import ssl
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.db.config import alchemy_config
from app.lib.database_url import ConnectionTarget, DatabaseUrlError, parse_database_url
from app.lib.settings import Settings

BASE = "postgresql://u:hunter2@db.example.com:6543/todos"


def arguments(query: str) -> dict[str, Any]:
    return parse_database_url(f"{BASE}?{query}").arguments


def refusal(url: str) -> str:
    with pytest.raises(DatabaseUrlError) as error:
        parse_database_url(url)
    return str(error.value)


def connect_args(target: ConnectionTarget) -> dict[str, Any]:
    arguments = alchemy_config(Settings(environment="test"), target).engine_config.connect_args
    assert isinstance(arguments, dict)
    return arguments


class TestScheme:
    @pytest.mark.parametrize(
        "scheme", ["postgres", "postgresql", "postgresql+asyncpg", "postgresql+psycopg", "postgresql+psycopg2"]
    )
    def test_every_postgresql_scheme_becomes_asyncpg(self, scheme: str) -> None:
        url = parse_database_url(f" {scheme}://u:hunter2@db.example.com:6543/todos\n").url
        assert url.drivername == "postgresql+asyncpg"
        assert (url.username, url.password, url.host, url.port, url.database) == (
            "u",
            "hunter2",
            "db.example.com",
            6543,
            "todos",
        )

    @pytest.mark.parametrize(
        "url",
        [
            "",
            " ",
            "todos",
            "mysql://h/d",
            "sqlite://",
            "sqlite:///x.db",
            "http://h/d",
            "postgresql+pg8000://h/d",
            "postgresql:/h/d",
            "postgresql://h",
            "postgresql://h/",
            "postgresql://h:port/d",
            "postgres:pw@h/d",
        ],
    )
    def test_other_schemes_are_refused(self, url: str) -> None:
        assert "postgresql://" in refusal(url)

    def test_password_may_have_any_character(self) -> None:
        url = parse_database_url("postgres://u%40x:p%40s%2Fs%3A%3F%23%25@h/d").url
        assert (url.username, url.password) == ("u@x", "p@s/s:?#%")

    def test_url_may_name_a_socket(self) -> None:
        url = parse_database_url("postgresql://u@/d?host=/run/postgresql").url
        assert url.query == {"host": "/run/postgresql"}
        assert (url.host, url.database) == (None, "d")

    @pytest.mark.parametrize(
        ("url", "directory", "port"),
        [
            ("postgresql://u@%2Frun%2Fpostgresql/d", "/run/postgresql", "5432"),
            ("postgresql://u@%2Frun%2Fpostgresql:6000/d", "/run/postgresql", "6000"),
            ("postgresql://u@%2ftmp%2fa%20b%25c/d", "/tmp/a b%c", "5432"),
            ("postgresql://u@%2Fx/d?host=/run/postgresql&port=1", "/run/postgresql", "1"),
        ],
    )
    def test_url_may_have_a_socket_as_host(self, url: str, directory: str, port: str) -> None:
        parsed = parse_database_url(url).url
        assert parsed.query == {"host": directory, "port": port}
        assert (parsed.host, parsed.port, parsed.username, parsed.database) == (None, None, "u", "d")

    @pytest.mark.parametrize(
        "rest",
        [
            "h:0/d",
            "h:-1/d",
            "h:65536/d",
            "h:99999/d",
            "h/d?port=0",
            "h/d?port=-1",
            "h/d?port=99999",
            "h/d?port=x",
            "h/d?port=1,2",
            "%2Frun:99999/d",
            "/d?host=/run/postgresql&port=65536",
            "/d?host=db.example.com:99999",
            "/d?host=a,b&port=5432,0",
        ],
    )
    def test_invalid_port_is_refused(self, rest: str) -> None:
        assert "port" in refusal(f"postgresql://u:hunter2@{rest}")

    @pytest.mark.parametrize("rest", ["h:1/d", "h:65535/d", "h/d?port=6000", "/d?host=a:6000", "/d?host=a,b&port=1,2"])
    def test_valid_ports_are_kept(self, rest: str) -> None:
        assert parse_database_url(f"postgresql://u@{rest}")

    def test_url_may_have_an_ipv6_host(self) -> None:
        assert parse_database_url("postgresql://[::1]:5432/d").url.host == "::1"


class TestSsl:
    def test_ssl_without_mode_is_left_to_the_driver(self) -> None:
        assert "ssl" not in arguments("")

    @pytest.mark.parametrize(("mode", "argument"), [("disable", False), ("allow", "allow"), ("prefer", "prefer")])
    def test_sslmodes_without_context(self, mode: str, argument: Any) -> None:
        assert arguments(f"sslmode={mode}")["ssl"] == argument
        assert arguments(f"ssl={mode}")["ssl"] == argument

    @pytest.mark.parametrize(
        ("query", "verifies", "checks_host"),
        [
            ("sslmode=require", ssl.CERT_NONE, False),
            ("sslmode=require&sslrootcert=system", ssl.CERT_REQUIRED, False),
            ("sslmode=verify-ca", ssl.CERT_REQUIRED, False),
            ("sslmode=verify-full", ssl.CERT_REQUIRED, True),
            ("sslmode=verify-full&sslrootcert=system", ssl.CERT_REQUIRED, True),
        ],
    )
    def test_sslmodes_keep_their_meaning(self, query: str, verifies: ssl.VerifyMode, checks_host: bool) -> None:
        context = arguments(query)["ssl"]
        assert isinstance(context, ssl.SSLContext)
        assert (context.verify_mode, context.check_hostname) == (verifies, checks_host)

    @pytest.mark.parametrize(
        "query",
        [
            "sslmode=on",
            "sslmode=Require",
            "ssl=true",
            "sslmode=verify-full&sslrootcert=/no/such.pem",
            "sslrootcert=system",
            "sslmode=require&sslcert=x&sslkey=y",
            "sslmode=require&sslcrl=x",
        ],
    )
    def test_unsupported_ssl_options_are_refused(self, query: str) -> None:
        assert "ssl" in refusal(f"{BASE}?{query}")


class TestOptions:
    @pytest.mark.parametrize(
        ("query", "expected"),
        [
            ("channel_binding=require&sslnegotiation=direct&gssencmode=disable", {}),
            ("connect_timeout=7", {"timeout": 7.0}),
            ("application_name=my%20app", {"server_settings": {"application_name": "my app"}}),
            (
                "options=-c%20a.b%3Dmy-client%20-c%20c%3D-c",
                {"server_settings": {"options": "-c a.b=my-client -c c=-c"}},
            ),
            (
                "options=-c%20application_name%3D100%2525",
                {"server_settings": {"options": "-c application_name=100%25"}},
            ),
            ("options=endpoint%3Dep-cool-1", {"server_settings": {"options": "endpoint=ep-cool-1"}}),
            ("application_name=a&application_name=b", {"server_settings": {"application_name": "b"}}),
        ],
    )
    def test_known_url_options_are_applied(self, query: str, expected: dict[str, Any]) -> None:
        assert arguments(query) == expected

    @pytest.mark.parametrize(
        "query",
        [
            "connect_timeout=x",
            "connect_timeout=-1",
            "connect_timeout=nan",
            "connect_timeout=0",
            "target_session_attrs=any",
            "x=1",
            "pgbouncer=perhaps",
        ],
    )
    def test_unknown_url_options_are_refused_by_name(self, query: str) -> None:
        assert query.partition("=")[0] in refusal(f"{BASE}?{query}")

    @pytest.mark.parametrize(("text", "pooled"), [("true", True), ("1", True), ("TRUE", True), ("false", False)])
    def test_pgbouncer_option_is_a_bool(self, text: str, pooled: bool) -> None:
        assert parse_database_url(f"{BASE}?pgbouncer={text}").pooled is pooled
        assert parse_database_url(BASE).pooled is False

    @pytest.mark.parametrize(("query", "pooled"), [("", True), ("?pgbouncer=false", False)])
    def test_neon_pooler_hosts_are_recognized(self, query: str, pooled: bool) -> None:
        url = f"postgresql://u:p@ep-cool-1-pooler.eu-central-1.aws.neon.tech/neondb{query}"
        assert parse_database_url(url).pooled is pooled

    def test_url_options_override_the_defaults(self) -> None:
        target = parse_database_url(f"{BASE}?options=-c%20statement_timeout%3D5s&connect_timeout=9")
        connect = connect_args(target)
        assert connect["timeout"] == 9
        assert connect["server_settings"]["options"] == "-c statement_timeout=5s"
        assert "statement_timeout" not in connect["server_settings"]
        assert connect["server_settings"]["timezone"] == "UTC"

    def test_pgbouncer_disables_prepared_statements(self) -> None:
        target = parse_database_url(f"{BASE}?pgbouncer=true")
        connect = connect_args(target)
        assert connect["statement_cache_size"] == connect["prepared_statement_cache_size"] == 0
        names = {connect["prepared_statement_name_func"]() for _ in range(3)}
        assert len(names) == 3


class TestPassword:
    @pytest.mark.parametrize(
        "url",
        [
            "mysql://u:hunter2@h/d",
            "postgresql://u:hunter2@h",
            "postgresql://u:hunter2@h:port/d",
            f"{BASE}?x=1",
            f"{BASE}?sslmode=x",
            f"{BASE}?sslmode=require&sslrootcert=/no/such",
            f"{BASE}?connect_timeout=hunter2",
            "hunter2",
        ],
    )
    def test_password_is_never_repeated_in_errors(self, url: str) -> None:
        assert "hunter2" not in refusal(url)

    def test_password_is_not_in_the_representation(self) -> None:
        assert "hunter2" not in repr(parse_database_url(BASE))

    @given(url=st.text() | st.text(max_size=30).map(lambda text: f"postgresql://{text}"))
    def test_any_url_text_is_accepted_or_refused(self, url: str) -> None:
        with suppress(DatabaseUrlError):
            assert parse_database_url(url).url.database
