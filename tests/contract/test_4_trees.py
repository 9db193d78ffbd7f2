"""4. Todos: subtasks, the trash and places."""

from collections.abc import Callable
from functools import partial
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from .api import User, at_once, body, mistakes, problem, section
from .strategies import examples

pytestmark = pytest.mark.full
says = section("4. Todos /api/{user_id}/todos")


def chain(user: User, length: int) -> list[str]:
    """Make todos, each below the one before."""
    made: list[str] = []
    for level in range(length):
        made.append(user.create(title=f"level {level}", parent_id=made[-1] if made else None)["id"])
    return made


def trash(user: User, **parameters: Any) -> list[str]:
    """List the titles in the trash."""
    return sorted(user.titles(deleted="true", **parameters))


class TestSubtasks:
    @says("parent_id: uuid or null: one of the user's own todos, not in the trash; no cycles; at most 5 levels")
    @says("parent_id (an id, or none)")
    def test_subtask_has_a_parent(self, alice: User) -> None:
        parent = alice.create(title="parent")
        child = alice.create(title="child", parent_id=parent["id"])
        other = alice.create(title="other")
        assert (parent["parent_id"], child["parent_id"]) == (None, parent["id"])
        assert alice.titles(parent_id=parent["id"]) == ["child"]
        assert sorted(alice.titles(parent_id="none")) == ["other", "parent"]
        body(alice.patch(f"/todos/{other['id']}", json={"parent_id": parent["id"]}))
        assert sorted(alice.titles(parent_id=parent["id"])) == ["child", "other"]
        assert body(alice.patch(f"/todos/{child['id']}", json={"parent_id": None}))["parent_id"] is None
        assert body(alice.put(f"/todos/{other['id']}", json={"title": "other"}))["parent_id"] is None
        assert mistakes(alice.get("/todos", params={"parent_id": "x"})) == {"parent_id"}

    @says(
        "one of the user's own todos, not in the trash; no cycles; at most 5 levels, including the top "
        "one; otherwise 422"
    )
    def test_invalid_parent_is_refused(self, alice: User, bob: User) -> None:
        todo, his, gone = alice.create(), bob.create(), alice.create()
        alice.delete(f"/todos/{gone['id']}")
        for wrong in (his["id"], gone["id"], str(uuid4()), "x", 1, ""):
            assert mistakes(alice.post("/todos", json={"title": "x", "parent_id": wrong})) == {"/parent_id"}
            for method in ("PUT", "PATCH"):
                change = {"title": "x", "parent_id": wrong}
                assert mistakes(alice.request(method, f"/todos/{todo['id']}", json=change)) == {"/parent_id"}
        assert alice.page()["items"] == [todo]
        assert bob.read(his["id"]) == his

    @says("no cycles")
    def test_cycle_of_subtasks_is_refused(self, alice: User) -> None:
        levels = chain(alice, 4)
        for below in levels:
            assert mistakes(alice.patch(f"/todos/{levels[0]}", json={"parent_id": below})) == {"/parent_id"}
        assert [alice.read(key)["parent_id"] for key in levels] == [None, *levels[:-1]]

    @says("no cycles")
    def test_concurrent_moves_make_no_cycle(self, alice: User) -> None:
        for _ in range(5):
            ring = [alice.create()["id"] for _ in range(4)]
            pairs = zip(ring, [*ring[1:], ring[0]], strict=True)
            answers = at_once(
                [partial(alice.patch, f"/todos/{one}", json={"parent_id": other}) for one, other in pairs]
            )
            assert {response.status_code for response in answers} <= {200, 422, 409}
            above = {key: alice.read(key)["parent_id"] for key in ring}
            for key in ring:
                steps = [key]
                while above[steps[-1]]:
                    steps.append(above[steps[-1]])
                    assert len(steps) <= len(ring), "a cycle"

    @says("at most 5 levels, including the top one")
    def test_subtask_depth_is_limited(self, alice: User) -> None:
        levels = chain(alice, 5)
        assert mistakes(alice.post("/todos", json={"title": "x", "parent_id": levels[-1]})) == {"/parent_id"}
        tree = chain(alice, 2)
        for path, change in ((f"/todos/{tree[0]}", "parent_id"), (f"/todos/{tree[0]}/move", "into")):
            method = "POST" if change == "into" else "PATCH"
            assert mistakes(alice.request(method, path, json={change: levels[3]})) == {f"/{change}"}
        body(alice.patch(f"/todos/{tree[0]}", json={"parent_id": levels[2]}))
        assert alice.read(tree[1])["parent_id"] == tree[0]

    @says("Subtasks have their own list and position")
    def test_subtask_may_have_another_list(self, alice: User) -> None:
        home = body(alice.post("/lists", json={"name": "Home"}), 201)["id"]
        parent = alice.create(list_id=home)
        assert alice.create(parent_id=parent["id"])["list_id"] is None
        below = alice.create(parent_id=parent["id"], list_id=home)
        assert body(alice.patch(f"/todos/{parent['id']}", json={"list_id": None}))["list_id"] is None
        assert alice.read(below["id"])["list_id"] == home


