"""The column in which a row keeps its place in a list."""

from typing import Any

from sqlalchemy import CheckConstraint, Text, column, func
from sqlmodel import Field

from app.lib.persistence.fractional_index import MAX_POSITION, position_of_now


def position_field() -> Any:
    # The default is for rows that no service inserts: a service puts a new row behind the last of its list.
    return Field(default=None, sa_type=Text(collation="C"), sa_column_kwargs={"server_default": position_of_now()})


def position_length() -> CheckConstraint:
    return CheckConstraint(func.char_length(column("position")).between(1, MAX_POSITION), name="position_length")
