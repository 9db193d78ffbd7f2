"""Behind a proxy that takes a prefix away: references have it, from `ROOT_PATH` or a trusted `X-Forwarded-Prefix`."""

import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import msgspec
import pytest
from litestar import Litestar

from app.lib.openapi.document import document_of
from app.lib.settings import Settings
from app.main import create_app
from tests.lib.raw import ask, bearer
from tests.support import running

JSON = ("Content-Type", "application/json")
HEADER = "X-Forwarded-Prefix"
PROXIES = ["127.0.0.0/8"]  # where requests of `ask` come from

type Start = Callable[..., AbstractAsyncContextManager[Litestar]]


@pytest.fixture
def start(settings: Settings) -> Start:
    """Give a function that runs the application with other settings."""

    @asynccontextmanager
    async def start(**changes: Any) -> AsyncIterator[Litestar]:
        assert settings.database_url
        values = {name: getattr(settings, name) for name in ("environment", "database_url", "better_auth_secret")}
        async with running(create_app(Settings(_env_file=None, **values, **changes))) as app:
            yield app

    return start


async def prefixes(app: Litestar, *headers: tuple[str, str]) -> set[str]:
    """Ask for everything that has references, and give what stands before `/api`."""
    user = secrets.token_hex(8)
    path, credentials = f"/api/{user}/todos", (bearer(user), *headers)
    for _ in range(2):
        created = await ask(app, path, *credentials, JSON, method="POST", body=b'{"title": "x"}')
    page = await ask(app, f"{path}?limit=1&sort=title", *credentials)
    unknown = await ask(app, f"{path}/none", *credentials)
    anonymous = await ask(app, path, *headers)
    document = await ask(app, "/api/schema/openapi.json", *credentials)
    references = [
        created.headers["location"],
        page.headers["link"].removeprefix("<"),
        msgspec.json.decode(unknown.body)["instance"],
        msgspec.json.decode(anonymous.body)["instance"],
        msgspec.json.decode(document.body)["servers"][0]["url"].removesuffix("/") + path,
    ]
    assert all(path in reference for reference in references)
    return {reference.partition(path)[0] for reference in references}


@pytest.mark.parametrize(
    ("root_path", "prefix"),
    [("", ""), ("/", ""), ("/backend", "/backend"), ("/a/b/", "/a/b"), (" /~x%20y ", "/~x%20y"), ("/api", "/api")],
)
async def test_root_path_stands_before_every_reference(start: Start, root_path: str, prefix: str) -> None:
    async with start(root_path=root_path) as app:
        assert await prefixes(app) == {prefix}
        assert await prefixes(app, (HEADER, "/other")) == {prefix}


@pytest.mark.parametrize(
    "root_path", ["backend", "//evil.example", "/a//b", "/a/../b", "/.", "/a b", "/a?b", "/%zz", "http://x/"]
)
def test_invalid_root_path_is_refused_at_startup(root_path: str) -> None:
    with pytest.raises(ValueError, match="is not a path like /backend"):
        Settings(_env_file=None, root_path=root_path)


@pytest.mark.parametrize(
    ("sent", "prefix"),
    [
        (["/backend"], "/backend"),
        (["/backend/"], "/backend"),
        (["/"], ""),
        ([""], ""),
        (["/of-a-client, /backend"], "/backend"),
        (["/of-a-client", "/backend"], "/backend"),
        (["backend"], ""),
        (["//evil.example"], ""),
        (["https://evil.example"], ""),
        (["/a/../b"], ""),
        (['/a"b'], ""),
        (["/a>; rel=x"], ""),
        (["/m\u00fcller"], ""),
    ],
)
async def test_prefix_of_a_trusted_proxy_is_used(start: Start, sent: list[str], prefix: str) -> None:
    async with start(trusted_proxies=PROXIES) as app:
        assert await prefixes(app, *((HEADER, value) for value in sent)) == {prefix}


@pytest.mark.parametrize("proxies", [[], ["192.0.2.0/24"]])
async def test_prefix_of_an_untrusted_client_is_ignored(start: Start, proxies: list[str]) -> None:
    async with start(trusted_proxies=proxies) as app:
        assert await prefixes(app, (HEADER, "/evil")) == {""}


def test_printed_document_has_the_configured_prefix(settings: Settings) -> None:
    app = create_app(settings.model_copy(update={"root_path": "/backend"}))
    assert document_of(app)["servers"] == [{"url": "/backend"}]
