"""Conditional requests (RFC 9110, section 13): versions as strong ETags."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from app.lib.errors import PreconditionFailed

MAX_VERSION = 2**31 - 1
_TAG = re.compile(r'"([1-9][0-9]{0,9})"', re.ASCII)
# nginx makes a tag weak when it compresses; Apache and others add a suffix to it.
_ALTERED = re.compile(r'W/"[1-9][0-9]{0,9}[^"]*"|"[1-9][0-9]{0,9}[-;:+][^"]+"', re.ASCII)


class AlteredTag(PreconditionFailed):
    """`If-Match` names an ETag that something between client and server has changed."""

    detail = (
        "The ETag in If-Match is not as the server sent it: a proxy has changed it, probably by compressing"
        " the response. Send the ETag without W/ and suffix, or let the proxy keep ETags"
    )


class Condition(NamedTuple):
    """What the version of a row must be for a write: one of `versions`, unless None, and none of `excluded`."""

    versions: Sequence[int] | None
    excluded: Sequence[int] = ()
    is_altered: bool = False

    def holds(self, version: int) -> bool:
        """Return whether a row of this version may be written."""
        return (self.versions is None or version in self.versions) and version not in self.excluded

    def failure(self) -> PreconditionFailed:
        """Return the error for a row of another version."""
        return AlteredTag() if self.is_altered else PreconditionFailed()


def condition_of(if_match: Sequence[str], if_none_match: Sequence[str]) -> Condition | None:
    """Read the lines of `If-Match` and of `If-None-Match` for a write of a row that is there; None for no condition.

    What is no ETag of ours matches nothing. `If-None-Match` compares weakly, `If-Match` strongly.
    """
    expected = ",".join(if_match) if if_match else None
    versions = expected_versions(expected)
    if not if_none_match:
        return None if versions is None else Condition(versions, is_altered=_is_altered(expected))
    tags = _tags(if_none_match)
    if "*" in tags:
        return Condition(())
    excluded = _versions([tag.removeprefix("W/") for tag in tags])
    if versions is None and not excluded:
        return None
    return Condition(versions, excluded, _is_altered(expected))


def expected_versions(if_match: str | None) -> list[int] | None:
    """Read `If-Match` as versions; None for no condition, and what is no ETag of ours matches nothing."""
    if if_match is None or if_match.strip() == "*":
        return None
    return _versions(_tags([if_match]))


def matches(lines: Sequence[str], tag: bytes) -> bool:
    """Compare an ETag with the lines of `If-None-Match`, weakly (RFC 9110, 8.8.3.2)."""
    tags = [item.removeprefix("W/") for item in _tags(lines)]
    return "*" in tags or tag.decode() in tags


def _tags(lines: Sequence[str]) -> list[str]:
    return [item.strip() for line in lines for item in line.split(",")]


def _versions(tags: Sequence[str]) -> list[int]:
    plain = [_TAG.fullmatch(tag) for tag in tags]
    return [version for tag in plain if tag and (version := int(tag[1])) <= MAX_VERSION]


def _is_altered(if_match: str | None) -> bool:
    return if_match is not None and any(map(_ALTERED.fullmatch, _tags([if_match])))
