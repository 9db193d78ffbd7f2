"""`/api/health`."""

from litestar import Controller, get

from app.domain.system.services import Health, check_health
from app.lib.errors import Unavailable
from app.lib.http import ApiRequest


class HealthController(Controller):
    """The one resource without a user."""

    path = "/health"
    tags = ["system"]

    @get()
    async def get_health(self, request: ApiRequest) -> Health:
        """Tell whether the database answers and has all migrations; 503 if not."""
        health = await check_health(request.app.state.database)
        if not health.is_good:
            raise Unavailable(database=health.database, migrations=health.migrations)
        return health
