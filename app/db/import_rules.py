"""What a row of an import must be: as the API could have written it."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
from msgspec import Struct

from app.db.archive import ExportTable
from app.lib.errors import Invalid
from app.lib.persistence.fractional_index import DIGITS, MAX_POSITION
from app.lib.validation.body import RuleViolation

SKEW = timedelta(days=1)  # by which the clock of the database that was exported may have been ahead
_POSITION = re.compile(rf"(?=.*[^0])[{DIGITS}]{{1,{MAX_POSITION}}}")
_WRITTEN = ("created_at", "updated_at", "completed_at", "deleted_at", "deactivated_at")
_UUID_VERSION = 7


def fault_of(kind: ExportTable, record: Any) -> str | None:
    """Return what is wrong with a row, or None."""
    return next(_server_faults(record), None) or _body_fault(kind.body, record)


def _server_faults(record: Any) -> Iterator[str]:
    """Yield what is wrong with the columns that the server writes itself, which every table may have."""
    values = {name: getattr(record, name) for name in record.__struct_fields__}
    key, version, position = values.get("id"), values.get("version"), values.get("position")
    if isinstance(key, UUID) and key.version != _UUID_VERSION:
        yield "Expected a UUID of version 7 - at `$.id`"
    if isinstance(version, int) and version < 1:
        yield "Expected a version of at least 1 - at `$.version`"
    if isinstance(position, str) and not _POSITION.fullmatch(position):
        yield f"Expected a position of 1 to {MAX_POSITION} letters and digits - at `$.position`"
    yield from _time_faults(values)


def _time_faults(values: dict[str, Any]) -> Iterator[str]:
    latest = datetime.now(UTC) + SKEW
    moments = {name: value for name in _WRITTEN if isinstance(value := values.get(name), datetime) and value.tzinfo}
    for name, moment in moments.items():
        if moment > latest:
            yield f"Expected a moment of the past - at `$.{name}`"
        if moment == datetime.min.replace(tzinfo=UTC):
            yield f"Expected a moment after the first one - at `$.{name}`"
    if {"created_at", "updated_at"} <= moments.keys() and moments["updated_at"] < moments["created_at"]:
        yield "Expected no moment before created_at - at `$.updated_at`"


def _body_fault(body: type[Struct] | None, record: Any) -> str | None:
    """Return why a client could not have sent the values of a row, or would have got others."""
    if body is None:
        return None
    names = [name for name in body.__struct_fields__ if hasattr(record, name)]
    try:
        written = msgspec.convert(msgspec.to_builtins({name: getattr(record, name) for name in names}), body)
    except (msgspec.ValidationError, RuleViolation) as error:
        return str(error)
    except Invalid as error:
        return error.errors[0].detail
    changed = (name for name in names if not _same(getattr(written, name), getattr(record, name)))
    return next((f"Expected the value as the API stores it - at `$.{name}`" for name in changed), None)


def _same(one: Any, other: Any) -> bool:
    return bool(one == other) or msgspec.to_builtins(one) == msgspec.to_builtins(other)
