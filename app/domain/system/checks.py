"""Numbered findings about a configured application, as in Django's system checks."""

from litestar import Litestar

from app.db.config import Database
from app.db.migrate import differences, pending_revisions
from app.domain.system.findings import Finding
from app.lib.auth import requires_owner
from app.lib.errors import Unavailable
from app.lib.routes import unowned


async def run_checks(app: Litestar, database: Database) -> list[Finding]:
    """Look at the routes, then at the database."""
    return [*_open_routes(app), *await _database(database)]


def _open_routes(app: Litestar) -> list[Finding]:
    return [
        Finding(
            "A001",
            "error",
            f"{item.method} {item.path} is not guarded by requires_owner: add it to the controller.",
        )
        for item in unowned(app, requires_owner.__name__)
    ]


async def _database(database: Database) -> list[Finding]:
    try:
        pending = await pending_revisions(database)
    except Unavailable:
        return [Finding("D001", "error", "The database cannot be reached: start it, or correct DATABASE_URL.")]
    if pending:
        return [Finding("D002", "error", f"{len(pending)} migrations are pending: run `python manage.py migrate`.")]
    if await differences(database):
        return [
            Finding(
                "D003",
                "error",
                "The models differ from the migrations: run `python manage.py makemigrations`.",
            )
        ]
    return []
