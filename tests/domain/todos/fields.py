"""The rules of every field at their edges, for whatever operation writes it."""

import unicodedata
from collections.abc import Iterable, Iterator
from typing import Any

VALID: list[tuple[str, Any, Any]] = [
    ("title", "x", "x"),
    ("title", "x" * 200, "x" * 200),
    ("title", "\N{PILE OF POO}" * 200, "\N{PILE OF POO}" * 200),
    ("title", f"  {'x' * 200}\n", "x" * 200),
    ("title", "\u3000\u2003 a  b \u00a0\u0085", "a  b"),
    ("title", "<script>'; DROP TABLE todos; --", "<script>'; DROP TABLE todos; --"),
    ("description", None, None),
    ("description", "", ""),
    ("description", "  kept as it is\n", "  kept as it is\n"),
    ("description", "x" * 10_000, "x" * 10_000),
    ("description", "\N{PILE OF POO}" * 10_000, "\N{PILE OF POO}" * 10_000),
    ("priority", "none", "none"),
    ("priority", "low", "low"),
    ("priority", "medium", "medium"),
    ("priority", "high", "high"),
    ("due_date", None, None),
    ("due_date", "2024-02-29", "2024-02-29"),
    ("due_date", "0001-01-01", "0001-01-01"),
    ("due_date", "9999-12-31", "9999-12-31"),
    ("due_at", None, None),
    ("due_at", "2026-03-01T12:00:00Z", "2026-03-01T12:00:00Z"),
    ("due_at", "2026-03-01T00:30:00+02:00", "2026-02-28T22:30:00Z"),
    ("due_at", "2026-12-31T23:30:00.5-01:00", "2027-01-01T00:30:00.500000Z"),
    ("due_at", "2026-03-01T12:00:00.123456+05:45", "2026-03-01T06:15:00.123456Z"),
    ("due_at", "0001-01-01T00:00:00.000001Z", "0001-01-01T00:00:00.000001Z"),
    ("due_at", "9999-12-31T23:59:59.999998Z", "9999-12-31T23:59:59.999998Z"),
    ("title", "cafe\u0301", "caf\u00e9"),
    ("description", "cafe\u0301\r\n\u2028", "caf\u00e9\r\n\u2028"),
    ("tags", ["cafe\u0301", "caf\u00e9"], ["caf\u00e9"]),
    ("tags", [], []),
    ("tags", ["a"], ["a"]),
    ("tags", ["b", "a", "B"], ["b", "a", "B"]),
    ("tags", [" b", "a ", "b", "a", "c"], ["b", "a", "c"]),
    ("tags", ["x" * 50], ["x" * 50]),
    ("tags", [f" {'\N{PILE OF POO}' * 50} "], ["\N{PILE OF POO}" * 50]),
    ("tags", [f"{number:050}" for number in range(20)], [f"{number:050}" for number in range(20)]),
    ("tags", ["a,b", "{c}", '"d"', "\\", "NULL", "e f"], ["a,b", "{c}", '"d"', "\\", "NULL", "e f"]),
]


def each(field: str, values: Iterable[Any]) -> Iterator[tuple[str, Any, str]]:
    return ((field, value, f"/{field}") for value in values)


INVALID: list[tuple[str, Any, str]] = [
    *each("title", (None, "", " \t\n", "\u3000", "x" * 201, 1, True, ["x"], {"x": 1})),
    *each("title", ("a\x00b", "\x00", "\ud83d", "a\udc00", "a\nb", "a\x1b[2J", "a\u2028b", "\u200b")),
    *each("description", ("x" * 10_001, 1, False, [], "a\x00", "\udfff", "bell \x07")),
    *each("completed", (None, 1, 0, "true", "", [])),
    *each("priority", (None, "", "HIGH", "high ", "urgent", 1, ["low"], "a\x00")),
    *each("due_date", ("", "today", "2026-02-29", "2026-13-01", "0000-01-01", "26-01-01")),
    *each("due_date", (20260101, "20260101", "2026-03-01T12:00:00Z", "10000-01-01", True)),
    *each("due_at", ("", "now", "2026-03-01", "2026-03-01T12:00:00", "2026-03-01T25:00:00Z")),
    *each("due_at", (1767225600, 1.5, "0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-01:00")),
    *each("tags", (None, "a", {}, 1, ["x"] * 21, [str(number) for number in range(21)])),
    *(("tags", [value], "/tags/0") for value in ("", "  ", "x" * 51, None, 1, ["a"], "a\x00", "\ud800")),
    ("tags", ["a", "b", ""], "/tags/2"),
    # PostgreSQL has infinities, and its driver takes these two for them.
    *each("due_at", ("0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z")),
]

SERVER_OWNED: dict[str, Any] = {
    "id": "0198c2f0-0000-7000-8000-000000000000",
    "user_id": "somebody",
    "created_at": "2020-01-01T00:00:00Z",
    "updated_at": "2020-01-01T00:00:00Z",
    "completed_at": "2020-01-01T00:00:00Z",
    "position": "V",
    "deleted_at": "2020-01-01T00:00:00Z",
    "version": 7,
}

TEXTS = [
    "naïve café",
    "\N{FAMILY}\N{ZERO WIDTH JOINER}\N{HEAVY BLACK HEART}\ufe0f",
    "👩‍👩‍👧‍👦 🏳️‍🌈 👍🏽 🇩🇪",
    "שלום עולם",
    "مرحبا \u202eبالعالم\u202c",  # noqa: RUF001 - Arabic is meant
    "日本語のタスク",
    "नमस्ते",
    unicodedata.normalize("NFC", "Z\u0351\u036b\u0343a\u0363\u0368lgo"),
    "zero\u200bwidth\ufeff",
    "\U0010ffff\uffff\ufffe",
    "quotes \" ' \\ / `",
]
