"""`manage.py users`, `exportuser`, `importuser`, `eraseuser`."""

from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import rich_click as click
from litestar import Litestar

from app.db.bulk import unlimited
from app.db.config import open_database
from app.db.deployment_secret import load_secret
from app.db.restore import Archive
from app.domain.users.administration import UserAdministration
from app.domain.users.schemas import UserQuery, UserRead, known_time_zone
from app.domain.users.services import AccountService, erase_user
from app.lib.auth.guards import USER_ID
from app.lib.cli import UserId, escaped, run_async, settings_of, with_app
from app.lib.errors import NotFound, OperatorError, OwnerDeleted
from app.lib.middleware.access_log import audit_logger
from app.lib.private_file import private_file
from app.lib.validation.body import RuleViolation


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
    for user in _ask(app, lambda administration: administration.list_users(query)).items:
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
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="A new file, in place of standard output.")
@click.option("--force", is_flag=True, help="Replace the file if it is there.")
def exportuser(app: Litestar, user_id: str, out: Path | None, force: bool) -> None:
    """Write everything of USER_ID as JSON Lines, as the user's own export does; only its owner can read the file."""

    async def work() -> None:
        async with open_database(settings_of(app)) as database:
            with private_file(out, replace=force) if out else click.open_file("-", "wb") as file:
                async for lines in AccountService(database.session(user_id), user_id).export():
                    file.write(lines)

    if out and not out.absolute().parent.is_dir():
        raise OperatorError(f"There is no directory {out.parent}: choose another --out.")
    try:
        run_async(work())
    except OwnerDeleted:
        raise _stranger(user_id) from None


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def importuser(app: Litestar, file: Path) -> None:
    """Put an exported user back: every line of FILE, or none. There must be no such user."""

    async def work() -> int:
        async with open_database(settings_of(app)) as database, database.begin(unscoped="import a user") as connection:
            await unlimited(connection)
            return await archive.restore(connection)

    archive = Archive(file)
    if not USER_ID.fullmatch(archive.profile.id):
        archive.refuse(1, "No user can have this id")
    _check_zone(archive)
    archive.verify()
    click.echo(f"Imported {run_async(work())} lines of {archive.profile.id}.")


@click.command()
@click.argument("user_id", type=UserId())
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--lift", is_flag=True, help="Remove the mark of a deactivated user too: they may come again.")
def eraseuser(app: Litestar, user_id: str, yes: bool, lift: bool) -> None:
    """Erase USER_ID and everything that is theirs, for good; a deactivated user stays deactivated."""

    async def work() -> bool:
        async with open_database(settings_of(app)) as database, database.begin(unscoped="erase a user") as connection:
            await unlimited(connection)
            return await erase_user(connection, user_id, lift=lift)

    _ask_about(app, user_id, UserAdministration.get_user)
    if not yes:
        click.confirm(f"Erase {user_id} and everything that is theirs, for good?", abort=True)
    stays = run_async(work())
    click.echo(f"{user_id} is erased.")
    if stays:
        click.echo(f"The id stays deactivated: `python manage.py users activate {user_id}` lifts that.")


ALL = (users, exportuser, importuser, eraseuser)


def _ask[T](app: Litestar, question: Callable[[UserAdministration], Awaitable[T]]) -> T:
    async def work() -> T:
        async with open_database(settings_of(app)) as database:
            await load_secret(app.state.deployment_secret, database)
            record = audit_logger(settings_of(app), secret=app.state.deployment_secret)
            return await question(UserAdministration(database.session(), record=record))

    return run_async(work())


def _ask_about(app: Litestar, user_id: str, question: Callable[..., Awaitable[UserRead]]) -> UserRead:
    try:
        return _ask(app, lambda administration: question(administration, user_id))
    except NotFound:
        raise _stranger(user_id) from None


def _stranger(user_id: str) -> OperatorError:
    return OperatorError(f"There is no user {user_id!r}: see `python manage.py users list`.")


def _state(user: UserRead) -> str:
    return "active" if user.deactivated_at is None else f"deactivated {user.deactivated_at:%Y-%m-%d}"


def _check_zone(archive: Archive) -> None:
    """No constraint of the table holds what a profile's schema does: that the zone is known."""
    try:
        known_time_zone(archive.profile.time_zone)
    except RuleViolation:
        archive.refuse(1, "The time_zone is not known here")
