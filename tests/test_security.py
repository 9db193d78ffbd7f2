"""SECURITY.md names, for each threat, the tests that hold it off: they are there."""

import re
from pathlib import Path

import pytest

from app.lib.settings import PROJECT

THREATS = [line for line in (PROJECT / "SECURITY.md").read_text().splitlines() if line.startswith("| ")][2:]


@pytest.mark.parametrize("threat", THREATS, ids=lambda line: line.split("|")[1].strip()[:40])
def test_every_threat_names_its_tests(threat: str) -> None:
    held_by = threat.split("|")[3]
    folder, found = Path("tests"), re.findall(r"`([\w/]+\.py)`|\(`(\w+)`|, `(Test\w+)`\)", held_by)
    assert found
    for name, *classes in found:
        if name:
            path = folder / name if "/" not in name else Path(name)
            folder = path.parent
            text = (PROJECT / path).read_text()
        for kind in filter(None, classes):
            assert f"class {kind}" in text
