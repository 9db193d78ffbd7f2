"""Whether the service can serve."""

from typing import Literal

from msgspec import Struct
from sqlalchemy.exc import DBAPIError

from app.db.config import Database
from app.db.migrate import pending_and_read_only
from app.db.probe import PATIENCE_SECONDS
from app.lib.errors import Unavailable


class Health(Struct):
    """What a probe wants to know."""

    status: Literal["ok", "unavailable"]
    database: Literal["reachable", "read_only", "unreachable"]
    migrations: Literal["current", "pending", "unknown"]

    @property
    def is_good(self) -> bool:
        """Whether requests can be served."""
        return self.status == "ok"


async def check_health(database: Database, seconds: float | None = PATIENCE_SECONDS) -> Health:
    """Ask the database, in one round trip on a connection that no user can hold, within so many seconds."""
    try:
        pending, read_only = await database.probe.ask(lambda session: pending_and_read_only(database, session), seconds)
    except (Unavailable, DBAPIError, TimeoutError):  # an error of any kind is an answer here
        return Health("unavailable", "unreachable", "unknown")
    return Health(
        "unavailable" if pending or read_only else "ok",
        "read_only" if read_only else "reachable",
        "pending" if pending else "current",
    )
