"""5. Other resources: lists, and the tags in use."""

from functools import partial
from typing import Any
from urllib.parse import quote

import pytest

from .api import User, at_once, body, json_object, mistakes, problem, section

pytestmark = pytest.mark.full
says = section("5. Other resources")
of_todos = section("4. Todos /api/{user_id}/todos")

COLORS = ["#000000", "#ff8800", "#abcdef", None]


def create(user: User, name: str, **fields: Any) -> dict[str, Any]:
    """Create a list."""
    return json_object(user.post("/lists", json={"name": name} | fields), 201)


def names(user: User, **parameters: Any) -> list[str]:
    """Read the names of a page of lists."""
    return [each["name"] for each in body(user.get("/lists", params=parameters))["items"]]


class TestCrud:
    @says("/lists, /lists/{id}: CRUD as todos")
    def test_create_change_and_delete_a_list(self, alice: User) -> None:
        response = alice.post("/lists", json={"name": "Home", "color": "#ff8800"})
        made = body(response, 201)
        path = f"/lists/{made['id']}"
        assert made.keys() >= {"id", "user_id", "name", "color", "position", "created_at", "updated_at", "version"}
        assert (made["user_id"], made["name"], made["color"], made["version"]) == (alice.id, "Home", "#ff8800", 1)
        assert response.headers["location"].endswith(f"/api/{quote(alice.id, safe='')}{path}")
        assert response.headers["etag"] == alice.get(path).headers["etag"] == '"1"'
        assert body(alice.get(path)) == made
        patched = body(alice.patch(path, json={"name": "House"}))
        assert (patched["name"], patched["color"], patched["version"]) == ("House", "#ff8800", 2)
        replaced = body(alice.put(path, json={"name": "Hut"}))
        assert (replaced["name"], replaced["color"], replaced["version"]) == ("Hut", None, 3)
        assert body(alice.get("/lists"))["items"] == [replaced]
        assert alice.delete(path).status_code == 204
        for again in (alice.get(path), alice.delete(path), alice.patch(path, json={"name": "x"})):
            problem(again, 404)

    @says("/lists, /lists/{id}: CRUD as todos")
    def test_list_writes_check_if_match(self, alice: User) -> None:
        made = create(alice, "Home")
        path = f"/lists/{made['id']}"
        assert alice.get(path, headers={"If-None-Match": '"1"'}).status_code == 304
        for method in ("PUT", "PATCH", "DELETE"):
            problem(alice.request(method, path, json={"name": "x"}, headers={"If-Match": '"2"'}), 412)
        assert body(alice.get(path)) == made
        body(alice.patch(path, json={"name": "x"}, headers={"If-Match": '"1"'}))

    @says("/lists, /lists/{id}: CRUD as todos")
    def test_another_users_list_is_404(self, alice: User, bob: User) -> None:
        made = create(alice, "Home")
        for method in ("GET", "PUT", "PATCH", "DELETE"):
            problem(bob.request(method, f"/lists/{made['id']}", json={"name": "x"}), 404)
        assert names(bob) == []
        assert body(alice.get(f"/lists/{made['id']}")) == made

    @says("name 1..100 after trimming")
    def test_list_name_values(self, alice: User) -> None:
        for name in ("x", "😀" * 100):
            assert create(alice, f" {name}\n")["name"] == name
        path = f"/lists/{create(alice, 'Home')['id']}"
        for method, target in (("POST", "/lists"), ("PUT", path), ("PATCH", path)):
            for wrong in ("", " ", "x" * 101, None, 1):
                assert mistakes(alice.request(method, target, json={"name": wrong})) == {"/name"}

    @says("unique for the user (409), case-insensitive")
    @pytest.mark.contract("2. Errors", "409 conflict")
    def test_list_name_is_unique_without_case(self, alice: User, bob: User) -> None:
        create(alice, "Home")
        other = create(alice, "Work")
        problem(alice.post("/lists", json={"name": " hOME "}), 409)
        create(alice, "ΟΔΟΣ")
        problem(alice.post("/lists", json={"name": "οδος"}), 409)
        body(alice.delete(f"/lists/{alice.get('/lists').json()['items'][-1]['id']}"), 204)
        for method in ("PUT", "PATCH"):
            problem(alice.request(method, f"/lists/{other['id']}", json={"name": "Home"}), 409)
        assert names(alice) == ["Home", "Work"]
        create(bob, "Home")
        body(alice.patch(f"/lists/{other['id']}", json={"name": "Work"}))

    @says("unique for the user (409)")
    def test_concurrent_creations_of_one_name_create_one_list(self, alice: User) -> None:
        alice.page()
        answers = at_once([partial(alice.post, "/lists", json={"name": "Home"})] * 8)
        assert sorted(response.status_code for response in answers) == [201] + [409] * 7
        assert names(alice) == ["Home"]

    @says("color #rrggbb or null")
    def test_list_color_values(self, alice: User) -> None:
        for number, color in enumerate(COLORS):
            assert create(alice, str(number), color=color)["color"] == color
        for wrong in ("", "red", "#fff", "#12345g", "#1234567", "ff8800", " #ff8800", "#ff8800\n", 1):
            assert mistakes(alice.post("/lists", json={"name": "x", "color": wrong})) == {"/color"}, wrong

    @says("position; POST /lists/{id}/move")
    @pytest.mark.parametrize("field", ["id", "user_id", "position", "version", "created_at", "titel"])
    def test_server_owned_list_fields_are_refused(self, alice: User, field: str) -> None:
        made = create(alice, "Home")
        for method, path in (("POST", "/lists"), ("PUT", f"/lists/{made['id']}"), ("PATCH", f"/lists/{made['id']}")):
            assert mistakes(alice.request(method, path, json={"name": "x", field: "x"})) == {f"/{field}"}


