"""What is set in the environment or in `.env` and has no effect."""

import os

from app.db import libpq
from app.domain.system.findings import Finding
from app.lib.setting_names import lookalikes
from app.lib.settings import Settings, env_file_values


def environment_findings() -> list[Finding]:
    """Return a warning for each name that is set and read by nobody."""
    names = {*os.environ, *env_file_values()}
    meant = [
        Finding("E001", "warning", f"{name} is set, and is no setting: {setting} is probably meant.")
        for name, setting in lookalikes(names, Settings.model_fields).items()
    ]
    if ignored := libpq.set_variables():
        message = f"DATABASE_URL alone says how to connect: {', '.join(ignored)} of the environment has no effect."
        meant.append(Finding("E002", "warning", message))
    return meant
