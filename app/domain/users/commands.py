"""`manage.py users`."""

from collections.abc import Awaitable, Callable

import rich_click as click
from litestar import Litestar

from app.db.config import open_database
from app.domain.users.schemas import UserRead
from app.domain.users.services import UserAdministration
from app.lib.cli import UserId, run_async, settings_of, with_app
from app.lib.errors import OperatorError


@click.group()
def users() -> None:
    """List, show, deactivate and activate users."""


@users.command("list")
@click.option("--limit", type=click.IntRange(1, 10_000), default=100, show_default=True)
@click.option("--offset", type=click.IntRange(0), default=0, show_default=True)
@with_app
def list_users(app: Litestar, limit: int, offset: int) -> None:
    """List users, the oldest first."""
    for user in _ask(app, lambda administration: administration.list_users(limit, offset)):
        click.echo(f"{user.id}\t{user.email or '-'}\t{_state(user)}")


@users.command("show")
@click.argument("user_id", type=UserId())
@with_app
def show_user(app: Litestar, user_id: str) -> None:
    """Show one user."""
    user = _known(_ask(app, lambda administration: administration.get_user(user_id)), user_id)
    for name in user.__struct_fields__:
        click.echo(f"{name}: {getattr(user, name)}")


@users.command("deactivate")
@click.argument("user_id", type=UserId())
@with_app
def deactivate_user(app: Litestar, user_id: str) -> None:
    """Answer a user's requests with 403, within seconds."""
    _known(_ask(app, lambda administration: administration.set_active(user_id, active=False)), user_id)
    click.echo(f"{user_id} is deactivated.")


@users.command("activate")
@click.argument("user_id", type=UserId())
@with_app
def activate_user(app: Litestar, user_id: str) -> None:
    """Let a deactivated user in again."""
    _known(_ask(app, lambda administration: administration.set_active(user_id, active=True)), user_id)
    click.echo(f"{user_id} is active.")


def _ask[T](app: Litestar, question: Callable[[UserAdministration], Awaitable[T]]) -> T:
    async def work() -> T:
        async with open_database(settings_of(app)) as database:
            return await question(UserAdministration(database.session(unscoped="administer users")))

    return run_async(work())


def _known(user: UserRead | None, user_id: str) -> UserRead:
    if user is None:
        raise OperatorError(f"There is no user {user_id!r}: see `python manage.py users list`.")
    return user


def _state(user: UserRead) -> str:
    return "active" if user.deactivated_at is None else f"deactivated {user.deactivated_at:%Y-%m-%d}"
