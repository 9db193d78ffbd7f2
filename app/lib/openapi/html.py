"""Build HTML. All text is escaped unless it is `Markup`."""

from collections.abc import Iterable, Iterator
from html import escape

import msgspec


class Markup(str):
    """Text that is HTML already and must not be escaped."""

    __slots__ = ()


def tag(name: str, *inside: str | None, **attributes: str) -> Markup:
    """Return an element. A trailing underscore of an attribute's name is dropped: `class_`."""
    attribute_text = "".join(f' {key.rstrip("_")}="{escape(value)}"' for key, value in attributes.items())
    return Markup(f"<{name}{attribute_text}>{join(inside)}</{name}>")


def join(parts: Iterable[str | None]) -> Markup:
    return Markup("".join(part if isinstance(part, Markup) else escape(part) for part in parts if part))


def table(head: str, rows: Iterable[Iterable[str | None]]) -> Markup:
    """Return a table of three columns; nothing at all if there are no rows."""
    lines = [tag("tr", *(tag("td", cell) for cell in row)) for row in rows]
    return tag("table", tag("tr", tag("th", head, colspan="3")), *lines) if lines else Markup()


def link(kind: str, name: str) -> Markup:
    return tag("a", name, href=f"#{kind}-{name}")


def prose(text: str | None) -> Markup:
    """Return paragraphs, with text between backticks as code."""
    paragraphs = [join(_coded(paragraph)) for paragraph in (text or "").split("\n\n") if paragraph]
    return join(tag("p", paragraph) for paragraph in paragraphs)


def _coded(text: str) -> Iterator[str]:
    for number, part in enumerate(text.split("`")):
        yield tag("code", part) if number % 2 else part


def code_block(value: object) -> Markup:
    return tag("pre", msgspec.json.format(msgspec.json.encode(value), indent=2).decode())
