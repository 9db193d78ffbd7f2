"""What Hypothesis draws from, and how much of it: the same in every run."""

import unicodedata
from functools import partial

from hypothesis import settings
from hypothesis import strategies as st

FILLERS = "\u115f\u1160\u3164\uffa0\u2800\U0001d159"
nfc = partial(unicodedata.normalize, "NFC")


def examples(number: int) -> settings:
    """Run a property this often."""
    return settings(max_examples=number, deadline=None, derandomize=True, database=None)


def printable(size: int) -> st.SearchStrategy[str]:
    """Give text of 1 to `size` characters, each visible, in NFC."""
    characters = st.characters(exclude_categories=("C", "M", "Z"), exclude_characters=FILLERS)
    return st.text(characters, min_size=1, max_size=size).map(nfc).filter(lambda text: len(text) <= size)


def storable(size: int) -> st.SearchStrategy[str]:
    """Give any text that a description may have, in NFC."""
    characters = st.characters(exclude_categories=("Cc", "Cs"), include_characters="\t\n\r")
    return st.text(characters, max_size=size).map(nfc).filter(lambda text: len(text) <= size)
