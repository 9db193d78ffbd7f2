"""Tags on the wire."""

from msgspec import Struct

from app.lib.validation.query import Limit, Offset, Query


class TagRead(Struct):
    """A tag, and how many todos outside the trash have it."""

    name: str
    count: int


class TagQuery(Query):
    """A page of tags."""

    limit: Limit = 20
    offset: Offset = 0
