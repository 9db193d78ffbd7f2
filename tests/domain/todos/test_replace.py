"""PUT /api/{user_id}/todos/{id}."""

import json
from typing import Any, ClassVar

import pytest

from tests.domain.todos.fields import INVALID, SERVER_OWNED, VALID
from tests.domain.todos.walls import OneTodo
from tests.support import Client, json_object, mistakes

FULL = {
    "title": "Full",
    "description": "d",
    "completed": True,
    "priority": "high",
    "due_date": "2026-03-01",
    "tags": ["a", "b"],
}


class TestReplaceTodo(OneTodo):
    method: ClassVar = "PUT"
    body: ClassVar = {"title": "Replaced"}

    async def replace(self, client: Client, todo: dict[str, Any], **fields: Any) -> dict[str, Any]:
        response = await client.put(client.todos(todo["id"]), json={"title": "Replaced"} | fields)
        changed = json_object(response)
        assert response.headers["etag"] == f'"{changed["version"]}"'
        assert (await client.get(client.todos(todo["id"]))).json() == changed
        return changed

    async def test_put_resets_missing_fields(self, alice: Client) -> None:
        todo = await self.replace(alice, await alice.create(**FULL))
        assert (todo["title"], todo["description"], todo["priority"], todo["tags"]) == ("Replaced", None, "none", [])
        assert (todo["completed"], todo["completed_at"], todo["due_date"], todo["due_at"]) == (False, None, None, None)

    async def test_put_keeps_server_owned_fields(self, alice: Client) -> None:
        before = await alice.create(**FULL)
        todo = await self.replace(alice, before)
        assert [todo[name] for name in ("id", "user_id", "created_at")] == [
            before[name] for name in ("id", "user_id", "created_at")
        ]
        assert todo["version"] == 2
        assert todo["updated_at"] > before["updated_at"]

    async def test_repeated_put_is_a_new_version(self, alice: Client) -> None:
        first = await self.replace(alice, await alice.create(), **FULL)
        second = await self.replace(alice, first, **FULL)
        changed = {name for name in first if first[name] != second[name]}
        assert changed == {"version", "updated_at"}

    async def test_completed_at_follows_completed_and_keeps_its_first_moment(self, alice: Client) -> None:
        done = await self.replace(alice, await alice.create(), completed=True)
        assert done["completed_at"] == done["updated_at"]
        assert (await self.replace(alice, done, completed=True))["completed_at"] == done["completed_at"]
        assert (await self.replace(alice, done))["completed_at"] is None
        assert (await self.replace(alice, done, completed=True))["completed_at"] > done["completed_at"]

    async def test_put_of_due_at_clears_due_date(self, alice: Client) -> None:
        todo = await self.replace(alice, await alice.create(due_date="2026-03-01"), due_at="2026-03-02T00:00:00Z")
        assert (todo["due_date"], todo["due_at"]) == (None, "2026-03-02T00:00:00Z")
        todo = await self.replace(alice, todo, due_date="2026-03-03")
        assert (todo["due_date"], todo["due_at"]) == ("2026-03-03", None)

    @pytest.mark.parametrize(("name", "sent", "kept"), VALID)
    async def test_valid_values_are_accepted(self, alice: Client, name: str, sent: Any, kept: Any) -> None:
        todo = await self.replace(alice, await alice.create(), **{name: sent})
        assert (todo[name], todo["version"]) == (kept, 2)

    @pytest.mark.parametrize(("name", "sent", "pointer"), INVALID)
    async def test_invalid_values_are_refused(self, alice: Client, name: str, sent: Any, pointer: str) -> None:
        todo = await alice.create()
        content = json.dumps({"title": "x", name: sent}).encode()
        headers = {"Content-Type": "application/json"}
        response = await alice.put(alice.todos(todo["id"]), content=content, headers=headers)
        assert mistakes(response).keys() == {pointer}
        assert (await alice.get(alice.todos(todo["id"]))).json() == todo

    async def test_put_requires_a_title(self, alice: Client) -> None:
        todo = await alice.create()
        response = await alice.put(alice.todos(todo["id"]), json={"completed": True})
        assert mistakes(response) == {"/title": "Required field is missing"}

    async def test_server_owned_and_unknown_fields_are_refused(self, alice: Client) -> None:
        todo = await alice.create()
        response = await alice.put(alice.todos(todo["id"]), json={"title": "x", "nope": 1} | SERVER_OWNED)
        assert mistakes(response) == {f"/{name}": "Unknown field" for name in ("nope", *SERVER_OWNED)}
        assert (await alice.get(alice.todos(todo["id"]))).json() == todo

    async def test_complete_representation_cannot_be_sent_back(self, alice: Client) -> None:
        todo = await alice.create()
        response = await alice.put(alice.todos(todo["id"]), json=todo)
        assert mistakes(response).keys() == {f"/{name}" for name in SERVER_OWNED}

    async def test_put_does_not_create(self, alice: Client) -> None:
        missing = alice.todos(SERVER_OWNED["id"])
        assert (await alice.put(missing, json={"title": "x"})).status_code == 404
        assert (await alice.get(alice.todos())).json()["total"] == 0
