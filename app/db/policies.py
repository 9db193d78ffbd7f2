"""Policies in migrations: `makemigrations` writes one for each owned table, `check` misses one that is not there."""

from typing import Any

from alembic.autogenerate import comparators, renderers
from alembic.autogenerate.api import AutogenContext
from alembic.operations import MigrateOperation, Operations
from alembic.operations.ops import UpgradeOps
from alembic.util.langhelpers import DispatchPriority
from sqlalchemy import DDL, Text, column, select

from app.db.base import metadata, owners
from app.db.row_security import UNSCOPED_SETTING, USER_SETTING, catalog, classes, our_tables

POLICY = "owner"

_policies = catalog("pg_policy", column("polname", Text), column("polrelid"))
_FOUND = select(classes.c.relname).where(_policies.c.polname == POLICY)
_FOUND = _FOUND.select_from(our_tables.join(_policies, _policies.c.polrelid == classes.c.oid))


def condition(owner: str) -> str:
    """Give what a row must be to be seen and written: its user's own, or any to unscoped work.

    PostgreSQL reads a setting in a subquery once for a statement, not for each row.
    """
    user, unscoped = (f"(SELECT current_setting('{name}', true))" for name in (USER_SETTING, UNSCOPED_SETTING))
    return f"{owner} = {user} OR {unscoped} <> ''"


class _Policy(MigrateOperation):
    """A policy of a table, for all that is read and written."""

    def __init__(self, name: str, table: str, condition: str, schema: str) -> None:
        self.name, self.table, self.condition, self.schema = name, table, condition, schema

    def to_diff_tuple(self) -> tuple[Any, ...]:
        """Say what is missing, or too much."""
        return type(self).__name__, self.name, self.table

    def execute(self, operations: Operations, statement: str) -> None:
        """Run a statement with the names in it."""
        quote = operations.get_bind().dialect.identifier_preparer.quote
        names = {"policy": quote(self.name), "table": f"{quote(self.schema)}.{quote(self.table)}"}
        operations.execute(DDL(statement, context=names | {"condition": self.condition}))  # type: ignore[no-untyped-call]


@Operations.register_operation("create_policy")
class CreatePolicy(_Policy):
    """`op.create_policy(name, table, condition, schema=…)`."""

    @classmethod
    def create_policy(cls, operations: Operations, name: str, table: str, condition: str, *, schema: str) -> None:
        """Make a policy; it counts where row-level security is switched on."""
        operations.invoke(cls(name, table, condition, schema))

    def reverse(self) -> "DropPolicy":
        """Give the way back."""
        return DropPolicy(self.name, self.table, self.condition, self.schema)


@Operations.register_operation("drop_policy")
class DropPolicy(_Policy):
    """`op.drop_policy(name, table, schema=…)`."""

    @classmethod
    def drop_policy(cls, operations: Operations, name: str, table: str, *, schema: str) -> None:
        """Remove a policy."""
        operations.invoke(cls(name, table, "", schema))

    def reverse(self) -> CreatePolicy:
        """Give the way back."""
        return CreatePolicy(self.name, self.table, self.condition, self.schema)


@Operations.implementation_for(CreatePolicy)
def _create(operations: Operations, policy: CreatePolicy) -> None:
    policy.execute(operations, "CREATE POLICY %(policy)s ON %(table)s USING (%(condition)s)")


@Operations.implementation_for(DropPolicy)
def _drop(operations: Operations, policy: DropPolicy) -> None:
    policy.execute(operations, "DROP POLICY %(policy)s ON %(table)s")


@renderers.dispatch_for(CreatePolicy)
def _render_create(_: AutogenContext, policy: CreatePolicy) -> str:
    return f'op.create_policy({policy.name!r}, {policy.table!r}, "{policy.condition}", schema={policy.schema!r})'


@renderers.dispatch_for(DropPolicy)
def _render_drop(_: AutogenContext, policy: DropPolicy) -> str:
    return f"op.drop_policy({policy.name!r}, {policy.table!r}, schema={policy.schema!r})"


@comparators.dispatch_for("schema", priority=DispatchPriority.LAST)  # the tables come first
def _compare(context: AutogenContext, upgrade: UpgradeOps, _: Any) -> None:
    """Ask for a policy of each owned table, and for none of a table that is nobody's."""
    assert context.connection is not None
    found, owned = set(context.connection.execute(_FOUND).scalars()), owners()
    for name, table in metadata.tables.items():
        if (name in owned) != (table.name in found):
            kind = CreatePolicy if name in owned else DropPolicy
            policy = kind(POLICY, table.name, condition(owned.get(name, "user_id")), str(table.schema))
            upgrade.ops.append(policy)
