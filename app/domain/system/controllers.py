"""`/api/health` and `/api/schema`."""

from typing import Any

from litestar import Controller, MediaType, Response, get

from app.domain.system.services import Health, check_health
from app.lib.auth.scopes import requires_scope, scopes
from app.lib.errors import Unavailable
from app.lib.http.requests import ApiRequest
from app.lib.http.responses import ApiResponse
from app.lib.openapi.document import document_of, servers
from app.lib.openapi.page import POLICY, page_of


class HealthController(Controller):
    """What has no user."""

    path = "/health"
    tags = ["system"]
    opt = scopes("todos:read")
    guards = [requires_scope]

    @get()
    async def get_health(self, request: ApiRequest) -> Health:
        """Tell whether the database answers and has all migrations; 503 if not."""
        health = await check_health(request.app.state.database)
        if not health.is_good:
            raise Unavailable(database=health.database, migrations=health.migrations)
        return health


class DescriptionController(Controller):
    """How the API describes itself."""

    path = "/schema"
    tags = ["system"]
    opt = scopes("todos:read")
    guards = [requires_scope]

    @get("/openapi.json")
    async def get_openapi(self, request: ApiRequest) -> dict[str, Any]:
        """Get this description, as OpenAPI 3.1."""
        return document_of(request.app) | {"servers": servers(request.scope["state"]["prefix"])}

    @get(media_type=MediaType.HTML)
    async def get_documentation(self, request: ApiRequest) -> Response[bytes]:
        """Get this description as a page, without scripts."""
        return ApiResponse(page_of(request.app), headers={"Content-Security-Policy": POLICY})
