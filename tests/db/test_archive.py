"""`manage.py exportuser`, `importuser`, `eraseuser`: everything of a user, out and in again, whatever the domain."""

import asyncio
import json
import os
import stat
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Computed,
    Date,
    DateTime,
    Double,
    Enum,
    ForeignKey,
    ForeignKeyConstraint,
    Integer,
    Interval,
    LargeBinary,
    Numeric,
    Table,
    Text,
    Time,
    Uuid,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.schema import CreateTable

from app.db.archive import kinds
from app.db.base import metadata
from app.lib.settings import Settings
from tests.factories import DIALECT
from tests.live import call, query
from tests.support import SECRET, url_of

LIST, PARENT, CHILD = (UUID(f"01990000-0000-7000-8000-00000000000{number}") for number in (3, 2, 1))
MOMENT = datetime(2026, 3, 1, 12, 30, 15, 123456, UTC)


@pytest.fixture(scope="module")
def settings(new_database: Callable[[], Any]) -> Settings:
    """Settings that name a migrated database of this module's own."""
    url = asyncio.run(new_database())
    settings = Settings(_env_file=None, environment="test", database_url=url, better_auth_secret=SECRET)
    assert call(settings, "migrate")[0] == 0
    return settings


@pytest.fixture
def sql(settings: Settings) -> Callable[..., list[tuple[Any, ...]]]:
    """Give a function that runs SQL in that database."""
    assert settings.database_url
    url = url_of(settings)
    return lambda text, *arguments: query(url, text, *arguments)


@pytest.fixture
def zoe(settings: Settings, sql: Callable[..., Any]) -> str:
    """Give a user with something of everything, made anew; the subtask has the smaller id."""
    sql("DELETE FROM app.users WHERE id <> $1", "")
    assert call(settings, "seed", "--user", "zoe", "--todos", "700")[0] == 0
    sql("UPDATE app.users SET name = 'Zoë', bio = $1, time_zone = 'Asia/Tokyo' WHERE id = 'zoe'", 'a"\\\n\u2028é')
    sql("INSERT INTO app.lists (user_id, id, name) VALUES ('zoe', $1, 'Errands')", LIST)
    sql("INSERT INTO app.preferences (user_id, default_list_id, notify_push) VALUES ('zoe', $1, true)", LIST)
    for key, parent in ((PARENT, None), (CHILD, PARENT)):
        sql(
            "INSERT INTO app.todos (user_id, id, parent_id, list_id, title, tags, due_at, deleted_at)"
            " VALUES ('zoe', $1, $2, $3, 'x', ARRAY['a', 'b c'], $4, $4)",
            *(key, parent, LIST, MOMENT),
        )
    sql("INSERT INTO app.idempotency_keys VALUES ('zoe', 'k', 'f', 'a')")
    return "zoe"


def exported(settings: Settings, user_id: str, file: Path) -> bytes:
    assert call(settings, "exportuser", user_id, "--out", str(file)) == (0, "")
    return file.read_bytes()


class TestRoundTrip:
    def test_exported_and_imported_user_exports_the_same_bytes(
        self, settings: Settings, zoe: str, tmp_path: Path, sql: Callable[..., Any]
    ) -> None:
        before = exported(settings, zoe, tmp_path / "before.jsonl")
        lines = before.splitlines()
        assert len(lines) == 1 + 1 + 1 + 702
        assert call(settings, "eraseuser", zoe, "--yes") == (0, "zoe is erased.\n")
        assert sql("SELECT (SELECT count(*) FROM app.users), (SELECT count(*) FROM app.todos)") == [(0, 0)]
        answer = call(settings, "importuser", str(tmp_path / "before.jsonl"))
        assert answer == (0, f"Imported {len(lines)} lines of zoe.\n")
        assert exported(settings, zoe, tmp_path / "after.jsonl") == before

    def test_imported_deactivated_user_stays_deactivated(
        self, settings: Settings, zoe: str, tmp_path: Path, sql: Callable[..., Any]
    ) -> None:
        call(settings, "users", "deactivate", zoe)
        before = exported(settings, zoe, tmp_path / "zoe.jsonl")
        call(settings, "eraseuser", zoe, "--yes")
        assert call(settings, "importuser", str(tmp_path / "zoe.jsonl"))[0] == 0
        assert exported(settings, zoe, tmp_path / "again.jsonl") == before
        assert sql("SELECT deactivated_at IS NOT NULL FROM app.users WHERE id = 'zoe'") == [(True,)]

    def test_import_accepts_lines_in_any_order(self, settings: Settings, zoe: str, tmp_path: Path) -> None:
        before = exported(settings, zoe, tmp_path / "before.jsonl")
        first, *rest = before.splitlines(keepends=True)
        (tmp_path / "other.jsonl").write_bytes(b"".join([first, *reversed(rest)]))
        call(settings, "eraseuser", zoe, "--yes")
        assert call(settings, "importuser", str(tmp_path / "other.jsonl"))[0] == 0
        assert exported(settings, zoe, tmp_path / "after.jsonl") == before


