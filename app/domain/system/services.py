"""Whether the service can serve."""

from typing import Literal

from msgspec import Struct

from app.db.config import Database
from app.db.migrate import pending_revisions
from app.db.probe import PATIENCE_SECONDS
from app.lib.errors import Unavailable


class Health(Struct):
    """What a probe wants to know."""

    status: Literal["ok", "unavailable"]
    database: Literal["reachable", "unreachable"]
    migrations: Literal["current", "pending", "unknown"]

    @property
    def is_good(self) -> bool:
        """Whether requests can be served."""
        return self.status == "ok"


async def check_health(database: Database, seconds: float | None = PATIENCE_SECONDS) -> Health:
    """Ask the database, in one round trip on a connection that no user can hold, within so many seconds."""
    try:
        pending = await database.probe.ask(lambda session: pending_revisions(database, session), seconds)
    except (Unavailable, TimeoutError):
        return Health("unavailable", "unreachable", "unknown")
    return Health("unavailable" if pending else "ok", "reachable", "pending" if pending else "current")
