"""The ${plural.words} table. Its constraints are a second wall behind the schemas."""

from datetime import date, datetime
from decimal import Decimal
from typing import get_args
from uuid import UUID

from sqlalchemy import Boolean, CheckConstraint, Date, DateTime, Index, Integer, Numeric, Text, Uuid, column, func
from sqlmodel import Field

from app.db.base import Owned
% for name in shared:
from app.domain.${plural.snake}.schemas import ${name}
% endfor


class ${singular.camel}(Owned, table=True):
    """${singular.one.capitalize()}."""

    __tablename__ = "${plural.snake}"
    __table_args__ = (
% for field in fields:
% if field.check:
        CheckConstraint(${field.check[1]}, name="${field.name}_${field.check[0]}"),
% endif
% endfor
        CheckConstraint(column("version") >= 1, name="version_positive"),
        Index(None, "user_id", "created_at", "id"),
    )

% for field in fields:
% if field.nullable:
    ${field.name}: ${field.model} | None = Field(default=None, sa_type=${field.column})
% else:
    ${field.name}: ${field.model} = Field(sa_type=${field.column})
% endif
% endfor
