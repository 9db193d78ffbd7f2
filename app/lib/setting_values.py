"""How the values of settings are written, before their types are known."""

import re
import unicodedata
from ipaddress import ip_interface, ip_network
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator
from pydantic_settings import NoDecode

from app.lib.text import is_visible

# Unicode's Quotation_Mark characters, and the two accents that are typed in their place.
_MARKS = (
    "\"'`\u00ab\u00b4\u00bb\u2018-\u201f\u2039\u203a\u2e42\u300c-\u300f\u301d-\u301f"
    "\ufe41-\ufe44\uff02\uff07\uff62\uff63"
)
_PART = rf"[^\s,.{_MARKS}]+"
_CLAIM = re.compile(rf"{_PART}(?:\.{_PART})*")
_NAME = re.compile(rf"[^\s{_MARKS}]+")
_QUOTATION_MARK = re.compile(f"[{_MARKS}]")
_QUOTES = ('""', "''", "“”", "\u2018\u2019")
_VERBATIM = ("better_auth_secret", "better_auth_secret_previous")  # refused with whitespace, which may be part of them


def _split(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    entries = [item.strip() for item in value.split(",") if item.strip()]
    if not entries and value.strip():
        raise ValueError("names nothing between its commas: leave it empty, or name something")
    return entries


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


def in_home(path: Path) -> Path:
    """Expand `~` and `~user`. Raises `ValueError`."""
    try:
        return path.expanduser()
    except RuntimeError:
        raise ValueError("begins with ~ and names no user of this machine: write the whole path") from None


def claim(text: str) -> str:
    """Check the name of a claim, or the path of a nested one. Raises `ValueError`."""
    if not _CLAIM.fullmatch(text) or not all(map(is_visible, text)):
        raise ValueError("is not the name of a claim like sub or user.id: separate several with commas")
    return text


def plain_name(text: str) -> str:
    """Check an issuer or an audience. Raises `ValueError`."""
    if not _NAME.fullmatch(text) or not all(map(is_visible, text)):
        raise ValueError("has whitespace, quotes or an invisible character inside: separate them with commas")
    return text


def network(text: str) -> str:
    """Check an address or a network. Raises `ValueError` with what to write."""
    try:
        whole, address = ip_network(text, strict=False), ip_interface(text).ip
    except ValueError:
        raise ValueError("is no address or network like 10.0.0.0/8") from None
    if address != whole.network_address:
        raise ValueError(f"is an address within a network: write {whole} or {address}/{whole.max_prefixlen}")
    return text


def check_secret_margin(secret: str) -> None:
    """Raise `ValueError` for a secret that begins or ends with what was hardly meant to be part of it."""
    if secret != secret.strip():
        raise ValueError("has whitespace around it, a line's end perhaps: leave it out")
    margin = secret[:1] + secret[-1:]
    if any(unicodedata.category(character) in ("Cc", "Cf") for character in margin):
        raise ValueError("begins or ends with an invisible character: leave it out")
    if _QUOTATION_MARK.search(margin):
        raise ValueError("begins or ends with a quotation mark, which is part of the value here: leave it out")


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
