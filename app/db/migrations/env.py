"""Alembic's entry: runs on the connection, and in the transaction, that app.db.migrate hands over."""

from alembic import context

import app.db.deployment_secret
import app.db.idempotency
import app.domain  # noqa: F401 - fills the metadata
from app.db.migrate import run_in

run_in(context.config.attributes["connection"], context.configure)
context.run_migrations()
