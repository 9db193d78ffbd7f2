"""`manage.py users`, `exportuser`, `importuser`, `eraseuser`."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO

import rich_click as click
from litestar import Litestar
from sqlalchemy import func, literal, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from app.db.bulk import unlimited
from app.db.config import open_database
from app.db.restore import Archive
from app.domain.users.administration import UserAdministration
from app.domain.users.schemas import UserQuery, UserRead, known_time_zone
from app.domain.users.services import AccountService
from app.lib.auth import USER_ID
from app.lib.body import Broken
from app.lib.cli import UserId, escaped, run_async, settings_of, with_app
from app.lib.errors import NotFound, OperatorError, OwnerGone
from app.lib.request_log import witness


@click.group()
def users() -> None:
    """List, show, deactivate and activate users."""


@users.command("list")
@click.option("--limit", type=click.IntRange(1, 10_000), default=100, show_default=True)
@click.option("--offset", type=click.IntRange(0), default=0, show_default=True)
@with_app
def list_users(app: Litestar, limit: int, offset: int) -> None:
    """List users, the oldest first."""
    query = UserQuery(limit=limit, offset=offset)
    for user in _ask(app, lambda administration: administration.list_page(query)).items:
        click.echo(f"{escaped(user.id)}\t{escaped(user.email or '-')}\t{_state(user)}")


@users.command("show")
@click.argument("user_id", type=UserId())
@with_app
def show_user(app: Litestar, user_id: str) -> None:
    """Show one user."""
    user = _ask_about(app, user_id, UserAdministration.get_user)
    for name in user.__struct_fields__:
        click.echo(f"{name}: {escaped(str(getattr(user, name)))}")


@users.command("deactivate")
@click.argument("user_id", type=UserId())
@with_app
def deactivate_user(app: Litestar, user_id: str) -> None:
    """Answer a user's requests with 403, within seconds."""
    _ask_about(app, user_id, partial(UserAdministration.set_active, active=False))
    click.echo(f"{user_id} is deactivated.")


@users.command("activate")
@click.argument("user_id", type=UserId())
@with_app
def activate_user(app: Litestar, user_id: str) -> None:
    """Let a deactivated user in again."""
    _ask_about(app, user_id, partial(UserAdministration.set_active, active=True))
    click.echo(f"{user_id} is active.")


@click.command()
@click.argument("user_id", type=UserId())
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="A file, in place of standard output.")
def exportuser(app: Litestar, user_id: str, out: Path | None) -> None:
    """Write everything of USER_ID as JSON Lines, as the user's own export does."""

    async def work() -> None:
        async with open_database(settings_of(app)) as database:
            with _written(out) if out else click.open_file("-", "wb") as file:
                async for lines in AccountService(database.session(user_id), user_id).export():
                    file.write(lines)

    if out and not out.absolute().parent.is_dir():
        raise OperatorError(f"There is no directory {out.parent}: choose another --out.")
    try:
        run_async(work())
    except OwnerGone:
        raise _stranger(user_id) from None


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def importuser(app: Litestar, file: Path) -> None:
    """Put an exported user back: every line of FILE, or none. There must be no such user."""

    async def work() -> int:
        async with open_database(settings_of(app)) as database, database.begin(unscoped="import a user") as connection:
            await unlimited(connection)
            await _check_zone(connection, archive)
            return await archive.restore(connection)

    archive = Archive(file)
    if not USER_ID.fullmatch(archive.profile.id):
        archive.refuse(1, "No user can have this id")
    archive.verify()
    click.echo(f"Imported {run_async(work())} lines of {archive.profile.id}.")


@click.command()
@click.argument("user_id", type=UserId())
@click.option("--yes", is_flag=True, help="Do not ask.")
def eraseuser(app: Litestar, user_id: str, yes: bool) -> None:
    """Erase USER_ID and everything that is theirs, for good."""

    async def work() -> None:
        async with open_database(settings_of(app)) as database, database.begin(unscoped="erase a user") as connection:
            await unlimited(connection)
            await connection.execute(AccountService.statements.delete, {"owner": user_id})

    _ask_about(app, user_id, UserAdministration.get_user)
    if not yes:
        click.confirm(f"Erase {user_id} and everything that is theirs, for good?", abort=True)
    run_async(work())
    click.echo(f"{user_id} is erased.")


ALL = (users, exportuser, importuser, eraseuser)


def _ask[T](app: Litestar, question: Callable[[UserAdministration], Awaitable[T]]) -> T:
    async def work() -> T:
        async with open_database(settings_of(app)) as database:
            return await question(UserAdministration(database.session(), tell=witness(settings_of(app))))

    return run_async(work())


def _ask_about(app: Litestar, user_id: str, question: Callable[..., Awaitable[UserRead]]) -> UserRead:
    try:
        return _ask(app, lambda administration: question(administration, user_id))
    except NotFound:
        raise _stranger(user_id) from None


def _stranger(user_id: str) -> OperatorError:
    return OperatorError(f"There is no user {user_id!r}: see `python manage.py users list`.")


@contextmanager
def _written(path: Path) -> Iterator[IO[bytes]]:
    """Open a file that is there when it is whole, or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("wb") as file:
            yield file
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _state(user: UserRead) -> str:
    return "active" if user.deactivated_at is None else f"deactivated {user.deactivated_at:%Y-%m-%d}"


async def _check_zone(connection: AsyncConnection, archive: Archive) -> None:
    """No constraint of the table holds what a profile's schema does: that Python and PostgreSQL know the zone."""
    try:
        zone = known_time_zone(archive.profile.time_zone)
        await connection.execute(select(func.timezone(literal(zone), func.now())))
    except (Broken, DBAPIError):
        archive.refuse(1, "The time_zone is not known here")
