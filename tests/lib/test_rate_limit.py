"""Limits on requests and on failed authentications, in fixed memory."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
from litestar import Litestar

from app.lib import rate_limit
from app.lib.errors import TooManyRequests
from app.lib.http.client_address import ClientAddress
from app.lib.rate_limit import RateLimit
from app.lib.settings import Settings
from app.main import create_app
from tests.asgi import asgi_transport
from tests.support import assert_problem, running, token_for


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class TestRateLimit:
    @pytest.mark.parametrize("limit", [1, 2, 3, 7, 60, 600, 1_000_000])
    async def test_rate_limit_allows_exactly_the_limit(self, limit: int) -> None:
        limiter = RateLimit("user", limit, Clock())
        for _ in range(min(limit, 1000)):
            await limiter.take("alice")
        if limit <= 1000:
            with pytest.raises(TooManyRequests) as refused:
                await limiter.take("alice")
            assert 1 <= int(refused.value.headers["Retry-After"]) <= 60
        await limiter.take("bob")

    async def test_rate_limit_allows_one_more_after_retry_after(self) -> None:
        clock = Clock()
        limiter = RateLimit("user", 6, clock)
        for _ in range(6):
            await limiter.take("alice")
        for _ in range(20):
            with pytest.raises(TooManyRequests) as refused:
                await limiter.take("alice")
            clock.now += int(refused.value.headers["Retry-After"])
            await limiter.take("alice")

    async def test_refused_requests_do_not_count(self) -> None:
        clock = Clock()
        limiter = RateLimit("user", 2, clock)
        await limiter.take("alice")
        await limiter.take("alice")
        for _ in range(1000):
            with pytest.raises(TooManyRequests):
                await limiter.take("alice")
        clock.now += 60
        assert dict(await limiter.take("alice"))[b"ratelimit"] == b'"user";r=1;t=30'

    @pytest.mark.parametrize("limit", [1, 2, 3, 7, 60, 600])
    async def test_rate_limit_headers_stay_within_the_window(self, limit: int) -> None:
        clock = Clock()
        limiter = RateLimit("user", limit, clock)
        for step in range(3 * limit):
            try:
                headers = {name.decode(): value.decode() for name, value in await limiter.take("alice")}
            except TooManyRequests as refused:
                headers = {name.lower(): value for name, value in refused.headers.items()}
                assert 1 <= int(headers["retry-after"]) <= 60
            left, _, seconds = headers["ratelimit"].partition(";r=")[2].partition(";t=")
            assert 0 <= int(left) <= limit
            assert 1 <= int(seconds) <= 60
            clock.now += 0.1 * step % 31

    async def test_limit_of_one_is_not_two_in_a_window(self) -> None:
        clock = Clock()
        limiter = RateLimit("user", 1, clock)
        await limiter.take("alice")
        clock.now += 59.9
        with pytest.raises(TooManyRequests):
            await limiter.take("alice")
        clock.now += 0.1
        await limiter.take("alice")

    async def test_rate_limit_of_zero_is_disabled(self) -> None:
        limiter = RateLimit("user", 0)
        assert [await limiter.take("alice") for _ in range(1000)] == [[]] * 1000

    async def test_rate_limit_memory_is_bounded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(rate_limit, "MAX_KEYS", 10)
        limiter = RateLimit("address", 5, Clock())
        for number in range(1000):
            await limiter.take(str(number))
        assert len(limiter._full_at) == 10

    async def test_busy_key_is_not_evicted(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(rate_limit, "MAX_KEYS", 10)
        limiter = RateLimit("address", 5, Clock())
        for number in range(5):
            await limiter.take("attacker")
            await limiter.take(f"a{number}")
        for number in range(8):
            await limiter.take(f"b{number}")
            with pytest.raises(TooManyRequests):
                await limiter.take("attacker")


class TestClientAddress:
    @pytest.mark.parametrize(
        ("peer", "forwarded", "expected"),
        [
            ("203.0.113.9", [], "203.0.113.9"),
            ("203.0.113.9", [b"198.51.100.1"], "203.0.113.9"),
            ("10.0.0.1", [b"198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", [b"6.6.6.6, 198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", [b"6.6.6.6, 198.51.100.1, 10.0.0.2"], "198.51.100.1"),
            ("10.0.0.1", [b"6.6.6.6", b"198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", [b"nonsense"], "10.0.0.1"),
            ("10.0.0.1", [b"198.51.100.1, nonsense"], "10.0.0.1"),
            ("10.0.0.1", [b""], "10.0.0.1"),
            ("10.0.0.1", [b"2001:0db8::0001"], "2001:db8::1"),
            (None, [b"198.51.100.1"], "unknown"),
        ],
    )
    def test_forwarded_address_needs_a_trusted_proxy(
        self, peer: str | None, forwarded: list[bytes], expected: str
    ) -> None:
        headers = [(b"x-forwarded-for", value) for value in forwarded]
        scope: Any = {"client": (peer, 1) if peer else None, "headers": headers}
        assert ClientAddress(["10.0.0.0/8"]).of(scope) == expected


@pytest.fixture
async def limited(settings: Settings) -> AsyncIterator[Callable[..., httpx.AsyncClient]]:
    """Give a function that makes a client at an address, of an application with low limits."""
    low = {"rate_limit_per_minute": 5, "auth_failures_per_minute": 3, "trusted_proxies": ["10.0.0.1"]}
    async with running(create_app(settings.model_copy(update=low))) as app:
        yield lambda address="10.0.0.1": _client(app, address)


def _client(app: Litestar, address: str) -> httpx.AsyncClient:
    transport = asgi_transport(app, address=address)
    return httpx.AsyncClient(transport=transport, base_url="http://testserver")


class TestOverHttp:
    async def test_rate_limit_is_per_user(self, limited: Callable[..., httpx.AsyncClient]) -> None:
        client = limited()
        alice, bob = ({"Authorization": f"Bearer {token_for(name)}"} for name in ("limited-alice", "limited-bob"))
        for left in range(4, -1, -1):
            answer = await client.get("/api/limited-alice/todos", headers=alice)
            assert answer.status_code == 200
            assert answer.headers["ratelimit-policy"] == '"user";q=5;w=60'
            assert answer.headers["ratelimit"].startswith(f'"user";r={left};t=')
        refused = await client.get("/api/limited-alice/todos", headers=alice)
        assert_problem(refused, 429, "Too many requests, try again later")
        assert int(refused.headers["retry-after"]) >= 1
        assert (await client.get("/api/limited-bob/todos", headers=bob)).status_code == 200

    async def test_failed_authentications_are_limited_by_address(
        self, limited: Callable[..., httpx.AsyncClient]
    ) -> None:
        client = limited()
        bad = {"Authorization": "Bearer nonsense"}
        attacker, honest = {"X-Forwarded-For": "203.0.113.9"}, {"X-Forwarded-For": "203.0.113.10"}
        for headers in (bad, {}, bad):
            assert (await client.get("/api/x/todos", headers=headers | attacker)).status_code == 401
        assert_problem(await client.get("/api/x/todos", headers=bad | attacker), 429)
        assert (await client.get("/api/x/todos", headers=bad | honest)).status_code == 401

    async def test_failed_authentications_of_an_ipv6_prefix_count_together(
        self, limited: Callable[..., httpx.AsyncClient]
    ) -> None:
        client, bad = limited(), {"Authorization": "Bearer nonsense"}
        answers = [
            (await client.get("/", headers=bad | {"X-Forwarded-For": address})).status_code
            for address in ("2001:db8:5:100::1", "2001:db8:5:1ff::2", "2001:db8:5:142:ffff::3", "2001:db8:5:1a0::4")
        ]
        assert answers == [401, 401, 401, 429]
        neighbour = {"X-Forwarded-For": "2001:db8:5:200::1"}
        assert (await client.get("/", headers=bad | neighbour)).status_code == 401

    async def test_valid_tokens_pass_while_failures_are_limited(
        self, limited: Callable[..., httpx.AsyncClient]
    ) -> None:
        client = limited("203.0.113.77")
        for _ in range(10):
            await client.get("/", headers={"Authorization": "Bearer nonsense"})
        good = {"Authorization": f"Bearer {token_for('limited-carol')}"}
        assert (await client.get("/api/limited-carol/todos", headers=good)).status_code == 200

    async def test_forged_address_does_not_evade_the_limit(self, limited: Callable[..., httpx.AsyncClient]) -> None:
        client = limited("203.0.113.78")
        answers = [
            (await client.get("/", headers={"X-Forwarded-For": f"198.51.100.{number}"})).status_code
            for number in range(5)
        ]
        assert answers == [401, 401, 401, 429, 429]
