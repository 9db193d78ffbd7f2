"""Where the parts meet."""

import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from click import Group
from litestar import Litestar, Router
from litestar.datastructures import State
from litestar.di import Provide
from litestar.plugins import CLIPlugin
from litestar.types import ASGIApp

from app import domain
from app.db import commands
from app.db.config import open_database
from app.db.idempotency import DatabaseAnswers
from app.db.purging import purge_command
from app.db.seeding import seed_command
from app.domain.users.services import UserDirectory
from app.lib import log
from app.lib.auth import AuthenticationWall, TokenVerifier, requires_owner
from app.lib.client_address import ClientAddress
from app.lib.cors import Cors
from app.lib.cursor import CursorSeal
from app.lib.frame import Frame
from app.lib.hosts import AllowedHosts
from app.lib.http import ApiRequest, ApiResponse, before_handler, criteria_of, handle_error
from app.lib.idempotency import Idempotency
from app.lib.jwks import PublishedKeys, from_file, from_url
from app.lib.keys import KeyRing, KeySource, SharedSecrets
from app.lib.load import LoadShedding
from app.lib.process import end_with_parent
from app.lib.rate_limit import Shared
from app.lib.readmission import Readmission
from app.lib.routes import unowned
from app.lib.settings import Settings
from app.lib.user_share import UserShare


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


def create_app(settings: Settings | None = None) -> Litestar:
    """Make the application; the settings come from the environment unless given."""
    settings = settings or Settings.load()
    log.configure(settings)
    shared = _shared_allowances(settings)
    controllers = [*domain.CONTROLLERS, *(domain.DIALECTS if settings.tasks_dialect else ())]
    app = Litestar(
        route_handlers=[Router("/api", route_handlers=controllers)],
        dependencies={"criteria": Provide(criteria_of, sync_to_thread=False)},
        before_request=before_handler,
        request_class=ApiRequest,
        response_class=ApiResponse,
        exception_handlers={Exception: handle_error},
        request_max_body_size=settings.body_limit,
        lifespan=[_with_database],
        state=State({"settings": settings, "cursor_seal": CursorSeal(settings.cursor_key)}),
        openapi_config=None,  # the description is our own: app.lib.openapi
        plugins=[Commands()],
        logging_config=None,
        stores={"rate_limit": shared.store} if shared else None,  # closed with the application
    )
    if open_routes := unowned(app, requires_owner.__name__):
        raise RuntimeError(f"Not guarded by requires_owner: {open_routes[0].method} {open_routes[0].path}")
    app.asgi_handler = _behind_the_wall(app.asgi_handler, settings, shared)
    return app


def _behind_the_wall(router: ASGIApp, settings: Settings, shared: Shared | None) -> ASGIApp:
    """Put around the router what must see a request before it: from the inside to the outside."""
    verifier = TokenVerifier(_key_ring(settings), settings)
    handler: ASGIApp = Idempotency(router, DatabaseAnswers(), settings.body_limit)
    handler = Readmission(handler)
    if settings.max_requests_in_flight:
        address = ClientAddress(settings.trusted_proxies)
        handler = LoadShedding(handler, settings.max_requests_in_flight, address)
    if settings.max_requests_per_user:
        handler = UserShare(handler, settings.max_requests_per_user)
    handler = AuthenticationWall(handler, verifier, settings, shared)
    handler = Cors(handler, settings.cors_origins)
    if settings.allowed_hosts:
        handler = AllowedHosts(handler, settings.allowed_hosts)
    return Frame(handler, settings)


def _shared_allowances(settings: Settings) -> Shared | None:
    """Open the store of rate limits, if there is one: its client is large, and nobody else shall wait for it."""
    if settings.rate_limit_store_url is None:
        return None
    from app.lib.shared_limit import SharedAllowances, open_store  # noqa: PLC0415

    return SharedAllowances(open_store(settings.rate_limit_store_url.get_secret_value()))


def _key_ring(settings: Settings) -> KeyRing:
    """Take the keys from where the settings say: shared secrets, published keys, or both."""
    sources: list[KeySource] = [SharedSecrets(*settings.secrets)] if settings.secrets else []
    if settings.better_auth_jwks_url:
        sources.append(PublishedKeys(from_url(settings.better_auth_jwks_url)))
    if settings.better_auth_jwks_file:
        sources.append(PublishedKeys(from_file(settings.better_auth_jwks_file)))
    return KeyRing(*sources)


@asynccontextmanager
async def _with_database(app: Litestar) -> AsyncIterator[None]:
    end_with_parent()
    async with open_database(app.state.settings) as database:
        app.state.database = database
        app.state.users = UserDirectory(database.session)
        # What is loaded by now stays: a full collection would look through all of it, for a tenth of a second.
        gc.collect()
        gc.freeze()
        yield
