"""Names that look like a setting and are none: a value that somebody set, and that nobody reads."""

from collections.abc import Collection, Iterable
from difflib import get_close_matches

ALIKE = 0.8  # of 1; CORS_ORIGIN and CORS_ORIGINS are 0.95
OF_OTHERS = frozenset(
    {
        "BETTER_AUTH_URL",
        "BETTER_AUTH_SECRETS",
        "BETTER_AUTH_API_KEY",
        "BETTER_AUTH_API_URL",
        "DATABASE_PRIVATE_URL",
        "DATABASE_PUBLIC_URL",
    }
)
"""Names that Better Auth itself or hosting platforms read or set."""

SYNONYMS = {
    "ALLOWED_ORIGINS": "CORS_ORIGINS",
    "DB_URL": "DATABASE_URL",
    "JWKS_URI": "BETTER_AUTH_JWKS_URL",
    "JWT_AUDIENCE": "BETTER_AUTH_AUDIENCE",
    "JWT_ISSUER": "BETTER_AUTH_ISSUER",
    "MAX_BODY_BYTES": "BODY_LIMIT",
    "MAX_BODY_SIZE": "BODY_LIMIT",
}
"""What other servers call a setting, in other words than this one."""


def lookalikes(names: Iterable[str], settings: Collection[str]) -> dict[str, str]:
    """Return the setting that is probably meant, for each name that is almost one."""
    known = {name.upper() for name in settings}
    found = {}
    for name in sorted(names):
        plain = name.upper().replace("-", "_")
        if name.upper() in known or plain in OF_OTHERS or any(plain.endswith(f"_{setting}") for setting in known):
            continue  # with more words before it, it is another program's: TEST_DATABASE_URL
        if meant := SYNONYMS.get(plain) or _meant(plain, known):
            found[name] = meant
    return found


def _meant(name: str, settings: Collection[str]) -> str | None:
    compact = {setting.replace("_", ""): setting for setting in sorted(settings)}
    if close := get_close_matches(name.replace("_", ""), compact, n=1, cutoff=ALIKE):
        return compact[close[0]]
    words = _words(name)
    for setting in compact.values():
        theirs = _words(setting)
        longer = set(words) > set(theirs) and (words[0], words[-1]) == (theirs[0], theirs[-1])
        shorter = len(words) > 1 and set(words) < set(theirs)
        if longer or shorter:
            return setting
    return None


def _words(name: str) -> list[str]:
    return [word.removesuffix("S") for word in name.split("_")]
