"""`If-Match` on writes, `If-None-Match` on reads."""

from typing import Any

import httpx
import pytest
from litestar import Litestar
from uuid_utils.compat import uuid7

from tests.factories import todo_rows
from tests.support import Client, assert_problem, json_object, mistakes

STALE = "The resource has changed: this is not the version that was expected"
WRITES = {
    "replace": ("PUT", ()),
    "update": ("PATCH", ()),
    "delete": ("DELETE", ()),
    "toggle": ("POST", ("toggle-complete",)),
    "complete": ("POST", ("complete",)),
    "reopen": ("POST", ("reopen",)),
}
ALTERED = ['W/"2"', 'W/"1", W/"2"', '"2-gzip"', '"2;gzip"', '"2--br"', 'W/"2-gzip"', '"1", W/"2"']
GARBAGE = [
    "1",
    "2",
    '"',
    '""',
    '"x"',
    '"2',
    '2"',
    "'2'",
    '"02"',
    '"+2"',
    '"-2"',
    '"2.0"',
    '" 2"',
    '""2""',
    ",",
    "",
    '"*"',
    "W/*",
]
GARBAGE += [
    '"99999999999999999999"',
    f'"{2**31}"',
    f'"{"2" * 5000}"',
    '"0"',
    'w/"2"',
    '"2" "3"',
    '"1";"2"',
    '"²"'.encode().decode("latin-1"),
]


async def write(client: Client, name: str, todo_id: object, if_match: str | None, **options: Any) -> httpx.Response:
    method, action = WRITES[name]
    body: dict[str, Any] = {"json": {"title": "Written"}} if method in ("PUT", "PATCH") else {}
    if if_match is not None:
        body["headers"] = [(b"If-Match", if_match.encode("latin-1"))]
    return await client.request(method, client.todos(todo_id, *action), **body | options)


async def twice_written(client: Client) -> dict[str, Any]:
    """Make a todo of version 2."""
    todo = await client.create(completed=True)
    return json_object(await client.patch(client.todos(todo["id"]), json={"title": "Second"}))


