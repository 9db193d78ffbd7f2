"""DELETE /api/{user_id}/todos/{id}."""

from typing import ClassVar

from litestar import Litestar

from tests.domain.todos.walls import OneTodo
from tests.factories import todo_rows
from tests.support import Client, assert_problem


class TestDeleteTodo(OneTodo):
    method: ClassVar = "DELETE"

    async def test_delete_is_204_without_content(self, alice: Client) -> None:
        response = await self.ask(alice, await alice.create())
        assert (response.status_code, response.content) == (204, b"")
        assert "etag" not in response.headers

    async def test_permanent_delete_removes_the_row(self, app: Litestar, alice: Client) -> None:
        todo = await alice.create()
        response = await alice.delete(alice.todos(todo["id"]), params={"permanent": "true"})
        assert (response.status_code, response.content) == (204, b"")
        assert await todo_rows(app, alice.user_id) == {}

    async def test_deleted_todo_is_404(self, alice: Client) -> None:
        todo = await alice.create()
        await self.ask(alice, todo)
        assert_problem(await alice.get(alice.todos(todo["id"])), 404, "Not found")
        assert (await alice.get(alice.todos())).json()["items"] == []

    async def test_second_delete_is_404(self, alice: Client) -> None:
        todo = await alice.create()
        assert (await self.ask(alice, todo)).status_code == 204
        assert_problem(await self.ask(alice, todo), 404, "Not found")

    async def test_delete_leaves_other_todos(self, alice: Client, bob: Client) -> None:
        todos = [await alice.create() for _ in range(3)]
        theirs = await bob.create()
        await self.ask(alice, todos[1])
        assert (await alice.get(alice.todos())).json()["items"] == [todos[2], todos[0]]
        assert (await bob.get(bob.todos())).json()["items"] == [theirs]

    async def test_writes_to_a_deleted_todo_are_404(self, alice: Client) -> None:
        todo = await alice.create()
        await self.ask(alice, todo)
        one = alice.todos(todo["id"])
        for method, path in (("PUT", one), ("PATCH", one), ("POST", f"{one}/complete"), ("POST", f"{one}/reopen")):
            assert_problem(await alice.request(method, path, json={"title": "x"}), 404, "Not found")
        assert (await alice.get(alice.todos())).json()["total"] == 0
