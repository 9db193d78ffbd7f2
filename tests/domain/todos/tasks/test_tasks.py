"""/api/{user_id}/tasks: the same rows in the dialect of existing Better Auth frontends."""

import json
from typing import Any, ClassVar

import httpx
import pytest
from litestar import Litestar
from uuid_utils.compat import uuid7

from app.lib.settings import Settings
from app.main import create_app
from tests.domain.todos.fields import INVALID, TEXTS, VALID
from tests.domain.todos.tasks.dialect import SHOWN, as_task, tasks
from tests.domain.todos.walls import OneTodo
from tests.factories import insert_todos, todo_row, todo_rows
from tests.lib.raw import ask, bearer
from tests.support import Client, assert_problem, mistakes, running

KNOWN = ("title", "description", "completed", "priority", "due_date", "tags")

GOOD = [case for case in VALID if case[0] in KNOWN and not (case[0] == "description" and len(case[1] or "") > 1000)]
GOOD = [case for case in GOOD if case[1] != "none"]
GOOD += [("priority", "none", "medium"), ("priority", "urgent", "high"), ("due_date", "", None), ("tags", None, [])]
GOOD += [("due_date", sent, kept) for name, sent, kept in VALID if name == "due_at"]
GOOD += [("description", "x" * 1000, "x" * 1000), ("completed", True, True), ("completed", False, False)]
TAKEN = ("2026-03-01T12:00:00Z", "2026-03-01T12:00:00", "urgent")  # here, and not by a todo
LENIENT = [("due_date", ""), ("tags", None)]
BAD = [case for case in INVALID if case[0] in KNOWN and case[1] not in TAKEN and case[:2] not in LENIENT]
BAD += [("description", "x" * 1001, "/description")]
BAD += [
    ("due_date", value, "/due_date")
    for name, value, _ in INVALID
    if name == "due_at" and value not in ("", "2026-03-01", *TAKEN)
]


async def send_raw(client: Client, method: str, path: str, body: Any) -> httpx.Response:
    """Send what `json=` would not: lone surrogates as escapes."""
    headers = {"Content-Type": "application/json"}
    return await client.request(method, path, content=json.dumps(body).encode(), headers=headers)


async def todo_of(client: Client, response: httpx.Response) -> dict[str, Any]:
    """Give the todo behind the task in an answer, after comparing the two."""
    assert response.is_success, response.text
    task = response.json()
    todo: dict[str, Any] = (await client.get(client.todos(task["id"]))).json()
    assert task == as_task(todo)
    assert list(task) == list(SHOWN)
    assert response.headers["etag"] == f'"{todo["version"]}"'
    return todo


class OneTask(OneTodo):
    def path(self, owner: Client, todo_id: object) -> str:
        return tasks(owner, todo_id, self.action) if self.action else tasks(owner, todo_id)


class TestGetTask(OneTask):
    method: ClassVar = "GET"

    @pytest.mark.parametrize(
        "due", [{}, {"due_date": "2026-03-01"}, {"due_at": "2026-03-01T14:00:00+02:00"}], ids=["none", "day", "instant"]
    )
    async def test_task_shows_the_todo(self, alice: Client, due: dict[str, str]) -> None:
        todo = await alice.create(description="d", tags=["a"], priority="high", completed=True, **due)
        assert await todo_of(alice, await self.ask(alice, todo)) == todo

    async def test_long_description_is_shown(self, alice: Client) -> None:
        todo = await alice.create(description="x" * 10_000)
        assert (await self.ask(alice, todo)).json()["description"] == "x" * 10_000

    async def test_task_has_the_etag_of_its_todo(self, alice: Client) -> None:
        todo = await alice.create()
        assert (await self.ask(alice, todo, **{"If-None-Match": '"1"'})).status_code == 304
        assert (await self.ask(alice, todo, **{"If-None-Match": '"2"'})).status_code == 200


