"""Time zones by name: the ones that Python knows, by their canonical names, and what PostgreSQL can compute with."""

from datetime import UTC, datetime, tzinfo
from functools import cache
from importlib import resources
from pathlib import Path
from zoneinfo import TZPATH, ZoneInfo, available_timezones

# What the host calls its own zone is none of IANA's.
KNOWN = frozenset(available_timezones()) - {"localtime"}


def canonical(name: str) -> str:
    """Return the canonical name of a known zone: `Asia/Kolkata` for `Asia/Calcutta`.

    A zone that IANA names for a country is canonical, also where it is a link to another with the same clock.
    """
    target = _links().get(name, name)
    return target if target in KNOWN else name


def zone_of(name: str) -> tzinfo:
    """Return the rules of a stored zone; UTC where Python does not know it."""
    return ZoneInfo(name) if name in KNOWN else UTC


def posix_rule(name: str) -> str:
    """Return the rule of a zone, from now on, as a POSIX `TZ` string, which needs no database of zones."""
    if name not in KNOWN:
        return "UTC0"
    return _footer(name) or _fixed(name)


def _footer(name: str) -> str:
    """Return the last line of the zone's file (RFC 9636, 3.3), from where `ZoneInfo` reads it; it may be empty."""
    paths = (Path(folder, name) for folder in TZPATH)
    file = next((path for path in paths if path.is_file()), resources.files("tzdata.zoneinfo").joinpath(name))
    try:
        content = file.read_bytes()
    except OSError:
        return ""
    return content.removesuffix(b"\n").rpartition(b"\n")[2].decode("ascii", "replace")


def _fixed(name: str) -> str:
    """Return the offset of now; POSIX counts it westwards."""
    offset = ZoneInfo(name).utcoffset(datetime.now(UTC))
    minutes = round(offset.total_seconds() / 60) if offset else 0
    hours, rest = divmod(abs(minutes), 60)
    return f"<local>{'-' if minutes > 0 else '+'}{hours:02}:{rest:02}"


@cache
def _links() -> dict[str, str]:
    """Return the canonical names of all that have another one."""
    kept = {line.split("\t")[2] for line in _lines("zone.tab") if not line.startswith("#")} | {"UTC", "GMT"}
    links = [line.split() for line in _lines("tzdata.zi") if line.startswith("L ")]
    return {name: target for _, target, name in links if name not in kept}


def _lines(file: str) -> list[str]:
    return resources.files("tzdata.zoneinfo").joinpath(file).read_text("utf-8").splitlines()
