"""PATCH /api/{user_id}/todos/{id}."""

import json
from typing import Any, ClassVar

import pytest
from litestar import Litestar

from tests.domain.todos.fields import INVALID, SERVER_OWNED, VALID
from tests.domain.todos.walls import OneTodo
from tests.factories import todo_rows
from tests.support import Client, json_object, mistakes

FULL = {"title": "Full", "description": "d", "completed": True, "priority": "high", "tags": ["a", "b"]}


class TestUpdateTodo(OneTodo):
    method: ClassVar = "PATCH"
    body: ClassVar = {"title": "Patched"}

    async def patch(self, client: Client, todo: dict[str, Any], **fields: Any) -> dict[str, Any]:
        response = await client.patch(client.todos(todo["id"]), json=fields)
        changed = json_object(response)
        assert response.headers["etag"] == f'"{changed["version"]}"'
        assert (await client.get(client.todos(todo["id"]))).json() == changed
        return changed

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("title", "New"),
            ("description", None),
            ("priority", "low"),
            ("tags", ["c"]),
            ("tags", []),
            ("due_date", "2026-03-02"),
            ("due_date", None),
        ],
    )
    async def test_patch_changes_only_sent_fields(self, alice: Client, name: str, value: Any) -> None:
        before = await alice.create(**FULL, due_date="2026-03-01")
        todo = await self.patch(alice, before, **{name: value})
        assert todo["updated_at"] > before["updated_at"]
        assert todo == before | {name: value, "version": 2, "updated_at": todo["updated_at"]}

    async def test_patch_null_clears(self, alice: Client) -> None:
        before = await alice.create(description="d", due_at="2026-03-01T12:00:00Z")
        todo = await self.patch(alice, before, description=None, due_at=None)
        assert (todo["description"], todo["due_at"], todo["version"]) == (None, None, 2)

    async def test_empty_patch_changes_nothing(self, app: Litestar, alice: Client) -> None:
        todo = await alice.create(**FULL)
        before = await todo_rows(app, alice.user_id)
        assert await self.patch(alice, todo) == todo
        assert await todo_rows(app, alice.user_id) == before

    async def test_empty_patch_of_a_missing_todo_is_404(self, alice: Client, bob: Client) -> None:
        todo = await bob.create()
        assert (await alice.patch(alice.todos(todo["id"]), json={})).status_code == 404

    async def test_each_patch_is_one_version(self, alice: Client) -> None:
        todo = await alice.create()
        versions = [(await self.patch(alice, todo, title="Same"))["version"] for _ in range(3)]
        assert versions == [2, 3, 4]

    async def test_completed_at_follows_completed_and_keeps_its_first_moment(self, alice: Client) -> None:
        done = await self.patch(alice, await alice.create(), completed=True)
        assert done["completed_at"] == done["updated_at"]
        assert (await self.patch(alice, done, completed=True))["completed_at"] == done["completed_at"]
        assert (await self.patch(alice, done, title="x"))["completed_at"] == done["completed_at"]
        assert (await self.patch(alice, done, completed=False))["completed_at"] is None
        assert (await self.patch(alice, done, completed=True))["completed_at"] > done["completed_at"]

    @pytest.mark.parametrize(("name", "sent", "kept"), VALID)
    async def test_valid_values_are_accepted(self, alice: Client, name: str, sent: Any, kept: Any) -> None:
        todo = await self.patch(alice, await alice.create(), **{name: sent})
        assert (todo[name], todo["version"]) == (kept, 2)

    @pytest.mark.parametrize(("name", "sent", "pointer"), INVALID)
    async def test_invalid_values_are_refused(self, alice: Client, name: str, sent: Any, pointer: str) -> None:
        todo = await alice.create()
        headers = {"Content-Type": "application/merge-patch+json"}
        content = json.dumps({name: sent}).encode()
        response = await alice.patch(alice.todos(todo["id"]), content=content, headers=headers)
        assert mistakes(response).keys() == {pointer}
        assert (await alice.get(alice.todos(todo["id"]))).json() == todo

    async def test_server_owned_and_unknown_fields_are_refused(self, alice: Client) -> None:
        todo = await alice.create()
        response = await alice.patch(alice.todos(todo["id"]), json={"title": "x", "nope": 1} | SERVER_OWNED)
        assert mistakes(response) == {f"/{name}": "Unknown field" for name in ("nope", *SERVER_OWNED)}
        assert (await alice.get(alice.todos(todo["id"]))).json() == todo

    async def test_all_errors_are_reported_with_pointers(self, alice: Client) -> None:
        todo = await alice.create()
        body = {"title": None, "completed": None, "priority": None, "tags": None, "description": None}
        response = await alice.patch(alice.todos(todo["id"]), json=body)
        assert mistakes(response).keys() == {"/title", "/completed", "/priority", "/tags"}

    @pytest.mark.parametrize("body", [[], [{"op": "remove", "path": "/title"}], "x", 1, True])
    async def test_body_must_be_an_object(self, alice: Client, body: Any) -> None:
        todo = await alice.create()
        response = await alice.patch(alice.todos(todo["id"]), json=body)
        assert mistakes(response) == {"": "Expected an object"}


class TestDueAcrossAPatch:
    """One of the two may be in the patch, and the other in the database."""

    DAY: ClassVar = {"due_date": "2026-03-01"}
    INSTANT: ClassVar = {"due_at": "2026-03-01T12:00:00Z"}

    @pytest.mark.parametrize(("stored", "sent"), [(DAY, INSTANT), (INSTANT, DAY)])
    async def test_patch_of_due_at_clears_stored_due_date(
        self, alice: Client, stored: dict[str, Any], sent: dict[str, Any]
    ) -> None:
        todo = await alice.create(**stored)
        response = await alice.patch(alice.todos(todo["id"]), json=sent | {"title": "lost"})
        assert mistakes(response) == {"/due_date": "At most one of due_date and due_at can be set"}
        assert (await alice.get(alice.todos(todo["id"]))).json() == todo

    async def test_patch_of_both_due_fields_is_refused(self, alice: Client) -> None:
        todo = await alice.create()
        response = await alice.patch(alice.todos(todo["id"]), json=self.DAY | self.INSTANT)
        assert mistakes(response) == {"/due_date": "At most one of due_date and due_at can be set"}

    @pytest.mark.parametrize(("stored", "sent"), [(DAY, INSTANT), (INSTANT, DAY)])
    async def test_patch_replaces_one_due_field_by_the_other(
        self, alice: Client, stored: dict[str, Any], sent: dict[str, Any]
    ) -> None:
        todo = await alice.create(**stored)
        response = await alice.patch(alice.todos(todo["id"]), json=sent | dict.fromkeys(stored))
        assert response.status_code == 200
        assert response.json().items() >= (sent | dict.fromkeys(stored)).items()

    @pytest.mark.parametrize("stored", [DAY, INSTANT])
    async def test_patch_changes_the_stored_due_field(self, alice: Client, stored: dict[str, Any]) -> None:
        todo = await alice.create(**stored)
        moved = {name: value.replace("2026", "2027") for name, value in stored.items()}
        response = await alice.patch(alice.todos(todo["id"]), json=moved)
        assert response.json().items() >= moved.items()
