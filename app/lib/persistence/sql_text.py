"""Count the tables that the text of a statement names: the second proof of `scope_analysis`."""

import re
from collections import Counter
from collections.abc import Collection

# Spellings that hide a name from a reader of tokens. SQLAlchemy renders none of them by itself.
_HIDING = re.compile(r"--|/\*|U&|\$[a-z_\x80-\U0010ffff][^$]*\$|\$\$|\\|;", re.IGNORECASE)
_TOKEN = re.compile(r"""'(?:[^']|'')*'|"((?:[^"]|"")*)"|([^\W\d][\w$]*)|(\.)|\S""")


class HiddenText(Exception):
    """The text has a spelling in which a table can be named unseen."""


def table_references(text: str, tables: Collection[str]) -> Counter[str]:
    """Count the references to each of the `tables` (`schema.table`), in any spelling; columns do not count.

    Raises `HiddenText`.
    """
    if _HIDING.search(text):
        raise HiddenText
    tokens = ["", *_tokens(text), "", "", ""]
    references: Counter[str] = Counter()
    for before, schema, dot, name, after in zip(*(tokens[start:] for start in range(5)), strict=False):
        path = f"{schema}.{name}"
        if dot == "." and path in tables and "." not in (before, after):
            references[path] += 1
    return references


def _tokens(text: str) -> list[str]:
    """Split into names as PostgreSQL reads them, dots, and anything else as an empty token."""
    return [
        match[1].replace('""', '"') if match[1] is not None else (match[2] or "").lower() or match[3] or ""
        for match in _TOKEN.finditer(text)
    ]
