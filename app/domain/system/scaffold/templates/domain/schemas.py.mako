"""${plural.words.capitalize()} on the wire."""

from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Literal
from uuid import UUID

from msgspec import UNSET, Meta, Struct, UnsetType

from app.lib.validation.body import Body, Digits, Instant, Int32, LongText, Trimmed
from app.lib.validation.query import Moment, Number, PageQuery

% for field in fields:
% for line in field.declared:
${line}
% endfor
% endfor


class ${singular.camel}Read(Struct):
    """${singular.one.capitalize()}, as the server keeps it."""

    id: UUID
    user_id: str
% for field in fields:
    ${field.name}: ${field.read}${" | None" if field.nullable else ""}
% endfor
    created_at: datetime
    updated_at: datetime
    version: int


class ${singular.camel}Create(Body):
    """A whole ${singular.words}: what is left out takes its default."""

% for field in fields:
    ${field.name}: ${field.body}${" | None = None" if field.nullable else ""}
% endfor


class ${singular.camel}Update(Body, patch_of=${singular.camel}Create):
    """A JSON merge patch (RFC 7396): what is left out stays${", `null` clears" if any(field.nullable for field in fields) else ""}."""


class ${singular.camel}Query(PageQuery):
    """${"Filters, all of which must hold" if filters else "A list takes no filters"}."""

% for filter in filters:
    ${filter.parameter}: ${filter.type} | UnsetType = UNSET
% endfor
