"""POST /api/{user_id}/todos."""

import json
import unicodedata
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import RFC_4122, UUID

import httpx
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from litestar import Litestar

from app.domain.todos.seeding import TodoFactory
from app.lib.text import has_line_control, is_visible
from tests.asgi import asgi_transport
from tests.domain.todos.fields import INVALID, SERVER_OWNED, TEXTS, VALID
from tests.factories import new_user_id, todo_rows
from tests.support import Client, JsonObject, assert_problem, mistakes, token_for

DEFAULTS: JsonObject = {
    "description": None,
    "completed": False,
    "completed_at": None,
    "priority": "none",
    "due_date": None,
    "due_at": None,
    "tags": [],
    "list_id": None,
    "parent_id": None,
    "deleted_at": None,
    "version": 1,
}


async def post_raw(client: Client, body: Any) -> httpx.Response:
    """Send what `json=` would not: lone surrogates as escapes."""
    headers = {"Content-Type": "application/json"}
    return await client.post(client.todos(), content=json.dumps(body).encode(), headers=headers)


class TestCreateTodo:
    async def test_request_without_token_is_401(
        self, app: Litestar, anonymous: httpx.AsyncClient, alice: Client
    ) -> None:
        response = await anonymous.post(alice.todos(), json={"title": "x"})
        assert_problem(response, 401, "Missing authentication token")
        assert await todo_rows(app, alice.user_id) == {}

    async def test_path_of_another_user_is_403(self, alice: Client, bob: Client) -> None:
        for body in ({"title": "x"}, {"title": "x", "user_id": alice.user_id}, {}):
            assert_problem(await bob.post(alice.todos(), json=body), 403)
        for client in (alice, bob):
            assert (await client.get(client.todos())).json()["total"] == 0

    async def test_create_returns_the_todo(self, alice: Client) -> None:
        todo = await alice.create(title="  Buy milk ")
        assert todo["title"] == "Buy milk"
        assert todo.keys() == {"title", *DEFAULTS, *SERVER_OWNED}
        assert {name: todo[name] for name in DEFAULTS} == DEFAULTS
        assert todo["user_id"] == alice.user_id

    async def test_create_has_location_and_etag(self, alice: Client) -> None:
        response = await alice.post(alice.todos(), json={"title": "x"})
        assert response.status_code == 201
        assert response.headers["etag"] == '"1"'
        assert response.headers["location"] == alice.todos(response.json()["id"])
        assert (await alice.get(response.headers["location"])).json() == response.json()

    async def test_ids_are_uuid7_in_order(self, alice: Client) -> None:
        ids = [UUID((await alice.create())["id"]) for _ in range(5)]
        assert {(key.version, key.variant) for key in ids} == {(7, RFC_4122)}
        assert ids == sorted(set(ids))

    async def test_times_are_utc_and_now(self, alice: Client) -> None:
        todo = await alice.create(completed=True)
        assert todo["created_at"] == todo["updated_at"] == todo["completed_at"]
        assert todo["created_at"].endswith("Z")
        assert datetime.now(UTC) - datetime.fromisoformat(todo["created_at"]) < timedelta(minutes=1)

    async def test_two_creates_create_two_todos(self, alice: Client) -> None:
        first, second = await alice.create(), await alice.create()
        assert first["id"] != second["id"]
        assert (await alice.get(alice.todos())).json()["total"] == 2

    async def test_create_requires_only_a_title(self, alice: Client) -> None:
        assert mistakes(await alice.post(alice.todos(), json={})) == {"/title": "Required field is missing"}

    @pytest.mark.parametrize(("name", "sent", "kept"), VALID)
    async def test_valid_values_are_accepted(self, alice: Client, name: str, sent: Any, kept: Any) -> None:
        todo = await alice.create(**{name: sent})
        assert todo[name] == kept
        assert (await alice.get(alice.todos(todo["id"]))).json() == todo

    @pytest.mark.parametrize(("name", "sent", "pointer"), INVALID)
    async def test_invalid_values_are_refused(self, alice: Client, name: str, sent: Any, pointer: str) -> None:
        response = await post_raw(alice, {"title": "x", name: sent})
        assert mistakes(response).keys() == {pointer}
        assert (await alice.get(alice.todos())).json()["total"] == 0

    async def test_due_date_and_due_at_exclude_each_other(self, alice: Client) -> None:
        both = {"title": "x", "due_date": "2026-03-01", "due_at": "2026-03-01T00:00:00Z"}
        response = await alice.post(alice.todos(), json=both)
        assert mistakes(response) == {"/due_date": "At most one of due_date and due_at can be set"}
        for name in ("due_date", "due_at"):
            assert (await alice.post(alice.todos(), json=both | {name: None})).status_code == 201

    @pytest.mark.parametrize("name", SERVER_OWNED)
    async def test_server_owned_fields_are_refused(self, alice: Client, name: str) -> None:
        for value in (SERVER_OWNED[name], None):
            response = await alice.post(alice.todos(), json={"title": "x", name: value})
            assert mistakes(response) == {f"/{name}": "Unknown field"}

    async def test_unknown_fields_are_reported(self, alice: Client) -> None:
        body = {"title": "x", "Title": 1, "": 2, "a/b~c": 3, "ünïcode": 4, "listId": None}
        response = await alice.post(alice.todos(), json=body)
        assert mistakes(response).keys() == {"/Title", "/", "/a~1b~0c", "/ünïcode", "/listId"}

    async def test_all_errors_are_reported_with_pointers(self, alice: Client) -> None:
        body = {"title": "", "priority": "asap", "due_date": "tomorrow", "tags": ["a", "x" * 51], "completed": True}
        response = await alice.post(alice.todos(), json=body)
        assert mistakes(response).keys() == {"/title", "/priority", "/due_date", "/tags/1"}
        assert len(response.json()["errors"]) == 4

    @pytest.mark.parametrize("body", [[], [{"title": "x"}], "x", 1, 1.5, None, True])
    async def test_body_must_be_an_object(self, alice: Client, body: Any) -> None:
        assert mistakes(await post_raw(alice, body)) == {"": "Expected an object"}

    @pytest.mark.parametrize("text", TEXTS)
    async def test_any_text_is_returned_unchanged(self, alice: Client, text: str) -> None:
        todo = await alice.create(title=text, description=text, tags=[text])
        assert (todo["title"], todo["description"], todo["tags"]) == (text, text, [text])
        (found,) = (await alice.get(alice.todos(), params={"tag": text})).json()["items"]
        assert found == todo

    async def test_largest_todo_is_accepted(self, alice: Client) -> None:
        face = "\N{PILE OF POO}"
        tags = [chr(0x1F600 + number) * 50 for number in range(20)]
        todo = {"title": face * 200, "description": face * 10_000, "tags": tags}
        made = await (await post_raw(alice, todo)).aread()  # as escapes, 12 bytes for each character
        assert json.loads(made).items() >= todo.items()

    async def test_create_ignores_conditions(self, alice: Client) -> None:
        for headers in ({"If-Match": '"7"'}, {"If-None-Match": "*"}):
            response = await alice.post(alice.todos(), json={"title": "x"}, headers=headers)
            assert response.status_code == 201

    async def test_two_users_create_concurrently(self, alice: Client, bob: Client) -> None:
        first, second = await alice.create(title="a"), await bob.create(title="b")
        for client, todo in ((alice, first), (bob, second)):
            assert (await client.get(client.todos())).json()["items"] == [todo]

    async def test_every_seeded_todo_is_accepted(self, alice: Client) -> None:
        for values in TodoFactory.batch(50):
            sent = {name: getattr(values, name) for name in values.__struct_fields__}
            sent["due_date"] = values.due_date and values.due_date.isoformat()
            todo = await alice.create(**sent)
            assert {name: todo[name] for name in sent} == sent


CHARACTERS = st.characters(exclude_categories=["Cc", "Cs"])
WORDS = st.text(CHARACTERS, max_size=60).map(partial(unicodedata.normalize, "NFC"))
LINES = WORDS.filter(lambda text: is_visible(text) and not has_line_control(text))


@settings(max_examples=50, deadline=None)
@given(
    title=LINES,
    description=st.none() | WORDS,
    tags=st.lists(LINES.map(str.strip).filter(lambda tag: len(tag) <= 50), max_size=20),
)
@example(title="\x1cx\x1f", description="\n\t", tags=["a", "a"])
async def test_arbitrary_todo_is_stored_by_the_rules(
    app: Litestar, title: str, description: str | None, tags: list[str]
) -> None:
    user_id = new_user_id()
    tags = [tag for tag in tags if tag]
    headers = {"Authorization": f"Bearer {token_for(user_id)}"}
    async with Client(user_id, transport=asgi_transport(app, raises=True), headers=headers) as client:
        todo = await client.create(title=title, description=description, tags=tags)
        assert todo["title"] == title.strip()
        assert todo["description"] == description
        assert todo["tags"] == list(dict.fromkeys(tags))
        assert (await client.get(client.todos(todo["id"]))).json() == todo
