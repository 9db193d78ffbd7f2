"""4. Todos: the `tasks` dialect."""

from typing import Any

import pytest

from .api import User, body, json_object, mistakes, problem, section

pytestmark = pytest.mark.full
says = section("The tasks dialect")

FIELDS = {"id", "user_id", "title", "description", "completed", "priority", "due_date", "tags"}
FIELDS |= {"created_at", "updated_at"}


def create(user: User, **fields: Any) -> dict[str, Any]:
    """Create a task."""
    return json_object(user.post("/tasks", json={"title": "Water the plants"} | fields), 201)


def titles(user: User, **parameters: Any) -> list[str]:
    """List the titles of tasks."""
    return [task["title"] for task in body(user.get("/tasks", params=parameters))]


@says("/api/{user_id}/tasks serves the same rows")
def test_tasks_are_todos(alice: User) -> None:
    task = create(alice, title="as a task", description="d", priority="high", due_date="2026-03-01", tags=["a"])
    todo = alice.read(task["id"])
    assert {name: todo[name] for name in FIELDS} == task
    todo = alice.create(title="as a todo")
    assert body(alice.get(f"/tasks/{todo['id']}"))["title"] == "as a todo"
    alice.delete(f"/tasks/{todo['id']}")
    problem(alice.get(f"/todos/{todo['id']}"), 404)
    assert alice.titles() == titles(alice) == ["as a task"]


@says("Task: id user_id title description completed priority due_date tags created_at updated_at")
@says("POST /tasks: 201")
def test_task_has_only_its_own_fields(alice: User) -> None:
    response = alice.post("/tasks", json={"title": " x "})
    task = body(response, 201)
    assert task.keys() == FIELDS
    assert (task["title"], task["description"], task["completed"], task["due_date"]) == ("x", None, False, None)
    assert body(alice.get(f"/tasks/{task['id']}")) == task
    assert body(alice.get("/tasks")) == [task]
    assert response.headers["location"].endswith(f"/tasks/{task['id']}")


@says("a bare array, newest first; all of them without limit/offset; totals in X-Total-Count")
def test_task_list_is_an_array_with_total_header(alice: User) -> None:
    assert body(alice.get("/tasks")) == []
    made = [create(alice, title=f"{number:02}")["title"] for number in range(25)]
    response = alice.get("/tasks")
    assert [task["title"] for task in body(response)] == made[::-1]
    assert response.headers["x-total-count"] == "25"
    response = alice.get("/tasks", params={"limit": 3, "offset": 4, "order": "asc"})
    assert [task["title"] for task in body(response)] == made[4:7]
    assert response.headers["x-total-count"] == "25"
    assert titles(alice, offset=22, order="asc") == made[22:]
    assert titles(alice, offset=30) == []


@says("status=all pending completed, completed, priority, search")
def test_task_filters(alice: User) -> None:
    create(alice, title="Open 100%", priority="low")
    create(alice, title="Done", description="with a Needle in it", completed=True)
    for parameters, expected in (
        ({"status": "all"}, ["Done", "Open 100%"]),
        ({"status": "pending"}, ["Open 100%"]),
        ({"status": "completed"}, ["Done"]),
        ({"completed": "true"}, ["Done"]),
        ({"priority": "low"}, ["Open 100%"]),
        ({"search": "needle"}, ["Done"]),
        ({"search": "OPEN"}, ["Open 100%"]),
        ({"search": "100%"}, ["Open 100%"]),
        ({"search": "1%0"}, []),
        ({"status": "pending", "search": "needle"}, []),
    ):
        assert titles(alice, **parameters) == expected, parameters
    response = alice.get("/tasks", params={"status": "completed"})
    assert response.headers["x-total-count"] == "1"


