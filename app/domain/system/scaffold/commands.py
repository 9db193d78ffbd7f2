"""`manage.py startapp`."""

import rich_click as click
from litestar import Litestar

from app.db.base import SCHEMA, metadata
from app.domain.system.scaffold.fields import DEFAULT, read_fields
from app.domain.system.scaffold.kinds import KINDS
from app.domain.system.scaffold.names import domain_names
from app.domain.system.scaffold.writing import write_domain
from app.lib.errors import OperatorError
from app.lib.http.routes import operations
from app.lib.settings import PROJECT

_HELP = f"""Write a new domain whose rows belong to their users, with its tests, and join it.

NAME is its plural: orders. FIELDS are NAME:TYPE, or NAME:TYPE? where null is allowed; {DEFAULT} unless given. The
types are {", ".join(KINDS)}; string(80), text(5000), decimal(12,2) and enum(open,paid) take what stands in brackets.
Put quotes around brackets and question marks, which mean something to the shell.
"""


@click.command(help=_HELP)
@click.argument("name")
@click.argument("fields", nargs=-1)
@click.option("--singular", help="What one of them is called, where NAME without its s is wrong.")
def startapp(app: Litestar, name: str, fields: tuple[str, ...], singular: str | None) -> None:
    """Write a new domain."""
    many, one = domain_names(name, singular)
    _refuse_taken(app, many.snake, one.snake)
    written = write_domain(PROJECT, many, one, read_fields(fields, f"_{one.snake}"))
    click.echo(f"Wrote {' and '.join(map(str, written))}, and joined them in app/domain/__init__.py. Now:")
    click.echo(f'  python manage.py makemigrations -m "create {many.words}"\n  python manage.py migrate')


def _refuse_taken(app: Litestar, plural: str, singular: str) -> None:
    if f"{SCHEMA}.{plural}" in metadata.tables:
        raise OperatorError(f"There is a table {plural!r} already: choose another name.")
    served = list(operations(app))
    if any(f"{item.path}/".startswith(f"/api/{{user_id}}/{plural}/") for item in served):
        raise OperatorError(f"/api/{{user_id}}/{plural} is served already: choose another name.")
    verbs = ("create", "get", "replace", "update", "delete")
    made = {f"list_{plural}", *(f"{verb}_{singular}" for verb in verbs)}
    if doubles := sorted(made & {item.name for item in served}):
        raise OperatorError(f"There is an operation {doubles[0]!r} already: choose another name.")