class TestOrder:
    @says("sorted by position by default (position name created_at updated_at)")
    def test_list_sorts(self, alice: User) -> None:
        made = [create(alice, name) for name in ("b", "c", "a")]
        body(alice.patch(f"/lists/{made[0]['id']}", json={"color": "#000000"}))
        assert names(alice) == names(alice, sort="position") == names(alice, sort="created_at") == ["b", "c", "a"]
        assert names(alice, sort="name") == ["a", "b", "c"]
        assert names(alice, sort="name:desc") == ["c", "b", "a"]
        assert names(alice, sort="updated_at:desc") == ["b", "a", "c"]
        assert mistakes(alice.get("/lists", params={"sort": "color"})) == {"sort"}

    @says("/lists, /lists/{id}: CRUD as todos")
    def test_list_pages(self, alice: User) -> None:
        for name in "abcde":
            create(alice, name)
        page = body(alice.get("/lists", params={"limit": 2}))
        assert (page["total"], page["limit"], page["offset"]) == (5, 2, 0)
        found = page["items"]
        while page["next_cursor"]:
            page = body(alice.get("/lists", params={"limit": 2, "cursor": page["next_cursor"]}))
            found += page["items"]
        assert [each["name"] for each in found] == [*"abcde"]
        assert names(alice, limit=2, offset=3) == ["d", "e"]
        for name, wrong in (("limit", "0"), ("limit", "101"), ("offset", "-1"), ("cursor", "x"), ("q", "x")):
            assert mistakes(alice.get("/lists", params={name: wrong})) == {name}

    @says("POST /lists/{id}/move with before or after another list")
    def test_move_list(self, alice: User) -> None:
        made = {name: create(alice, name)["id"] for name in "abcd"}

        def move(name: str, **to: str) -> str:
            body(alice.post(f"/lists/{made[name]}/move", json={how: made[other] for how, other in to.items()}))
            return "".join(names(alice))

        assert move("d", before="a") == "dabc"
        assert move("a", after="c") == "dbca"
        assert move("b", before="c") == "dbca"
        assert move("a", after="d") == "dabc"

    @says("POST /lists/{id}/move with before or after another list")
    def test_invalid_list_moves_are_refused(self, alice: User, bob: User) -> None:
        one, other, his = create(alice, "one")["id"], create(alice, "other")["id"], create(bob, "his")["id"]
        path = f"/lists/{one}/move"
        for wrong, pointer in (
            ({"before": his}, "/before"),
            ({"after": one}, "/after"),
            ({"before": "x"}, "/before"),
            ({"before": other, "beside": other}, "/beside"),
        ):
            assert mistakes(alice.post(path, json=wrong)) == {pointer}
        for wrong in ({}, {"before": other, "after": other}):
            problem(alice.post(path, json=wrong), 422)
        problem(alice.post(f"/lists/{his}/move", json={"before": one}), 404)
        assert names(alice) == ["one", "other"]


