"""Where the parts meet."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from litestar import Litestar, Router
from litestar.datastructures import State
from litestar.di import Provide
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin

from app.db.config import Database
from app.db.embedded import EmbeddedPostgres
from app.domain import CONTROLLERS
from app.domain.users.services import UserDirectory
from app.lib import log
from app.lib.auth import AuthenticationWall, SharedSecret, TokenVerifier
from app.lib.frame import Frame
from app.lib.http import ApiRequest, ApiResponse, before_handler, criteria_of, handle_error
from app.lib.settings import Settings


def create_app(settings: Settings | None = None) -> Litestar:
    """Make the application; the settings come from the environment unless given."""
    settings = settings or Settings.load()
    log.configure(settings)
    app = Litestar(
        route_handlers=[Router("/api", route_handlers=CONTROLLERS)],
        dependencies={"criteria": Provide(criteria_of, sync_to_thread=False)},
        before_request=before_handler,
        request_class=ApiRequest,
        response_class=ApiResponse,
        exception_handlers={Exception: handle_error},
        request_max_body_size=settings.body_limit,
        lifespan=[_lifespan(settings)],
        state=State({"settings": settings}),
        openapi_config=OpenAPIConfig(
            title="Todo API", version="1", path="/api/schema", render_plugins=[JsonRenderPlugin()]
        ),
        logging_config=None,
    )
    verifier = TokenVerifier(SharedSecret(settings.secret), settings)
    app.asgi_handler = Frame(AuthenticationWall(app.asgi_handler, verifier, settings.open_paths), settings)
    return app


def _lifespan(settings: Settings):
    @asynccontextmanager
    async def lifespan(app: Litestar) -> AsyncIterator[None]:
        database = Database(settings)
        app.state.database = database
        app.state.users = UserDirectory(database.session)
        try:
            yield
        finally:
            await database.close()

    return lifespan
