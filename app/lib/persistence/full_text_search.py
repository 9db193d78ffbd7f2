"""Full-text search in one user's rows.

Functions in the database, created by migrations, define what a word is: `search_words` folds a text and splits it into
words, for stored texts and for queries alike.
"""

import re
from collections.abc import Callable
from typing import Any

from sqlalchemy import REAL, Column, ColumnElement, Computed, Index, Table, Text, bindparam, column, func, select
from sqlalchemy.dialects.postgresql import ARRAY, TSQUERY, TSVECTOR
from sqlalchemy.sql.functions import Function

from app.lib.persistence.statements import value_of

MAX_QUERY = 200
_WEIGHTS = "ABCD"
_TERM = re.compile(r'("[^"]*)"|"([^"]*)$|([^\s"]+)')


def search_column(*texts: str, schema: str) -> Column[Any]:
    """Return a generated column of up to four text columns, in order of decreasing weight."""
    vectors: list[ColumnElement[Any]] = [
        func.setweight(_function(schema, "search_vector")(column("user_id"), column(text)), weight)
        for text, weight in zip(texts, _WEIGHTS, strict=False)
    ]
    vector = vectors[0]
    for further in vectors[1:]:
        vector = vector.op("||")(further)
    return Column("search", TSVECTOR, Computed(vector, persisted=True), nullable=True)


def search_index(table: str) -> Index:
    """Return a GIN index. Its words begin with a hash of the user, so a search reads no other user's entries."""
    # With `fastupdate`, each search would read the pending entries of all users.
    return Index(f"ix_{table}_search", "search", postgresql_using="gin", postgresql_with={"fastupdate": "off"})


def is_found(table: Table, name: str = "q", texts: int = 2) -> ColumnElement[bool]:
    """Return the filter for rows that contain all terms of the query; its parameter `name` is bound to `terms_of`."""
    return table.c.search.op("@@", is_comparison=True)(_query(table, name, "&", texts))


def rank(table: Table, name: str = "q", texts: int = 2) -> ColumnElement[float]:
    # `ts_rank` compares terms that are joined by `&` pair by pair, which is quadratic in the words of the row.
    return func.ts_rank(table.c.search, _query(table, name, "|", texts), type_=REAL)


def fold(text: ColumnElement[Any], schema: str) -> ColumnElement[str]:
    """Return the text without case, accents and compatibility forms, for comparison."""
    return _function(schema, "search_fold")(text, type_=Text)


def _query(table: Table, name: str, operator: str, texts: int) -> ColumnElement[Any]:
    terms = bindparam(value_of(name), type_=ARRAY(Text))
    owner = bindparam("owner", type_=Text)
    query = _function(str(table.schema), "search_query")(owner, terms, _WEIGHTS[:texts], operator, type_=TSQUERY)
    return select(query).scalar_subquery()  # evaluated once per statement, not once per row


def _function(schema: str, name: str) -> Callable[..., Function[Any]]:
    function: Callable[..., Function[Any]] = getattr(getattr(func, schema), name)  # `func.schema.name`
    return function


def terms_of(text: str) -> list[str]:
    """Split a query into terms that must all occur; phrases keep their quotation marks.

    A phrase without a closing mark may still be being typed: its last word matches as a prefix.
    """
    terms: list[tuple[str, str, str]] = _TERM.findall(text)
    return list(dict.fromkeys("".join(groups) for groups in terms if any(groups)))
