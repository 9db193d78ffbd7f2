"""The `.env` file, read as a shell would read it: nothing is replaced inside single quotes."""

import os
import re
from pathlib import Path

from dotenv.parser import parse_stream
from dotenv.variables import parse_variables

_SINGLE_QUOTED = re.compile(r"[^=]*=[^\S\r\n]*'")

type Values = dict[str, str | None]


class EnvFileError(ValueError):
    """A line that is not NAME=value; the message never repeats it."""


def read_env_file(path: Path) -> Values:
    """Return the values by name. Raises `EnvFileError`, `UnicodeDecodeError`."""
    values: Values = {}
    with path.open(encoding="utf-8-sig") as file:
        bindings = list(parse_stream(file))
    for binding in bindings:
        if binding.error:
            raise EnvFileError(f"Line {binding.original.line} of the .env file is not of the form NAME=value")
        if binding.key is not None:
            literal = binding.value is None or _SINGLE_QUOTED.match(binding.original.string)
            values[binding.key] = binding.value if literal else _replaced(binding.value or "", values)
    return values


def _replaced(text: str, values: Values) -> str:
    """Put values in place of ${NAME} and ${NAME:-default}: those of lines above, else of the environment."""
    known = {**os.environ, **values}
    return "".join(atom.resolve(known) for atom in parse_variables(text))
