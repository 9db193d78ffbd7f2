"""`manage.py seed`: believable rows in bulk."""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import rich_click as click
from litestar import Litestar
from rich.progress import Progress
from sqlalchemy import Table, delete
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from app.db.base import users_table
from app.db.bulk import copy_rows, unlimited
from app.db.config import open_database
from app.lib.cli import UserId, run_async, settings_of
from app.lib.errors import OperatorError


class Seeder(Protocol):
    """Makes the rows of one owned table."""

    table: Table
    columns: Sequence[str]

    def rows(self, user_id: str, count: int) -> Iterator[tuple[Any, ...]]:
        """Give `count` rows of a user."""


class UserFactory(Protocol):
    """Makes users."""

    def batch(self, size: int) -> Sequence[Any]:
        """Give users with the fields `id`, `email` and `name`."""


def seed_command(users_factory: UserFactory, seeders: Sequence[Seeder]) -> click.Command:
    """Make the command for the domains' factories."""

    @click.command()
    @click.option("--users", type=click.IntRange(1, 100_000), default=3, show_default=True, help="How many users.")
    @click.option("--todos", type=click.IntRange(0, 1_000_000), default=100, show_default=True, help="Todos of each.")
    @click.option("--user", "user_id", type=UserId(), help="Seed this user only.")
    @click.option("--reset", is_flag=True, help="First remove all users with all that is theirs; not in production.")
    def seed(app: Litestar, users: int, todos: int, user_id: str | None, reset: bool) -> None:
        """Fill the database with believable users and todos."""
        settings = settings_of(app)
        if reset and settings.in_production:
            raise OperatorError("--reset would remove every user: not in production.")

        async def work() -> list[str]:
            async with open_database(settings) as database, database.begin(unscoped="seed") as connection:
                await unlimited(connection)
                if reset:
                    await connection.execute(delete(users_table()))
                made = [{"id": user_id}] if user_id else _named(users_factory.batch(users))
                await connection.execute(insert(users_table()).on_conflict_do_nothing(), made)
                await _fill(connection, seeders, [row["id"] for row in made], todos)
                return [row["id"] for row in made]

        ids = run_async(work())
        click.echo(f"Seeded {len(ids)} users with {todos} todos each. A token: python manage.py token {ids[0]}")

    return seed


async def _fill(connection: AsyncConnection, seeders: Sequence[Seeder], ids: list[str], count: int) -> None:
    with Progress(transient=True) as progress:
        for user_id in progress.track(ids, description="Seeding"):
            for seeder in seeders:
                await copy_rows(connection, seeder.table, seeder.columns, seeder.rows(user_id, count))


def _named(users: Sequence[Any]) -> list[dict[str, Any]]:
    return [{"id": user.id, "email": user.email, "name": user.name} for user in users]
