"""What Hypothesis draws from, and how much of it: the same in every run."""

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st


def examples(number: int) -> Any:
    """Run a property this often."""
    return settings(max_examples=number, deadline=None, derandomize=True, database=None)


def printable(size: int) -> st.SearchStrategy[str]:
    """Give text of 1 to `size` characters that trimming leaves as it is."""
    return st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=size)


def storable(size: int) -> st.SearchStrategy[str]:
    """Give any text that PostgreSQL and UTF-8 can hold."""
    return st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\x00"), max_size=size)
