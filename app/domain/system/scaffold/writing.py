"""Puts a new domain where it belongs: whole, or not at all."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.domain.system.scaffold.drafts import joined, refuse_clashes, render, tidy
from app.domain.system.scaffold.fields import Field
from app.domain.system.scaffold.names import Name
from app.lib.errors import OperatorError
from app.lib.settings import Settings

JOIN = Path("app/domain/__init__.py")
DESCRIPTION = Path("tests/lib/openapi.json")


def write_domain(project: Path, plural: Name, singular: Name, fields: list[Field]) -> list[Path]:
    """Write a domain and its tests, and join it; give the new folders. Raises `OperatorError`."""
    places = {kind: Path(above) / plural.snake for kind, above in (("domain", "app/domain"), ("tests", "tests/domain"))}
    for place in places.values():
        if (project / place).exists():
            raise OperatorError(f"{place} exists already: choose another name.")
    with _draft_in(project) as draft:
        for kind, place in places.items():
            render(kind, draft / place, plural, singular, fields)
        text = joined((project / JOIN).read_text(), plural, singular)
        if text is None:
            raise OperatorError(f"{JOIN} has no imports, or no tuple called CONTROLLERS: it cannot be joined there.")
        (draft / JOIN).write_text(text)
        tidy(draft)
        refuse_clashes(draft)
        _place(draft, project, [*places.values()])
    return [*places.values()]


@contextmanager
def _draft_in(project: Path) -> Iterator[Path]:
    """Make a folder on the same disk, from where things are moved in one step each."""
    draft = Path(tempfile.mkdtemp(prefix=".startapp-", dir=project))
    try:
        yield draft
    finally:
        shutil.rmtree(draft)


def _place(draft: Path, project: Path, folders: list[Path]) -> None:
    """Move what is new to its place, then join it; take all back where the application does not start with it."""
    before = draft / "before.py"
    shutil.copy2(project / JOIN, before)
    try:
        for folder in folders:
            (draft / folder).rename(project / folder)
        (draft / JOIN).replace(project / JOIN)
        _describe(project, draft / "openapi.json")
    except BaseException:
        before.replace(project / JOIN)
        for folder in folders:
            if not (draft / folder).exists():
                shutil.rmtree(project / folder)
        raise


def _describe(project: Path, made: Path) -> None:
    """Renew the description of the API that the tests compare with, by a process that knows the new domain."""
    if not (project / DESCRIPTION).exists():
        return
    unset = {name: value for name, value in os.environ.items() if name.lower() not in Settings.model_fields}
    plain = {"ENV_FILE": "", "ENVIRONMENT": "test", "BETTER_AUTH_SECRET": "of no importance, but long enough"}
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, str(project / "manage.py"), "openapi", "--out", str(made)],
        env=unset | plain,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise OperatorError(f"The application does not start with it: {done.stderr.strip().rpartition('\n')[2]}")
    made.replace(project / DESCRIPTION)
