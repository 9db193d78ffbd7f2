"""`Host`: one valid value in each request, and with `ALLOWED_HOSTS` one of those; all else is refused first."""

from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
from litestar import Litestar

from app.lib.settings import Settings
from app.main import create_app
from tests.asgi import asgi_transport
from tests.lib.raw import Answer, ask, bearer
from tests.live import Server, environment
from tests.support import SECRET, Client, assert_problem, running, token_for, url_of
from tests.wire import converse

ORIGIN = ("Origin", "https://app.example.com")
INVALID = [
    "",
    " ",
    "a b",
    "user@localhost",
    "user:password@localhost",
    "localhost/path",
    "http://localhost",
    "localhost?q",
    "localhost#f",
    "localhost,evil",
    "localhost, localhost",
    "localhost:80:80",
    "localhost:x",
    "localhost:-1",
    "localhost:65536",
    ":80",
    ".",
    ".localhost",
    "localhost..",
    "a..b",
    "::1",
    "[::1",
    "[::1]x",
    "[::g]",
    "[localhost]",
    "[]",
    "[fe80::1%25eth0]",
    "lo\\cal",
    "m\u00fcller.example",
    "a%00b",
    "*",
    "a" * 300,
]


@pytest.fixture
async def choosy(settings: Settings) -> AsyncIterator[Litestar]:
    hosts = ["api.example.com", "*.Internal.example.com", "[0:0::1]"]
    changes = {"allowed_hosts": hosts, "cors_origins": [ORIGIN[1]]}
    async with running(create_app(settings.model_copy(update=changes))) as app:
        yield app


class TestAllowedHosts:
    @pytest.mark.parametrize(
        "host",
        [
            "api.example.com",
            "API.Example.COM",
            "api.example.com:8443",
            "api.example.com:",
            "api.example.com.",
            "Api.example.com.:443",
            "a.internal.example.com",
            "a.b.INTERNAL.example.com.",
            "[::1]",
            "[::1]:8000",
            "[0000:0::0001]",
        ],
    )
    async def test_allowed_hosts_are_served(self, choosy: Litestar, host: str) -> None:
        headers = {"Authorization": f"Bearer {token_for('host-user')}", "Host": host}
        assert (await self.ask(choosy, headers)).status_code == 200

    @pytest.mark.parametrize(
        "host",
        [
            "example.com",
            "evil.api.example.com",
            "api.example.com.evil",
            "localhost",
            "internal.example.com",
            "xinternal.example.com",
            "[::2]",
            "127.0.0.1",
        ],
    )
    async def test_other_hosts_are_refused_before_authentication(self, choosy: Litestar, host: str) -> None:
        for headers in ({"Host": host}, {"Host": host, "Authorization": f"Bearer {token_for('host-user')}"}):
            response = await self.ask(choosy, headers)
            assert_problem(response, 400, "The Host header names no host of this server")
            assert response.headers["x-content-type-options"] == "nosniff"

    @pytest.mark.parametrize("headers", [[("Host", "evil")], [("Host", "api.example.com")] * 2, [("Host", "")]])
    async def test_refused_host_is_readable_by_an_allowed_origin(
        self, choosy: Litestar, headers: list[tuple[str, str]]
    ) -> None:
        preflight = (ORIGIN, ("Access-Control-Request-Method", "GET"))
        for more, method in ((((ORIGIN,)), "GET"), (preflight, "OPTIONS")):
            answer = await ask(choosy, "/api/host-user/todos", *headers, *more, method=method)
            assert (answer.status, answer.headers["access-control-allow-origin"]) == (400, ORIGIN[1])

    async def ask(self, app: Litestar, headers: dict[str, str]) -> httpx.Response:
        transport = asgi_transport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as client:
            return await client.get("/api/host-user/todos", headers=headers)


