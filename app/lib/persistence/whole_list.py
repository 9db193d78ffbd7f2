"""Lists without a limit: small ones at once, long ones in chunks whose size is bounded, whatever is in the rows."""

from collections.abc import AsyncGenerator, Iterator, Mapping
from typing import Any, NamedTuple
from uuid import UUID

from msgspec import Struct

from app.lib.persistence.statements import OUTLINE
from app.lib.persistence.user_scoped import UserScopedService
from app.lib.validation.query import Sort

FIRST_ROWS = 100  # as many as a page has at most
CHUNK_BYTES = 256 * 1024  # of texts in memory at a time, for each reader
CHUNK_ROWS = 200


class WholeList[ReadT: Struct](NamedTuple):
    """All rows that match, from an offset on; `further` chunks are there if `first` has not all of them."""

    first: list[ReadT]
    total: int
    further: AsyncGenerator[list[ReadT]] | None


async def whole_list[ReadT: Struct](
    service: UserScopedService[Any, ReadT], filters: Mapping[str, Any], sort: Sort, offset: int
) -> WholeList[ReadT]:
    """Return all matches from an offset on: in one read where they are few.

    Of more, the ids are read at once, 20 bytes each: one order for all chunks, and no connection is held between them.
    A row that no longer matches when its chunk is read is left out.
    """
    rows, total = await service.list_from(filters, sort, offset, FIRST_ROWS)
    if offset + len(rows) >= total:
        return WholeList(rows, total, None)
    outline = await service.outline(filters, sort)
    chunks = _read(service, filters, outline[offset * OUTLINE.size :])
    return WholeList([], len(outline) // OUTLINE.size, chunks)


async def _read[ReadT: Struct](
    service: UserScopedService[Any, ReadT], filters: Mapping[str, Any], outline: bytes
) -> AsyncGenerator[list[ReadT]]:
    for ids in chunks_of(outline):
        yield await service.list_chosen(filters, ids)


def chunks_of(outline: bytes) -> Iterator[list[UUID]]:
    """Yield the ids of so many rows as have the size of a chunk together; of one at least."""
    ids: list[UUID] = []
    total = 0
    for key, size in OUTLINE.iter_unpack(outline):
        if ids and (total + size > CHUNK_BYTES or len(ids) == CHUNK_ROWS):
            yield ids
            ids, total = [], 0
        ids.append(UUID(bytes=key))
        total += size
    if ids:
        yield ids
