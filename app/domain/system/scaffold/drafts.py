"""A new domain as code, in a folder where it harms nobody yet."""

import ast
import builtins
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mako.template import Template

from app.domain.system.scaffold.fields import Field
from app.domain.system.scaffold.names import Name
from app.lib.errors import OperatorError

TEMPLATES = Path(__file__).parent / "templates"
# In the draft, ruff would not know our packages for what they are.
_OWN = 'lint.isort.known-first-party=["app", "tests"]'
_CHECK = ["check", "--fix", "--quiet", "--select=F401,I", f"--config={_OWN}"]


def render(kind: str, folder: Path, plural: Name, singular: Name, fields: list[Field]) -> None:
    """Write the templates of a kind as the files of a new folder."""
    folder.mkdir(parents=True)
    declared = [line.partition(" = ")[0] for field in fields for line in field.declared]
    written = " ".join(text for field in fields for text in (*field.check, field.sort or ""))
    context: dict[str, Any] = {
        "plural": plural,
        "singular": singular,
        "variable": f"_{singular.snake}",
        "fields": fields,
        "filters": [each for field in fields for each in field.filters],
        "shared": [name for name in declared if re.search(rf"\b{name}\b", written)],
    }
    for path in (TEMPLATES / kind).glob("*.mako"):
        template = Template(filename=str(path), strict_undefined=True)  # noqa: S702 - Python, not HTML
        (folder / path.stem.replace("NAME", plural.snake)).write_text(str(template.render(**context)))


def joined(source: str, plural: Name, singular: Name) -> str | None:
    """Import the controller, and name it last in `CONTROLLERS`; None where there is no such tuple."""
    controller = f"{singular.camel}Controller"
    tree = ast.parse(source)
    values = [node.value for node in tree.body if isinstance(node, ast.Assign) and _bound(node) == ["CONTROLLERS"]]
    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    if len(values) != 1 or not isinstance(values[0], ast.Tuple) or not values[0].elts or not imports:
        return None
    lines = source.encode().splitlines(keepends=True)  # the tree counts bytes
    last = values[0].elts[-1]
    assert last.end_lineno is not None
    line, end = lines[last.end_lineno - 1], last.end_col_offset
    lines[last.end_lineno - 1] = line[:end] + f", {controller}".encode() + line[end:]
    lines.insert(imports[0].lineno - 1, f"from app.domain.{plural.snake}.controllers import {controller}\n".encode())
    return b"".join(lines).decode()


def tidy(folder: Path) -> None:
    """Leave out the imports that are not needed, and lay the code out as the project does. Raises `OperatorError`."""
    if find_spec("ruff") is None:
        raise OperatorError("ruff, which lays the code out, is not installed: run `uv sync`.")
    for command in (_CHECK, ["format", "--quiet"]):
        done = subprocess.run(  # noqa: S603 - a program of our own environment
            [sys.executable, "-m", "ruff", *command, "--no-cache", str(folder)],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise OperatorError(f"ruff does not take it: {(done.stderr or done.stdout).strip()}")


def refuse_clashes(folder: Path) -> None:
    """Refuse names that mean two things in a file; only what is written shows which names it needs.

    Raises `OperatorError`.
    """
    for path in folder.rglob("*.py"):
        tree = ast.parse(path.read_text())
        bound = [name for node in tree.body for name in _bound(node)]
        used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
        fields = {name for node in ast.walk(tree) if isinstance(node, ast.AnnAssign) for name in _targets(node.target)}
        twice = {name for name in bound if bound.count(name) > 1}
        if clashes := twice | ({*bound} & {*dir(builtins)}) | (fields & used):
            raise OperatorError(f"{min(clashes)!r} would mean two things in {path.name}: choose another name.")


def _targets(*targets: ast.expr) -> list[str]:
    return [target.id for target in targets if isinstance(target, ast.Name)]


def _bound(node: ast.stmt) -> list[str]:
    """Give the names that a statement binds."""
    match node:
        case ast.Import(names=names) | ast.ImportFrom(names=names):
            return [alias.asname or alias.name for alias in names]
        case ast.ClassDef(name=name):
            return [name]
        case ast.Assign(targets=targets):
            return _targets(*targets)
    return []
