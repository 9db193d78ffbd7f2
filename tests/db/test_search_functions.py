"""The functions that split texts into words: what is a letter, what folds, and what rows of before become."""

import sys
import unicodedata
from collections.abc import AsyncIterator, Callable
from typing import Any

import asyncpg
import pytest

from app.db.config import Database
from app.db.migrate import migrate
from app.lib.settings import Settings
from tests.live import fetch
from tests.support import SECRET, admin_url, url_of

BEFORE = "20261121_0500"
OMITTED = (range(0x3400, 0xA000), range(0xAC00, 0xD7A4), range(0xD800, 0xF900), range(0x17000, 0x1B000))
CHARACTERS = [
    chr(point)
    for point in range(1, 0x20000)
    if not any(point in omitted for omitted in OMITTED) and unicodedata.category(chr(point)) != "Cn"
]
WORD = ("L", "N", "M")


@pytest.fixture
async def url(new_database: Callable[[], Any]) -> str:
    """The URL of an empty database."""
    made: str = await new_database()
    return made


@pytest.fixture
async def database(url: str) -> AsyncIterator[Database]:
    """An empty database."""
    database = Database(Settings(_env_file=None, environment="test", database_url=url, better_auth_secret=SECRET))
    yield database
    await database.close()


@pytest.fixture
async def connection(settings: Settings) -> AsyncIterator[asyncpg.Connection]:
    """A connection to a migrated database."""
    connection = await asyncpg.connect(admin_url(url_of(settings)))
    yield connection
    await connection.close()


async def test_words_are_runs_of_letters_digits_and_their_marks(connection: asyncpg.Connection) -> None:
    rows = await connection.fetch(
        "SELECT c, app.search_fold(c), app.search_words(c) FROM unnest($1::text[]) AS c", CHARACTERS
    )
    assert len(rows) == len(CHARACTERS)
    for character, folded, words in rows:
        expected = "".join(each if unicodedata.category(each)[0] in WORD else " " for each in folded)
        assert words == " ".join(expected.split()), ascii(character)


async def test_case_folding_covers_every_letter(connection: asyncpg.Connection) -> None:
    rows = await connection.fetch("SELECT c FROM unnest($1::text[]) AS c WHERE app.search_fold(c) <> c", CHARACTERS)
    folded = {character for (character,) in rows}
    assert {character for character in CHARACTERS if character.lower() != character} <= folded


async def test_runs_of_combining_marks_are_cut_before_they_are_ordered(connection: asyncpg.Connection) -> None:
    """The canonical order of a run takes PostgreSQL quadratic time."""
    marks = [chr(point) for point in range(sys.maxunicode) if unicodedata.combining(chr(point))]
    runs = [f"x{mark * 12}" for mark in [*marks, "\u0f73", "\u0344"]]
    rows = await connection.fetch("SELECT r, app.search_fold(r) FROM unnest($1::text[]) AS r", runs)
    assert [ascii(run) for run, folded in rows if len(folded) > 1 + 2 * 8] == []


async def test_older_rows_are_found_after_upgrade_and_downgrade(database: Database, url: str) -> None:
    await migrate(database, BEFORE)
    await fetch(url, "INSERT INTO app.users (id) VALUES ('ann')")
    await fetch(
        url,
        "INSERT INTO app.todos (user_id, id, title, description) "
        "VALUES ('ann', gen_random_uuid(), 'Buy milk/bread', repeat('x', 10000))",
    )
    await migrate(database)
    found = "SELECT count(*) FROM app.todos WHERE search @@ app.search_query($1, $2::text[], 'AB', '&')"
    assert await fetch(url, found, "ann", ["bread", "x" * 200]) == [(1,)]
    assert await fetch(url, found, "bob", ["bread"]) == [(0,)]
    await migrate(database, BEFORE)
    assert await fetch(url, "SELECT count(*) FROM app.todos WHERE search @@ to_tsquery('simple', 'buy')") == [(1,)]
