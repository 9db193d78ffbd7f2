"""Lists on the wire."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from msgspec import UNSET, Meta, Struct, UnsetType

from app.lib.validation.body import Body, ExactlyOne, Trimmed
from app.lib.validation.query import PageQuery

MAX_NAME = 100
COLOR = "^#[0-9a-f]{6}$"

Name = Annotated[str, Trimmed(1, MAX_NAME)]
Color = Annotated[str, Meta(pattern="^#[0-9a-fA-F]{6}$", max_length=7), str.lower]


class ListRead(Struct):
    """A list, as the server keeps it."""

    id: UUID
    user_id: str
    name: str
    color: str | None
    position: str
    created_at: datetime
    updated_at: datetime
    version: int


class ListCreate(Body):
    """A whole list: what is left out takes its default."""

    name: Name
    color: Color | None = None


class ListUpdate(Body, patch_of=ListCreate):
    """A JSON merge patch (RFC 7396): what is left out stays, `null` clears."""


class ListQuery(PageQuery):
    """Lists come as the user ordered them, unless sorted otherwise."""


class ListMove(Body):
    """Where a list goes: right before or after another."""

    before: UUID | UnsetType = UNSET
    after: UUID | UnsetType = UNSET
    cross_field_rules = (ExactlyOne("before", "after"),)

    def target(self) -> tuple[Literal["before", "after"], UUID]:
        """Give what is said, and of which list."""
        (target,) = self.sent().items()
        return target  # type: ignore[return-value]
