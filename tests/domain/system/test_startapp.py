"""`manage.py startapp`: what it refuses, that it leaves nothing half-written, and that what it writes holds."""

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from app.domain.system.scaffold import commands, drafts, writing
from app.domain.system.scaffold.fields import read_fields
from app.domain.system.scaffold.names import domain_names
from app.lib.settings import PROJECT
from tests.live import call, environment
from tests.support import SECRET
from tests.test_manage import NOWHERE, assert_explained, make_settings

FIELDS = ("total:decimal", "status:enum(open,paid)", "placed_at:datetime", "note:text?")
EVERY_TYPE = (
    *("code:string(1)", "story:text(500)", "units:integer", "weight:decimal(3,1)", "fragile:boolean", "packed_on:date"),
    *("sent_off:datetime", "way:enum(by-sea,air,by_road)", "batch:uuid"),
)
KEPT_OUT = {".data", ".git", ".venv", "__pycache__", ".pytest_cache", ".ruff_cache", ".hypothesis", "node_modules"}
COMMAND_PATIENCE = 300  # seconds: a deadline for what is broken


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the folders of a project, in place of this one; only what startapp reads is in them."""
    for folder in ("app/domain", "tests/domain"):
        for path in (PROJECT / folder).iterdir():
            if path.is_dir():
                (tmp_path / folder / path.name).mkdir(parents=True)
    for name in ("pyproject.toml", "app/domain/__init__.py"):
        shutil.copy(PROJECT / name, tmp_path / name)
    monkeypatch.setattr(commands, "PROJECT", tmp_path)
    return tmp_path


def startapp(*arguments: str) -> tuple[int, str]:
    return call(make_settings(NOWHERE), "startapp", *arguments)


def write_trials(project: Path) -> None:
    writing.write_domain(project, *domain_names("trials", None), read_fields(FIELDS, "_trial"))


def snapshot(project: Path) -> dict[str, str | None]:
    """Give every file with its text, and every folder."""
    return {
        str(path.relative_to(project)): path.read_text() if path.is_file() else None
        for path in project.rglob("*")
        if ".ruff_cache" not in path.parts
    }


NAMES = {
    **dict.fromkeys(("", "Trials", "trials-x", "1trials", "_trials", "trials_", "or__ders", "órders"), "is no name"),
    **dict.fromkeys(("or ders", "trials/x", "../trials", "/tmp/trials", "trials.items", "trials\n"), "is no name"),
    **dict.fromkeys(("pass", "class", "nones"), "word of Python"),
    **dict.fromkeys(("app", "tests", "headers", "cookies", "criteria"), "would shadow"),
    **dict.fromkeys(("order", "sheep", "status", "glass", "s"), "--singular"),
    **dict.fromkeys(("todos", "users", "idempotency_keys"), "table"),
    "tasks": "served already",
    "x" * 24 + "s": "too long",
    **dict.fromkeys(("pages", "fields", "warnings"), "would mean two things"),
}
WRONG_FIELDS = {
    **dict.fromkeys(("total", "total:", "total:money", "total:decimal??", "total:decimal(1", "a:b:c"), "is no field"),
    **dict.fromkeys((":text", "Total:text", "a-b:text", "1a:text", "a__b:text", "a b:text", "é:text"), "is no name"),
    **dict.fromkeys(("class:text", "from:text", "true:text"), "word of Python"),
    **{f"{name}:text": "another meaning" for name in ("id", "user_id", "version", "created_at", "updated_at")},
    **{f"{name}:text": "another meaning" for name in ("limit", "offset", "sort", "cursor", "metadata", "model_name")},
    **{
        f"{name}:text": "another meaning"
        for name in ("sent", "validate", "items", "values", "json", "copy", "key", "owner")
    },
    **dict.fromkeys(("date:date?", "column:text", "datetime:datetime"), "would mean two things"),
    **dict.fromkeys(
        ("a:enum", "a:enum()", "a:enum(x)", "a:enum(x,x)", "a:enum(X,y)", "a:enum(x,)"), "different values"
    ),
    **dict.fromkeys(("a:enum(x y,z)", 'a:enum(x",y)', f"a:enum(x,{'y' * 51})"), "different values"),
    **dict.fromkeys(("a:string(0)", "a:string(1001)", "a:string(x)", "a:string(-1)"), "1 to 1000"),
    "a:text(100001)": "1 to 100000",
    **dict.fromkeys(("a:decimal(2,2)", "a:decimal(39,2)", "a:decimal(5)", "a:decimal(9,7)"), "12 digits"),
    **dict.fromkeys(("a:integer(5)", "a:uuid(4)", "a:date(1)"), "nothing stands in brackets"),
    "x" * 29 + ":text": "too long",
}
TOGETHER = {
    ("total:text", "total:integer"): "'total'",
    ("sent_at:datetime", "sent_on:date"): "'sent_after'",
    ("total:decimal", "total_min:string"): "'total_min'",
    ("foo_1:text", "foo1:text"): "'Foo1'",
}


class TestRefusals:
    @pytest.mark.parametrize(("name", "why"), NAMES.items())
    def test_startapp_refuses_invalid_names(self, project: Path, name: str, why: str) -> None:
        before = snapshot(project)
        status, output = startapp("--", name)
        assert_explained(status, output)
        assert why in output
        assert snapshot(project) == before

    @pytest.mark.parametrize(("field", "why"), WRONG_FIELDS.items())
    def test_startapp_refuses_invalid_fields(self, project: Path, field: str, why: str) -> None:
        before = snapshot(project)
        status, output = startapp("trials", "fine:text", field)
        assert_explained(status, output)
        assert why in output
        assert snapshot(project) == before

    @pytest.mark.parametrize(("fields", "culprit"), TOGETHER.items())
    def test_startapp_refuses_conflicting_fields(self, project: Path, fields: tuple[str, ...], culprit: str) -> None:
        before = snapshot(project)
        status, output = startapp("trials", *fields)
        assert_explained(status, output)
        assert culprit in output
        assert snapshot(project) == before

    def test_startapp_refuses_too_many_fields(self, project: Path) -> None:
        assert_explained(*startapp("trials", *(f"f{number}:text" for number in range(51))))
        assert not (project / "app/domain/trials").exists()

    @pytest.mark.parametrize("singular", ["Trial", "", "a/b", "class", "todo"])
    def test_startapp_refuses_invalid_singulars(self, project: Path, singular: str) -> None:
        before = snapshot(project)
        assert_explained(*startapp("trials", "--singular", singular))
        assert snapshot(project) == before

    @pytest.mark.parametrize("folder", ["app/domain/trials", "tests/domain/trials"])
    def test_startapp_refuses_an_existing_domain(self, project: Path, folder: str) -> None:
        (project / folder).mkdir()
        (project / folder / "mine.py").write_text("kept")
        before = snapshot(project)
        status, output = startapp("trials")
        assert_explained(status, output)
        assert f"{folder} exists already" in output
        assert snapshot(project) == before

    @pytest.mark.parametrize("text", ["", "CONTROLLERS = []\n", "import x\n\nCONTROLLERS = ()\n"])
    def test_startapp_refuses_an_init_file_it_cannot_edit(self, project: Path, text: str) -> None:
        (project / writing.JOIN).write_text(text)
        before = snapshot(project)
        status, output = startapp("trials")
        assert_explained(status, output)
        assert "CONTROLLERS" in output
        assert snapshot(project) == before


class TestFailures:
    @pytest.mark.parametrize("step", ["app/domain/trials", "tests/domain/trials", "app/domain/__init__.py"])
    def test_failed_startapp_leaves_nothing_behind(
        self, project: Path, monkeypatch: pytest.MonkeyPatch, step: str
    ) -> None:
        before = snapshot(project)
        failed: list[Path] = []
        move = Path.replace

        def fails_once(path: Path, target: Path) -> Path:
            if target == project / step and not failed:
                failed.append(path)
                raise PermissionError(13, "Permission denied")
            return move(path, target)

        monkeypatch.setattr(Path, "rename", fails_once)
        monkeypatch.setattr(Path, "replace", fails_once)
        with pytest.raises(PermissionError):
            write_trials(project)
        assert failed
        assert snapshot(project) == before

    def test_startapp_restores_an_application_that_does_not_start(self, project: Path) -> None:
        (project / writing.DESCRIPTION).parent.mkdir()
        (project / writing.DESCRIPTION).write_text("{}")
        (project / "manage.py").write_text("raise SystemExit('Error: a broken domain')")
        before = snapshot(project)
        status, output = startapp("trials")
        assert_explained(status, output)
        assert "a broken domain" in output
        assert snapshot(project) == before

    def test_interrupted_startapp_leaves_nothing_behind(self, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        before = snapshot(project)

        def interrupt(*_: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(writing, "refuse_clashes", interrupt)
        with pytest.raises(KeyboardInterrupt):
            write_trials(project)
        assert snapshot(project) == before

    def test_startapp_without_ruff_explains_what_to_do(self, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        before = snapshot(project)
        monkeypatch.setattr(drafts, "find_spec", lambda _: None)
        status, output = startapp("trials")
        assert_explained(status, output)
        assert "uv sync" in output
        assert snapshot(project) == before

    def test_startapp_reports_what_ruff_refuses(self, project: Path) -> None:
        (project / "pyproject.toml").write_text("[tool.ruff]\nnonsense = 1\n")
        status, output = startapp("trials")
        assert status == 1
        assert "ruff does not take it" in output
        assert not (project / "app/domain/trials").exists()


class TestWritten:
    def test_startapp_prints_the_next_steps(self, project: Path) -> None:
        status, output = startapp("trials", *FIELDS)
        assert status == 0
        assert "makemigrations" in output
        assert "migrate" in output
        new = {line.split("/")[2] for line in snapshot(project) if "trials" in line}
        assert new == {"trials"}

    def test_startapp_changes_two_existing_lines(self, project: Path) -> None:
        before = joined(project)
        assert startapp("trials", *FIELDS)[0] == 0
        imports, controllers, rest = joined(project)
        assert sorted([*before[0], "from app.domain.trials.controllers import TrialController"]) == sorted(imports)
        assert (controllers, rest) == ([*before[1], "TrialController"], before[2])

    def test_startapp_domain_has_the_files_of_todos(self, project: Path) -> None:
        assert startapp("trials", *FIELDS)[0] == 0
        folder = project / "app/domain/trials"
        assert {path.name for path in folder.iterdir()} == {
            *("__init__.py", "controllers.py", "models.py", "schemas.py", "services.py")
        }
        statements = {path.name: statements_in(path) for path in folder.iterdir()}
        assert sum(statements.values()) <= 80, statements
        assert not any("user_id ==" in path.read_text() for path in folder.iterdir())

    def test_startapp_default_field_is_name(self, project: Path) -> None:
        assert startapp("people", "--singular", "person")[0] == 0
        schemas = (project / "app/domain/people/schemas.py").read_text()
        assert "class PersonCreate(Body" in schemas
        assert "    name: Name\n" in schemas

    @pytest.mark.parametrize(
        ("plural", "singular"),
        [("categories", "Category"), ("crates", "Crate"), ("addresses", "Address"), ("purchase_items", "PurchaseItem")],
    )
    def test_startapp_derives_the_singular(self, project: Path, plural: str, singular: str) -> None:
        assert startapp(plural)[0] == 0
        assert f"class {singular}(Owned" in (project / f"app/domain/{plural}/models.py").read_text()

    def test_startapp_field_may_shadow_an_import(self, project: Path) -> None:
        assert startapp("notes", "body:text", "meta:string", "index:string", "warning:text?", "type:enum(a,b)")[0] == 0
        schemas = (project / "app/domain/notes/schemas.py").read_text()
        assert "BodyValue = Annotated[str" in schemas
        assert "    body: BodyValue\n" in schemas

    def test_startapp_twice_joins_both_domains(self, project: Path) -> None:
        assert startapp("trials")[0] == startapp("crates", *EVERY_TYPE)[0] == 0
        assert joined(project)[1][-2:] == ["TrialController", "CrateController"]


def joined(project: Path) -> tuple[list[str], list[str], list[str]]:
    """Give the imports of the domains, the names in CONTROLLERS, and all else."""
    lines: tuple[list[str], list[str], list[str]] = [], [], []
    for node in ast.parse((project / writing.JOIN).read_text()).body:
        match node:
            case ast.ImportFrom():
                lines[0].append(ast.unparse(node))
            case ast.Assign(targets=[ast.Name(id="CONTROLLERS")], value=ast.Tuple(elts=names)):
                lines[1].extend(map(ast.unparse, names))
            case _:
                lines[2].append(ast.unparse(node))
    return lines


def statements_in(path: Path) -> int:
    """Count what a reader must read: no imports and no docstrings."""
    tree = ast.parse(path.read_text())
    passed_over = (ast.Import, ast.ImportFrom, ast.Expr)
    return sum(isinstance(node, ast.stmt) and not isinstance(node, passed_over) for node in ast.walk(tree))


class Copy:
    """A throw-away copy of the whole project, with a database of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.copytree(PROJECT, folder, ignore=lambda _, names: KEPT_OUT & set(names), symlinks=True)
        settings = environment(environment="test", data_dir=folder / ".data", better_auth_secret=SECRET)
        self.env = {name: value for name, value in settings.items() if not name.startswith("COVERAGE_")}

    def run(self, *command: str) -> str:
        """Run a Python program in it, and give what it said."""
        done = subprocess.run(
            [sys.executable, *command],
            cwd=self.folder,
            env=self.env,
            capture_output=True,
            text=True,
            check=False,
            timeout=COMMAND_PATIENCE,
        )
        assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"
        return done.stdout


