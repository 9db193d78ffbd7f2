"""The environment variables of psql and other programs on libpq, which asyncpg reads as well."""

import os

_NAMES = """
    APPNAME CHANNELBINDING CLIENTENCODING CONNECT_TIMEOUT DATABASE DATESTYLE GEQO GSSDELEGATION GSSENCMODE GSSLIB HOST
    HOSTADDR KRBSRVNAME LOADBALANCEHOSTS MAXPROTOCOLVERSION MINPROTOCOLVERSION OPTIONS PASSFILE PASSWORD PORT
    REQUIREAUTH REQUIREPEER REQUIRESSL SERVICE SERVICEFILE SSLCERT SSLCERTMODE SSLCOMPRESSION SSLCRL SSLCRLDIR SSLKEY
    SSLMAXPROTOCOLVERSION SSLMINPROTOCOLVERSION SSLMODE SSLNEGOTIATION SSLROOTCERT SSLSNI SYSCONFDIR TARGETSESSIONATTRS
    TZ USER
"""
# `DATABASE_URL` alone says where the database is and how to connect: a variable of a developer's shell must lead
# neither the embedded database's client nor a server to another place, or to less encryption.
VARIABLES = frozenset(f"PG{name}" for name in _NAMES.split())


def set_variables() -> list[str]:
    """Return the names of those that are set."""
    return sorted(VARIABLES & os.environ.keys())


def forget_variables() -> None:
    """Remove them from this process's environment: asyncpg has no option to ignore them."""
    for name in set_variables():
        del os.environ[name]