@pytest.mark.parametrize("name", WRITES)
class TestIfMatch:
    @pytest.mark.parametrize(
        "if_match", ['"2"', "*", ' "2" ', '"1", "2"', '"2","7"', '"x", W/"1", "2"', ',"2",', " * "]
    )
    async def test_current_if_match_writes(self, alice: Client, name: str, if_match: str) -> None:
        todo = await twice_written(alice)
        response = await write(alice, name, todo["id"], if_match)
        assert response.status_code == (204 if name == "delete" else 200)
        if name not in ("delete", "complete"):
            assert response.json()["version"] == 3

    @pytest.mark.parametrize("if_match", ['"1"', '"3"', '"1", "3"'])
    async def test_stale_if_match_is_412_and_changes_nothing(
        self, app: Litestar, alice: Client, name: str, if_match: str
    ) -> None:
        todo = await twice_written(alice)
        before = await todo_rows(app, alice.user_id)
        assert_problem(await write(alice, name, todo["id"], if_match), 412, STALE)
        assert await todo_rows(app, alice.user_id) == before

    async def test_weakened_etag_is_an_explained_412(self, app: Litestar, alice: Client, name: str) -> None:
        todo = await twice_written(alice)
        before = await todo_rows(app, alice.user_id)
        for if_match in ALTERED:
            problem = assert_problem(await write(alice, name, todo["id"], if_match), 412)
            assert "a proxy has changed it" in problem["detail"]
        assert await todo_rows(app, alice.user_id) == before

    async def test_if_none_match_of_an_existing_row_is_412(self, app: Litestar, alice: Client, name: str) -> None:
        todo = await twice_written(alice)
        before = await todo_rows(app, alice.user_id)
        for if_none_match in ("*", '"2"', 'W/"2"', '"1", "2"', '"x", *'):
            for more in ({}, {"If-Match": '"2"'}):
                headers = {"If-None-Match": if_none_match, **more}
                assert_problem(await write(alice, name, todo["id"], None, headers=headers), 412, STALE)
        assert await todo_rows(app, alice.user_id) == before
        assert_problem(await write(alice, name, uuid7(), None, headers={"If-None-Match": "*"}), 404)

    async def test_if_none_match_of_another_version_writes(self, alice: Client, name: str) -> None:
        for if_none_match in ('"1"', '"1", W/"3"', '"x"', ""):
            todo = await twice_written(alice)
            headers = {"If-None-Match": if_none_match, "If-Match": '"2"'}
            assert (await write(alice, name, todo["id"], None, headers=headers)).status_code in (200, 204)

    async def test_malformed_etag_matches_nothing(self, app: Litestar, alice: Client, name: str) -> None:
        todo = await twice_written(alice)
        before = await todo_rows(app, alice.user_id)
        for if_match in GARBAGE:
            assert_problem(await write(alice, name, todo["id"], if_match), 412, STALE)
        assert await todo_rows(app, alice.user_id) == before

    async def test_missing_row_is_404_before_412(self, alice: Client, bob: Client, name: str) -> None:
        theirs = await bob.create()
        for todo_id in (theirs["id"], uuid7()):
            for if_match in ('"1"', '"9"', "*", "x"):
                assert_problem(await write(alice, name, todo_id, if_match), 404, "Not found")

    async def test_path_of_another_user_is_403_before_412(self, alice: Client, bob: Client, name: str) -> None:
        todo = await alice.create()
        method, action = WRITES[name]
        response = await bob.request(method, alice.todos(todo["id"], *action), headers={"If-Match": '"9"'})
        assert_problem(response, 403)

    async def test_unknown_parameter_is_422_before_412(self, alice: Client, name: str) -> None:
        todo = await alice.create()
        response = await write(alice, name, todo["id"], '"9"', params={"nope": 1})
        assert mistakes(response).keys() == {"nope"}

    async def test_each_write_needs_the_newest_etag(self, alice: Client, name: str) -> None:
        todo = await alice.create()
        first = await write(alice, "toggle", todo["id"], '"1"')
        assert_problem(await write(alice, name, todo["id"], '"1"'), 412)
        assert (await write(alice, name, todo["id"], first.headers["etag"])).status_code in (200, 204)


class TestIfMatchOfWhatWouldChangeNothing:
    async def test_empty_patch_checks_if_match(self, alice: Client) -> None:
        todo = await twice_written(alice)
        assert_problem(await write(alice, "update", todo["id"], '"1"', json={}), 412, STALE)
        assert (await write(alice, "update", todo["id"], '"2"', json={})).json() == todo

    @pytest.mark.parametrize(("name", "completed"), [("complete", True), ("reopen", False)])
    async def test_repeated_transition_checks_if_match(self, alice: Client, name: str, completed: bool) -> None:
        todo = await alice.create(completed=completed)
        assert_problem(await write(alice, name, todo["id"], '"7"'), 412, STALE)
        assert (await write(alice, name, todo["id"], '"1"')).json() == todo

    @pytest.mark.parametrize("name", ["replace", "update"])
    async def test_invalid_body_is_422_before_412(self, alice: Client, name: str) -> None:
        todo = await alice.create()
        assert mistakes(await write(alice, name, todo["id"], '"9"', json={"title": ""})).keys() == {"/title"}


