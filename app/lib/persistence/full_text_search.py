"""Full-text search among one user's rows. The functions of the database, which migrations make, say what a word is.

Stored texts and queries go through the same function there: `search_words` folds a text and splits it into words.
"""

import re
from typing import Any

from sqlalchemy import REAL, Column, ColumnElement, Computed, Index, Table, Text, bindparam, column, func, select
from sqlalchemy.dialects.postgresql import ARRAY, TSQUERY, TSVECTOR

from app.lib.persistence.statements import value_of

MAX_QUERY = 200
_WEIGHTS = "ABCD"
_TERM = re.compile(r'("[^"]*)"|"([^"]*)$|([^\s"]+)')


def search_column(*texts: str, schema: str) -> Column[Any]:
    """Return the column that PostgreSQL computes from up to four texts, the most important first."""
    vectors: list[ColumnElement[Any]] = [
        func.setweight(_function(schema, "search_vector")(column("user_id"), column(text)), weight)
        for text, weight in zip(texts, _WEIGHTS, strict=False)
    ]
    vector = vectors[0]
    for further in vectors[1:]:
        vector = vector.op("||")(further)
    return Column("search", TSVECTOR, Computed(vector, persisted=True), nullable=True)


def search_index(table: str) -> Index:
    """Return the index of the words, which begin with a hash of their user: a search reads no other user's words.

    Without `fastupdate`: otherwise each search would read the list of unsorted entries of all users.
    """
    return Index(f"ix_{table}_search", "search", postgresql_using="gin", postgresql_with={"fastupdate": "off"})


def is_found(table: Table, name: str = "q", texts: int = 2) -> ColumnElement[bool]:
    """Return the filter for the rows in which all terms of the query occur, as `terms_of` splits it."""
    return table.c.search.op("@@", is_comparison=True)(_query(table, name, "&", texts))


def rank(table: Table, name: str = "q", texts: int = 2) -> ColumnElement[float]:
    """Return how well a row matches, at a cost that is linear in its words.

    `ts_rank` compares the positions of terms that are joined by `&` pair by pair, so they are joined by `|` here.
    """
    return func.ts_rank(table.c.search, _query(table, name, "|", texts), type_=REAL)


def fold(text: ColumnElement[Any], schema: str) -> ColumnElement[str]:
    """Return the text without differences of case, accents and compatibility forms, as it is compared."""
    folded: ColumnElement[str] = _function(schema, "search_fold")(text, type_=Text)
    return folded


def _query(table: Table, name: str, operator: str, texts: int) -> ColumnElement[Any]:
    """A sub-select is evaluated once, not for each row."""
    terms = bindparam(value_of(name), type_=ARRAY(Text))
    owner = bindparam("owner", type_=Text)
    query = _function(str(table.schema), "search_query")(owner, terms, _WEIGHTS[:texts], operator, type_=TSQUERY)
    return select(query).scalar_subquery()


def _function(schema: str, name: str) -> Any:
    return getattr(getattr(func, schema), name)  # `func.schema.name`


def terms_of(text: str) -> list[str]:
    """Split what a user typed into the terms that must all occur; phrases keep their opening quotation mark.

    The last word of a phrase that is not closed may still be typed: it is the beginning of a word.
    """
    terms: list[tuple[str, str, str]] = _TERM.findall(text)
    return list(dict.fromkeys("".join(parts) for parts in terms if any(parts)))