class TestTrash:
    @says("DELETE /todos/{id}: 204; moves it to the trash")
    @says("deleted_at: timestamp or null: soft delete")
    @says("The trash is visible only by GET /todos?deleted=true")
    @says("deleted (false by default, true = the trash)")
    def test_deleted_todo_is_in_the_trash(self, alice: User, bob: User) -> None:
        todo = alice.create(title="gone", tags=["a"], description="needle")
        assert todo["deleted_at"] is None
        assert alice.delete(f"/todos/{todo['id']}").status_code == 204
        found = alice.page(deleted="true")
        assert (found["total"], found["items"][0]["id"]) == (1, todo["id"])
        assert found["items"][0]["deleted_at"] >= todo["updated_at"]
        for query in ({}, {"deleted": "false"}, {"tag": "a"}, {"q": "needle"}, {"completed": "false"}):
            assert alice.page(**query)["total"] == 0
        assert body(alice.get("/tags"))["total"] == 0
        assert body(alice.get("/tasks")) == []
        assert trash(alice, tag="a", q="needle") == ["gone"]
        assert trash(bob) == []
        assert mistakes(alice.get("/todos", params={"deleted": "maybe"})) == {"deleted"}

    @says("todos in it are 404 for everything except restore and DELETE …?permanent=true")
    @pytest.mark.parametrize(
        ("method", "path", "sent"),
        [
            ("GET", "", None),
            ("PUT", "", {"title": "x"}),
            ("PATCH", "", {"title": "x"}),
            ("DELETE", "", None),
            ("POST", "/toggle-complete", None),
            ("POST", "/complete", None),
            ("POST", "/reopen", None),
            ("POST", "/move", {"before": ""}),
        ],
    )
    def test_trashed_todo_is_404(self, alice: User, method: str, path: str, sent: Any) -> None:
        todo, other = alice.create(title="gone"), alice.create()
        alice.delete(f"/todos/{todo['id']}")
        before = alice.page(deleted="true")
        sent = {"before": other["id"]} if path == "/move" else sent
        problem(alice.request(method, f"/todos/{todo['id']}{path}", json=sent), 404)
        assert alice.page(deleted="true") == before
        problem(alice.get(f"/tasks/{todo['id']}"), 404)

    @says("POST /todos/{id}/restore: 200 restored from the trash; 409 if it is not there")
    @says("restore of a todo that is not in the trash is 409, of one that does not exist 404")
    @pytest.mark.contract("2. Errors", "409 conflict")
    def test_restore_todo(self, alice: User, bob: User) -> None:
        todo = alice.create(title="back", tags=["a"])
        path = f"/todos/{todo['id']}"
        problem(alice.post(f"{path}/restore"), 409)
        alice.delete(path)
        problem(bob.post(f"{path}/restore"), 404)
        back = body(alice.post(f"{path}/restore"))
        assert (back["title"], back["tags"], back["deleted_at"]) == ("back", ["a"], None)
        assert alice.read(todo["id"]) == back
        assert trash(alice) == []
        problem(alice.post(f"{path}/restore"), 409)
        for missing in (uuid4(), "x"):
            problem(alice.post(f"/todos/{missing}/restore"), 404)

    @says("with ?permanent=true deletes it permanently")
    def test_permanent_delete(self, alice: User, bob: User) -> None:
        todo, trashed = alice.create(), alice.create()
        alice.delete(f"/todos/{trashed['id']}")
        for key in (todo["id"], trashed["id"]):
            problem(bob.delete(f"/todos/{key}", params={"permanent": "true"}), 404)
            assert alice.delete(f"/todos/{key}", params={"permanent": "true"}).status_code == 204
            problem(alice.post(f"/todos/{key}/restore"), 404)
            problem(alice.delete(f"/todos/{key}", params={"permanent": "true"}), 404)
        assert alice.page()["total"] == alice.page(deleted="true")["total"] == 0
        kept = alice.create()
        assert mistakes(alice.delete(f"/todos/{kept['id']}", params={"permanent": "maybe"})) == {"permanent"}
        assert alice.delete(f"/todos/{kept['id']}", params={"permanent": "false"}).status_code == 204
        assert alice.page(deleted="true")["total"] == 1

    @says(
        "DELETE moves a todo to the trash with all of its subtasks (?permanent=true deletes them), and restore restores"
    )
    def test_delete_and_restore_a_subtree(self, alice: User) -> None:
        levels = chain(alice, 3)
        early = alice.create(title="early", parent_id=levels[0])
        alice.delete(f"/todos/{early['id']}")
        alice.delete(f"/todos/{levels[0]}")
        assert trash(alice) == ["early", "level 0", "level 1", "level 2"]
        assert alice.page()["total"] == 0
        body(alice.post(f"/todos/{levels[0]}/restore"))
        assert sorted(alice.titles()) == ["level 0", "level 1", "level 2"]
        assert [alice.read(key)["parent_id"] for key in levels] == [None, *levels[:-1]]
        assert trash(alice) == ["early"]
        alice.delete(f"/todos/{levels[0]}", params={"permanent": "true"})
        assert alice.page()["total"] == 0
        assert [title for title in trash(alice) if title != "early"] == []

    @says("A todo whose parent is still in the trash, or which would now be too deep, is restored without a parent")
    def test_restore_without_its_parent(self, alice: User) -> None:
        parent, child, grandchild = chain(alice, 3)
        alice.delete(f"/todos/{parent}")
        back = body(alice.post(f"/todos/{child}/restore"))
        assert back["parent_id"] is None
        assert alice.read(grandchild)["parent_id"] == child
        assert trash(alice) == ["level 0"]

    @says("A todo whose parent is still in the trash, or which would now be too deep, is restored without a parent")
    def test_restore_below_a_parent_that_is_too_deep(self, alice: User) -> None:
        parent, child = chain(alice, 2)
        levels = chain(alice, 4)
        alice.delete(f"/todos/{child}")
        body(alice.patch(f"/todos/{parent}", json={"parent_id": levels[-1]}))
        assert body(alice.post(f"/todos/{child}/restore"))["parent_id"] is None
        assert alice.read(parent)["parent_id"] == levels[-1]

    @says("If-Match on PUT, PATCH, DELETE and the POST actions; a stale ETag gives 412 and changes nothing")
    def test_restore_checks_if_match(self, alice: User) -> None:
        todo = alice.create()
        path = f"/todos/{todo['id']}"
        for parameters in ({}, {"permanent": "true"}):
            problem(alice.delete(path, params=parameters, headers={"If-Match": '"9"'}), 412)
        assert alice.read(todo["id"]) == todo
        alice.delete(path, headers={"If-Match": '"1"'})
        problem(alice.post(f"{path}/restore", headers={"If-Match": '"99"'}), 412)
        assert trash(alice) == [todo["title"]]


