"""Language tags (BCP 47): the grammar of RFC 5646, and the case in which they are written."""

import re

from app.lib.validation.body import RuleViolation

_TAG = re.compile(
    r"""
    (?: (?: [a-z]{2,3} (?:-[a-z]{3}){0,3} | [a-z]{4,8} )         # language, and its extensions
        (?: -[a-z]{4} )?                                         # script
        (?: -(?:[a-z]{2}|[0-9]{3}) )?                            # region
        (?P<variants> (?: -(?:[a-z0-9]{5,8}|[0-9][a-z0-9]{3}) )* )
        (?P<extensions> (?: -[0-9a-wy-z] (?:-[a-z0-9]{2,8})+ )* )
        (?: -x (?:-[a-z0-9]{1,8})+ )?
    | x (?:-[a-z0-9]{1,8})+                                      # private use
    | en-gb-oed | sgn-(?:be-fr|be-nl|ch-de)                      # grandfathered ones that have no such form
    | i-(?:ami|bnn|default|enochian|hak|klingon|lux|mingo|navajo|pwn|tao|tay|tsu)
    )""",
    re.VERBOSE | re.IGNORECASE | re.ASCII,
)


def language_tag(text: str) -> str:
    """Give a well-formed tag in its canonical case. Raises `RuleViolation`."""
    tag = _TAG.fullmatch(text)
    if tag is None or _repeats(tag["variants"]) or _repeats(tag["extensions"], singletons=True):
        raise RuleViolation("Expected a language tag (BCP 47), as `en` or `pt-BR`")
    subtags = text.lower().split("-")
    plain = next((place for place, subtag in enumerate(subtags) if len(subtag) == 1), len(subtags))
    return "-".join([*subtags[:1], *map(_cased, subtags[1:plain]), *subtags[max(plain, 1) :]])


def _cased(subtag: str) -> str:
    """Regions are in capitals, scripts are capitalised; not so what comes after a singleton (RFC 5646, 2.1.1)."""
    return {2: subtag.upper(), 4: subtag.capitalize()}.get(len(subtag), subtag)


def _repeats(subtags: str | None, *, singletons: bool = False) -> bool:
    """Tell whether a variant, or the singleton of an extension, stands there twice."""
    found = [part for part in (subtags or "").lower().split("-") if not singletons or len(part) == 1]
    return len(found) > len(set(found))
