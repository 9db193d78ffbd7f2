"""4. Todos: their fields, and the operations on one of them."""

from collections.abc import Callable
from functools import partial
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from .api import User, at_once, body, mistakes, problem, section
from .strategies import examples, printable, storable

pytestmark = pytest.mark.core
says = section("4. Todos /api/{user_id}/todos")

DEFAULTS: dict[str, Any] = {
    "description": None,
    "completed": False,
    "completed_at": None,
    "priority": "none",
    "due_date": None,
    "due_at": None,
    "tags": [],
}
EVERYTHING: dict[str, Any] = {
    "title": "Everything",
    "description": "d",
    "completed": True,
    "priority": "high",
    "due_date": "2030-02-01",
    "tags": ["b", "a"],
}
TAGS = [f"tag {number}" for number in range(21)]


class TestFields:
    @says("title: string: 1..200 after trimming")
    @pytest.mark.parametrize("title", ["x", "x" * 200, "😀" * 200, "é" * 200, "0", "null"])
    def test_title_values(self, alice: User, title: str) -> None:
        assert alice.create(title=title)["title"] == title
        assert alice.create(title=f" \t\n{title} \r\n ")["title"] == title

    @says("description: string or null: 0..10,000")
    @pytest.mark.parametrize("description", [None, "", "x" * 10_000, "😀" * 10_000, "a\r\nb\tc"])
    def test_description_values(self, alice: User, description: str | None) -> None:
        assert alice.create(description=description)["description"] == description

    @says("priority: none low medium high: default none")
    @pytest.mark.parametrize("priority", ["none", "low", "medium", "high"])
    def test_priority_values(self, alice: User, priority: str) -> None:
        assert alice.create(priority=priority)["priority"] == priority

    @says("at most one is set: a day, or an instant (an offset is required)")
    @pytest.mark.parametrize("day", [None, "2028-02-29", "1999-12-31", "9999-12-31"])
    def test_due_date_values(self, alice: User, day: str | None) -> None:
        assert alice.create(due_date=day)["due_date"] == day

    @says("at most one is set: a day, or an instant (an offset is required)")
    @pytest.mark.parametrize(
        ("sent", "kept"),
        [
            (None, None),
            ("2026-03-01T12:00:00Z", "2026-03-01T12:00:00Z"),
            ("2026-03-01T12:00:00+05:30", "2026-03-01T06:30:00Z"),
            ("2026-03-01T00:00:00.000001-01:00", "2026-03-01T01:00:00.000001Z"),
        ],
    )
    def test_due_at_values(self, alice: User, sent: str | None, kept: str | None) -> None:
        assert alice.create(due_at=sent)["due_at"] == kept

    @says("tags: array of strings: 0..20, each 1..50, trimmed, duplicates removed, order kept")
    @pytest.mark.parametrize(
        ("sent", "kept"),
        [
            ([], []),
            (["b", "a", "c"], ["b", "a", "c"]),
            ([" b\t", "\n a b "], ["b", "a b"]),
            (["b", "a", "b", " a "], ["b", "a"]),
            (["a", "A", "ä"], ["a", "A", "ä"]),
            (TAGS[:20], TAGS[:20]),
            (["x" * 50, "😀" * 50], ["x" * 50, "😀" * 50]),
        ],
    )
    def test_tag_values(self, alice: User, sent: list[str], kept: list[str]) -> None:
        assert alice.create(tags=sent)["tags"] == kept

    @says("title: string: 1..200 after trimming")
    @says("description: string or null: 0..10,000")
    @says("completed, completed_at: bool, timestamp or null")
    @says("priority: none low medium high: default none")
    @says("due_date, due_at: date or null; timestamp or null")
    @says("tags: array of strings: 0..20, each 1..50")
    @pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
    @pytest.mark.parametrize(
        ("field", "values"),
        [
            ("title", ["", " ", "\n\t", "x" * 201, "😀" * 201, None, 5, True, [], {}]),
            ("description", ["x" * 10_001, "😀" * 10_001, 5, False, ["x"], {}]),
            ("completed", [None, "true", "false", 1, 0, "", []]),
            ("priority", ["", "None", "HIGH", "urgent", " low", None, 1, True, ["low"]]),
            (
                "due_date",
                ["", "soon", "2026-02-29", "2026-13-01", "2026-1-1", "01.02.2026", "2026-03-01T00:00:00Z", 1, []],
            ),
            ("due_at", ["", "2026-03-01", "2026-03-01T12:00:00", "2026-03-01T25:00:00Z", "2026-02-30T12:00:00Z", 1.5]),
            ("tags", [None, "a", TAGS, [""], [" "], ["x" * 51], ["😀" * 51], [None], [1], [["a"]], {"a": 1}]),
        ],
    )
    def test_invalid_field_values_are_refused(self, alice: User, method: str, field: str, values: list[Any]) -> None:
        todo = alice.create()
        path = "/todos" if method == "POST" else f"/todos/{todo['id']}"
        for value in values:
            found = mistakes(alice.request(method, path, json={"title": "x", field: value}))
            assert [pointer for pointer in found if pointer.split("/")[1] == field] == [*found], (value, found)
        assert alice.page()["items"] == [todo]

    @says("due_date, due_at: date or null; timestamp or null: at most one is set")
    def test_due_date_and_due_at_exclude_each_other(self, alice: User) -> None:
        day, instant = {"due_date": "2026-03-01"}, {"due_at": "2026-03-01T12:00:00Z"}
        problem(alice.post("/todos", json={"title": "x", **day, **instant}), 422)
        for one, other in ((day, instant), (instant, day)):
            todo = alice.create(**one)
            path = f"/todos/{todo['id']}"
            problem(alice.patch(path, json=other), 422)
            problem(alice.put(path, json={"title": "x", **day, **instant}), 422)
            assert alice.read(todo["id"]) == todo
            changed = body(alice.patch(path, json={**other, **dict.fromkeys(one)}))
            assert {name: changed[name] for name in ("due_date", "due_at")} == {**dict.fromkeys(one), **other}

    @says("version starts at 1, +1 per write")
    @says("id, user_id, created_at, updated_at, version")
    def test_version_counts_writes(self, alice: User) -> None:
        first = alice.create()
        assert (first["version"], first["user_id"], first["updated_at"]) == (1, alice.id, first["created_at"])
        path = f"/todos/{first['id']}"
        writes = [
            partial(alice.patch, path, json={"title": "x"}),
            partial(alice.put, path, json={"title": "y"}),
            partial(alice.post, f"{path}/toggle-complete"),
        ]
        before = first
        for write in writes:
            after = body(write())
            assert after["version"] == before["version"] + 1
            assert after["updated_at"] > before["updated_at"]
            assert [after[name] for name in ("id", "user_id", "created_at")] == [
                first["id"],
                alice.id,
                first["created_at"],
            ]
            before = after

    @says("completed_at is set and cleared with completed")
    def test_completed_at_follows_completed(self, alice: User) -> None:
        todo = alice.create(completed=True)
        path = f"/todos/{todo['id']}"
        assert todo["completed_at"] == todo["created_at"]
        assert body(alice.patch(path, json={"title": "x"}))["completed_at"] == todo["completed_at"]
        assert body(alice.patch(path, json={"completed": True}))["completed_at"] == todo["completed_at"]
        assert body(alice.patch(path, json={"completed": False}))["completed_at"] is None
        again = body(alice.patch(path, json={"completed": True}))
        assert again["completed_at"] == again["updated_at"]
        assert body(alice.put(path, json={"title": "x"}))["completed_at"] is None


