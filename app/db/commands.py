"""`manage.py migrate`, `makemigrations`, `showmigrations`."""

import rich_click as click
from litestar import Litestar

from app.db import migrate as migrations
from app.db.config import open_database
from app.lib.cli import run_async, settings_of
from app.lib.errors import OperatorError


@click.command()
@click.argument("target", default="head")
def migrate(app: Litestar, target: str) -> None:
    """Apply migrations up to TARGET (all of them by default), or go back to it; `zero` takes all back."""

    async def work() -> None:
        async with open_database(settings_of(app)) as database:
            before = await migrations.current_revision(database)
            await migrations.migrate(database, target)
            after = await migrations.current_revision(database)
        click.echo(f"Already at {after or 'zero'}." if before == after else f"{before or 'zero'} -> {after or 'zero'}")

    run_async(work())


@click.command()
@click.option("-m", "--message", default="change the models", help="What the migration does, in a few words.")
@click.option("--check", is_flag=True, help="Write nothing; exit 1 if a migration is missing.")
def makemigrations(app: Litestar, message: str, check: bool) -> None:
    """Write a migration for what has changed in the models; the embedded database is migrated first."""

    async def work() -> None:
        settings = settings_of(app)
        async with open_database(settings) as database:
            if settings.database_url is None:
                await migrations.migrate(database)
            if await migrations.pending_revisions(database):
                raise OperatorError("The database is behind: run `python manage.py migrate` first.")
            if check:
                if await migrations.differences(database):
                    raise OperatorError("The models have changed: run `python manage.py makemigrations -m ...`.")
                path = None
            else:
                path = await migrations.make_migration(database, message)
        click.echo(f"Wrote {path.name}: read it before you apply it." if path else "No changes in the models.")

    run_async(work())


@click.command()
def showmigrations(app: Litestar) -> None:
    """List the migrations; [X] is applied."""

    async def work() -> None:
        async with open_database(settings_of(app)) as database:
            pending = await migrations.pending_revisions(database)
        for script in migrations.revisions():
            click.echo(f"[{' ' if script.revision in pending else 'X'}] {script.revision} {script.doc}")

    run_async(work())


ALL = (migrate, makemigrations, showmigrations)
