"""POST /api/{user_id}/todos."""

import httpx

from tests.support import Client, assert_problem


class TestCreateTodo:
    async def test_needs_a_token(self, anonymous: httpx.AsyncClient, alice: Client) -> None:
        response = await anonymous.post(alice.todos(), json={"title": "x"})
        assert_problem(response, 401, "Missing authentication token")

    async def test_belongs_to_the_path(self, alice: Client, bob: Client) -> None:
        assert_problem(await bob.post(alice.todos(), json={"title": "x"}), 403)
        assert (await alice.get(alice.todos())).json()["total"] == 0

    async def test_answers_with_the_todo(self, alice: Client) -> None:
        todo = await alice.create(title="  Buy milk ")
        assert todo["title"] == "Buy milk"
