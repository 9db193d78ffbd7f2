"""Numbered findings about a configured application, as in Django's system checks."""

from collections.abc import Sequence

from litestar import Litestar
from sqlalchemy import Text, column, func, select

from app.db import row_security
from app.db.base import users_table
from app.db.config import Database
from app.db.migrate import differences, pending_and_read_only
from app.db.suitability import folds_case, refuse_unsuitable
from app.domain.system.findings import Finding
from app.lib.auth.guards import requires_owner
from app.lib.auth.published_keys import PublishedKeys
from app.lib.errors import OperatorError, Unavailable
from app.lib.http.routes import routes_without_guard
from app.lib.time_zones import KNOWN

_known_zones = row_security.catalog("pg_timezone_names", column("name", Text))

READ_ONLY = "The database is read-only, a standby probably: let DATABASE_URL name the primary server."
CASE = (
    "The database's ctype cannot fold case beyond ASCII, so that a search for `über` misses `Über`: make the database "
    "with a locale such as C.UTF-8 or one of ICU (CREATE DATABASE … LOCALE …)."
)
_WHERE_KEYS_ARE = "Better Auth publishes its keys at its own URL with /api/auth/jwks"


async def run_checks(app: Litestar, database: Database, *, deploy: bool = False) -> list[Finding]:
    """Look at the routes, then at the database; `deploy` asks more of its role."""
    return [*_open_routes(app), *await _key_sets(app.state.published_keys), *await _database(database, deploy)]


async def _key_sets(published: Sequence[PublishedKeys]) -> list[Finding]:
    problems = [problem for keys in published if (problem := await keys.problem())]
    return [
        Finding("K002", "warning", f"The keys that {setting} names cannot be fetched now ({reason}): is it up?")
        if is_away
        else Finding("K001", "error", f"{setting} names no usable key set ({reason}): {_WHERE_KEYS_ARE}.")
        for setting, reason, is_away in problems
    ]


def _open_routes(app: Litestar) -> list[Finding]:
    return [
        Finding(
            "A001",
            "error",
            f"{item.method} {item.path} is not guarded by requires_owner: add it to the controller.",
        )
        for item in routes_without_guard(app, requires_owner.__name__)
    ]


async def _database(database: Database, deploy: bool) -> list[Finding]:
    try:
        pending, read_only = await pending_and_read_only(database)
    except Unavailable:
        return [Finding("D001", "error", "The database cannot be reached: start it, or correct DATABASE_URL.")]
    found = [*await _suitability(database), *([Finding("D007", "error", READ_ONLY)] if read_only else ())]
    if pending:
        message = f"{len(pending)} migrations are pending: run `python manage.py migrate`."
        return [*found, Finding("D002", "error", message)]
    if await differences(database):
        message = "The models differ from the migrations: run `python manage.py makemigrations`."
        return [*found, Finding("D003", "error", message)]
    return [*found, *await _row_security(database, deploy), *await _time_zones(database)]


async def _suitability(database: Database) -> list[Finding]:
    async with database.begin(unscoped="check the encoding") as connection:
        try:
            await connection.run_sync(refuse_unsuitable)
        except OperatorError as error:
            return [Finding("D006", "error", str(error))]
        return [] if await connection.run_sync(folds_case) else [Finding("D008", "warning", CASE)]


async def _time_zones(database: Database) -> list[Finding]:
    """Find the zones of profiles that PostgreSQL or Python does not know: `due` is computed in another way for them."""
    zone = users_table().c.time_zone
    async with database.begin(unscoped="check time zones") as connection:
        rows = await connection.execute(select(zone, func.count()).group_by(zone))
        users = {name: count for name, count in rows if name != "UTC"}
        known = set(await connection.scalars(select(_known_zones.c.name))) if users else set()
    return [
        Finding("D009", "warning", _unknown_zone(name, count, by_python=name in KNOWN))
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
