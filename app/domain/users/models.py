"""The users table."""

from datetime import datetime

from sqlalchemy import CheckConstraint, DateTime, Text, column, func
from sqlmodel import Field

from app.db.base import MAX_USER_ID_LENGTH, Base, Timestamps


class User(Timestamps, Base, table=True):
    """A user of Better Auth, as their tokens named them at first sight."""

    __tablename__ = "users"
    __table_args__ = (CheckConstraint(func.char_length(column("id")).between(1, MAX_USER_ID_LENGTH), name="id_length"),)

    id: str = Field(primary_key=True, sa_type=Text)
    email: str | None = Field(default=None, sa_type=Text)
    name: str | None = Field(default=None, sa_type=Text)
    image: str | None = Field(default=None, sa_type=Text)
    bio: str | None = Field(default=None, sa_type=Text)
    time_zone: str = Field(default="UTC", sa_type=Text, sa_column_kwargs={"server_default": "UTC"})
    deactivated_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
