#!/usr/bin/env python
"""The front door: Litestar's own CLI, with the commands of this application."""

import os
import sys
from pathlib import Path


def main() -> None:
    """Run a command of `manage.py`."""
    sys.path.insert(0, str(Path(__file__).resolve().parent))
    os.environ.setdefault("LITESTAR_APP", "app.main:create_app")
    os.environ.setdefault("LITESTAR_QUIET_CONSOLE", "1")
    os.environ.setdefault("PYTHON_DOTENV_DISABLED", "1")  # .env is read once, by app.lib.settings
    from litestar.cli.main import litestar_group  # noqa: PLC0415 - reads the environment

    from app.lib.cli import friendly_errors  # noqa: PLC0415 - found by the path above

    with friendly_errors():
        litestar_group(prog_name="manage.py")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:  # also while modules are loaded
        sys.exit(130)
