"""Users, their profiles and their preferences on the wire."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from msgspec import UNSET, Meta, Struct, UnsetType, field

from app.lib import time_zones
from app.lib.auth.tokens import usable_text
from app.lib.validation.body import Body, JsonSchema, LongText, RuleViolation, Trimmed
from app.lib.validation.language_tags import language_tag
from app.lib.validation.query import Limit, Offset, Query

MAX_NAME, MAX_BIO, MAX_LANGUAGE = 200, 2000, 100
MAX_EMAIL, MAX_CLAIM = 320, 2048
THEMES = ("system", "light", "dark")
WEEK_STARTS = ("monday", "sunday", "saturday")
PRIORITIES = ("none", "low", "medium", "high")
UNKNOWN_TIME_ZONE = "Expected the name of a time zone (IANA), as `Europe/Berlin`"
NOTIFICATIONS = "notify_"  # begins the columns that an object holds on the wire


def known_time_zone(name: str) -> str:
    """Return the canonical name of a zone of IANA's database. Raises `RuleViolation`."""
    if name not in time_zones.KNOWN:
        raise RuleViolation(UNKNOWN_TIME_ZONE)
    return time_zones.canonical(name)


Name = Annotated[str, Trimmed(1, MAX_NAME)]
Bio = Annotated[str, LongText(MAX_BIO)]
TimeZone = Annotated[
    str, known_time_zone, JsonSchema(type="string", format="time-zone"), Meta(examples=["Europe/Berlin"])
]
_TAG = JsonSchema(type="string", format="language-tag")
Language = Annotated[str, language_tag, _TAG, Meta(max_length=MAX_LANGUAGE, examples=["pt-BR"])]
Theme = Literal["system", "light", "dark"]
WeekStart = Literal["monday", "sunday", "saturday"]
Priority = Literal["none", "low", "medium", "high"]


class ProfileRead(Struct):
    """What the server knows of a user: by their token at first sight, and by themselves since."""

    id: str
    email: str | None
    name: str | None
    image: str | None
    bio: str | None
    time_zone: str
    created_at: datetime
    updated_at: datetime


class ProfileReplace(Body):
    """A whole profile: what is left out takes its default."""

    name: Name | None = None
    bio: Bio | None = None
    time_zone: TimeZone = "UTC"


class ProfileUpdate(Body, patch_of=ProfileReplace):
    """A JSON merge patch (RFC 7396): what is left out stays, `null` clears."""


def as_claimed(text: str) -> str:
    """Raises `RuleViolation` for a text that is not taken from a token."""
    if usable_text(text, MAX_CLAIM) is None:
        raise RuleViolation("Expected a text without control characters, and not blank")
    return text


class ProfileClaims(Body):
    """What is in a profile, by its user or by their token; what a token says is not trimmed."""

    email: Annotated[str, Meta(max_length=MAX_EMAIL), as_claimed] | None = None
    name: Annotated[str, Meta(max_length=MAX_NAME), as_claimed] | None = None
    image: Annotated[str, Meta(max_length=MAX_CLAIM), as_claimed] | None = None
    bio: Bio | None = None
    time_zone: TimeZone = "UTC"


class Notifications(Struct, forbid_unknown_fields=True):
    """What a user wants to hear of."""

    email: bool = False
    push: bool = False
    due_reminders: bool = False
    daily_summary: bool = False


class NotificationsUpdate(Struct, forbid_unknown_fields=True):
    """A merge patch within one: `null` goes back to the default."""

    email: bool | None | UnsetType = UNSET
    push: bool | None | UnsetType = UNSET
    due_reminders: bool | None | UnsetType = UNSET
    daily_summary: bool | None | UnsetType = UNSET


class PreferencesRead(Struct):
    """How a user likes it; the defaults, until something else is written."""

    theme: Theme = "system"
    language: str = "en"
    week_start: WeekStart = "monday"
    default_list_id: UUID | None = None
    default_priority: Priority = "none"
    notifications: Notifications = field(default_factory=Notifications)


class _PreferencesBody(Body):
    def sent(self) -> dict[str, Any]:
        """Give the notifications by their columns."""
        sent = super().sent()
        if notifications := sent.pop("notifications", None):
            members = {name: getattr(notifications, name) for name in notifications.__struct_fields__}
            sent |= {NOTIFICATIONS + name: bool(wanted) for name, wanted in members.items() if wanted is not UNSET}
        return sent


class PreferencesReplace(_PreferencesBody):
    """Whole preferences: what is left out takes its default."""

    theme: Theme = "system"
    language: Language = "en"
    week_start: WeekStart = "monday"
    default_list_id: UUID | None = None
    default_priority: Priority = "none"
    notifications: Notifications = field(default_factory=Notifications)


class PreferencesUpdate(_PreferencesBody, patch_of=PreferencesReplace):
    """A JSON merge patch (RFC 7396), also within `notifications`."""

    notifications: NotificationsUpdate | UnsetType = UNSET


class UserRead(Struct):
    """A user, as administrators and operators see them."""

    id: str
    email: str | None
    name: str | None
    created_at: datetime
    deactivated_at: datetime | None


class UserQuery(Query):
    """A page of users, of all of them or of those (not) deactivated."""

    limit: Limit = 20
    offset: Offset = 0
    deactivated: bool | UnsetType = UNSET
