"""5. Other resources: everything of a user, out and away; and administrators."""

import json
import secrets
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from .api import User, body, mistakes, problem, section

pytestmark = pytest.mark.full
says = section("5. Other resources")
FORBIDDEN = "Forbidden: not authorized to access this resource"
PATIENCE_SECONDS = 60


def exported(user: User) -> list[dict[str, Any]]:
    """Read everything of a user."""
    response = user.get("/export")
    assert response.status_code == 200
    assert response.headers["content-type"].partition(";")[0] == "application/jsonl"
    assert response.text.endswith("\n")
    return [json.loads(line) for line in response.text.splitlines()]


def fill(user: User) -> list[str]:
    """Give a user something of everything; give the ids."""
    made = body(user.post("/lists", json={"name": "Home"}), 201)["id"]
    todo = user.create(title="kept 😀", list_id=made, tags=["a"])["id"]
    below = user.create(title="below", parent_id=todo)["id"]
    gone = user.create(title="in the trash")["id"]
    user.delete(f"/todos/{gone}")
    body(user.patch("/profile", json={"bio": "a bio"}))
    body(user.patch("/preferences", json={"theme": "dark"}))
    return [made, todo, below, gone]


class TestExport:
    @says("/export: GET: 200 application/jsonl: everything of the user, streamed")
    @says('each line is {"type": "…", …}, first the profile')
    def test_export_has_all_data(self, alice: User, bob: User) -> None:
        keys = fill(alice)
        fill(bob)
        lines = exported(alice)
        assert all(isinstance(line["type"], str) for line in lines)
        assert (lines[0]["type"], lines[0]["id"], lines[0]["bio"]) == ("profile", alice.id, "a bio")
        text = json.dumps(lines)
        assert [key for key in keys if key not in text] == []
        assert "dark" in text
        assert bob.id not in text
        assert {line["title"] for line in lines if line["type"].startswith("todo")} == {
            "kept 😀",
            "below",
            "in the trash",
        }

    @says("first the profile")
    def test_export_of_a_new_user(self, alice: User) -> None:
        assert exported(alice)[0]["id"] == alice.id

    @says("everything of the user, streamed")
    def test_export_of_many_todos(self, alice: User) -> None:
        for _ in range(5):
            operations = [{"op": "create", "data": {"title": "x"}}] * 100
            body(alice.post("/todos/batch", json={"operations": operations}))
        found = [line["id"] for line in exported(alice) if line["type"].startswith("todo")]
        assert (len(found), len({*found})) == (500, 500)

    @says("everything of the user, streamed")
    def test_client_that_disconnects_during_export(self, alice: User) -> None:
        fill(alice)
        headers = {"Authorization": f"Bearer {alice.token}"}
        for _ in range(30):
            with alice.http.stream("GET", alice.at("/export"), headers=headers) as response:
                assert response.status_code == 200
        assert alice.page()["total"] == 2


class TestAccount:
    @says("/account: DELETE: 204; erases everything of the user, immediately and permanently")
    def test_erased_account_has_no_data(self, alice: User, bob: User) -> None:
        key = {"Idempotency-Key": secrets.token_hex(8)}
        body(alice.post("/todos", json={"title": "once"}, headers=key), 201)
        fill(alice)
        fill(bob)
        before = exported(bob)
        problem(bob.delete(alice.at("/account")), 403)
        response = alice.delete("/account")
        assert (response.status_code, response.content) == (204, b"")
        assert alice.page()["total"] == alice.page(deleted="true")["total"] == 0
        assert body(alice.get("/lists"))["total"] == body(alice.get("/tags"))["total"] == 0
        assert body(alice.get("/profile"))["bio"] is None
        assert body(alice.get("/preferences"))["theme"] == "system"
        assert "kept" not in json.dumps(exported(alice))
        again = alice.post("/todos", json={"title": "once"}, headers=key)
        assert (again.status_code, "idempotency-replayed" in again.headers) == (201, False)
        assert exported(bob) == before

    @says("/account: DELETE: 204")
    def test_erasing_a_new_account(self, alice: User) -> None:
        for _ in range(2):
            assert alice.delete("/account").status_code == 204
        alice.create()
        assert alice.page()["total"] == 1


@pytest.fixture
def admin(new_user: Callable[..., User]) -> User:
    return new_user("admin", "admin")