@pytest.fixture(scope="class")
def walked(tmp_path_factory: pytest.TempPathFactory) -> Copy:
    """Walk the README's tutorial in a copy, and write a second domain that has every type, each nullable too."""
    copy = Copy(tmp_path_factory.mktemp("startapp") / "project")
    copy.run("manage.py", "startapp", "trials", *FIELDS)
    every = [*EVERY_TYPE, *(f"maybe_{field}?" for field in EVERY_TYPE)]
    copy.run("manage.py", "startapp", "crates", *every)
    copy.run("manage.py", "makemigrations", "-m", "create trials and crates")
    copy.run("manage.py", "migrate")
    return copy


class TestWalk:
    def test_startapp_migration_matches_its_models(self, walked: Copy) -> None:
        assert "No problems found." in walked.run("manage.py", "check")
        assert "No changes" in walked.run("manage.py", "makemigrations", "--check")

    def test_startapp_routes_are_guarded(self, walked: Copy) -> None:
        rows = [line.split() for line in walked.run("manage.py", "routes").splitlines()]
        trials = [row for row in rows if "/trials" in row[1]]
        assert {row[2] for row in trials} == {
            *("list_trials", "create_trial", "get_trial", "replace_trial", "update_trial", "delete_trial")
        }
        assert {(row[0] == "GET", row[3]) for row in trials} == {(True, "trials:read"), (False, "trials:write")}
        assert {row[4] for row in trials} == {"requires_owner"}

    def test_startapp_tests_pass(self, walked: Copy) -> None:
        tests = ["tests/domain/trials", "tests/domain/crates", "tests/db/test_migrations.py::TestEquality"]
        tests += ["tests/lib/openapi/test_document.py"]
        tests += ["tests/isolation/test_scopes.py::test_every_route_declares_the_scope_of_the_policy"]
        said = walked.run("-m", "pytest", "-n0", "-q", "-p", "no:cacheprovider", *tests)
        passed = re.search(r"(\d+) passed", said)
        assert passed
        assert int(passed[1]) > 300

    def test_startapp_files_are_formatted_and_linted(self, walked: Copy) -> None:
        walked.run("-m", "ruff", "check", "--no-cache", ".")
        walked.run("-m", "ruff", "format", "--check", "--no-cache", ".")

    def test_startapp_files_are_typed(self, walked: Copy) -> None:
        assert "Success" in walked.run("-m", "mypy")

    def test_startapp_domain_imports_no_other_domain(self, walked: Copy) -> None:
        script = Path(sys.executable).with_name("lint-imports")
        assert "0 broken" in walked.run(str(script))

    def test_startapp_changes_only_its_own_files(self, walked: Copy) -> None:
        def files(root: Path) -> dict[str, str]:
            found = {str(path.relative_to(root)): path for path in (root / "app").rglob("*.py")}
            return {name: path.read_text() for name, path in found.items() if os.sep + "__pycache__" not in name}

        ours, theirs = files(PROJECT), files(walked.folder)
        changed = {name for name, text in theirs.items() if ours.get(name) != text}
        assert {name for name in changed if name in ours} == {"app/domain/__init__.py"}
        assert {name.split("/")[2] for name in changed - ours.keys()} == {"trials", "crates", "migrations"}