class TestAnyHost:
    @pytest.mark.parametrize(
        "host", ["localhost", "a_b.example", "127.0.0.1:1", "[::ffff:1.2.3.4]:65535", "xn--mller-kva.example."]
    )
    async def test_any_host_is_served_without_the_setting(self, app: Litestar, host: str) -> None:
        assert (await self.ask(app, ("Host", host))).status == 200

    @pytest.mark.parametrize("host", INVALID)
    async def test_malformed_host_is_400(self, app: Litestar, host: str) -> None:
        answer = await self.ask(app, ("Host", host))
        assert answer.status == 400
        assert b"not a host" in answer.body

    @pytest.mark.parametrize("second", ["localhost", "LOCALHOST", "evil", ""])
    async def test_two_host_headers_are_400(self, app: Litestar, second: str) -> None:
        answer = await self.ask(app, ("Host", "localhost"), ("Host", second))
        assert answer.status == 400
        assert b"must be sent once" in answer.body

    async def ask(self, app: Litestar, *hosts: tuple[str, str]) -> Answer:
        return await ask(app, "/api/host-user/todos", *hosts, bearer("host-user"))


@pytest.fixture(scope="module")
def server(settings: Settings) -> Iterator[Server]:
    """Run a server of one name."""
    assert settings.database_url
    env = environment(database_url=url_of(settings), better_auth_secret=SECRET, allowed_hosts="api.example")
    with Server(env) as running:
        yield running


class TestOnTheWire:
    """What the server hands over for judgement: the authority of an absolute target counts (RFC 9112, 3.2.2)."""

    @pytest.mark.parametrize(
        ("target", "hosts", "status"),
        [
            ("/api/health", ["api.example"], 401),
            ("/api/health", [], 400),
            ("/api/health", ["api.example", "api.example"], 400),
            ("/api/health", ["evil.example"], 400),
            ("http://api.example/api/health", ["api.example"], 401),
            ("http://api.example/api/health", ["evil.example"], 401),
            ("HTTPS://API.example:443/api/health", ["evil.example"], 401),
            ("http://api.example", ["evil.example"], 401),
            ("http://api.example?x=/", ["evil.example"], 401),
            ("http://evil.example/api/health", ["api.example"], 400),
            ("http://evil.example/api/health", ["evil.example"], 400),
            ("http://api.example@evil.example/", ["api.example"], 400),
            ("http://evil@api.example/", ["api.example"], 400),
            ("http://api.example/", [], 400),
            ("http://api.example/", ["api.example", "api.example"], 400),
            ("http://api.example/", ["a b"], 400),
            ("http:///api/health", ["api.example"], 400),
            ("ftp://api.example/", ["api.example"], 400),
            ("api.example/", ["api.example"], 400),
            ("//evil.example/", ["api.example"], 401),
        ],
    )
    def test_missing_host_in_http_1_1_is_400(self, server: Server, target: str, hosts: list[str], status: int) -> None:
        assert self.statuses(server, target, "1.1", hosts) == [status]

    @pytest.mark.parametrize(
        ("target", "hosts", "status"),
        [
            ("/api/health", ["api.example"], 401),
            ("/api/health", ["api.example", "api.example"], 400),
            ("http://api.example/api/health", [], 401),
            ("http://evil.example/api/health", [], 400),
        ],
    )
    def test_host_in_http_1_0_is_checked(self, server: Server, target: str, hosts: list[str], status: int) -> None:
        assert self.statuses(server, target, "1.0", hosts) == [status]

    def statuses(self, server: Server, target: str, version: str, hosts: list[str]) -> list[int]:
        lines = [f"GET {target} HTTP/{version}", *(f"Host: {host}" for host in hosts), "Connection: close", "", ""]
        return [answer.status for answer in converse(server.port, ["\r\n".join(lines).encode()])]


async def test_http_1_0_needs_no_host(app: Litestar) -> None:
    for version, status in (("1.0", 200), ("1.1", 400)):
        answer = await ask(app, "/api/host-user/todos", bearer("host-user"), host=None, version=version)
        assert answer.status == status


async def test_invalid_host_is_a_problem_document(alice: Client) -> None:
    assert_problem(await alice.get(alice.todos(), headers={"Host": "a b"}), 400)