class TestTodosInLists:
    @of_todos("list_id: uuid or null: one of the user's own lists, otherwise 422")
    @of_todos("list_id, parent_id")
    def test_todo_is_in_a_list(self, alice: User, bob: User) -> None:
        home, his = create(alice, "Home")["id"], create(bob, "His")["id"]
        todo = alice.create(list_id=home, title="at home")
        alice.create(title="anywhere")
        assert todo["list_id"] == home
        assert alice.titles(list_id=home) == ["at home"]
        assert alice.titles(list_id=his) == []
        for wrong in (his, todo["id"], "01890000-0000-7000-8000-000000000000", "x", 1):
            assert mistakes(alice.post("/todos", json={"title": "x", "list_id": wrong})) == {"/list_id"}
            for method in ("PUT", "PATCH"):
                change = {"title": "x", "list_id": wrong}
                assert mistakes(alice.request(method, f"/todos/{todo['id']}", json=change)) == {"/list_id"}
        assert mistakes(alice.get("/todos", params={"list_id": "x"})) == {"list_id"}
        assert alice.read(todo["id"]) == todo
        assert body(alice.patch(f"/todos/{todo['id']}", json={"list_id": None}))["list_id"] is None

    @says("deleting a list leaves its todos without a list")
    def test_todos_outlive_their_list(self, alice: User) -> None:
        home = create(alice, "Home")["id"]
        todo, trashed = alice.create(list_id=home, title="stays"), alice.create(list_id=home)
        alice.delete(f"/todos/{trashed['id']}")
        assert alice.delete(f"/lists/{home}").status_code == 204
        left = alice.read(todo["id"])
        assert (left["title"], left["list_id"]) == ("stays", None)
        assert body(alice.post(f"/todos/{trashed['id']}/restore"))["list_id"] is None

    @says("default_list_id (one of the user's own lists, otherwise 422, or null)")
    def test_new_todos_go_to_the_default_list(self, alice: User, bob: User) -> None:
        home, his = create(alice, "Home")["id"], create(bob, "His")["id"]
        assert body(alice.patch("/preferences", json={"default_list_id": home}))["default_list_id"] == home
        for method in ("PUT", "PATCH"):
            assert mistakes(alice.request(method, "/preferences", json={"default_list_id": his})) == {
                "/default_list_id"
            }
        alice.delete(f"/lists/{home}")
        assert body(alice.get("/preferences"))["default_list_id"] is None


class TestTags:
    @says(
        '/tags: GET: 200 page of {"name", "count"}: tags of todos outside the trash, the most used first, then by name'
    )
    def test_tags_are_counted(self, alice: User, bob: User) -> None:
        assert body(alice.get("/tags"))["items"] == []
        for tags in (["b", "a"], ["b", "c"], ["b"], ["d", "a"], ["gone"]):
            todo = alice.create(tags=tags)
        alice.delete(f"/todos/{todo['id']}")
        bob.create(tags=["his", "b"])
        page = body(alice.get("/tags"))
        assert [(each["name"], each["count"]) for each in page["items"]] == [("b", 3), ("a", 2), ("c", 1), ("d", 1)]
        assert (page["total"], page["limit"], page["offset"]) == (4, 20, 0)

    @says("then by name; limit, offset")
    def test_tag_pages(self, alice: User) -> None:
        alice.create(tags=[f"{number:02}" for number in range(20)])
        alice.create(tags=[f"{number:02}" for number in range(20, 25)])
        page = body(alice.get("/tags"))
        assert (len(page["items"]), page["total"]) == (20, 25)
        page = body(alice.get("/tags", params={"limit": 3, "offset": 21}))
        assert [each["name"] for each in page["items"]] == ["21", "22", "23"]
        for name, wrong in (("limit", "0"), ("limit", "101"), ("offset", "-1"), ("q", "x")):
            assert mistakes(alice.get("/tags", params={name: wrong})) == {name}
