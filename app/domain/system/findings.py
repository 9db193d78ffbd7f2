"""What a check finds."""

from typing import Literal

from msgspec import Struct

type Level = Literal["error", "warning"]


class Finding(Struct, frozen=True):
    """Something that is wrong (error) or may be (warning), with what to do."""

    number: str
    level: Level
    message: str