class TestCreateTask:
    async def test_request_without_token_is_401(
        self, app: Litestar, anonymous: httpx.AsyncClient, alice: Client
    ) -> None:
        assert_problem(await anonymous.post(tasks(alice), json={"title": "x"}), 401, "Missing authentication token")
        assert await todo_rows(app, alice.user_id) == {}

    async def test_path_of_another_user_is_403(self, app: Litestar, alice: Client, bob: Client) -> None:
        for body in ({"title": "x"}, {"title": "x", "user_id": alice.user_id}, {}):
            assert_problem(await bob.post(tasks(alice), json=body), 403)
        assert await todo_rows(app, alice.user_id) == await todo_rows(app, bob.user_id) == {}

    async def test_created_task_is_a_todo(self, alice: Client) -> None:
        response = await alice.post(tasks(alice), json={"title": "  Buy milk "})
        todo = await todo_of(alice, response)
        defaults = {"description": None, "completed": False, "completed_at": None, "priority": "none", "version": 1}
        assert todo.items() >= ({"title": "Buy milk", "due_date": None, "due_at": None, "tags": []} | defaults).items()
        assert response.status_code == 201
        assert response.headers["location"] == tasks(alice, todo["id"])
        assert (await alice.get(response.headers["location"])).json() == response.json()

    @pytest.mark.parametrize(("name", "sent", "kept"), GOOD)
    async def test_valid_values_are_accepted(self, alice: Client, name: str, sent: Any, kept: Any) -> None:
        response = await alice.post(tasks(alice), json={"title": "x"} | {name: sent})
        await todo_of(alice, response)
        assert response.json()[name] == kept

    @pytest.mark.parametrize(("name", "sent", "pointer"), BAD)
    async def test_invalid_values_are_refused(
        self, app: Litestar, alice: Client, name: str, sent: Any, pointer: str
    ) -> None:
        response = await send_raw(alice, "POST", tasks(alice), {"title": "x", name: sent})
        assert mistakes(response).keys() == {pointer}
        assert await todo_rows(app, alice.user_id) == {}

    async def test_due_date_takes_days_and_instants(self, alice: Client) -> None:
        for sent, day, instant in (
            ("2026-03-01", "2026-03-01", None),
            ("2026-03-01T00:00:00.000Z", None, "2026-03-01T00:00:00Z"),  # as JavaScript writes it
        ):
            todo = await todo_of(alice, await alice.post(tasks(alice), json={"title": "x", "due_date": sent}))
            assert (todo["due_date"], todo["due_at"]) == (day, instant)

    async def test_completed_task_has_completed_at(self, alice: Client) -> None:
        todo = await todo_of(alice, await alice.post(tasks(alice), json={"title": "x", "completed": True}))
        assert todo["completed_at"] == todo["created_at"]

    async def test_unknown_members_are_ignored(self, alice: Client, bob: Client) -> None:
        sent = as_task(await bob.create(title="sent back"))
        unknown = {
            "Title": 1,
            "": None,
            "list_id": "x",
            "due_at": "x",
            "completed_at": 1,
            "version": 7,
            "a\x00": "\ud800",
        }
        todo = await todo_of(alice, await send_raw(alice, "POST", tasks(alice), sent | unknown | {"deep": [[{}]] * 9}))
        assert (todo["user_id"], todo["version"], todo["tags"]) == (alice.user_id, 1, [])
        assert (todo["title"], todo["due_at"], todo["completed_at"]) == ("sent back", None, None)
        assert todo["id"] != sent["id"]
        assert todo["created_at"] > sent["created_at"]

    async def test_all_errors_are_reported_with_pointers(self, alice: Client) -> None:
        body = {"title": "", "priority": "highest", "due_date": "tomorrow", "description": 1, "id": 1, "nope": {}}
        response = await alice.post(tasks(alice), json=body)
        assert mistakes(response).keys() == {"/title", "/priority", "/due_date", "/description"}
        assert response.json()["detail"] == "The request is invalid"

    async def test_create_requires_only_a_title(self, alice: Client) -> None:
        response = await alice.post(tasks(alice), json={"name": "x"})
        assert mistakes(response) == {"/title": "Required field is missing"}

    @pytest.mark.parametrize("body", [[], [{"title": "x"}], "x", 1, 1.5, None, True])
    async def test_body_must_be_an_object(self, alice: Client, body: Any) -> None:
        assert mistakes(await send_raw(alice, "POST", tasks(alice), body)) == {"": "Expected an object"}

    @pytest.mark.parametrize(
        "content", [b"", b"{", b'{"title": "x", "y": "\xff"}', b'{"title": "x", "y": tru}', b'{"y":' + b"[" * 100_000]
    )
    async def test_invalid_json_is_400(self, app: Litestar, alice: Client, content: bytes) -> None:
        response = await alice.post(tasks(alice), content=content, headers={"Content-Type": "application/json"})
        assert_problem(response, 400)
        assert await todo_rows(app, alice.user_id) == {}

    async def test_wrong_media_type_and_size_are_refused(self, alice: Client) -> None:
        assert_problem(await alice.post(tasks(alice), content=b'{"title": "x"}'), 415)
        assert_problem(await alice.post(tasks(alice), json={"title": "x", "unknown": "x" * 2_000_000}), 413)

    async def test_retried_create_creates_one_task(self, app: Litestar, alice: Client) -> None:
        headers = {"Idempotency-Key": "once"}
        first, second = [await alice.post(tasks(alice), json={"title": "x"}, headers=headers) for _ in range(2)]
        assert (first.json(), first.headers["location"]) == (second.json(), second.headers["location"])
        assert len(await todo_rows(app, alice.user_id)) == 1

    async def test_unknown_query_parameter_is_422(self, alice: Client) -> None:
        response = await alice.post(tasks(alice) + "?status=all", json={"title": "x"})
        assert mistakes(response) == {"status": "Unknown query parameter"}

    @pytest.mark.parametrize("text", TEXTS)
    async def test_any_text_is_returned_unchanged(self, alice: Client, text: str) -> None:
        task = (await alice.post(tasks(alice), json={"title": text, "description": text})).json()
        assert (task["title"], task["description"]) == (text, text)
        assert (await alice.get(tasks(alice), params={"search": text})).json() == [task]


