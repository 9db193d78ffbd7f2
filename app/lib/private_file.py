"""Files that only their owner can read."""

import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from app.lib.errors import OperatorError


@contextmanager
def private_file(path: Path, *, replace: bool) -> Iterator[IO[bytes]]:
    """Open a new file with mode 0600 that is there when it is whole, or not at all. Links are never followed.

    Raises `OperatorError` where something is there already, unless a file, or a link, is to be replaced.
    """
    is_reserved = _reserve(path, replace=replace)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # exclusive, mode 0600
    draft = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        if is_reserved:
            path.unlink(missing_ok=True)
        raise


def _reserve(path: Path, *, replace: bool) -> bool:
    """Create the file, which fails if anything has its name; return whether it is new."""
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))
    except FileExistsError:
        mode = path.lstat().st_mode
        if replace and (stat.S_ISREG(mode) or stat.S_ISLNK(mode)):
            return False
        raise OperatorError(f"{path} is there already: choose another --out, or --force to replace a file.") from None
    return True
