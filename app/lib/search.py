"""Full text, PostgreSQL's own: words of any language as they are, found among one user's rows alone."""

import re
from typing import Any

from sqlalchemy import REAL, Column, ColumnElement, Computed, Index, Table, Text, bindparam, column, func, literal
from sqlalchemy import cast as sql_cast
from sqlalchemy.dialects.postgresql import ARRAY, REGCONFIG, TSVECTOR, array
from sqlalchemy.sql.elements import Grouping

from app.lib.statements import value_of

MAX_QUERY = 200
_WORDS: ColumnElement[Any] = sql_cast(literal("simple", literal_execute=True), REGCONFIG)  # no stems, no stop words
_WEIGHTS = "ABCD"
_TERM = re.compile(r'"([^"]*)"?|([^\s"]+)')


def search_column(*texts: str) -> Column[Any]:
    """Give the column that PostgreSQL computes of up to four texts, the weightiest first."""
    vectors: list[ColumnElement[Any]] = [
        func.setweight(func.to_tsvector(_WORDS, func.coalesce(column(text), "")), weight)
        for text, weight in zip(texts, _WEIGHTS, strict=False)
    ]
    vector = vectors[0]
    for further in vectors[1:]:
        vector = vector.op("||")(further)
    return Column("search", TSVECTOR, Computed(vector, persisted=True), nullable=True)


def search_index(table: str) -> Index:
    """Give the index that has the owner beside the words, so that it leads to nobody else's rows.

    Without `fastupdate`, for each search would read the list of what is not sorted in yet, everybody's.
    """
    owner = Grouping(array([column("user_id", Text)]))  # the syntax of an index asks for the brackets
    return Index(f"ix_{table}_search", owner, "search", postgresql_using="gin", postgresql_with={"fastupdate": "off"})


def is_found(table: Table, name: str = "q") -> ColumnElement[bool]:
    """Give the filter for the rows of the user where the query, as `tsquery_of` writes it, occurs."""
    owner = sql_cast(array([bindparam("owner", type_=Text)]), ARRAY(Text))
    mine: ColumnElement[bool] = array([table.c.user_id]).contains(owner)
    return mine & table.c.search.op("@@", is_comparison=True)(_query(name))


def rank(table: Table, name: str = "q") -> ColumnElement[float]:
    """Give how well a row matches."""
    return func.ts_rank(table.c.search, _query(name), type_=REAL)


def _query(name: str) -> ColumnElement[Any]:
    return func.to_tsquery(_WORDS, bindparam(value_of(name), type_=Text))


def tsquery_of(text: str, texts: int = 2) -> str:
    """Write what a user typed as a tsquery: words are beginnings of words, `"quoted"` ones a phrase, all must occur.

    Positions are counted through all the `texts` of a column: a phrase must lie within one of them, told by its weight.
    """
    found: list[tuple[str, str]] = _TERM.findall(text)
    return " & ".join(
        f"({' | '.join(f'{_quote(phrase)}:{weight}' for weight in _WEIGHTS[:texts])})"
        if phrase
        else f"{_quote(word)}:*"
        for phrase, word in found
        if phrase or word
    )


def _quote(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "''") + "'"