FULL = {"title": "Full", "description": "d", "completed": True, "priority": "high", "due_date": "2026-03-01"}


class PartialBody(OneTask):
    body: ClassVar = {"title": "Changed"}

    async def change(self, client: Client, todo: dict[str, Any], body: dict[str, Any]) -> dict[str, Any]:
        return await todo_of(client, await send_raw(client, self.method, self.path(client, todo["id"]), body))

    @pytest.mark.parametrize(
        ("body", "changes"),
        [
            ({"title": " New "}, {"title": "New"}),
            ({"description": None}, {"description": None}),
            ({"completed": False}, {"completed": False, "completed_at": None}),
            ({"priority": "none"}, {"priority": "none"}),
            ({"due_date": None}, {"due_date": None}),
            ({"due_date": "2026-03-02"}, {"due_date": "2026-03-02"}),
            ({"due_date": "2026-03-02T01:00:00+01:00"}, {"due_date": None, "due_at": "2026-03-02T00:00:00Z"}),
            ({"title": "New", "user_id": "bob", "nope": 1}, {"title": "New"}),
        ],
    )
    async def test_partial_body_changes_only_sent_fields(
        self, alice: Client, body: dict[str, Any], changes: dict[str, Any]
    ) -> None:
        before = await alice.create(**FULL, tags=["a", "b"])
        todo = await self.change(alice, before, body)
        assert todo["updated_at"] > before["updated_at"]
        assert todo == before | {"version": 2, "updated_at": todo["updated_at"]} | changes

    @pytest.mark.parametrize("due", [None, "2026-03-02", "2026-03-02T12:00:00Z"])
    async def test_due_date_replaces_due_at(self, alice: Client, due: str | None) -> None:
        before = await alice.create(due_at="2026-03-01T12:00:00Z")
        assert as_task(await self.change(alice, before, {"due_date": due}))["due_date"] == due
        again = await self.change(alice, before, {"due_date": "2026-03-03"})
        assert (again["due_date"], again["due_at"]) == ("2026-03-03", None)

    @pytest.mark.parametrize("due", [{}, {"due_date": "2026-03-01"}, {"due_at": "2026-03-01T12:00:00Z"}])
    async def test_unchanged_task_can_be_sent_back(self, alice: Client, due: dict[str, str]) -> None:
        before = await alice.create(description="d", priority="low", completed=True, tags=["a"], **due)
        task = (await alice.get(tasks(alice, before["id"]))).json()
        todo = await self.change(alice, before, task)
        assert todo == before | {"version": 2, "updated_at": todo["updated_at"]}

    @pytest.mark.parametrize("body", [{}, {"nope": 1, "id": "x"}])
    async def test_body_without_known_members_changes_nothing(
        self, app: Litestar, alice: Client, body: dict[str, Any]
    ) -> None:
        todo = await alice.create(**FULL)
        before = await todo_rows(app, alice.user_id)
        assert await self.change(alice, todo, body) == todo
        assert await todo_rows(app, alice.user_id) == before

    @pytest.mark.parametrize(("name", "sent", "kept"), GOOD)
    async def test_valid_values_are_accepted(self, alice: Client, name: str, sent: Any, kept: Any) -> None:
        todo = await self.change(alice, await alice.create(), {name: sent})
        assert (as_task(todo)[name], todo["version"]) == (kept, 2)

    @pytest.mark.parametrize(("name", "sent", "pointer"), BAD)
    async def test_invalid_values_are_refused(self, alice: Client, name: str, sent: Any, pointer: str) -> None:
        todo = await alice.create()
        response = await send_raw(alice, self.method, self.path(alice, todo["id"]), {name: sent, "nope": 1})
        assert mistakes(response).keys() == {pointer}
        assert (await alice.get(alice.todos(todo["id"]))).json() == todo

    @pytest.mark.parametrize("body", [{"title": "x"}, {}])
    async def test_stale_if_match_changes_nothing(self, alice: Client, body: dict[str, Any]) -> None:
        todo = await alice.create()
        path = self.path(alice, todo["id"])
        stale = await alice.request(self.method, path, json=body, headers={"If-Match": '"2"'})
        assert_problem(stale, 412)
        assert (await alice.get(alice.todos(todo["id"]))).json() == todo
        fresh = await alice.request(self.method, path, json=body, headers={"If-Match": '"1"'})
        assert fresh.headers["etag"] == ('"2"' if body else '"1"')


