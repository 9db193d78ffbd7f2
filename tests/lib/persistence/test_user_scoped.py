"""The user-scoped service: few verbs, each bound to its user; one statement for a read, one transaction for a write."""

import asyncio
import os
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from asyncpg.prepared_stmt import PreparedStatement
from hypothesis import given
from hypothesis import strategies as st
from litestar import Litestar

from app.domain.todos.services import TodoService
from app.lib.validation.conditions import MAX_VERSION, expected_versions
from tests.support import Client


class TestScope:
    async def test_every_statement_binds_its_user(self) -> None:
        build = TodoService.statements
        made = [build.get, build.delete(True), build.delete(False), build.count(()), build.update(("title",), True)]
        made += [build.transition(name, False) for name in TodoService.transitions]
        made += [build.page(tuple(TodoService.filters), ((key, True),)) for key in TodoService.sorts]
        for statement in made:
            where = str(statement).split("WHERE", 1)[1]
            assert "app.todos.user_id = :owner" in where

    async def test_statements_are_built_once(self) -> None:
        build = TodoService.statements
        assert build.update(("title",), False) is build.update(("title",), False)
        assert build.page((), (("title", True),)) is build.page((), (("title", True),))


@pytest.fixture
def words(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Give the first word of all that asyncpg sends, the BEGIN and COMMIT that SQLAlchemy does not show included."""
    sent: list[str] = []
    execute, fetch = asyncpg.Connection.execute, PreparedStatement.fetch

    def count_command(self: Any, query: str, *arguments: Any, **options: Any) -> Any:
        sent.append(query.split(maxsplit=1)[0].rstrip(";"))
        return execute(self, query, *arguments, **options)

    def count_statement(self: Any, *arguments: Any, **options: Any) -> Any:
        sent.append(self.get_query().split()[0])
        return fetch(self, *arguments, **options)

    monkeypatch.setattr(asyncpg.Connection, "execute", count_command)
    monkeypatch.setattr(PreparedStatement, "fetch", count_statement)
    return sent


# Row-level security asks for a transaction, which begins with whose it is.
READ = ["BEGIN", "SELECT", "ROLLBACK"] if os.environ["DATABASE_RLS"] == "true" else ["SELECT"]


class TestRoundTrips:
    @pytest.fixture
    async def known(self, alice: Client) -> Client:
        await alice.create()
        await alice.get(alice.todos())
        return alice

    @pytest.mark.parametrize("query", ["", "?limit=1&sort=title&completed=false", "?tag=a&priority=low&priority=high"])
    async def test_page_is_one_statement(self, words: list[str], known: Client, query: str) -> None:
        words.clear()
        await known.get(f"{known.todos()}{query}")
        assert words == READ

    async def test_page_past_the_end_is_two_statements(self, words: list[str], known: Client) -> None:
        words.clear()
        await known.get(f"{known.todos()}?offset=10")
        assert words == READ * 2

    async def test_get_is_one_statement(self, words: list[str], known: Client) -> None:
        todo = await known.create()
        words.clear()
        await known.get(known.todos(todo["id"]))
        await known.get(known.todos(uuid4()))
        assert words == READ * 2

    @pytest.mark.parametrize(
        ("method", "below", "word"),
        [
            ("POST", "", "WITH"),  # the default list, and the INSERT
            ("PUT", "/{}", "UPDATE"),
            ("PATCH", "/{}", "UPDATE"),
            ("POST", "/{}/toggle-complete", "UPDATE"),
            ("POST", "/{}/complete", "UPDATE"),
        ],
    )
    async def test_write_is_one_transaction(
        self, words: list[str], known: Client, method: str, below: str, word: str
    ) -> None:
        todo = await known.create()
        words.clear()
        response = await known.request(method, known.todos() + below.format(todo["id"]), json={"title": "x"})
        assert response.is_success
        assert words == ["BEGIN", word, "COMMIT"]

    @pytest.mark.parametrize(("query", "word"), [("", "WITH"), ("?permanent=true", "DELETE")])
    async def test_delete_takes_the_tree_lock(self, words: list[str], known: Client, query: str, word: str) -> None:
        todo = await known.create()
        words.clear()
        await known.delete(known.todos(todo["id"]) + query)
        assert words == ["BEGIN", "SELECT", word, "COMMIT"]

    async def test_restore_reads_the_restored_rows(self, words: list[str], known: Client) -> None:
        todo = await known.create()
        await known.delete(known.todos(todo["id"]))
        words.clear()
        await known.post(known.todos(todo["id"], "restore"))
        assert words == ["BEGIN", "SELECT", "WITH", "SELECT", "COMMIT"]

    @pytest.mark.parametrize(("side", "reads"), [("before", 1), ("after", 1), ("into", 0)])
    async def test_move_reads_the_places(self, words: list[str], known: Client, side: str, reads: int) -> None:
        todo, other = await known.create(), await known.create()
        words.clear()
        await known.post(known.todos(todo["id"], "move"), json={side: other["id"]})
        checks = [] if reads else ["WITH"]
        assert words == ["BEGIN", "SELECT", "SELECT", *checks, *["SELECT"] * reads, "UPDATE", "COMMIT"]

    async def test_subtask_reads_its_parent(self, words: list[str], known: Client) -> None:
        todo, parent = await known.create(), await known.create()
        words.clear()
        await known.post(known.todos(), json={"title": "x", "parent_id": parent["id"]})
        assert words == ["BEGIN", "SELECT", "WITH", "WITH", "COMMIT"]
        words.clear()
        await known.patch(known.todos(todo["id"]), json={"parent_id": parent["id"]})
        assert words == ["BEGIN", "SELECT", "SELECT", "WITH", "UPDATE", "COMMIT"]

    async def test_batch_takes_the_lock_once(self, words: list[str], known: Client) -> None:
        todo, parent = await known.create(), await known.create()
        below = {"title": "x", "parent_id": parent["id"]}
        operations = [
            *[{"op": "create", "data": {"title": "x"}}] * 49,
            *[{"op": "create", "data": below}] * 49,
            {"op": "update", "id": todo["id"], "data": {"title": "y"}},
            {"op": "delete", "id": todo["id"]},
        ]
        words.clear()
        response = await known.post(known.todos("batch"), json={"operations": operations})
        assert response.status_code == 200
        assert words == ["BEGIN", "SELECT", *["WITH"] * 49, *["WITH", "WITH"] * 49, "UPDATE", "WITH", "COMMIT"]

    async def test_refused_requests_use_no_statement(self, words: list[str], known: Client, bob: Client) -> None:
        words.clear()
        await bob.get(known.todos())
        await known.post(known.todos(), json={"title": ""})
        await known.get(f"{known.todos()}?limit=0")
        await known.get(known.todos("not-a-uuid"))
        assert words == []

    async def test_no_connection_stays_checked_out(self, app: Litestar, known: Client) -> None:
        paths = [known.todos(), known.todos(uuid4()), f"{known.todos()}?limit=x"]
        await asyncio.gather(*(known.get(path) for path in paths * 20))
        assert app.state.database.engine.pool.checkedout() == 0


class TestIfMatch:
    @pytest.mark.parametrize(
        ("header", "versions"),
        [
            (None, None),
            ("*", None),
            (" * ", None),
            ('"1"', [1]),
            ('"1", "22"', [1, 22]),
            ("1", []),
            ('W/"1"', []),
            ('""', []),
            ("", []),
            ('"', []),
            ('"-1"', []),
            ('"1.0"', []),
            ('"\u0661"', []),
            (f'"{MAX_VERSION}"', [MAX_VERSION]),
            (f'"{MAX_VERSION + 1}"', []),
            (f'"{"9" * 5000}"', []),
        ],
    )
    def test_if_match_is_parsed_to_versions(self, header: str | None, versions: list[int] | None) -> None:
        assert expected_versions(header) == versions

    @given(header=st.text())
    def test_if_match_parser_accepts_any_text(self, header: str) -> None:
        versions = expected_versions(header)
        assert versions is None or all(0 <= version <= MAX_VERSION for version in versions)

    async def test_hostile_if_match_is_412(self, alice: Client) -> None:
        todo = await alice.create()
        for header in ('"' + "9" * 5000 + '"', '"²"', "x" * 5000, '"1" "2"'):
            patched = await alice.patch(
                alice.todos(todo["id"]), json={"title": "y"}, headers={b"If-Match": header.encode()}
            )
            assert patched.status_code == 412
