"""Rules of Unicode text from clients: one normal form, no control characters, and something to see."""

import re
import unicodedata
from functools import cache
from itertools import chain

MAX_MARKS = 30  # combining characters in a row, as in Unicode's Stream-Safe Text Format (UAX 15)
MAX_EXPANSION = 4  # code points at most that NFC composes into one
NO_CONTROLS = r"\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f"  # tab, newline and carriage return are text
NO_LINE_CONTROLS = r"\u0000-\u001f\u007f-\u009f\u2028\u2029"  # a line has no line breaks either

_C0 = bytes({*range(32), 127} - {*b"\t\n\r"})
_C1 = re.compile(b"\xc2[\x80-\x9f]")
_LINE_CONTROL = re.compile(f"[{NO_LINE_CONTROLS}]")
# Letters and symbols that show nothing: Hangul fillers, the blank Braille pattern, the null notehead.
_BLANK = frozenset("\u115f\u1160\u3164\uffa0\u2800\U0001d159")
# Unassigned code points that Unicode reserves for invisible characters, and noncharacters.
_RESERVED = (range(0x2060, 0x2070), range(0xFDD0, 0xFDF0), range(0xFFF0, 0x10000), range(0xE0000, 0xE1000))


def nfc(text: str) -> str | None:
    """Return the text in NFC, None where a run of combining characters makes that too expensive.

    Ordering a run is quadratic in its length: 10,000 characters take 65 ms.
    """
    if text.isascii():
        return text
    return None if _has_long_run(text) else unicodedata.normalize("NFC", text)


def _has_long_run(text: str) -> bool:
    # Every 31st character meets each run that is longer than 30: only there is a closer look needed.
    combining = unicodedata.combining
    for at in range(MAX_MARKS, len(text), MAX_MARKS + 1):
        if combining(text[at]) and _run_around(text, at) > MAX_MARKS:
            return True
    return False


def _run_around(text: str, at: int) -> int:
    start = end = at
    while start > 0 and end - start <= MAX_MARKS and unicodedata.combining(text[start - 1]):
        start -= 1
    while end < len(text) and end - start <= MAX_MARKS and unicodedata.combining(text[end]):
        end += 1
    return end - start


def has_control(text: str) -> bool:
    """Return whether there is a control character other than tab, newline and carriage return."""
    utf8 = text.encode(errors="surrogatepass")  # bytes are searched ten times as fast
    return len(utf8.translate(None, _C0)) < len(utf8) or _C1.search(utf8) is not None


def has_line_control(text: str) -> bool:
    """Return whether there is a control character or a line break."""
    return not text.isprintable() and _LINE_CONTROL.search(text) is not None


def is_visible(text: str) -> bool:
    """Return whether a text has a character that can be seen: marks alone do not count."""
    return any(map(_shows, text))


def _shows(character: str) -> bool:
    category = unicodedata.category(character)
    if category[0] in "ZM" or category in ("Cc", "Cf", "Cs") or character in _BLANK:
        return False
    return category != "Cn" or not any(ord(character) in block for block in _RESERVED)


@cache
def invisible_class() -> str:
    """Return what cannot be seen as the inside of a character class of a regular expression."""
    ranges: list[list[int]] = []
    # Surrogates are no characters, and there is nothing invisible in the other planes.
    planes = chain(range(0xD800), range(0xE000, 0x20000), range(0xE0000, 0xE1000))
    for code in (code for code in planes if not _shows(chr(code))):
        if ranges and ranges[-1][1] == code - 1:
            ranges[-1][1] = code
        else:
            ranges.append([code, code])
    return "".join(f"{_spelled(first)}-{_spelled(last)}" for first, last in ranges)


def _spelled(code: int) -> str:
    """Spell a code point so that Python and ECMAScript read it alike; beyond the first plane only itself is."""
    return f"\\u{code:04x}" if code < 0x10000 else chr(code)
