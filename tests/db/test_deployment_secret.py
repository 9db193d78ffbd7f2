"""Without `BETTER_AUTH_SECRET`, the keys of cursors and of names in the log come from a secret in the database."""

import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from litestar import Litestar

from app.db.config import Database
from app.db.deployment_secret import load_secret
from app.db.migrate import migrate
from app.lib.deployment_secret import DeploymentSecret
from app.lib.errors import Unavailable
from app.lib.log import UNKNOWN_USER, user_pseudonymizer
from app.lib.settings import Settings
from app.lib.validation.cursors import CursorSeal
from app.main import create_app
from tests.asgi import asgi_transport
from tests.lib.auth.test_jwks import key_set, published, signed
from tests.support import Client, mistakes, running


@pytest.fixture
def published_only(settings: Settings, tmp_path: Path) -> Settings:
    """Settings with published keys and no shared secret, on the database of the other tests."""
    file = tmp_path / "jwks.json"
    file.write_bytes(key_set(published("EdDSA")))
    return settings.model_copy(update={"better_auth_secret": None, "better_auth_jwks_file": file})


@pytest.fixture
async def apps(published_only: Settings) -> AsyncIterator[list[Litestar]]:
    """Give two processes of a deployment, which start at the same time as the first ones."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(running(create_app(published_only))) for _ in range(2)]


def client_of(app: Litestar, user_id: str) -> Client:
    headers = {"Authorization": f"Bearer {signed('EdDSA', sub=user_id).decode()}"}
    return Client(user_id, transport=asgi_transport(app), headers=headers)


async def test_deployment_secret_is_shared_and_not_the_database_url(
    apps: list[Litestar], published_only: Settings
) -> None:
    user_id = f"user-{secrets.token_hex(8)}"
    here, there = (client_of(app, user_id) for app in apps)
    for _ in range(2):
        await here.create()
    cursor = (await here.get(here.todos("?limit=1"))).json()["next_cursor"]
    assert (await there.get(there.todos(f"?limit=1&cursor={cursor}"))).status_code == 200
    assert published_only.database_url
    guessed = DeploymentSecret(published_only)
    guessed.learn(published_only.database_url.get_secret_value().encode())
    place = ["2026-01-01T00:00:00Z", "01990000-0000-7000-8000-000000000000"]
    forged = CursorSeal(guessed).encode(here.user_id, str((("created_at", True),)), place)
    assert "cursor" in mistakes(await here.get(here.todos(f"?limit=1&cursor={forged}")))
    own = CursorSeal(apps[0].state.deployment_secret).encode(here.user_id, str((("created_at", True),)), place)
    assert (await there.get(there.todos(f"?limit=1&cursor={own}"))).status_code == 200
    names = [user_pseudonymizer(published_only, app.state.deployment_secret) for app in apps]
    assert names[0]
    assert names[1]
    assert names[0]("alice") == names[1]("alice") != UNKNOWN_USER


async def test_no_secret_is_stored_beside_one_of_better_auth(settings: Settings, app: Litestar) -> None:
    reached: list[Any] = []
    secret = DeploymentSecret(settings)
    await load_secret(secret, reached)  # type: ignore[arg-type]
    assert secret.key(b"cursor") == app.state.deployment_secret.key(b"cursor") != secret.key(b"log")


def test_unknown_secret_is_not_guessed(published_only: Settings) -> None:
    secret = DeploymentSecret(published_only)
    name = user_pseudonymizer(published_only, secret)
    assert name is not None
    assert name("alice") == UNKNOWN_USER
    with pytest.raises(Unavailable):
        CursorSeal(secret).encode("alice", "", [])
    secret.learn(b"x" * 32)
    assert name("alice") != UNKNOWN_USER


async def test_process_starts_without_the_secrets_table(
    new_database: Callable[[], Any], published_only: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.db.deployment_secret.FIRST_WAIT_SECONDS", 0.05)
    empty = Settings(**published_only.model_dump() | {"database_url": await new_database()})
    async with running(create_app(empty)) as app:
        assert not app.state.deployment_secret.is_known


async def test_two_databases_have_two_secrets(apps: list[Litestar], new_database: Callable[[], Any]) -> None:
    settings = apps[0].state.settings
    other = Database(Settings(**settings.model_dump() | {"database_url": await new_database()}))
    try:
        await migrate(other)
        secret = DeploymentSecret(settings)
        await load_secret(secret, other)
        assert secret.key(b"log") != apps[0].state.deployment_secret.key(b"log")
    finally:
        await other.close()
