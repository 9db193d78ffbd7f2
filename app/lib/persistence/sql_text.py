"""Count the tables that the text of a statement names, to confirm what the analysis found in its structure."""

import re
from collections import Counter
from collections.abc import Collection

# Syntax that this tokenizer does not read: comments, Unicode escapes, dollar quotes, backslashes, a second statement.
# SQLAlchemy renders none of it by itself.
_HIDING = re.compile(r"--|/\*|U&|\$[a-z_\x80-\U0010ffff][^$]*\$|\$\$|\\|;", re.IGNORECASE)
_TOKEN = re.compile(r"""'(?:[^']|'')*'|"((?:[^"]|"")*)"|([^\W\d][\w$]*)|(\.)|\S""")


class HiddenText(Exception):
    """The text has syntax in which a table can be named without being counted."""


def table_references(text: str, tables: Collection[str]) -> Counter[str]:
    """Count how often each of the `tables` (`schema.table`) is named, whatever its case, spaces and quotes.

    A column (`schema.table.column`) does not count. Raises `HiddenText`.
    """
    if _HIDING.search(text):
        raise HiddenText
    tokens = ["", *_tokens(text), "", "", ""]
    references: Counter[str] = Counter()
    windows = zip(*(tokens[start:] for start in range(5)), strict=False)
    for before, schema, dot, name, after in windows:
        path = f"{schema}.{name}"
        if dot == "." and path in tables and "." not in (before, after):
            references[path] += 1
    return references


def _tokens(text: str) -> list[str]:
    """Return names (folded to lower case unless quoted), dots, and an empty token for anything else."""
    return [
        match[1].replace('""', '"') if match[1] is not None else (match[2] or "").lower() or match[3] or ""
        for match in _TOKEN.finditer(text)
    ]