class TestIfMatchOfReads:
    @pytest.mark.parametrize("method", ["GET", "HEAD"])
    async def test_stale_if_match_on_get_is_412_before_304(self, alice: Client, method: str) -> None:
        todo = await twice_written(alice)
        for if_match in ('"1"', 'W/"2"', '"2-gzip"', "x", ""):
            for more in ({}, {"If-None-Match": '"2"'}):
                response = await alice.request(method, alice.todos(todo["id"]), headers={"If-Match": if_match, **more})
                assert response.status_code == 412
        for path in (alice.todos(uuid7()), f"/api/{alice.user_id}/tasks/{uuid7()}"):
            assert (await alice.request(method, path, headers={"If-Match": '"1"'})).status_code == 404

    @pytest.mark.parametrize("if_match", ['"2"', "*", '"1", "2"'])
    async def test_current_if_match_on_get_is_200_or_304(self, alice: Client, if_match: str) -> None:
        todo = await twice_written(alice)
        for path in (alice.todos(todo["id"]), f"/api/{alice.user_id}/tasks/{todo['id']}"):
            assert (await alice.get(path, headers={"If-Match": if_match})).status_code == 200
            headers = {"If-Match": if_match, "If-None-Match": '"2"'}
            assert (await alice.get(path, headers=headers)).status_code == 304

    async def test_tasks_and_lists_have_the_same_conditions(self, alice: Client) -> None:
        todo = await alice.create()
        made = await alice.post(f"/api/{alice.user_id}/lists", json={"name": "Work"})
        tasks, lists = f"/api/{alice.user_id}/tasks/{todo['id']}", f"/api/{alice.user_id}/lists/{made.json()['id']}"
        for path, body in ((tasks, {"title": "x"}), (lists, {"name": "x"})):
            for method in ("PUT", "PATCH", "DELETE"):
                for tag in ("*", '"1"'):
                    response = await alice.request(method, path, json=body, headers={"If-None-Match": tag})
                    assert_problem(response, 412, STALE)


class TestIfNoneMatch:
    async def read(self, client: Client, todo: dict[str, Any], if_none_match: str) -> httpx.Response:
        return await client.get(client.todos(todo["id"]), headers={"If-None-Match": if_none_match})

    @pytest.mark.parametrize("if_none_match", ['"2"', "*", 'W/"2"', '"1", "2"', 'W/"1",W/"2"', '"x", "2"'])
    async def test_current_if_none_match_is_304(self, alice: Client, if_none_match: str) -> None:
        response = await self.read(alice, await twice_written(alice), if_none_match)
        assert (response.status_code, response.content) == (304, b"")
        assert response.headers["etag"] == '"2"'

    @pytest.mark.parametrize("if_none_match", ['"1"', '"3"', 'W/"1"', '"1", "3"', "2", "", '"', '"02"', '""', '"*"'])
    async def test_other_if_none_match_is_200(self, alice: Client, if_none_match: str) -> None:
        todo = await twice_written(alice)
        response = await self.read(alice, todo, if_none_match)
        assert (response.status_code, response.json(), response.headers["etag"]) == (200, todo, '"2"')

    async def test_etag_changes_with_a_write(self, alice: Client) -> None:
        todo = await alice.create()
        assert (await self.read(alice, todo, '"1"')).status_code == 304
        await alice.post(alice.todos(todo["id"], "toggle-complete"))
        assert (await self.read(alice, todo, '"1"')).status_code == 200

    async def test_missing_row_is_404_before_304(self, alice: Client, bob: Client) -> None:
        todo = await bob.create()
        for if_none_match in ("*", '"1"'):
            assert_problem(await self.read(alice, todo, if_none_match), 404, "Not found")

    async def test_pages_ignore_if_none_match(self, alice: Client) -> None:
        await alice.create()
        response = await alice.get(alice.todos(), headers={"If-None-Match": '*, "1"'})
        assert (response.status_code, response.json()["total"]) == (200, 1)

    @pytest.mark.parametrize("lines", [('"9"', '"1"'), ('"1"', '"9"')])
    async def test_every_line_of_if_none_match_counts(self, alice: Client, lines: tuple[str, str]) -> None:
        path = alice.todos((await alice.create())["id"])
        response = await alice.get(path, headers=[("If-None-Match", line) for line in lines])
        assert response.status_code == 304
