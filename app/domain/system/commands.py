"""`manage.py run`, `token`, `routes`, `check`, `health`."""

import os
import socket
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import rich_click as click
import uvicorn
from litestar import Litestar

from app.db.config import embedded_postgres, open_database
from app.db.migrate import migrate, pending_revisions
from app.db.suitability import require_suitable
from app.domain.system.checks import run_checks
from app.domain.system.deployment import deployment_findings
from app.domain.system.environment import environment_findings
from app.domain.system.findings import Finding
from app.domain.system.services import check_health
from app.lib.auth.development import mint, mint_access
from app.lib.auth.scopes import scope_of
from app.lib.cli import UserId, run_async, settings_of
from app.lib.errors import OperatorError
from app.lib.http.routes import guarded_by, operations
from app.lib.http.uvicorn_protocol import bounded_http
from app.lib.log import uvicorn_logging
from app.lib.openapi.document import rendered
from app.lib.settings import Settings

APPLICATION = "app.main:create_app"
DEMO_USER = "demo"
DEMO_TTL_SECONDS = 24 * 3600


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", type=click.IntRange(1, 65535), default=8000, show_default=True)
@click.option("--workers", type=click.IntRange(1, 128), default=1, show_default=True, help="Server processes.")
@click.option("--reload", is_flag=True, help="Restart when the code changes.")
def run(app: Litestar, host: str, port: int, workers: int, reload: bool) -> None:
    """Serve the API; with the embedded database, migrate it first."""
    settings = settings_of(app)
    if reload and workers > 1:
        raise OperatorError("--reload serves with one process: leave --workers out.")
    _refuse_taken(host, port)
    for finding in environment_findings():
        click.echo(f"Warning: {finding.message}", err=True)
    with ExitStack() as stack:
        if settings.database_url is None:
            os.environ["DATABASE_URL"] = stack.enter_context(embedded_postgres(settings))  # for the server processes
            settings = Settings.load()
            run_async(_migrate(settings))
        else:
            run_async(_warn_of_pending(settings))
        threading.Thread(target=_announce, args=(settings, host, port), daemon=True).start()
        uvicorn.run(
            APPLICATION,
            factory=True,
            host=host,
            port=port,
            workers=workers,
            reload=reload,
            reload_dirs=[str(Path(__file__).parents[2])] if reload else None,
            loop="auto",
            http=bounded_http(settings),
            ws="none",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=30,
            log_config=uvicorn_logging(settings),
        )


def _refuse_taken(host: str, port: int) -> None:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise OperatorError(
            f"Cannot listen on {host}:{port} ({error.strerror}): choose another --host or --port."
        ) from error


async def _migrate(settings: Settings) -> None:
    async with open_database(settings) as database:
        await migrate(database)


async def _warn_of_pending(settings: Settings) -> None:
    async with open_database(settings) as database:
        await require_suitable(database)
        if pending := await pending_revisions(database):
            click.echo(f"Warning: {len(pending)} migrations are pending: run `python manage.py migrate`.", err=True)


def _announce(settings: Settings, host: str, port: int) -> None:
    """Once the server answers, say where, and how to try it."""
    address = "127.0.0.1" if host in ("0.0.0.0", "::") else host  # noqa: S104 - compared, not bound
    while True:
        try:
            socket.create_connection((address, port), timeout=1).close()
            break
        except OSError:
            time.sleep(0.05)
    url = f"http://{f'[{address}]' if ':' in address else address}:{port}"
    click.echo(f"Listening on {url}/api, described by {url}/api/schema")
    if not settings.in_production:
        token = mint(settings, DEMO_USER, ttl=DEMO_TTL_SECONDS)
        click.echo(f"A token of the user {DEMO_USER!r}, for a day:\n\n{token}\n\nTry it:\n")
        click.echo(
            f"curl -X POST {url}/api/{DEMO_USER}/todos -H 'Authorization: Bearer {token}'"
            """ -H 'Content-Type: application/json' -d '{"title": "Try the API"}'\n"""
        )


@click.command()
@click.argument("user_id", type=UserId())
@click.option("--ttl", type=click.IntRange(1), default=3600, show_default=True, help="Seconds until it expires.")
@click.option("--role", help="The claim that ROLE_CLAIM names.")
@click.option("--email", help="The claim `email`.")
@click.option("--name", help="The claim `name`.")
@click.option("--scope", help="Print an access token of an OAuth client with these scopes, separated by spaces.")
@click.option("--client-id", default="development", show_default=True, help="The OAuth client, with --scope.")
def token(app: Litestar, user_id: str, ttl: int, scope: str | None, client_id: str, **claims: str | None) -> None:
    """Print a token of USER_ID, signed as Better Auth would; not in production."""
    settings = settings_of(app)
    if settings.in_production:
        raise OperatorError("No tokens are made in production: sign in at your Better Auth server.")
    if scope is None:
        click.echo(mint(settings, user_id, ttl=ttl, **claims))
    elif any(claims.values()):
        raise OperatorError("An access token has no role, e-mail or name: leave them or --scope out.")
    else:
        click.echo(mint_access(settings, user_id, ttl=ttl, scope=scope, client_id=client_id))


@click.command()
def routes(app: Litestar) -> None:
    """List every route: method, path, operation, the scope of access tokens (-: none suffices), guards."""
    for operation in operations(app):
        scope = scope_of(operation.handler, operation.method) or "-"
        guards = ", ".join(guarded_by(operation.handler))
        click.echo(f"{operation.method:8}{operation.path:58}{operation.name:30}{scope:22}{guards}")


@click.command()
@click.option("--out", type=click.Path(dir_okay=False, writable=True, path_type=Path), help="Write it to this file.")
def openapi(app: Litestar, out: Path | None) -> None:
    """Print the description of the API: OpenAPI 3.1, in an order that is always the same."""
    document = rendered(app)
    if out is None:
        click.echo(document, nl=False)
    else:
        out.write_bytes(document)


@click.command()
@click.option("--deploy", is_flag=True, help="Check the settings for production too.")
def check(app: Litestar, deploy: bool) -> None:
    """Check the routes, the models, the migrations and the database; exit 1 on an error."""

    async def work() -> list[Finding]:
        async with open_database(settings_of(app)) as database:
            return await run_checks(app, database, deploy=deploy)

    findings = environment_findings()  # before the database is opened, which forgets what has no effect
    findings += [*(deployment_findings(settings_of(app)) if deploy else ()), *run_async(work())]
    for finding in findings:
        click.echo(f"{finding.level}: {finding.number} {finding.message}", err=True)
    if any(finding.level == "error" for finding in findings):
        raise SystemExit(1)
    click.echo("No problems found." if not findings else "No errors found.")


@click.command()
def health(app: Litestar) -> None:
    """For exec probes: exit 0 if requests can be served, 1 if not. Needs no token and opens nothing."""

    async def work() -> None:
        async with open_database(settings_of(app)) as database:
            state = await check_health(database, None)  # bounded by the time to connect
        click.echo(f"{state.status}: database {state.database}, migrations {state.migrations}")
        if not state.is_good:
            raise SystemExit(1)

    run_async(work())
