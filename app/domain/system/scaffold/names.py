"""What a new domain is called, in all the forms that its code needs."""

import keyword
import re

from litestar.constants import RESERVED_KWARGS
from msgspec import Struct

from app.lib.errors import OperatorError

MAX_DOMAIN, MAX_FIELD = 24, 28  # PostgreSQL cuts names at 63: ck_{domain}_{field}_length
_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
_PACKAGES = ("app", "domain", "db", "lib", "main", "tests")
_ENDINGS = {"ies": "y", "sses": "ss", "shes": "sh", "ches": "ch", "xes": "x", "zzes": "zz", "s": ""}
_NO_PLURAL = ("ss", "us", "is")


class Name(Struct, frozen=True):
    """A name in snake_case, and as a class and in a sentence."""

    snake: str

    @property
    def camel(self) -> str:
        """As a class."""
        return "".join(word.capitalize() for word in self.snake.split("_"))

    @property
    def words(self) -> str:
        """In a sentence."""
        return self.snake.replace("_", " ")

    @property
    def one(self) -> str:
        """In a sentence, with its article."""
        is_spoken_as_vowel = self.snake[0] in "aeiou" and not self.snake.startswith(("eu", "uni", "use", "usa"))
        return f"{'an' if is_spoken_as_vowel else 'a'} {self.words}"


def checked(text: str, longest: int) -> str:
    """Give what is a name in snake_case. Raises `OperatorError`."""
    if not _NAME.fullmatch(text):
        raise OperatorError(f"{text!r} is no name: use a to z, 0 to 9 and single underscores, a letter first.")
    if len(text) > longest:
        raise OperatorError(f"{text!r} is too long: {longest} characters at most.")
    if keyword.iskeyword(text) or keyword.iskeyword(text.capitalize()):
        raise OperatorError(f"{text!r} is a word of Python itself.")
    return text


def domain_names(plural: str, singular: str | None) -> tuple[Name, Name]:
    """Give the names of the domain and of one of its things. Raises `OperatorError`."""
    if checked(plural, MAX_DOMAIN) in {*_PACKAGES, *RESERVED_KWARGS, "criteria"}:
        raise OperatorError(f"{plural!r} would shadow a name that the application needs: choose another.")
    return Name(plural), Name(checked(_singular(plural) if singular is None else singular, MAX_DOMAIN))


def _singular(plural: str) -> str:
    for ending, instead in _ENDINGS.items():
        if plural.endswith(ending) and not plural.endswith(_NO_PLURAL) and plural != ending:
            return plural.removesuffix(ending) + instead
    raise OperatorError(
        f"{plural!r} is no plural that ends in s: name the domain in the plural (orders),"
        " or say what one of them is called with --singular."
    )
