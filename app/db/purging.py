"""`manage.py purge`: removes what no longer counts, of all users."""

import re
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Protocol

import rich_click as click
from litestar import Litestar

from app.db.config import open_database
from app.db.idempotency import purge_answers
from app.lib.cli import run_async, settings_of
from app.lib.persistence.session import Session

_DURATION = re.compile(r"([0-9]{1,6})([smhdw])")
_LONGEST = timedelta(weeks=52_000)  # a thousand years; PostgreSQL counts back to 4713 before Christ
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


class Purger(Protocol):
    """Removes rows of one kind that have been of no use for long enough."""

    what: str

    async def purge(self, session: Session, older_than: timedelta) -> int:
        """Remove them, and give how many there were."""


class Duration(click.ParamType[timedelta]):
    """A time span like `30d`, `12h`."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        """Read it."""
        if isinstance(value, timedelta):
            return value
        found = _DURATION.fullmatch(value)
        span = timedelta(**{_UNITS[found[2]]: int(found[1])}) if found else None
        if span is None or span > _LONGEST:
            self.fail(f"{value!r} is no time span: expected something like 30d, 12h or 2w.", param, ctx)
        return span


def purge_command(purgers: Sequence[Purger]) -> click.Command:
    """Make the command for what the domains throw away."""

    @click.command()
    @click.option(
        "--older-than",
        type=Duration(),
        default="30d",
        show_default=True,
        help="How long it must have been thrown away.",
    )
    def purge(app: Litestar, older_than: timedelta) -> None:
        """Remove what was thrown away long ago, and answers kept for Idempotency-Keys for more than a day."""

        async def work() -> dict[str, int]:
            async with open_database(settings_of(app)) as database:
                session = database.session(unscoped="purge")
                gone = {purger.what: await purger.purge(session, older_than) for purger in purgers}
                return gone | {"answers": await purge_answers(session)}

        click.echo("Removed " + ", ".join(f"{count} {what}" for what, count in run_async(work()).items()) + ".")

    return purge
