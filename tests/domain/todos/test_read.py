"""GET /api/{user_id}/todos/{id}."""

from typing import ClassVar

from litestar import Litestar

from tests.domain.todos.walls import OneTodo
from tests.factories import insert_todos, todo_row
from tests.support import Client


class TestGetTodo(OneTodo):
    method: ClassVar = "GET"

    async def test_get_returns_what_was_created(self, alice: Client) -> None:
        todo = await alice.create(description="d", priority="high", tags=["a", "b"], due_date="2026-03-01")
        response = await self.ask(alice, todo)
        assert (response.status_code, response.json()) == (200, todo)
        assert response.headers["etag"] == '"1"'
        assert response.headers["content-type"] == "application/json"

    async def test_get_changes_nothing(self, alice: Client) -> None:
        todo = await alice.create()
        for _ in range(3):
            assert (await self.ask(alice, todo)).json() == todo

    async def test_id_in_the_path_is_case_insensitive(self, alice: Client) -> None:
        todo = await alice.create()
        assert (await alice.get(alice.todos(todo["id"].upper()))).json() == todo

    async def test_stale_if_match_on_get_is_412(self, alice: Client) -> None:
        todo = await alice.create()
        assert (await self.ask(alice, todo, **{"If-Match": '"9"'})).status_code == 412
        assert (await self.ask(alice, todo, **{"If-Match": '"1"'})).status_code == 200

    async def test_row_of_defaults_has_every_field(self, app: Litestar, alice: Client) -> None:
        row = todo_row(alice.user_id, version=7)
        await insert_todos(app, [row])
        response = await alice.get(alice.todos(row["id"]))
        absent = {name for name, value in response.json().items() if value is None}
        assert absent == {
            *("description", "completed_at", "due_date", "due_at"),
            *("list_id", "parent_id", "deleted_at"),
        }
        assert (response.json()["version"], response.headers["etag"]) == (7, '"7"')
