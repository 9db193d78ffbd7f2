"""HTML that is escaped by default."""

from collections.abc import Iterable, Iterator
from html import escape
from typing import Any

import msgspec


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def tag(name: str, *inside: str | None, **attributes: str) -> Markup:
    """Make an element; texts in it are escaped unless they are `Markup`."""
    opened = "".join(f' {key.rstrip("_")}="{escape(value)}"' for key, value in attributes.items())
    return Markup(f"<{name}{opened}>{join(inside)}</{name}>")


def join(parts: Iterable[str | None]) -> Markup:
    """Put parts together; texts are escaped."""
    return Markup("".join(part if isinstance(part, Markup) else escape(part) for part in parts if part))


def table(head: str, rows: Iterable[Iterable[str | None]]) -> Markup:
    """Make a table of three columns."""
    lines = [tag("tr", *(tag("td", cell) for cell in row)) for row in rows]
    return tag("table", tag("tr", tag("th", head, colspan="3")), *lines) if lines else Markup()


def link(kind: str, name: str) -> Markup:
    """Link to a place on the page."""
    return tag("a", name, href=f"#{kind}-{name}")


def prose(text: str | None) -> Markup:
    """Set what stands between backticks as code, and make paragraphs."""
    paragraphs = [join(_coded(paragraph)) for paragraph in (text or "").split("\n\n") if paragraph]
    return join(tag("p", paragraph) for paragraph in paragraphs)


def _coded(text: str) -> Iterator[str]:
    for number, part in enumerate(text.split("`")):
        yield tag("code", part) if number % 2 else part


def code_block(value: Any) -> Markup:
    """Show a value as JSON."""
    return tag("pre", msgspec.json.format(msgspec.json.encode(value), indent=2).decode())
