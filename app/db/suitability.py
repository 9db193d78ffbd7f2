"""What a database must be, and what it had better be, for this application to keep text as it was sent."""

from sqlalchemy import Connection, func, select

from app.db.config import Database
from app.lib.errors import OperatorError

OLDEST = (15,)  # the first to clear one column of a reference that ends
ENCODING = "UTF8"
LETTERS = "ÀÉÖŠÑЖΔI"  # no Σ: its lower case depends on its place

_ENCODING = select(func.current_setting("server_encoding"))
_FOLDED = select(func.lower(LETTERS))


def refuse_unsuitable(connection: Connection) -> None:
    """Raise `OperatorError` for a server that is too old, or a database that cannot hold all text."""
    if (connection.dialect.server_version_info or OLDEST) < OLDEST:
        raise OperatorError(f"The database server is older than PostgreSQL {OLDEST[0]}, which is needed.")
    if (encoding := connection.execute(_ENCODING).scalar_one()) != ENCODING:
        raise OperatorError(
            f"The encoding of the database is {encoding}, and {ENCODING} is needed: "
            f"make another with `CREATE DATABASE name ENCODING '{ENCODING}' TEMPLATE template0`."
        )


async def require_suitable(database: Database) -> None:
    """As `refuse_unsuitable`, on a connection of its own."""
    async with database.begin(unscoped="check the encoding") as connection:
        await connection.run_sync(refuse_unsuitable)


def folds_case(connection: Connection) -> bool:
    """Check whether the database's ctype knows the case of letters beyond ASCII."""
    return bool(connection.execute(_FOLDED).scalar() == LETTERS.lower())