@says("sort=created title due_date updated priority, or field:asc, field:desc, or with order=asc desc")
def test_task_sorts(alice: User) -> None:
    first = create(alice, title="b", due_date="2026-03-01", priority="low")
    create(alice, title="c", due_date="2026-03-02T12:00:00Z", priority="high")
    create(alice, title="a", priority="medium")
    body(alice.patch(f"/tasks/{first['id']}", json={"description": "changed"}))
    rising = {"created": "bca", "title": "abc", "due_date": "bca", "updated": "cab", "priority": "bac"}
    for key, expected in rising.items():
        falling = "cba" if key == "due_date" else expected[::-1]  # what has no due date comes last
        for parameters, wanted in (
            ({"sort": f"{key}:asc"}, expected),
            ({"sort": f"{key}:desc"}, falling),
            ({"sort": key, "order": "asc"}, expected),
            ({"sort": key, "order": "desc"}, falling),
        ):
            assert "".join(titles(alice, **parameters)) == wanted, parameters
    assert "".join(titles(alice, sort="created")) == "acb"


@says("status=all pending completed")
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("status", "done"),
        ("completed", "maybe"),
        ("priority", "urgent"),
        ("sort", "nope"),
        ("sort", "title:up"),
        ("order", "up"),
        ("limit", "0"),
        ("offset", "-1"),
        ("nope", "1"),
    ],
)
def test_invalid_task_parameters_are_refused(alice: User, name: str, value: str) -> None:
    assert mistakes(alice.get("/tasks", params={name: value})) == {name}


@says("GET/PUT/PATCH/DELETE /tasks/{id}: 200, 204; PUT accepts a partial body here")
@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_task_put_and_patch_may_be_partial(alice: User, method: str) -> None:
    task = create(alice, description="d", priority="high", due_date="2026-03-01")
    changed = body(alice.request(method, f"/tasks/{task['id']}", json={"title": "new"}))
    assert changed == task | {"title": "new", "updated_at": changed["updated_at"]}
    cleared = body(alice.request(method, f"/tasks/{task['id']}", json={"description": None, "due_date": None}))
    assert (cleared["description"], cleared["due_date"], cleared["priority"]) == (None, None, "high")
    problem(alice.request(method, f"/tasks/{task['id']}", json={"title": ""}), 422)


@says("GET/PUT/PATCH/DELETE /tasks/{id}: 200, 204")
def test_delete_task(alice: User) -> None:
    task = create(alice)
    response = alice.delete(f"/tasks/{task['id']}")
    assert (response.status_code, response.content) == (204, b"")
    problem(alice.get(f"/tasks/{task['id']}"), 404)


@says('PATCH /tasks/{id}/complete: 200; without a body toggles, with {"completed": bool} sets')
def test_complete_task(alice: User) -> None:
    path = f"/tasks/{create(alice)['id']}/complete"
    assert [body(alice.patch(path))["completed"] for _ in range(3)] == [True, False, True]
    assert [body(alice.patch(path, json={"completed": True}))["completed"] for _ in range(2)] == [True, True]
    assert [body(alice.patch(path, json={"completed": False}))["completed"] for _ in range(2)] == [False, False]
    assert mistakes(alice.patch(path, json={"completed": "yes"})) == {"/completed"}


@says("description 0..1,000, due_date an ISO date or timestamp or null")
def test_task_field_limits(alice: User) -> None:
    assert create(alice, description="x" * 1000)["description"] == "x" * 1000
    assert mistakes(alice.post("/tasks", json={"title": "x", "description": "x" * 1001})) == {"/description"}
    for sent, kept in (
        (None, None),
        ("2026-03-01", "2026-03-01"),
        ("2026-03-01T12:00:00Z", "2026-03-01T12:00:00Z"),
        ("2026-03-01T12:00:00+02:00", "2026-03-01T10:00:00Z"),
    ):
        assert create(alice, due_date=sent)["due_date"] == kept
    for wrong in ("soon", "2026-02-30", "2026-03-01T25:00", 1):
        assert mistakes(alice.post("/tasks", json={"title": "x", "due_date": wrong})) == {"/due_date"}


