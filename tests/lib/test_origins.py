"""`CORS_ORIGINS` and `ALLOWED_HOSTS`: what browsers send, or a refusal that says what to write."""

from contextlib import suppress

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.lib.origins import each, normalise_host, normalise_origin
from app.lib.settings import Settings
from app.main import create_app
from tests.asgi import asgi_transport
from tests.support import SECRET

HOSTS = st.from_regex(r"[A-Za-z0-9-]{1,12}(\.[A-Za-zÀ-ɏ0-9-]{1,12}){0,3}", fullmatch=True)


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("*", "*"),
        ("https://App.Example.COM", "https://app.example.com"),
        ("HTTPS://app.example.com:443", "https://app.example.com"),
        ("http://app.example.com:080", "http://app.example.com"),
        ("http://app.example.com:443", "http://app.example.com:443"),
        ("http://localhost:3000", "http://localhost:3000"),
        ("http://todo_web:3000", "http://todo_web:3000"),
        ("https://münchen.example", "https://xn--mnchen-3ya.example"),
        ("https://Straße.example", "https://xn--strae-oqa.example"),
        ("https://例え.テスト:8443", "https://xn--r8jz45g.xn--zckzah:8443"),
        ("http://[0:0:0:0:0:0:0:1]:3000", "http://[::1]:3000"),
        ("http://127.0.0.1:3000", "http://127.0.0.1:3000"),
        ("http://1.example", "http://1.example"),
    ],
)
def test_origin_is_normalized_to_what_browsers_send(text: str, origin: str) -> None:
    assert normalise_origin(text) == origin


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("https://App.example.com/", "write https://app.example.com,"),
        ("https://app.example.com:443/login?x", "write https://app.example.com,"),
        ("https://*.example.com", "wildcard"),
        ("https://app.example.com:*", "wildcard"),
        ("app.example.com", "like https://"),
        ("//app.example.com", "like https://"),
        ("null", "like https://"),
        ("ftp://app.example.com", "like https://"),
        ("https://user:hunter2@app.example.com", "like https://"),
        ("https://app.example.com https://b.example.com", "like https://"),
        ("https://app.example.com:", "port"),
        ("https://app.example.com:0", "port"),
        ("https://app.example.com:65536", "port"),
        ("https://app.example.com:٣", "port"),
        ("https://:443", "host"),
        ("https://app..example.com", "host"),
        ("https://-app.example.com", "host"),
        ("https://[::g]", "host"),
        ("https://%61pp.example.com", "host"),
        ("http://127.1:3000", "write 127.0.0.1"),
        ("http://2130706433", "write 127.0.0.1"),
        ("http://0x7f.0.0.1", "write 127.0.0.1"),
        ("http://10.0.0.010", "write 10.0.0.8"),
        ("http://\uff11\uff12\uff17.1", "write 127.0.0.1"),
        ("http://1.2.3.4.5", "no IPv4 address"),
        ("http://256.1.1.1", "no IPv4 address"),
        ("http://app.example.1", "no IPv4 address"),
        ("http://08", "no IPv4 address"),
        ("http://1_0.1", "no IPv4 address"),
    ],
)
def test_origin_that_cannot_match_is_refused(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=told.replace("*", r"\*")) as error:
        normalise_origin(text)
    assert "hunter2" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("API.Example.com", "api.example.com"),
        ("api.example.com.", "api.example.com"),
        ("*.Internal.Example.com", "*.internal.example.com"),
        ("todo_api", "todo_api"),
        ("münchen.example", "xn--mnchen-3ya.example"),
        ("192.0.2.1", "192.0.2.1"),
        ("::1", "[::1]"),
        ("[0:0::1]", "[::1]"),
    ],
)
def test_host_is_normalized_to_what_clients_send(text: str, host: str) -> None:
    assert normalise_host(text) == host


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("api.example.com:8000", "write api.example.com,"),
        ("https://API.example.com", "write api.example.com,"),
        ("https://api.example.com:8000/x", "write api.example.com,"),
        ("api.example.com/", "write api.example.com,"),
        ("*.example.com:443", r"write \*.example.com,"),
        ("[::1]:8000", r"write \[::1\],"),
        ("*", "leave it empty"),
        (".example.com", r"write \*.example.com"),
        ("api.*.com", "host"),
        ("*api.example.com", "host"),
        ("a b", "host"),
        ("", "host"),
    ],
)
def test_host_that_cannot_match_is_refused(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        normalise_host(text)


def test_every_invalid_entry_is_reported() -> None:
    with pytest.raises(ValueError, match=r"entry 1 .*; entry 3 "):
        each(["x", "https://a.example", "https://b.example/"], normalise_origin)


@given(host=HOSTS, port=st.none() | st.integers(1, 65535), scheme=st.sampled_from(["http", "https"]))
def test_normalized_origin_equals_that_of_httpx(host: str, port: int | None, scheme: str) -> None:
    text = f"{scheme}://{host}" + (f":{port}" if port else "")
    with suppress(ValueError, httpx.InvalidURL):
        origin = normalise_origin(text)
        assert normalise_origin(origin) == origin
        url = httpx.URL(origin)
        assert origin == f"{url.scheme}://{url.netloc.decode()}"


@given(text=st.text(max_size=30))
@example(text="://")
@example(text="http://[")
def test_normalization_of_any_text_is_stable_or_refused(text: str) -> None:
    for normalise in (normalise_origin, normalise_host):
        with suppress(ValueError):
            assert normalise(normalise(text)) == normalise(text)


async def test_normalized_origin_is_allowed() -> None:
    settings = Settings(
        _env_file=None,
        environment="test",
        database_url="postgresql://x@127.0.0.1:1/x",
        better_auth_secret=SECRET,
        cors_origins="https://Bücher.example:443",
        allowed_hosts="API.bücher.example",
    )
    transport = asgi_transport(create_app(settings))
    async with httpx.AsyncClient(transport=transport, base_url="http://api.xn--bcher-kva.example:8000") as client:
        response = await client.get("/api/a/todos", headers={"Origin": "https://xn--bcher-kva.example"})
    assert response.status_code == 401
    assert response.headers["access-control-allow-origin"] == "https://xn--bcher-kva.example"
