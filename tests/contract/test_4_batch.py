"""4. Todos: many operations in one."""

import secrets
from typing import Any
from uuid import uuid4

import httpx
import pytest

from .api import User, body, mistakes, problem, section

pytestmark = pytest.mark.full
says = section("4. Todos /api/{user_id}/todos")


def send(user: User, *operations: Any, **options: Any) -> httpx.Response:
    """Send a batch."""
    return user.post("/todos/batch", json={"operations": operations}, **options)


def create(title: str = "x", **fields: Any) -> dict[str, Any]:
    return {"op": "create", "data": {"title": title} | fields}


def update(todo_id: object, **fields: Any) -> dict[str, Any]:
    return {"op": "update", "id": str(todo_id), "data": fields}


def delete(todo_id: object, **options: Any) -> dict[str, Any]:
    return {"op": "delete", "id": str(todo_id)} | options


def refused(response: httpx.Response, status: int, index: int) -> dict[str, Any]:
    """Assert that a batch failed at an operation."""
    found = problem(response, status)
    assert found["index"] == index, found
    return found


@says("POST /todos/batch: 200")
@says('Batch: {"operations": […]} with 1 to 100 of')
@says('The response is {"results": [{"status": 201, "todo": {…}}, {"status": 200, "todo": {…}}')
@says("version and permanent are optional")
def test_batch_with_one_operation_of_each_kind(alice: User) -> None:
    changed, gone, erased = alice.create(), alice.create(title="gone"), alice.create()
    operations = (
        create("new", tags=["a"]),
        update(changed["id"], title="changed"),
        delete(gone["id"]),
        delete(erased["id"], permanent=True),
    )
    results = body(send(alice, *operations))["results"]
    assert [result["status"] for result in results] == [201, 200, 204, 204]
    assert [result["todo"] for result in results[2:]] == [None, None]
    assert results[0]["todo"] == alice.read(results[0]["todo"]["id"])
    assert results[1]["todo"] == alice.read(changed["id"])
    assert (results[0]["todo"]["tags"], results[1]["todo"]["title"], results[1]["todo"]["version"]) == (
        ["a"],
        "changed",
        2,
    )
    assert alice.titles(deleted="true") == ["gone"]


@says("run in order, in one transaction")
def test_batch_operations_run_in_order(alice: User) -> None:
    todo = alice.create(title="0")
    results = body(send(alice, *(update(todo["id"], title=str(number)) for number in (1, 2, 3))))["results"]
    assert [(result["todo"]["title"], result["todo"]["version"]) for result in results] == [
        ("1", 2),
        ("2", 3),
        ("3", 4),
    ]
    refused(send(alice, delete(todo["id"]), update(todo["id"], title="4")), 404, 1)
    assert alice.read(todo["id"])["title"] == "3"


@says(
    "up to 100 creates, patches and deletes in one transaction: all or nothing, with the index of "
    "the operation that failed"
)
@says("with 1 to 100 of")
def test_batch_has_at_most_100_operations(alice: User) -> None:
    results = body(send(alice, *(create(f"{number:03}") for number in range(100))))["results"]
    assert [result["todo"]["title"] for result in results] == [f"{number:03}" for number in range(100)]
    assert alice.page()["total"] == 100
    assert alice.titles(sort="position", limit=100) == [f"{number:03}" for number in range(100)]
    for operations in ([], [create()] * 101):
        assert mistakes(send(alice, *operations)) == {"/operations"}
    assert alice.page()["total"] == 100


@says("If one fails, nothing is changed: the response has the status that the operation alone would have had")
@says("the problem has its index, from 0")
def test_failed_operation_rolls_back_the_batch(alice: User, bob: User) -> None:
    todo, his = alice.create(), bob.create()
    for failing, status in (
        (update(his["id"], title="stolen"), 404),
        (delete(his["id"], permanent=True), 404),
        (update(uuid4(), title="x"), 404),
        (delete(uuid4()), 404),
        (update(todo["id"], title="x") | {"version": 9}, 412),
        (delete(todo["id"], version=9), 412),
        (update(todo["id"], parent_id=todo["id"]), 422),
        (create(list_id=str(uuid4())), 422),
        (create(parent_id=his["id"]), 422),
    ):
        done = (create("first"), update(todo["id"], description="x"))
        found = refused(send(alice, *done, failing, create("last")), status, 2)
        assert his["title"] not in found["detail"]
        assert alice.page()["items"] == [todo]
    assert bob.page()["items"] == [his]


@says("a version other than the stored one is 412")
def test_batch_operations_check_versions(alice: User) -> None:
    todo = alice.create()
    refused(send(alice, update(todo["id"], title="x") | {"version": 2}), 412, 0)
    results = body(send(alice, update(todo["id"], title="x") | {"version": 1}, delete(todo["id"], version=2)))[
        "results"
    ]
    assert [result["status"] for result in results] == [200, 204]


@says("the pointers of a 422 begin with /operations/{index}")
def test_batch_errors_have_pointers(alice: User) -> None:
    todo = alice.create()
    for wrong, pointer in (
        (create("", priority="high"), "/operations/1/data/title"),
        (create(colour="red"), "/operations/1/data/colour"),
        (update(todo["id"], tags=["a", 1]), "/operations/1/data/tags/1"),
        ({"op": "replace", "id": todo["id"]}, "/operations/1/op"),
        (delete("x"), "/operations/1/id"),
        (create(list_id=str(uuid4())), "/operations/1/data/list_id"),
    ):
        assert mistakes(send(alice, create(), wrong)) == {pointer}
    assert alice.page()["items"] == [todo]


@says("If the body itself is invalid, the problem has all errors, and no index")
@pytest.mark.parametrize(
    "sent", [{}, [], {"operations": None}, {"operations": {}}, {"operations": [1]}, {"operations": [[]]}]
)
def test_malformed_batch_is_refused(alice: User, sent: Any) -> None:
    problem(alice.post("/todos/batch", json=sent), 422)
    assert mistakes(alice.post("/todos/batch", json={"operations": [create()], "x": 1})) == {"/x"}
    several = send(alice, create(""), create(), {"op": "delete"}, create(priority="urgent"))
    assert mistakes(several) == {"/operations/0/data/title", "/operations/2/id", "/operations/3/data/priority"}
    assert "index" not in several.json()
    assert alice.page()["total"] == 0


@says("Idempotency-Key (1..255 visible ASCII) on any POST")
def test_retried_batch_runs_once(alice: User) -> None:
    key = {"Idempotency-Key": secrets.token_hex(8)}
    first, second = (send(alice, create(), create(), headers=key) for _ in range(2))
    assert (first.content, second.headers["idempotency-replayed"]) == (second.content, "true")
    assert alice.page()["total"] == 2
