"""The base of every table: naming, UUIDv7 ids, aware timestamps, and rows that belong to a user."""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any, ClassVar, cast
from uuid import UUID

from sqlalchemy import (
    DateTime,
    FromClause,
    Integer,
    MetaData,
    Table,
    Text,
    Uuid,
    bindparam,
    column,
    func,
    inspect,
    select,
    table,
)
from sqlalchemy.orm import Mapper, declared_attr
from sqlmodel import Field, SQLModel
from uuid_utils.compat import uuid7

# Better Auth may keep its tables in the same database: ours have a PostgreSQL schema to themselves.
SCHEMA = "app"
MAX_USER_ID_LENGTH = 128
WRITTEN_AS = "written as"  # in a table's info: the body by which clients write a whole row, which imports must fit
ROWS_RULE = "rows rule"  # in a table's info: what the rows of a user must be together
TRANSIENT = "transient"  # marks, in its info, an owned table that holds nothing of interest to its users

type RowsRule = Callable[[Sequence[Any]], Iterable[tuple[int, str]]]
"""Yields the index of each row that breaks the rule, with the reason."""

metadata = MetaData(
    schema=SCHEMA,
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    },
)


# now() is when the transaction began; one that waited for the row may have begun before the last write.
WRITTEN_NOW = func.greatest(func.now(), column("updated_at", DateTime(timezone=True)))


class Base(SQLModel):
    """Base of all tables."""

    metadata = metadata
    __table__: ClassVar[FromClause]
    __mapper__: ClassVar[Mapper[Any]]


class Timestamps(SQLModel):
    """When a row was made and last written, by the database's clock."""

    __mapper_args__: ClassVar[dict[str, Any]] = {"eager_defaults": True}  # an update returns `updated_at`

    created_at: datetime = Field(
        default=None, sa_type=DateTime(timezone=True), sa_column_kwargs={"server_default": func.now()}
    )
    updated_at: datetime = Field(
        default=None,
        sa_type=DateTime(timezone=True),
        sa_column_kwargs={"server_default": func.now(), "onupdate": WRITTEN_NOW},
    )


class Owned(Timestamps, Base):
    """A row of one user. The owner leads the key, so that a user's rows lie together and references stay inside."""

    # The repository sets the user of a new instance.
    user_id: str = Field(default=None, primary_key=True, sa_type=Text, foreign_key="users.id", ondelete="CASCADE")
    id: UUID = Field(default_factory=uuid7, primary_key=True, sa_type=Uuid)
    version: int = Field(default=1, sa_type=Integer, sa_column_kwargs={"server_default": "1"})

    @declared_attr.directive
    def __mapper_args__(cls) -> dict[str, Any]:  # noqa: N805 - a class, as for all of SQLAlchemy's directives
        """Let writes of instances count the version, and fail for a row that was written meanwhile."""
        return {"version_id_col": cls.__table__.c.version, "eager_defaults": True}


_users = table(
    "users",
    column("id", Text),
    column("time_zone", Text),
    column("deactivated_at", DateTime(timezone=True)),
    schema=SCHEMA,
)
_preferences = table(
    "preferences",
    column("user_id", Text),
    column("default_list_id", Uuid),
    column("default_priority", Text),
    schema=SCHEMA,
)
_is_owner = _users.c.id == bindparam("owner", type_=Text)
OWNERS_TIME_ZONE = select(_users.c.time_zone).where(_is_owner).scalar_subquery()
OWNERS_DEACTIVATION = select(_users.c.deactivated_at).where(_is_owner).scalar_subquery()
OWNERS_PREFERENCES = select(_preferences).where(_preferences.c.user_id == bindparam("owner", type_=Text))


def owners() -> dict[str, str]:
    """Give the column that names the owner for each owned table: `user_id`, unless the table's info says otherwise."""
    named = {name: table.info.get("owner", "user_id") for name, table in metadata.tables.items()}
    return {name: column for name, column in named.items() if column in metadata.tables[name].columns}


def users_table() -> Table:
    """Give the table of the users themselves."""
    return metadata.tables[f"{SCHEMA}.users"]


def table_of(model: type[Base]) -> Table:
    """Give a model's table; its columns are typed as SQL, the model's attributes as their values."""
    return cast("Table", inspect(model).local_table)
