"""What Schemathesis cannot know from the document: the values of two formats, and refusals that no schema can tell."""

from itertools import count
from typing import Any

import schemathesis
from hypothesis import strategies as st

ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu")
TAGS = ("en", "pt-BR", "zh-Hant-TW", "de-CH-1996", "x-klingon")

schemathesis.openapi.format("time-zone", st.sampled_from(ZONES))
schemathesis.openapi.format("language-tag", st.sampled_from(TAGS))

# A valid request is refused with these only: they depend on what is stored, on the server's own seal, or on what
# JSON Schema and OpenAPI cannot say.
BEYOND_SCHEMAS = frozenset(
    {
        "Not a cursor of this list in this sort",
        "Expected either an offset or a cursor",
        "Expected the direction that sort names, or none",
        "Expected one of the user's own lists",
        "Expected the id of one of your lists",
        "Expected the id of another of your todos, outside the trash",
        "Expected the id of another one of yours",
        "Expected none of its own subtasks, nor itself",
        "Expected at most 5 levels of todos",
        "Expected at most 1,000 characters, unless it is the stored one",
        # Patterns see texts before they are in NFC.
        "Expected at most 30 combining characters in a row",
        # The ends of time, however they are written with offsets.
        "Expected an instant between the years 1 and 9999 in UTC",
        "Expected an instant after the first and before the last one of the years 1 to 9999",
    }
)

# And with this, where a part of the fields is sent: the stored one of the two is not.
OF_PARTS = frozenset({"At most one of due_date and due_at can be set"})

_numbers = count()
_cursors: set[str] = set()


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    """Use each key and each list's name once, and cursors that were given only: what is drawn is often the same.

    It also keeps sequences alike when they are run again, without which their search ends early.
    """
    if not case.meta.generation.mode.is_positive:
        return
    if key := (case.headers or {}).get("Idempotency-Key"):
        case.headers["Idempotency-Key"] = f"{key[:200]}-{next(_numbers)}"
    if case.method == "POST" and case.path.endswith("/lists") and isinstance(case.body, dict):
        case.body["name"] = f"{case.body['name'].strip()[:80]} {next(_numbers)}"
    if case.query and case.query.get("cursor", "") not in _cursors:
        case.query.pop("cursor", None)


@schemathesis.hook
def after_call(context: Any, case: Any, response: Any) -> None:
    """Remember the cursors of pages."""
    if response.status_code == 200 and b'"next_cursor":"' in response.content:
        _cursors.add(response.json()["next_cursor"])


@schemathesis.hook
def filter_failure(context: Any, failure: Any, case: Any, response: Any) -> bool:
    """Keep every failure but those."""
    if type(failure).__name__ != "RejectedPositiveData" or response.status_code != 422:
        return True
    if not response.content:  # the answer to HEAD does not say why, the same one to GET does
        return str(case.method) != "HEAD"
    is_part = case.method == "PATCH" or case.path.endswith("/batch")
    allowed = BEYOND_SCHEMAS | OF_PARTS if is_part else BEYOND_SCHEMAS
    return not {error["detail"] for error in response.json()["errors"]} <= allowed