class TestPositions:
    @says("position: string: ordering key within its list")
    @says("Positions are strings that are compared byte by byte; only their order has a meaning")
    @says("A new todo, and one that is moved to another list, comes last in its list")
    @says("title position completed")
    def test_new_todo_is_last(self, alice: User) -> None:
        home = body(alice.post("/lists", json={"name": "Home"}), 201)["id"]
        for title in "abc":
            alice.create(title=title)
        inside = [alice.create(title=title, list_id=home)["id"] for title in "xyz"]
        assert alice.titles(sort="position", list_id=home) == [*"xyz"]
        assert [title for title in alice.titles(sort="position") if title in "abc"] == [*"abc"]
        positions = [todo["position"] for todo in alice.page(sort="position", limit=100)["items"]]
        assert all(isinstance(position, str) for position in positions)
        assert sorted(positions, key=str.encode) == positions
        body(alice.patch(f"/todos/{inside[0]}", json={"list_id": None}))
        body(alice.patch(f"/todos/{inside[0]}", json={"list_id": home}))
        assert alice.titles(sort="position", list_id=home) == [*"yzx"]
        assert alice.titles(sort="position:desc", list_id=home) == [*"xzy"]

    @says("before, after: id of another todo: gets that todo's list_id and parent_id, and a position next to it")
    @says("POST /todos/{id}/move: 200")
    @says("changed by POST …/move")
    def test_move_next_to_a_todo(self, alice: User) -> None:
        home = body(alice.post("/lists", json={"name": "Home"}), 201)["id"]
        parent = alice.create(title="parent")["id"]
        inside = {title: alice.create(title=title, list_id=home, parent_id=parent)["id"] for title in "abc"}
        moved = alice.create(title="m")["id"]
        for to, expected in (
            ({"before": "b"}, "ambc"),
            ({"after": "c"}, "abcm"),
            ({"before": "a"}, "mabc"),
            ({"after": "a"}, "ambc"),
        ):
            answer = alice.post(f"/todos/{moved}/move", json={how: inside[other] for how, other in to.items()})
            todo = body(answer)
            assert (todo["list_id"], todo["parent_id"], todo["id"]) == (home, parent, moved)
            assert answer.headers["etag"] == f'"{todo["version"]}"'
            assert "".join(alice.titles(sort="position", list_id=home)) == expected
            assert alice.read(moved) == todo

    @says("into: id of another todo: becomes its last subtask, in its list")
    def test_move_into_a_parent(self, alice: User) -> None:
        home = body(alice.post("/lists", json={"name": "Home"}), 201)["id"]
        parent = alice.create(title="parent", list_id=home)["id"]
        alice.create(title="child", parent_id=parent, list_id=home)
        moved = alice.create(title="moved")["id"]
        todo = body(alice.post(f"/todos/{moved}/move", json={"into": parent}))
        assert (todo["list_id"], todo["parent_id"]) == (home, parent)
        assert alice.titles(parent_id=parent, sort="position") == ["child", "moved"]

    @says("POST …/move takes an object with exactly one of three fields")
    @says("The named todo must be one of the user's own, not in the trash, not the moved one")
    @says("otherwise 422 with a pointer to the field")
    @pytest.mark.parametrize("field", ["before", "after", "into"])
    def test_invalid_moves_are_refused(self, alice: User, bob: User, field: str) -> None:
        moved, other, his, gone = alice.create()["id"], alice.create()["id"], bob.create()["id"], alice.create()["id"]
        below = alice.create(parent_id=moved)["id"]
        deeper = alice.create(parent_id=below)["id"]
        alice.delete(f"/todos/{gone}")
        before = alice.page()
        for wrong in (his, gone, moved, deeper, str(uuid4()), "x", None, 1, *([below] if field == "into" else [])):
            assert mistakes(alice.post(f"/todos/{moved}/move", json={field: wrong})) == {f"/{field}"}, wrong
        for wrong in ({}, {field: other, "before": other, "after": other}, {field: other, "beside": other}):
            problem(alice.post(f"/todos/{moved}/move", json=wrong), 422)
        problem(alice.post(f"/todos/{his}/move", json={field: other}), 404)
        problem(alice.post(f"/todos/{moved}/move", json={field: other}, headers={"If-Match": '"9"'}), 412)
        assert alice.page() == before

    @says("so that positions stay short; their order does not change")
    def test_positions_stay_short_after_many_moves(self, alice: User) -> None:
        keys = [alice.create(title=title)["id"] for title in "abcd"]
        for number in range(120):
            body(alice.post(f"/todos/{keys[2 + number % 2]}/move", json={"after": keys[0]}))
        page = alice.page(sort="position")["items"]
        assert [todo["title"] for todo in page] == [*"adcb"]
        assert max(len(todo["position"]) for todo in page) < 100

    @says("Other todos of the list can get new positions")
    def test_concurrent_moves_keep_one_order(self, alice: User) -> None:
        keys = [alice.create()["id"] for _ in range(8)]
        calls = [partial(alice.post, f"/todos/{key}/move", json={"before": keys[0]}) for key in keys[1:] * 2]
        assert {response.status_code for response in at_once(calls)} == {200}
        page = alice.page(sort="position")["items"]
        assert page[-1]["id"] == keys[0]
        assert len({todo["position"] for todo in page}) == len(keys)


@says("before, after: id of another todo")
@examples(15)
@given(
    moves=st.lists(st.tuples(st.integers(0, 4), st.sampled_from(["before", "after"]), st.integers(0, 4)), max_size=12)
)
def test_moves_equal_the_model(new_user: Callable[..., User], moves: list[tuple[int, str, int]]) -> None:
    user = new_user()
    model = [user.create()["id"] for _ in range(5)]
    keys = [*model]
    for one, how, other in moves:
        if one != other:
            body(user.post(f"/todos/{keys[one]}/move", json={how: keys[other]}))
            model.remove(keys[one])
            model.insert(model.index(keys[other]) + (how == "after"), keys[one])
        assert [todo["id"] for todo in user.page(sort="position")["items"]] == model