def until(holds: Callable[[], bool]) -> None:
    """Wait for what takes its time."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.1)


class TestAdmin:
    @says("For callers whose token has the role admin")
    @pytest.mark.parametrize("role", [None, "user", "Admin", "administrator", "not-admin", ""])
    @pytest.mark.parametrize(("method", "path"), [("GET", "/admin/users"), ("GET", "/admin/counts")])
    def test_admin_routes_need_the_role(
        self, new_user: Callable[..., User], role: str | None, method: str, path: str
    ) -> None:
        problem(new_user("user", role).request(method, path), 403, FORBIDDEN)

    @says("For callers whose token has the role admin (among others, as admin,user or in an array), else 403")
    def test_one_of_several_roles_is_enough(self, new_user: Callable[..., User]) -> None:
        body(new_user("admin", "user,admin").get("/admin/counts"))

    @says("For callers whose token has the role admin")
    @pytest.mark.parametrize("verb", ["deactivate", "reactivate"])
    def test_admin_actions_need_the_role(self, alice: User, bob: User, verb: str) -> None:
        alice.page()
        problem(bob.post(f"/admin/users/{alice.id}/{verb}"), 403, FORBIDDEN)
        problem(bob.post(f"/admin/users/{bob.id}/{verb}"), 403, FORBIDDEN)
        alice.create()

    @says("/admin/users: GET: 200 page of users: id email name created_at deactivated_at; limit, offset")
    def test_list_users(self, admin: User, alice: User) -> None:
        alice.page()
        page = body(admin.get("/admin/users", params={"limit": 1, "offset": 1}))
        assert page.keys() >= {"items", "total", "limit", "offset"}
        assert (len(page["items"]), page["limit"], page["offset"]) == (1, 1, 1)
        assert page["total"] >= 2
        assert page["items"][0].keys() == {"id", "email", "name", "created_at", "deactivated_at"}
        wrong = {"limit": "0", "offset": "-1", "deactivated": "maybe", "nope": "1"}
        assert mistakes(admin.get("/admin/users", params=wrong)) == set(wrong)

    @says("/admin/users/{id}/deactivate, …/reactivate: POST: 200 the user; safe to repeat")
    @says("deactivated filters")
    @pytest.mark.contract("1. Authentication and authorization", "Deactivated users: 403")
    def test_deactivated_user_is_403_until_reactivated(self, admin: User, alice: User) -> None:
        todo = alice.create()

        def listed(deactivated: str) -> bool:
            return any(each["id"] == alice.id for each in walk(admin, deactivated))

        for _ in range(2):
            found = body(admin.post(f"/admin/users/{alice.id}/deactivate"))
            assert (found["id"], found["deactivated_at"] is None) == (alice.id, False)
        until(lambda: alice.get("/todos").status_code == 403)
        problem(alice.get("/todos"), 403, FORBIDDEN)
        problem(alice.delete(f"/todos/{todo['id']}"), 403, FORBIDDEN)
        assert listed("true")
        for _ in range(2):
            assert body(admin.post(f"/admin/users/{alice.id}/reactivate"))["deactivated_at"] is None
        until(lambda: alice.get("/todos").status_code == 200)
        assert alice.page()["items"] == [todo]
        assert not listed("true")

    @says("404 for an unknown one; 409 for the caller's own")
    @pytest.mark.parametrize("verb", ["deactivate", "reactivate"])
    def test_unknown_users_are_404(self, admin: User, verb: str) -> None:
        problem(admin.post(f"/admin/users/nobody-{secrets.token_hex(10)}/{verb}"), 404)
        problem(admin.post(f"/admin/users/{admin.id}/{verb}"), 409)
        admin.create()

    @says("/admin/counts: GET: 200 totals of all users (users, active_users, todos, …), nothing about a single user")
    def test_admin_counts(self, admin: User, alice: User) -> None:
        alice.create()
        response = admin.get("/admin/counts")
        counts = body(response)
        assert counts.keys() >= {"users", "active_users", "todos"}
        assert all(isinstance(number, int) and number >= 0 for number in counts.values())
        assert counts["users"] >= counts["active_users"] >= 1
        assert counts["todos"] >= 1
        assert alice.id not in response.text

    @says("Of another user, an administrator sees the row in /admin/users and nothing else")
    @says("no role gives access to another user's path")
    def test_no_role_opens_another_users_path(self, admin: User, alice: User) -> None:
        todo = alice.create()
        paths = ("/todos", f"/todos/{todo['id']}", "/profile", "/preferences", "/lists", "/tags", "/tasks", "/export")
        for path in (*paths, "/admin/users", "/admin/counts"):
            problem(admin.get(alice.at(path)), 403, FORBIDDEN)
        problem(admin.delete(alice.at("/account")), 403, FORBIDDEN)
        problem(admin.get(f"/todos/{todo['id']}"), 404)
        assert alice.page()["items"] == [todo]


def walk(admin: User, deactivated: str) -> Iterator[dict[str, Any]]:
    """Read all users, page by page."""
    offset = 0
    while items := body(admin.get("/admin/users", params={"deactivated": deactivated, "limit": 100, "offset": offset}))[
        "items"
    ]:
        yield from items
        offset += len(items)
