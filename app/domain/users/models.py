"""The tables of users and of their preferences."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    DateTime,
    ForeignKeyConstraint,
    Text,
    Uuid,
    column,
    false,
    func,
)
from sqlmodel import Field

from app.db.base import MAX_USER_ID_LENGTH, WRITTEN_AS, Base, Timestamps
from app.domain.users.schemas import (
    MAX_BIO,
    MAX_LANGUAGE,
    PRIORITIES,
    THEMES,
    WEEK_STARTS,
    PreferencesReplace,
    ProfileClaims,
)


class User(Timestamps, Base, table=True):
    """A user of Better Auth, as their tokens named them at first sight."""

    __tablename__ = "users"
    __table_args__ = (
        CheckConstraint(func.char_length(column("id")).between(1, MAX_USER_ID_LENGTH), name="id_length"),
        CheckConstraint(func.char_length(column("bio")) <= MAX_BIO, name="bio_length"),
        {"info": {"owner": "id", WRITTEN_AS: ProfileClaims}},
    )

    id: str = Field(primary_key=True, sa_type=Text)
    email: str | None = Field(default=None, sa_type=Text)
    name: str | None = Field(default=None, sa_type=Text)
    image: str | None = Field(default=None, sa_type=Text)
    bio: str | None = Field(default=None, sa_type=Text)
    time_zone: str = Field(default="UTC", sa_type=Text, sa_column_kwargs={"server_default": "UTC"})
    deactivated_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))


def _choice(default: str) -> Any:
    return Field(default=default, sa_type=Text, sa_column_kwargs={"server_default": default})


def _switch() -> Any:
    return Field(default=False, sa_type=Boolean, sa_column_kwargs={"server_default": false()})


class Preferences(Timestamps, Base, table=True):
    """How a user likes it; there is no row before the first write."""

    __tablename__ = "preferences"
    __table_args__ = (
        CheckConstraint(column("theme").in_(THEMES), name="theme_known"),
        CheckConstraint(func.char_length(column("language")).between(1, MAX_LANGUAGE), name="language_length"),
        CheckConstraint(column("week_start").in_(WEEK_STARTS), name="week_start_known"),
        CheckConstraint(column("default_priority").in_(PRIORITIES), name="default_priority_known"),
        ForeignKeyConstraint(
            ["user_id", "default_list_id"],
            ["lists.user_id", "lists.id"],
            ondelete="SET NULL (default_list_id)",
            name="fk_preferences_default_list_id",
        ),
        {"info": {WRITTEN_AS: PreferencesReplace}},
    )

    user_id: str = Field(primary_key=True, sa_type=Text, foreign_key="users.id", ondelete="CASCADE")
    theme: str = _choice("system")
    language: str = _choice("en")
    week_start: str = _choice("monday")
    default_list_id: UUID | None = Field(default=None, sa_type=Uuid)
    default_priority: str = _choice("none")
    notify_email: bool = _switch()
    notify_push: bool = _switch()
    notify_due_reminders: bool = _switch()
    notify_daily_summary: bool = _switch()
