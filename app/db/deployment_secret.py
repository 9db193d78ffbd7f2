"""The random secret that all processes of a deployment without `BETTER_AUTH_SECRET` share."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime

import structlog
from sqlalchemy import DateTime, LargeBinary, Text, bindparam, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import Field

from app.db.base import Base, table_of
from app.db.config import Database
from app.lib.deployment_secret import DeploymentSecret
from app.lib.errors import Unavailable
from app.lib.log import exception_summary

NAME = "deployment"
SECRET_BYTES = 32
FIRST_WAIT_SECONDS = 2.0  # at start; then requests are served, and cursors are 503 until it is known
RETRY_SECONDS = 1.0

_log = structlog.get_logger()


class Secret(Base, table=True):
    """A secret of the deployment; no user's."""

    __tablename__ = "secrets"

    name: str = Field(primary_key=True, sa_type=Text)
    value: bytes = Field(sa_type=LargeBinary)
    created_at: datetime = Field(sa_type=DateTime(timezone=True), sa_column_kwargs={"server_default": func.now()})


_secrets = table_of(Secret)
_FIND = select(_secrets.c.value).where(_secrets.c.name == NAME)
_CREATE = insert(_secrets).values(name=NAME, value=bindparam("new_value")).on_conflict_do_nothing()


async def load_secret(secret: DeploymentSecret, database: Database) -> None:
    """Read the stored secret if there is no other; the first process creates it."""
    if secret.is_known:
        return
    session = database.session()
    if not (rows := await session.read(_FIND, {})):
        await session.write(_CREATE, {"new_value": secrets.token_bytes(SECRET_BYTES)})
        rows = await session.read(_FIND, {})
    secret.learn(bytes(rows[0][0]))


@asynccontextmanager
async def loaded_secret(secret: DeploymentSecret, database: Database) -> AsyncIterator[None]:
    """Have the secret loaded, now or as soon as the database can be reached."""
    loading = asyncio.create_task(_load_when_possible(secret, database))
    try:
        await asyncio.wait({loading}, timeout=FIRST_WAIT_SECONDS)
        yield
    finally:
        loading.cancel()
        await asyncio.wait({loading})


async def _load_when_possible(secret: DeploymentSecret, database: Database) -> None:
    has_failed = False
    while True:
        try:
            return await load_secret(secret, database)
        except (Unavailable, SQLAlchemyError) as error:
            if not has_failed:
                _log.warning(
                    "the secret of the deployment cannot be read: cursors are not served", **exception_summary(error)
                )
            has_failed = True
            await asyncio.sleep(RETRY_SECONDS)
