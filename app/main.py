"""Where the parts meet."""

import gc
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from functools import partial

from click import Group
from litestar import Litestar, Router
from litestar.datastructures import State
from litestar.plugins import CLIPlugin
from litestar.types import ASGIApp

from app import domain
from app.db import commands
from app.db.config import open_database
from app.db.deployment_secret import loaded_secret
from app.db.idempotency import DatabaseAnswers
from app.db.purging import purge_command
from app.db.seeding import seed_command
from app.domain.users.services import UserDirectory
from app.lib import log
from app.lib.auth.guards import requires_owner
from app.lib.auth.key_set_loading import from_file, from_url
from app.lib.auth.keys import KeyRing, KeySource, SharedSecrets
from app.lib.auth.published_keys import PublishedKeys
from app.lib.auth.scopes import requires_scope
from app.lib.auth.tokens import TokenVerifier
from app.lib.deployment_secret import DeploymentSecret
from app.lib.http.client_address import ClientAddress
from app.lib.http.plugin import ApiPlugin
from app.lib.http.routes import routes_without_guard, unguarded
from app.lib.middleware.allowed_hosts import AllowedHostsMiddleware
from app.lib.middleware.authentication import AuthenticationMiddleware
from app.lib.middleware.cors import CORSMiddleware, Preflight
from app.lib.middleware.first_keys import FirstKeys
from app.lib.middleware.idempotency import IdempotencyMiddleware
from app.lib.middleware.load_shedding import LoadSheddingMiddleware
from app.lib.middleware.loop_share import LoopShare
from app.lib.middleware.refusal_pace import RefusalPace
from app.lib.middleware.request_context import RequestContextMiddleware
from app.lib.middleware.retry_after_erasure import RetryAfterErasureMiddleware
from app.lib.middleware.user_share import UserShare
from app.lib.persistence.row_quota import RowQuota
from app.lib.process import end_with_parent
from app.lib.rate_limit import Shared
from app.lib.settings import Settings
from app.lib.validation.cursors import CursorSeal


class Commands(CLIPlugin):
    """Puts the commands of the parts into `manage.py`."""

    def on_cli_init(self, cli: Group) -> None:
        """Add them, and leave out what of Litestar's own says nothing here."""
        cli.help = "The front door of the todo backend. `python manage.py COMMAND --help` tells more."
        for name in ("sessions", "schema", "info", "version"):
            cli.commands.pop(name, None)
        made = (seed_command(domain.USER_FACTORY, domain.SEEDERS), purge_command(domain.PURGERS))
        for command in (*commands.ALL, *made, *domain.COMMANDS):
            cli.add_command(command)


type MiddlewareFactory = Callable[[ASGIApp], ASGIApp]


def create_app(settings: Settings | None = None, outermost: Sequence[MiddlewareFactory] = ()) -> Litestar:
    """Make the application; the settings come from the environment unless given.

    `outermost` are middleware for metrics and traces: they see every response, and from its start on
    `scope["state"]["route"]` is the path template, or "unmatched" where no route was looked for or found.
    """
    settings = settings or Settings.load()
    log.configure(settings)
    shared = _shared_allowances(settings)
    secret = DeploymentSecret(settings)
    published = _published_keys(settings)
    seal = CursorSeal(secret)
    state = {"settings": settings, "deployment_secret": secret, "cursor_seal": seal, "published_keys": published}
    state["row_quota"] = RowQuota(settings.max_rows_per_user)
    controllers = [*domain.CONTROLLERS, *(domain.DIALECTS if settings.tasks_dialect else ())]
    app = Litestar(
        route_handlers=[Router("/api", route_handlers=controllers)],
        request_max_body_size=settings.body_limit,
        lifespan=[_with_database, _with_published_keys],
        state=State(state),
        openapi_config=None,  # the description is our own: app.lib.openapi
        plugins=[ApiPlugin(), Commands()],
        logging_config=None,
        stores={"rate_limit": shared.store} if shared else None,  # closed with the application
    )
    if open_routes := routes_without_guard(app, requires_owner.__name__):
        raise RuntimeError(f"Not guarded by requires_owner: {open_routes[0].method} {open_routes[0].path}")
    if any_scope := unguarded(app, requires_owner.__name__, requires_scope.__name__):
        raise RuntimeError(f"Not guarded by requires_scope: {any_scope[0].method} {any_scope[0].path}")
    verifier = TokenVerifier(KeyRing(*_secrets(settings), *published), settings)
    inner = _middleware(settings, secret, verifier, shared, published)
    for wrap in reversed([*outermost, *inner]):
        app.asgi_handler = wrap(app.asgi_handler)
    return app