@says(
    "Authentication, isolation, errors and limits are the same as everywhere: the body of an error "
    "has the string detail"
)
def test_task_errors_and_limits(alice: User, bob: User) -> None:
    task = create(alice)
    assert problem(bob.get(f"/tasks/{task['id']}"), 404)["detail"]
    wrong = {"title": "x" * 201, "priority": "highest", "completed": "no"}
    assert mistakes(alice.post("/tasks", json=wrong)) == {"/title", "/priority", "/completed"}
    assert titles(bob) == []


@says("One exception: unknown body fields are ignored here")
def test_unchanged_task_can_be_sent_back(alice: User, bob: User) -> None:
    task = create(alice, description="d")
    sent = task | {"id": bob.id, "user_id": bob.id, "created_at": "x", "extra": {"a": 1}, "title": "new"}
    changed = body(alice.put(f"/tasks/{task['id']}", json=sent))
    assert changed == task | {"title": "new", "updated_at": changed["updated_at"]}
    other = body(alice.post("/tasks", json=sent), 201)
    assert (other["user_id"], other["id"] == task["id"]) == (alice.id, False)
    assert titles(bob) == []


@says(
    "PUT accepts every task as GET returns it, and such a PUT changes nothing of the todo except updated_at and version"
)
@says("A stored description of more than 1,000 characters can be sent back unchanged; any other of that length is 422")
@says("a todo's none is shown as medium, and stays none when medium is sent back")
def test_put_accepts_what_get_returned(alice: User) -> None:
    todo = alice.create(description="x" * 5000, priority="none", tags=["a"], due_at="2026-03-01T12:00:00Z")
    task = body(alice.get(f"/tasks/{todo['id']}"))
    assert task["priority"] == "medium"
    body(alice.put(f"/tasks/{todo['id']}", json=task))
    after = alice.read(todo["id"])
    assert after == todo | {"updated_at": after["updated_at"], "version": after["version"]}
    renamed = body(alice.put(f"/tasks/{todo['id']}", json=task | {"title": "new"}))
    assert renamed == task | {"title": "new", "updated_at": renamed["updated_at"]}
    other = alice.put(f"/tasks/{todo['id']}", json=task | {"description": "y" * 5000})
    assert mistakes(other) == {"/description"}


@says("urgent is accepted as high, and none as a todo's")
@says('due_date: "" is accepted as null, and a time without an offset as one in the profile\'s time zone')
@says("tags: null is accepted as an empty array")
def test_lenient_task_inputs_are_accepted(alice: User) -> None:
    body(alice.patch("/profile", json={"time_zone": "Asia/Kathmandu"}))
    task = create(alice, priority="urgent", due_date="2026-03-01T05:45", tags=["a"])
    assert (task["priority"], task["due_date"]) == ("high", "2026-03-01T00:00:00Z")
    cleared = body(alice.put(f"/tasks/{task['id']}", json={"due_date": "", "tags": None, "priority": "none"}))
    assert (cleared["due_date"], cleared["tags"], cleared["priority"]) == (None, [], "medium")
    assert alice.read(task["id"])["priority"] == "none"
    assert titles(alice, priority="medium") == [task["title"]]


@says("An array of more than 100 tasks is streamed in chunks")
def test_long_task_list_is_complete(alice: User) -> None:
    operations = [{"op": "create", "data": {"title": f"{number:03}"}} for number in range(100)]
    body(alice.post("/todos/batch", json={"operations": operations}))
    body(alice.post("/todos/batch", json={"operations": operations[:50]}))
    expected = sorted([f"{number:03}" for number in range(100)] + [f"{number:03}" for number in range(50)])
    assert titles(alice, sort="title") == expected
    response = alice.get("/tasks")
    assert response.headers["x-total-count"] == "150"
