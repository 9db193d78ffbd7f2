"""POST /api/{user_id}/todos/{id}/toggle-complete, /complete and /reopen."""

from typing import Any, ClassVar

from litestar import Litestar

from tests.domain.todos.walls import OneTodo
from tests.factories import todo_rows
from tests.support import Client, json_object

FIELDS = {"description": "d", "priority": "low", "tags": ["a"], "due_date": "2026-03-01"}


class Transition(OneTodo):
    method: ClassVar = "POST"
    becomes: ClassVar[bool]

    async def apply(self, client: Client, todo: dict[str, Any]) -> dict[str, Any]:
        response = await self.ask(client, todo)
        changed = json_object(response)
        assert response.headers["etag"] == f'"{changed["version"]}"'
        assert "location" not in response.headers
        assert (await client.get(client.todos(todo["id"]))).json() == changed
        return changed

    async def test_transition_changes_only_completion(self, alice: Client) -> None:
        before = await alice.create(**FIELDS, completed=not self.becomes)
        todo = await self.apply(alice, before)
        assert todo["updated_at"] > before["updated_at"]
        done = todo["updated_at"] if self.becomes else None
        changes = {"completed": self.becomes, "completed_at": done, "version": 2, "updated_at": todo["updated_at"]}
        assert todo == before | changes

    async def test_transition_reads_no_body(self, alice: Client) -> None:
        todo = await alice.create(completed=not self.becomes)
        response = await alice.post(self.path(alice, todo["id"]), json={"completed": not self.becomes})
        assert response.json()["completed"] is self.becomes


class RetrySafe(Transition):
    async def test_repeated_transition_changes_nothing(self, app: Litestar, alice: Client) -> None:
        first = await self.apply(alice, await alice.create(completed=not self.becomes))
        before = await todo_rows(app, alice.user_id)
        assert await self.apply(alice, first) == first
        assert await todo_rows(app, alice.user_id) == before

    async def test_transition_to_the_current_state_changes_nothing(self, alice: Client) -> None:
        todo = await alice.create(completed=self.becomes)
        assert await self.apply(alice, todo) == todo


class TestToggleComplete(Transition):
    action: ClassVar = "toggle-complete"
    becomes: ClassVar = True

    async def test_second_toggle_reverts(self, alice: Client) -> None:
        before = await alice.create()
        done = await self.apply(alice, before)
        todo = await self.apply(alice, done)
        assert todo == before | {"version": 3, "updated_at": todo["updated_at"]}
        assert (await self.apply(alice, todo))["completed_at"] > done["completed_at"]


class TestCompleteTodo(RetrySafe):
    action: ClassVar = "complete"
    becomes: ClassVar = True

    async def test_new_completion_has_a_new_completed_at(self, alice: Client) -> None:
        first = await self.apply(alice, await alice.create())
        await alice.post(alice.todos(first["id"], "reopen"))
        second = await self.apply(alice, first)
        assert second["completed_at"] > first["completed_at"]
        assert second["version"] == 4


class TestReopenTodo(RetrySafe):
    action: ClassVar = "reopen"
    becomes: ClassVar = False