def _middleware(
    settings: Settings,
    secret: DeploymentSecret,
    verifier: TokenVerifier,
    shared: Shared | None,
    published: list[PublishedKeys],
) -> Iterator[MiddlewareFactory]:
    """Yield the middleware around the router, in the order of execution."""
    pace = RefusalPace()
    yield partial(RequestContextMiddleware, settings=settings, secret=secret)
    yield partial(CORSMiddleware, origins=settings.cors_origins, headers=settings.cors_allow_headers)
    yield partial(AllowedHostsMiddleware, hosts=settings.allowed_hosts)
    yield Preflight
    if published:
        yield partial(FirstKeys, published=published)
    yield partial(AuthenticationMiddleware, verifier=verifier, settings=settings, pace=pace, shared=shared)
    # The user is known from here on. A request that waits for its user's share must not hold a place of all users.
    if settings.max_requests_per_user:
        yield partial(UserShare, most=settings.max_requests_per_user, pace=pace)
    if settings.max_requests_in_flight:
        address = ClientAddress(settings.trusted_proxies)
        yield partial(LoadSheddingMiddleware, most=settings.max_requests_in_flight, address=address)
    yield LoopShare
    # These two ask the database, so what is above bounds how many of them run.
    yield RetryAfterErasureMiddleware
    yield partial(IdempotencyMiddleware, store=DatabaseAnswers(), body_limit=settings.body_limit)


def _shared_allowances(settings: Settings) -> Shared | None:
    """Open the store of rate limits, if there is one: its client is large, and nobody else shall wait for it."""
    if settings.rate_limit_store_url is None:
        return None
    from app.lib.shared_rate_limit import SharedAllowances, open_store  # noqa: PLC0415

    return SharedAllowances(open_store(settings.rate_limit_store_url.get_secret_value()))


def _secrets(settings: Settings) -> list[KeySource]:
    return [SharedSecrets(*settings.secrets)] if settings.secrets else []


def _published_keys(settings: Settings) -> list[PublishedKeys]:
    sources: list[PublishedKeys] = []
    if settings.better_auth_jwks_url:
        sources.append(PublishedKeys(from_url(settings.better_auth_jwks_url)))
    if settings.better_auth_jwks_file:
        sources.append(PublishedKeys(from_file(settings.better_auth_jwks_file), setting="BETTER_AUTH_JWKS_FILE"))
    return sources


@asynccontextmanager
async def _with_published_keys(app: Litestar) -> AsyncIterator[None]:
    """Fetch the keys at start, in the background: a server that is away delays nothing, and is logged."""
    published: list[PublishedKeys] = app.state.published_keys
    for keys in published:
        keys.start_fetch()
    yield
    for keys in published:
        await keys.close()


@asynccontextmanager
async def _with_database(app: Litestar) -> AsyncIterator[None]:
    end_with_parent()
    secret = app.state.deployment_secret
    async with open_database(app.state.settings) as database, loaded_secret(secret, database):
        app.state.database = database
        app.state.users = UserDirectory(database.session)
        # What is loaded by now stays: a full collection would look through all of it, for a tenth of a second.
        gc.collect()
        gc.freeze()
        yield
