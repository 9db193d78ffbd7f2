"""Numbered findings about a configured application, as in Django's system checks."""

from litestar import Litestar
from sqlalchemy import Text, column, func, select

from app.db import row_security
from app.db.base import users_table
from app.db.config import Database
from app.db.migrate import differences, pending_revisions
from app.domain.system.findings import Finding
from app.lib.auth import requires_owner
from app.lib.errors import Unavailable
from app.lib.routes import unowned
from app.lib.time_zones import KNOWN

_known_zones = row_security.catalog("pg_timezone_names", column("name", Text))


async def run_checks(app: Litestar, database: Database, *, deploy: bool = False) -> list[Finding]:
    """Look at the routes, then at the database; `deploy` asks more of its role."""
    return [*_open_routes(app), *await _database(database, deploy)]


def _open_routes(app: Litestar) -> list[Finding]:
    return [
        Finding(
            "A001",
            "error",
            f"{item.method} {item.path} is not guarded by requires_owner: add it to the controller.",
        )
        for item in unowned(app, requires_owner.__name__)
    ]


async def _database(database: Database, deploy: bool) -> list[Finding]:
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
    return [*await _row_security(database, deploy), *await _time_zones(database)]


async def _time_zones(database: Database) -> list[Finding]:
    """Find the zones of profiles that PostgreSQL or Python does not know: `due` is computed in another way for them."""
    zone = users_table().c.time_zone
    async with database.begin(unscoped="check time zones") as connection:
        rows = await connection.execute(select(zone, func.count()).group_by(zone))
        users = {name: count for name, count in rows if name != "UTC"}
        known = set(await connection.scalars(select(_known_zones.c.name))) if users else set()
    return [
        Finding("D006", "warning", _unknown_zone(name, count, by_python=name in KNOWN))
        for name, count in sorted(users.items())
        if name not in known or name not in KNOWN
    ]


def _unknown_zone(zone: str, count: int, *, by_python: bool) -> str:
    if by_python:
        consequence = "due dates are computed with Python's rules: install the full tzdata on the database's host"
    else:
        consequence = "their days are those of UTC, until they choose another"
    party = "PostgreSQL" if by_python else "Python"
    return f"The time zone {zone!r} of {count} users is not known to {party}: {consequence}."


async def _row_security(database: Database, deploy: bool) -> list[Finding]:
    async with database.begin(unscoped="check row-level security") as connection:
        unlike = await connection.run_sync(row_security.unlike, database.secured)
        privileged = await connection.run_sync(row_security.is_privileged)
    found = []
    if unlike:
        message = (
            f"Row-level security of {len(unlike)} tables is not as DATABASE_RLS says: run `python manage.py migrate`."
        )
        found.append(Finding("D004", "error", message))
    if deploy and database.secured and privileged:
        message = "DATABASE_RLS does not bind the role in DATABASE_URL: take one without SUPERUSER and BYPASSRLS."
        found.append(Finding("D005", "error", message))
    return found