class TestOperations:
    @says("POST /todos: 201, Location, body")
    def test_create_todo(self, alice: User) -> None:
        response = alice.post("/todos", json=EVERYTHING)
        todo = body(response, 201)
        assert todo.items() >= EVERYTHING.items()
        assert response.headers["location"].endswith(f"/api/{quote(alice.id, safe='')}/todos/{todo['id']}")
        assert (
            body(alice.http.get(response.headers["location"], headers={"Authorization": f"Bearer {alice.token}"}))
            == todo
        )

    @says("POST /todos: 201, Location, body")
    def test_create_todo_with_defaults(self, alice: User) -> None:
        assert alice.create().items() >= DEFAULTS.items()

    @says("GET /todos/{id}: 200")
    def test_get_todo(self, alice: User) -> None:
        todo = alice.create(**EVERYTHING)
        assert alice.read(todo["id"]) == todo
        assert alice.read(todo["id"].upper()) == todo

    @says("PUT /todos/{id}: 200; full replacementment: an omitted field gets its default")
    def test_replace_todo(self, alice: User) -> None:
        todo = alice.create(**EVERYTHING)
        replaced = body(alice.put(f"/todos/{todo['id']}", json={"title": "only"}))
        assert replaced.items() >= (DEFAULTS | {"title": "only", "version": 2}).items()
        assert alice.read(todo["id"]) == replaced
        assert mistakes(alice.put(f"/todos/{todo['id']}", json={"description": "no title"})) == {"/title"}

    @says("PATCH /todos/{id}: 200; JSON merge patch (RFC 7396): null clears")
    def test_patch_todo(self, alice: User) -> None:
        todo = alice.create(**EVERYTHING)
        path = f"/todos/{todo['id']}"
        own = {"version", "updated_at"}
        changes: list[dict[str, Any]] = [
            {"title": "new"},
            {"description": None},
            {"due_date": None},
            {"tags": []},
            {"priority": "low"},
        ]
        for change in changes:
            expected = todo | change
            headers = {"Content-Type": "application/merge-patch+json"}
            todo = body(alice.patch(path, json=change, headers=headers))
            assert {name: value for name, value in todo.items() if name not in own} == {
                name: value for name, value in expected.items() if name not in own
            }
        assert alice.read(todo["id"]) == todo
        assert body(alice.patch(path, json={})).items() >= {"title": "new", "priority": "low"}.items()

    @says("DELETE /todos/{id}: 204")
    def test_delete_todo(self, alice: User) -> None:
        todo, other = alice.create(), alice.create()
        path = f"/todos/{todo['id']}"
        response = alice.delete(path)
        assert (response.status_code, response.content) == (204, b"")
        for again in (alice.get(path), alice.delete(path), alice.patch(path, json={"title": "x"})):
            problem(again, 404)
        assert alice.page()["items"] == [other]

    @says("POST /todos/{id}/toggle-complete: 200; toggles")
    def test_toggle_completion(self, alice: User) -> None:
        todo = alice.create()
        path = f"/todos/{todo['id']}/toggle-complete"
        done = body(alice.post(path))
        assert (done["completed"], done["completed_at"], done["version"]) == (True, done["updated_at"], 2)
        undone = body(alice.post(path))
        assert (undone["completed"], undone["completed_at"], undone["version"]) == (False, None, 3)
        assert alice.read(todo["id"]) == undone

    @says("toggles atomically: no concurrent call is lost")
    def test_concurrent_toggles_are_all_applied(self, alice: User) -> None:
        todo = alice.create()
        calls = [partial(alice.post, f"/todos/{todo['id']}/toggle-complete")] * 11
        assert [response.status_code for response in at_once(calls)] == [200] * 11
        found = alice.read(todo["id"])
        assert (found["completed"], found["version"]) == (True, 12)

    @says("POST /todos/{id}/complete, POST /todos/{id}/reopen: 200; safe to retry: a second call changes nothing")
    def test_complete_and_reopen_are_idempotent(self, alice: User) -> None:
        todo = alice.create()
        for action, completed in (("reopen", False), ("complete", True), ("reopen", False)):
            first, second = (body(alice.post(f"/todos/{todo['id']}/{action}")) for _ in range(2))
            assert first["completed"] is completed
            assert first == second == alice.read(todo["id"])
        assert first["version"] == 3

    @says("version starts at 1, +1 per write")
    def test_concurrent_writes_are_all_applied(self, alice: User) -> None:
        todo = alice.create()
        fields: list[dict[str, Any]] = [{"title": "a"}, {"description": "b"}, {"priority": "low"}, {"tags": ["c"]}]
        answers = at_once([partial(alice.patch, f"/todos/{todo['id']}", json=field) for field in fields * 2])
        assert {answer.status_code for answer in answers} == {200}
        expected = {name: value for field in fields for name, value in field.items()} | {"version": 9}
        assert alice.read(todo["id"]).items() >= expected.items()