class TestReplaceTask(PartialBody):
    method: ClassVar = "PUT"


class TestUpdateTask(PartialBody):
    method: ClassVar = "PATCH"


class TestDeleteTask(OneTask):
    method: ClassVar = "DELETE"

    async def test_delete_task_deletes_the_todo(self, alice: Client) -> None:
        todo, other = await alice.create(), await alice.create()
        response = await self.ask(alice, todo)
        assert (response.status_code, response.content) == (204, b"")
        for path in (tasks(alice, todo["id"]), alice.todos(todo["id"])):
            assert_problem(await alice.get(path), 404, "Not found")
        assert_problem(await self.ask(alice, todo), 404, "Not found")
        assert (await alice.get(tasks(alice))).json() == [as_task(other)]

    async def test_stale_if_match_deletes_nothing(self, alice: Client) -> None:
        todo = await alice.create()
        assert_problem(await self.ask(alice, todo, **{"If-Match": '"2"'}), 412)
        assert (await self.ask(alice, todo, **{"If-Match": '"1"'})).status_code == 204


class TestCompleteTask(OneTask):
    method: ClassVar = "PATCH"
    action: ClassVar = "complete"

    async def send(self, client: httpx.AsyncClient, path: str, **headers: str) -> httpx.Response:
        return await client.patch(path, headers=headers)

    @pytest.mark.parametrize("kind", [None, "application/json", "text/plain", "application/x-www-form-urlencoded"])
    async def test_complete_without_body_toggles(self, alice: Client, kind: str | None) -> None:
        headers = {"Content-Type": kind} if kind else {}
        todo = await alice.create()
        for version, completed in ((2, True), (3, False), (4, True)):
            todo = await todo_of(alice, await self.ask(alice, todo, **headers))
            assert (todo["version"], todo["completed"]) == (version, completed)
            assert (todo["completed_at"] is not None) is completed

    @pytest.mark.parametrize("body", [{}, {"title": "", "id": 1}])
    async def test_complete_with_empty_body_toggles(self, alice: Client, body: dict[str, Any]) -> None:
        todo = await alice.create(completed=True)
        response = await alice.patch(self.path(alice, todo["id"]), json=body)
        assert (await todo_of(alice, response))["completed"] is False

    @pytest.mark.parametrize("before", [True, False])
    @pytest.mark.parametrize("completed", [True, False])
    async def test_complete_sets_the_sent_value(self, alice: Client, before: bool, completed: bool) -> None:
        todo = await alice.create(completed=before)
        body = as_task(todo) | {"title": "passed over", "completed": completed}
        first, second = [await alice.patch(self.path(alice, todo["id"]), json=body) for _ in range(2)]
        assert first.json() == second.json()
        changed = await todo_of(alice, second)
        assert (changed["completed"], changed["title"]) == (completed, todo["title"])
        assert changed["version"] == (1 if before is completed else 2)

    @pytest.mark.parametrize("completed", [None, 1, 0, "true", "", [], {}])
    async def test_complete_refuses_other_types_than_bool(self, alice: Client, completed: Any) -> None:
        todo = await alice.create()
        response = await alice.patch(self.path(alice, todo["id"]), json={"completed": completed})
        assert mistakes(response).keys() == {"/completed"}
        assert (await alice.get(alice.todos(todo["id"]))).json() == todo

    @pytest.mark.parametrize(
        ("content", "kind", "status"),
        [
            (b"{", "application/json", 400),
            (b"null", "application/json", 422),
            (b"[]", "application/json", 422),
            (b'{"completed": true}', "text/plain", 415),
            (b"completed=true", "application/x-www-form-urlencoded", 415),
            (b" " * 2_000_000, "application/json", 413),
        ],
    )
    async def test_complete_refuses_malformed_bodies(
        self, alice: Client, content: bytes, kind: str, status: int
    ) -> None:
        todo = await alice.create()
        for query in ("", "?x=1"):
            path = self.path(alice, todo["id"]) + query
            assert_problem(await alice.patch(path, content=content, headers={"Content-Type": kind}), status)
        assert (await alice.get(alice.todos(todo["id"]))).json() == todo

    async def test_complete_checks_if_match(self, alice: Client) -> None:
        todo = await alice.create()
        assert_problem(await self.ask(alice, todo, **{"If-Match": '"2"'}), 412)
        assert (await self.ask(alice, todo, **{"If-Match": '"1"'})).headers["etag"] == '"2"'

    async def test_other_methods_are_405(self, alice: Client) -> None:
        path = self.path(alice, (await alice.create())["id"])
        for method in ("GET", "POST", "PUT", "DELETE"):
            response = await alice.request(method, path, json={"completed": True})
            assert_problem(response, 405)
            assert "PATCH" in response.headers["allow"]


