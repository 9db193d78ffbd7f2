"""Row-level security: PostgreSQL itself shows a transaction the rows of its user alone (`DATABASE_RLS`).

Migrations make a policy for each owned table (`app.db.policies`); `migrate` switches them on, or off, as the setting
says. See docs/decisions/0005-isolation-in-depth.md.
"""

from functools import lru_cache
from typing import Any

import asyncpg
from sqlalchemy import (
    DDL,
    Boolean,
    ColumnClause,
    Connection,
    Engine,
    Table,
    TableClause,
    Text,
    column,
    event,
    func,
    or_,
    select,
    table,
    true,
)
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg
from sqlalchemy.util import await_only

from app.db.base import SCHEMA, metadata, owners
from app.lib.persistence.scope_guard import OWNER, UNSCOPED

ROLE = "todo_backend"
MAX_REMEMBERED = 10_000  # users whose settings are written out
_DIALECT = PGDialect_asyncpg()  # type: ignore[no-untyped-call]
USER_SETTING, UNSCOPED_SETTING = "app.user_id", "app.unscoped"


def catalog(name: str, *columns: ColumnClause[Any]) -> TableClause:
    """Give a table of PostgreSQL's own."""
    return table(name, *columns, schema="pg_catalog")


classes = catalog("pg_class", column("oid"), column("relname", Text), column("relnamespace"))
schemas = catalog("pg_namespace", column("oid"), column("nspname", Text))
our_tables = classes.join(schemas, (schemas.c.oid == classes.c.relnamespace) & (schemas.c.nspname == SCHEMA))
_roles = catalog("pg_roles", column("rolname"), column("rolsuper", Boolean), column("rolbypassrls", Boolean))

_STATES = select(
    classes.c.relname, column("relrowsecurity", Boolean), column("relforcerowsecurity", Boolean)
).select_from(our_tables)
_PRIVILEGED = select(or_(_roles.c.rolsuper, _roles.c.rolbypassrls)).where(_roles.c.rolname == func.current_user())
_SWITCH = {
    True: DDL("ALTER TABLE %(fullname)s ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY"),  # type: ignore[no-untyped-call]
    False: DDL("ALTER TABLE %(fullname)s DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY"),  # type: ignore[no-untyped-call]
}

_LOCK = 0x726F6C65  # any number that all processes share
_HAS_ROLE = select(func.count()).where(_roles.c.rolname == ROLE)


class ScopedConnection(asyncpg.Connection):
    """Tells PostgreSQL with each BEGIN, in the same round trip and for that transaction alone, whose it is."""

    __slots__ = ("_announced", "scope")

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.scope = self._announced = _scope(None, None)

    async def execute(self, query: str, *args: Any, timeout: float | None = None) -> str:  # noqa: ASYNC109 - asyncpg's
        """Run a command."""
        if query.startswith("BEGIN"):
            query, self._announced = f"{query.rstrip(';')}; {self.scope}", self.scope
        return await super().execute(query, *args, timeout=timeout)

    @property
    def lags(self) -> bool:
        """Whether it is within a transaction that was another's so far."""
        return self._announced != self.scope and self.is_in_transaction()

    async def follow(self) -> None:
        """Tell whose it is from now on."""
        await super().execute(self.scope)
        self._announced = self.scope


def announce_users(engine: Engine) -> None:
    """Have each transaction begin with whose it is. Both settings are set each time: nothing is carried over."""

    @event.listens_for(engine, "before_cursor_execute")
    def announce(connection: Any, _cursor: Any, _sql: str, _values: Any, context: Any, _many: bool) -> None:
        options = context.execution_options
        driver: ScopedConnection = connection.connection.driver_connection
        driver.scope = _scope(options.get(OWNER), options.get(UNSCOPED))
        if driver.lags:
            await_only(driver.follow())


@lru_cache(MAX_REMEMBERED)
def _scope(user_id: str | None, unscoped: str | None) -> str:
    """Write what goes with BEGIN: a message of several statements takes no parameters, so SQLAlchemy quotes them."""
    settings = {USER_SETTING: user_id or "", UNSCOPED_SETTING: unscoped or ""}
    if any("\\" in value or "\0" in value for value in settings.values()):
        raise ValueError("No user has such an id")
    told = select(*(func.set_config(name, value, true()) for name, value in settings.items()))
    return str(told.compile(dialect=_DIALECT, compile_kwargs={"literal_binds": True}))


def unlike(connection: Connection, secured: bool) -> list[Table]:
    """Give the owned tables that are not secured, or that are, against the setting."""
    states = {f"{SCHEMA}.{name}": tuple(state) for name, *state in connection.execute(_STATES)}
    wanted = (secured, secured)
    return [metadata.tables[name] for name in owners() if states.get(name, wanted) != wanted]


def secure(connection: Connection, secured: bool) -> None:
    """Switch row-level security on or off, also for the tables' owner; those that are so already are not locked."""
    for owned in unlike(connection, secured):
        connection.execute(_SWITCH[secured].against(owned))


def make_role(connection: Connection) -> None:
    """Make the role that may do what the connection's may, but for a superuser's powers."""
    connection.execute(select(func.pg_advisory_xact_lock(_LOCK)))
    if not connection.execute(_HAS_ROLE).scalar():
        own = connection.dialect.identifier_preparer.quote(connection.execute(select(func.current_user())).scalar_one())
        connection.execute(DDL(f"CREATE ROLE {ROLE} LOGIN IN ROLE {own}"))  # type: ignore[no-untyped-call]


def is_privileged(connection: Connection) -> bool:
    """Tell whether row-level security does not count for the role of the connection."""
    return bool(connection.execute(_PRIVILEGED).scalar())
