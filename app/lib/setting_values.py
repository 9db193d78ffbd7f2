"""How the values of settings are written, before their types are known."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator
from pydantic_settings import NoDecode

_QUOTES = ('""', "''", "“”", "\u2018\u2019")
_VERBATIM = ("better_auth_secret", "better_auth_secret_previous")  # refused with whitespace, which may be part of them


def _split(value: Any) -> Any:
    return [item.strip() for item in value.split(",") if item.strip()] if isinstance(value, str) else value


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


def in_home(path: Path) -> Path:
    """Expand `~` and `~user`. Raises `ValueError`."""
    try:
        return path.expanduser()
    except RuntimeError:
        raise ValueError("begins with ~ and names no user of this machine: write the whole path") from None


CommaSeparated = Annotated[list[str], NoDecode, BeforeValidator(_split)]
LowerCase = BeforeValidator(_lower)
FilePath = Annotated[Path, AfterValidator(in_home)]


class Refused:
    """Stands for a value that is refused, whatever the type of its setting."""

    def __init__(self, reason: str) -> None:
        self.reason = reason


MISSING = Refused("is required in production")
INSECURE = Refused("must be an https:// URL in production: who can change the keys can be any user")
QUOTED = Refused("has quotes around it, which are part of the value here: leave them out")


def without_margin(name: str, value: Any) -> Any:
    """Return a value without whitespace around it; `QUOTED` for one in quotes, "" for a blank one."""
    if not isinstance(value, str) or not (text := value.strip()):
        return "" if isinstance(value, str) else value
    if len(text) > 1 and text[0] + text[-1] in _QUOTES:
        return QUOTED
    return value if name in _VERBATIM else text