patches = st.fixed_dictionaries(
    {},
    optional={
        "title": printable(20),
        "description": st.none() | storable(20),
        "completed": st.booleans(),
        "priority": st.sampled_from(["none", "low", "medium", "high"]),
        "due_date": st.none() | st.dates().map(str),
        "tags": st.lists(printable(5), max_size=3, unique=True),
    },
)


@says("PATCH /todos/{id}: 200; JSON merge patch (RFC 7396): null clears")
@says("PUT /todos/{id}: 200; full replacement")
@examples(30)
@given(writes=st.lists(st.tuples(st.booleans(), patches), min_size=1, max_size=6))
def test_writes_equal_the_model(new_user: Callable[..., User], writes: list[tuple[bool, dict[str, Any]]]) -> None:
    user = new_user()
    todo = user.create()
    model: dict[str, Any] = DEFAULTS | {"title": todo["title"]}
    for replaces, fields in writes:
        sent = {"title": "replaced"} | fields if replaces else fields
        model = DEFAULTS | sent if replaces else model | sent
        answer = body(user.request("PUT" if replaces else "PATCH", f"/todos/{todo['id']}", json=sent))
        model["completed_at"] = answer["completed_at"]
        assert answer.items() >= model.items()
        assert (answer["completed_at"] is not None) is model["completed"]
        assert user.read(todo["id"]) == answer
