"""Middleware outside of everything, as metrics and traces need it: it sees every response once, with its route."""

from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest
from litestar import Litestar
from litestar.types import ASGIApp, Receive, Scope, Send

from app.lib.errors import RequestTimeout
from app.lib.settings import Settings
from app.main import create_app
from tests.lib.raw import ask, bearer
from tests.support import running

TODO = "/api/{user_id}/todos/{todo_id}"
TODOS = "/api/{user_id}/todos"
MISSING = "00000000-0000-7000-8000-000000000000"


class Meter:
    """Counts response starts by method, route and status, as a metrics middleware would."""

    def __init__(self) -> None:
        self.responses: Counter[tuple[str, str, int]] = Counter()
        self.order: list[str] = []

    def wrap(self, app: ASGIApp, name: str = "meter") -> ASGIApp:
        async def measure(scope: Scope, receive: Receive, send: Send) -> None:
            self.order.append(name)

            async def count(message: Any) -> None:
                if message["type"] == "http.response.start":
                    self.responses[scope["method"], scope["state"]["route"], message["status"]] += 1  # type: ignore[typeddict-item]
                await send(message)

            await app(scope, receive, count)

        return measure


@pytest.fixture
def meter() -> Meter:
    return Meter()


@pytest.fixture
async def metered(settings: Settings, meter: Meter) -> AsyncIterator[Litestar]:
    changes = {
        "allowed_hosts": ["testserver"],
        "auth_failures_per_minute": 2,
        "cors_origins": ["https://a.example"],
        "max_requests_per_user": 0,
    }
    async with running(create_app(settings.model_copy(update=changes), [meter.wrap])) as app:
        yield app


async def timed_out() -> Any:
    raise RequestTimeout


async def test_every_kind_of_response_is_seen_once_with_its_route(
    metered: Litestar, meter: Meter, monkeypatch: pytest.MonkeyPatch
) -> None:
    token, todos = bearer("meter"), "/api/meter/todos"
    answers = [
        await ask(metered, todos, token),
        await ask(metered, todos, token, method="HEAD"),
        await ask(metered, f"{todos}/{MISSING}", token),
        await ask(metered, f"{todos}?no=1", token),
        await ask(metered, todos, token, method="POST", body=b"{}"),
        await ask(metered, "/api/meter/nowhere", token),
        await ask(metered, todos, token, method="DELETE"),
        await ask(metered, "/api/other/todos", token),
        await ask(metered, todos, ("Host", "elsewhere")),
        await ask(
            metered, todos, ("Origin", "https://a.example"), ("Access-Control-Request-Method", "GET"), method="OPTIONS"
        ),
        *[await ask(metered, todos) for _ in range(3)],
    ]
    with monkeypatch.context() as patch:
        patch.setattr("app.lib.middleware.load_shedding.FairQueue.take", lambda *_: False)
        answers.append(await ask(metered, todos, token))
    with monkeypatch.context() as patch:
        patch.setattr("app.lib.middleware.idempotency._read", lambda *_: timed_out())
        answers.append(await ask(metered, todos, token, ("Idempotency-Key", "k"), method="POST", body=b"{}"))
    with monkeypatch.context() as patch:
        patch.setattr("app.lib.middleware.authentication.user_in", lambda _: 1 / 0)
        answers.append(await ask(metered, todos, token))
    assert meter.responses == {
        ("GET", TODOS, 200): 1,
        ("HEAD", TODOS, 200): 1,
        ("GET", TODO, 404): 1,
        ("GET", TODOS, 422): 1,
        ("POST", TODOS, 415): 1,
        ("GET", "unmatched", 404): 1,
        ("DELETE", "unmatched", 405): 1,
        ("GET", "unmatched", 403): 1,
        ("GET", "unmatched", 400): 1,
        ("OPTIONS", "unmatched", 204): 1,
        ("GET", "unmatched", 401): 2,
        ("GET", "unmatched", 429): 1,
        ("GET", "unmatched", 503): 1,
        ("POST", TODOS, 408): 1,
        ("GET", "unmatched", 500): 1,
    }
    assert sum(meter.responses.values()) == len(answers)


async def test_the_first_of_the_list_runs_first(settings: Settings, meter: Meter) -> None:
    app = create_app(settings, [lambda app: meter.wrap(app, "first"), lambda app: meter.wrap(app, "second")])
    await ask(app, "/api/meter/todos")
    assert meter.order == ["first", "second"]