class TestOneRowInTwoDialects:
    async def test_tasks_and_todos_show_the_same_rows(self, alice: Client) -> None:
        todo = await todo_of(alice, await alice.post(tasks(alice), json={"title": "x"}))
        one = alice.todos(todo["id"])
        tagged = (await alice.patch(one, json={"tags": ["a"], "due_at": "2026-03-01T12:00:00Z"})).json()
        assert (await alice.get(tasks(alice))).json() == [as_task(tagged)]
        done = await todo_of(alice, await alice.patch(tasks(alice, todo["id"], "complete")))
        assert done.items() >= {"tags": ["a"], "due_at": "2026-03-01T12:00:00Z", "version": 3}.items()
        response = await alice.put(tasks(alice, todo["id"]), json={"title": "y"}, headers={"If-Match": '"3"'})
        assert (await todo_of(alice, response))["tags"] == ["a"]
        assert_problem(await alice.patch(one, json={"title": "z"}, headers={"If-Match": '"3"'}), 412)
        await alice.delete(one)
        assert_problem(await alice.get(tasks(alice, todo["id"])), 404, "Not found")
        assert (await alice.get(tasks(alice))).json() == []

    async def test_same_id_of_two_users_is_two_tasks(self, app: Litestar, alice: Client, bob: Client) -> None:
        key = uuid7()
        await insert_todos(app, [todo_row(client.user_id, id=key, title=client.user_id) for client in (alice, bob)])
        await alice.put(tasks(alice, key), json={"title": "mine", "user_id": bob.user_id})
        assert (await bob.get(tasks(bob, key))).json()["title"] == bob.user_id
        assert (await alice.get(tasks(alice, key))).json()["title"] == "mine"


class TestSwitchedOff:
    async def test_disabled_tasks_dialect_is_404(self, settings: Settings) -> None:
        off = create_app(settings.model_copy(update={"tasks_dialect": False}))
        async with running(off):
            for path in ("tasks", f"tasks/{uuid7()}", f"tasks/{uuid7()}/complete"):
                assert (await ask(off, f"/api/mallory/{path}")).status == 401
                assert (await ask(off, f"/api/mallory/{path}", bearer("eve"))).status == 403
                assert (await ask(off, f"/api/mallory/{path}", bearer("mallory"))).status == 404
            assert (await ask(off, "/api/mallory/todos", bearer("mallory"))).status == 200