class TestExport:
    def test_export_writes_to_standard_output(self, settings: Settings, zoe: str, tmp_path: Path) -> None:
        status, output = call(settings, "exportuser", zoe)
        assert (status, output.encode()) == (0, exported(settings, zoe, tmp_path / "zoe.jsonl"))

    def test_export_of_unknown_user_leaves_no_file(self, settings: Settings, tmp_path: Path) -> None:
        status, output = call(settings, "exportuser", "nobody", "--out", str(tmp_path / "nobody.jsonl"))
        assert (status, output) == (1, "Error: There is no user 'nobody': see `python manage.py users list`.")
        assert list(tmp_path.iterdir()) == []

    def test_export_into_missing_directory_is_explained(self, settings: Settings, zoe: str, tmp_path: Path) -> None:
        status, output = call(settings, "exportuser", zoe, "--out", str(tmp_path / "none" / "zoe.jsonl"))
        assert (status, output.startswith("Error: There is no directory")) == (1, True)

    def test_export_file_is_readable_by_its_owner_only(self, settings: Settings, zoe: str, tmp_path: Path) -> None:
        file = tmp_path / "zoe.jsonl"
        exported(settings, zoe, file)
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert [*tmp_path.iterdir()] == [file]

    @pytest.mark.parametrize("kind", ["file", "link", "dangling link"])
    def test_export_does_not_overwrite_a_file(self, settings: Settings, zoe: str, tmp_path: Path, kind: str) -> None:
        file, target = tmp_path / "zoe.jsonl", tmp_path / "target"
        if kind == "file":
            file.write_text("precious")
        else:
            file.symlink_to(target)
        if kind == "link":
            target.write_text("precious")
        status, output = call(settings, "exportuser", zoe, "--out", str(file))
        assert (status, output.startswith(f"Error: {file} is there already: choose another")) == (1, True)
        assert kind == "dangling link" or file.read_text() == "precious"
        assert call(settings, "exportuser", zoe, "--out", str(file), "--force") == (0, "")
        assert not file.is_symlink()
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert kind != "link" or target.read_text() == "precious"
        assert target.exists() == (kind == "link")

    def test_forced_export_does_not_replace_a_device(self, settings: Settings, zoe: str, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe")
        assert call(settings, "exportuser", zoe, "--out", str(tmp_path / "pipe"), "--force")[0] == 1


class TestErase:
    def test_erase_keeps_a_deactivation(
        self, settings: Settings, zoe: str, tmp_path: Path, sql: Callable[..., Any]
    ) -> None:
        file = tmp_path / "zoe.jsonl"
        first = exported(settings, zoe, file).splitlines()[0]
        call(settings, "users", "deactivate", zoe)
        status, output = call(settings, "eraseuser", zoe, "--yes")
        assert (status, "The id stays deactivated" in output) == (0, True)
        state = "SELECT email, name, bio, time_zone, deactivated_at IS NULL FROM app.users WHERE id = 'zoe'"
        assert sql(state) == [(None, None, None, "UTC", False)]
        assert json.loads(first)["deactivated_at"] is None
        assert call(settings, "importuser", str(file))[0] == 0  # what was exported before does not lift it
        assert sql(state)[0][4] is False
        assert call(settings, "importuser", str(file))[0] == 1
        assert call(settings, "eraseuser", zoe, "--yes", "--lift") == (0, "zoe is erased.\n")
        assert sql(state) == []

    def test_erase_asks_for_confirmation(self, settings: Settings, zoe: str, sql: Callable[..., Any]) -> None:
        status, output = call(settings, "eraseuser", zoe)  # whose input is at its end
        assert status == 1
        assert "Erase zoe and everything that is theirs, for good?" in output
        assert sql("SELECT count(*) FROM app.todos WHERE user_id = 'zoe'") == [(702,)]

    def test_erase_of_unknown_user_fails(self, settings: Settings) -> None:
        status, output = call(settings, "eraseuser", "nobody", "--yes")
        assert (status, output) == (1, "Error: There is no user 'nobody': see `python manage.py users list`.")

    def test_erase_leaves_other_users_unchanged(self, settings: Settings, zoe: str, sql: Callable[..., Any]) -> None:
        call(settings, "seed", "--user", "bob", "--todos", "3")
        call(settings, "eraseuser", zoe, "--yes")
        assert sql("SELECT user_id, count(*) FROM app.todos GROUP BY user_id") == [("bob", 3)]


def changed(line: bytes, **values: Any) -> bytes:
    return json.dumps(json.loads(line) | values).encode()


@pytest.fixture(scope="module")
def lines(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """Give a user with a list and three todos, in lines 1 to 5."""
    file = tmp_path_factory.mktemp("import") / "bob.jsonl"
    call(settings, "eraseuser", "bob", "--yes")
    call(settings, "seed", "--user", "bob", "--todos", "3")
    assert settings.database_url
    query(
        url_of(settings),
        "INSERT INTO app.lists (user_id, id, name) VALUES ('bob', $1, 'Errands')",
        LIST,
    )
    lines = exported(settings, "bob", file).splitlines()
    assert [json.loads(line)["type"] for line in lines] == ["profile", "lists", "todos", "todos", "todos"]
    call(settings, "eraseuser", "bob", "--yes")
    return lines


class TestImport:
    @pytest.mark.parametrize(
        "case",
        [
            (1, {"time_zone": "Mars/Base"}, "The time_zone is not known here"),
            (1, {"time_zone": "localtime"}, "The time_zone is not known here"),
            (1, {"id": "a/b"}, "No user can have this id"),
            (1, {"id": None}, "Expected `str`, got `null` - at `$.id`"),
            (1, {"type": "todos"}, "Invalid UUID - at `$.id`"),
            (1, {"bio": "x" * 2001}, "breaks the rule ck_users_bio_length"),
            (1, {"created_at": "2026-03-01T00:00:00"}, "Expected `datetime` with a timezone component"),
            (2, {"type": "ledgers"}, "Invalid value 'ledgers' - at `$.type`"),
            (2, {"user_id": "alice"}, "The line is of another user than the profile"),
            (2, {"extra": 1}, "Object contains unknown field `extra`"),
            (2, {"color": "red"}, "breaks the rule ck_lists_color_form"),
            (2, {"name": "nul\x00"}, "has a value that the database cannot hold"),
            (4, {"title": 5}, "Expected `str`, got `int` - at `$.title`"),
            (4, {"title": ""}, "breaks the rule ck_todos_title_length"),
            (4, {"version": 2**31}, "has a value that the database cannot hold"),
            (4, {"list_id": str(PARENT)}, "list_id refers to what is not in the file"),
            (5, {"parent_id": str(PARENT)}, "parent_id refers to what is not in the file"),
            (1, {"name": "esc\x1b[31m"}, "without control characters"),
            (1, {"email": "e" * 321}, "at `$.email`"),
            (1, {"deactivated_at": "9000-01-01T00:00:00Z"}, "Expected a moment of the past - at `$.deactivated_at`"),
            (1, {"created_at": "2999-01-01T00:00:00Z"}, "Expected a moment of the past - at `$.created_at`"),
            (1, {"updated_at": "2001-01-01T00:00:00Z"}, "Expected no moment before created_at - at `$.updated_at`"),
            (2, {"name": " padded "}, "Expected the value as the API stores it - at `$.name`"),
            (2, {"position": "a-b"}, "Expected a position of 1 to 64 letters and digits"),
            (2, {"position": "000"}, "Expected a position of 1 to 64 letters and digits"),
            (2, {"version": 0}, "Expected a version of at least 1 - at `$.version`"),
            (2, {"id": "01990000-0000-4000-8000-000000000003"}, "Expected a UUID of version 7 - at `$.id`"),
            (3, {"title": "\u2003"}, "Expected 1 to 200 characters after trimming"),
            (3, {"tags": ["a", "a"]}, "Expected the value as the API stores it - at `$.tags`"),
            (3, {"tags": ["a" * 51]}, "Expected 1 to 50 characters after trimming"),
            (4, {"position": "é"}, "Expected a position of 1 to 64 letters and digits"),
            (4, {"due_date": None, "due_at": "0001-01-01T00:00:00Z"}, "Expected an instant after the first"),
            (5, {"due_date": "2026-03-01", "due_at": "2026-03-01T00:00:00Z"}, "breaks the rule ck_todos_due_once"),
        ],
    )
    def test_import_reports_the_invalid_line(
        self, settings: Settings, lines: list[bytes], tmp_path: Path, case: tuple[int, dict[str, Any], str]
    ) -> None:
        number, values, reason = case
        broken = [changed(line, **values) if at == number else line for at, line in enumerate(lines, 1)]
        self.refused(settings, tmp_path, broken, number, reason)

    @pytest.mark.parametrize(
        "case",
        [
            (1, b"", "Input data was truncated"),
            (3, b"{", "Input data was truncated"),
            (3, b"[]", "Expected `object`, got `array`"),
            (3, b'{"type": "todos"}', "Object missing required field"),
            (3, b'{"type": "todos", "title": "\xff"}', "utf-8"),
            (3, b'{"type": "todos", "tags": ' + b"[" * 100_000, "Expected `str`, got `array`"),
        ],
        ids=lambda case: case[2],
    )
    def test_import_reports_the_line_that_is_not_json(
        self, settings: Settings, lines: list[bytes], tmp_path: Path, case: tuple[int, bytes, str]
    ) -> None:
        number, line, reason = case
        self.refused(settings, tmp_path, [*lines[: number - 1], line, *lines[number:]], number, reason)

    @pytest.mark.parametrize("circle", [1, 2, 3])
    def test_import_refuses_a_cycle_of_subtasks(
        self, settings: Settings, lines: list[bytes], tmp_path: Path, circle: int
    ) -> None:
        ids = [json.loads(line)["id"] for line in lines[2 : 2 + circle]]
        parents = [*ids[1:], ids[0]]
        reason = "breaks the rule ck_todos_parent_is_another" if circle == 1 else "The todo is below itself"
        todos = [changed(line, parent_id=key) for line, key in zip(lines[2:], parents, strict=False)]
        self.refused(settings, tmp_path, [*lines[:2], *todos, *lines[2 + circle :]], 3, reason)

    def test_import_refuses_too_deep_subtasks(self, settings: Settings, lines: list[bytes], tmp_path: Path) -> None:
        chain = [*lines[:2], changed(lines[2], parent_id=None)]
        for number in range(1, 6):
            above = json.loads(chain[-1])["id"]
            chain.append(changed(lines[2], id=f"01990000-0000-7000-8000-0000000001{number:02}", parent_id=above))
        self.refused(settings, tmp_path, chain, 8, "Expected at most 5 levels of todos")
        file = tmp_path / "bob.jsonl"
        file.write_bytes(b"\n".join(chain[:-1]))
        assert call(settings, "importuser", str(file))[0] == 0
        call(settings, "eraseuser", "bob", "--yes")

    def test_import_refuses_a_live_todo_below_a_deleted_one(
        self, settings: Settings, lines: list[bytes], tmp_path: Path
    ) -> None:
        gone = changed(lines[2], deleted_at=json.loads(lines[2])["updated_at"], parent_id=None)
        left = changed(lines[3], parent_id=json.loads(gone)["id"])
        self.refused(settings, tmp_path, [*lines[:2], gone, left], 4, "The parent is in the trash")

    def test_import_refuses_duplicates(self, settings: Settings, lines: list[bytes], tmp_path: Path) -> None:
        self.refused(settings, tmp_path, [*lines, lines[3]], 6, "breaks the rule pk_todos")
        self.refused(settings, tmp_path, [*lines, lines[0]], 6, "There is a profile already")

    def test_import_needs_the_profile_first(self, settings: Settings, lines: list[bytes], tmp_path: Path) -> None:
        self.refused(settings, tmp_path, lines[1:], 1, "Expected the profile of the user")
        self.refused(settings, tmp_path, [], 1, "Expected the profile of the user")

    def test_import_refuses_an_existing_user(
        self, settings: Settings, lines: list[bytes], tmp_path: Path, sql: Callable[..., Any]
    ) -> None:
        file = tmp_path / "bob.jsonl"
        file.write_bytes(b"\n".join(lines))
        assert call(settings, "importuser", str(file)) == (0, "Imported 5 lines of bob.\n")
        try:
            status, output = call(settings, "importuser", str(file))
            assert (status, output) == (1, "Error: There is a user 'bob' already: nothing was imported.")
            assert sql("SELECT count(*) FROM app.todos WHERE user_id = 'bob'") == [(3,)]
        finally:
            call(settings, "eraseuser", "bob", "--yes")

    @staticmethod
    def refused(settings: Settings, directory: Path, lines: list[bytes], number: int, reason: str) -> None:
        file = directory / "bob.jsonl"
        file.write_bytes(b"".join(line + b"\n" for line in lines))
        status, output = call(settings, "importuser", str(file))
        assert status == 1
        assert output.startswith(f"Error: bob.jsonl, line {number}: ")
        assert reason in output
        assert output.endswith("Nothing was imported.")
        assert call(settings, "users", "show", "bob")[0] == 1


LEDGER = UUID("01990000-0000-7000-8000-000000000009")


@pytest.fixture
def ledgers(sql: Callable[..., Any]) -> Iterator[None]:
    """Give a table of a later domain, with columns of every kind, one of which is generated."""
    table = Table(
        "ledgers",
        metadata,
        Column("user_id", Text, ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
        Column("id", Uuid, primary_key=True),
        Column("line", Integer, primary_key=True),
        Column("type", Text),
        Column("total", Numeric(12, 2)),
        Column("ratio", Double),
        Column("count", BigInteger),
        Column("data", JSONB),
        Column("raw", LargeBinary),
        Column("status", Enum("open", "paid", native_enum=False)),
        Column("length", Interval),
        Column("day", Date),
        Column("at", Time),
        Column("naive", DateTime),
        Column("aware", DateTime(timezone=True)),
        Column("numbers", ARRAY(Integer)),
        Column("done", Boolean),
        Column("doubled", BigInteger, Computed("count * 2", persisted=True)),
        Column("previous", Integer),
        ForeignKeyConstraint(
            ["user_id", "id", "previous"], ["ledgers.user_id", "ledgers.id", "ledgers.line"], name="fk_ledgers_previous"
        ),
    )
    kinds.cache_clear()
    sql(str(CreateTable(table).compile(dialect=DIALECT)))
    yield
    sql("DROP TABLE app.ledgers")
    metadata.remove(table)
    kinds.cache_clear()


@pytest.mark.usefixtures("ledgers")
class TestLaterDomain:
    def test_new_domain_is_exported_imported_and_erased(
        self, settings: Settings, zoe: str, tmp_path: Path, sql: Callable[..., Any]
    ) -> None:
        values = {
            "type": "'its own'",
            "total": "'12345.60'",
            "ratio": "0.1",
            "count": str(2**61),
            "data": """'{"b": [1, 2.5, null, "é"], "a": {}}'""",
            "raw": "'\\x00ff'",
            "status": "'paid'",
            "length": "'1 day 00:00:01.5'",
            "day": "'2026-03-01'",
            "at": "'12:30:00.25'",
            "naive": "'2026-03-01 12:00'",
            "aware": "'2026-03-01 12:00+02'",
            "numbers": "'{3,1,2}'",
            "done": "true",
        }
        columns = ", ".join(values)
        for line, previous in ((2, "NULL"), (1, "2")):
            sql(
                f"INSERT INTO app.ledgers (user_id, id, line, previous, {columns})"
                f" VALUES ('zoe', $1, {line}, {previous}, {', '.join(values.values())})".replace(
                    str(2**62), str(2**61)
                ),
                LEDGER,
            )
        sql("INSERT INTO app.ledgers (user_id, id, line) VALUES ('zoe', $1, 3)", LEDGER)
        before = exported(settings, zoe, tmp_path / "before.jsonl")
        lines = [json.loads(line) for line in before.splitlines() if b'"type":"ledgers"' in line]
        assert [line["line"] for line in lines] == [1, 2, 3]
        assert lines[0]["data"] == {"b": [1, 2.5, None, "é"], "a": {}}
        assert (lines[0]["total"], lines[0]["type_"]) == ("12345.60", "its own")
        assert "doubled" not in lines[0]
        call(settings, "eraseuser", zoe, "--yes")
        assert sql("SELECT count(*) FROM app.ledgers") == [(0,)]
        assert call(settings, "importuser", str(tmp_path / "before.jsonl"))[0] == 0
        assert exported(settings, zoe, tmp_path / "after.jsonl") == before
        assert sql("SELECT DISTINCT doubled FROM app.ledgers WHERE count > 0") == [(2**62,)]
