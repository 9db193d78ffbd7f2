"""3. JSON."""

import json
import re
from collections.abc import Callable
from datetime import datetime
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from .api import User, body, mistakes, problem, section
from .routes import CORE, FULL, Route, parameters
from .strategies import examples, printable, storable

says = section("3. JSON")
core = pytest.mark.core

FIELDS = (
    "id",
    "user_id",
    "title",
    "description",
    "completed",
    "completed_at",
    "priority",
    "due_date",
    "due_at",
    "tags",
)
OWN = ("id", "user_id", "created_at", "updated_at", "version", "completed_at")
UTC = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z")


@core
@says("snake_case")
@says("absent values are null, never omitted")
def test_a_todo_has_every_field(alice: User) -> None:
    todo = alice.create()
    for found in (todo, alice.read(todo["id"]), alice.page()["items"][0]):
        assert found.keys() >= {*FIELDS, "created_at", "updated_at", "version"}
        assert all(re.fullmatch("[a-z][a-z0-9_]*", name) for name in found)
    assert [todo[name] for name in ("description", "completed_at", "due_date", "due_at")] == [None] * 4


@core
@says("timestamps RFC 3339 in UTC with Z")
def test_timestamps_are_utc_with_microseconds(alice: User) -> None:
    todo = alice.create(completed=True, due_at="2026-03-01T01:30:00+02:00")
    for name in ("created_at", "updated_at", "completed_at", "due_at"):
        assert UTC.fullmatch(todo[name]), (name, todo[name])
    assert datetime.fromisoformat(todo["due_at"]) == datetime.fromisoformat("2026-02-28T23:30:00Z")


@core
@says("ids are UUIDv7")
def test_ids_are_uuids(alice: User) -> None:
    ids = [UUID(alice.create()["id"]) for _ in range(3)]
    assert [each.version for each in ids] == [7, 7, 7]
    assert [each.variant for each in ids] == ["specified in RFC 4122"] * 3


@core
@says("enums are lower-case strings")
def test_enum_values_are_case_sensitive(alice: User) -> None:
    assert alice.create(priority="high")["priority"] == "high"
    assert mistakes(alice.post("/todos", json={"title": "x", "priority": "High"})) == {"/priority"}


@core
@says("UTF-8")
def test_response_is_utf8(alice: User) -> None:
    response = alice.post("/todos", json={"title": "Zoë 😀"})
    assert response.headers["content-type"].partition(";")[0] == "application/json"
    assert json.loads(response.content.decode())["title"] == "Zoë 😀"


@core
@says("UTF-8")
@examples(60)
@given(title=printable(200), description=storable(300), tags=st.lists(printable(50), max_size=5, unique=True))
def test_any_text_is_returned_unchanged(
    new_user: Callable[..., User], title: str, description: str, tags: list[str]
) -> None:
    user = new_user()
    todo = user.create(title=title, description=description, tags=tags)
    for found in (todo, user.read(todo["id"]), user.page(tag=tags[:1])["items"][0]):
        assert (found["title"], found["description"], found["tags"]) == (title, description, tags)


@core
@says("Unknown fields in a body")
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
def test_unknown_fields_are_reported(alice: User, method: str) -> None:
    todo = alice.create()
    path = "/todos" if method == "POST" else f"/todos/{todo['id']}"
    wrong = {"title": "x", "titel": "y", "Title": "z", "due": None, "": 1}
    assert mistakes(alice.request(method, path, json=wrong)) == {"/titel", "/Title", "/due", "/"}
    assert alice.page()["items"] == [todo]


@says("unknown query parameters are refused with a 422 that names them")
@pytest.mark.parametrize("route", parameters(*CORE, *FULL))
def test_unknown_parameters_are_reported(alice: User, route: Route) -> None:
    todo = alice.create()
    request = route.of(todo["id"]) | {"params": {"nope": "1", "Limit": "2"}}
    assert mistakes(alice.request(**request)) == {"nope", "Limit"}
    assert alice.page()["items"] == [todo]


@core
@says("NUL characters and lone surrogates are refused with 422")
@pytest.mark.parametrize("escape", ["\\u0000", "a\\u0000b", "\\ud800", "a\\udfffb", "\\ude00\\ud83d"])
def test_nul_and_surrogates_in_text_are_refused(alice: User, escape: str) -> None:
    todo = alice.create()
    for wrong in (
        f'{{"title": "{escape}"}}',
        f'{{"title": "x", "description": "{escape}"}}',
        f'{{"title": "x", "tags": ["{escape}"]}}',
        f'{{"title": "x", "{escape}": 1}}',
    ):
        for method, path in (("POST", "/todos"), ("PUT", f"/todos/{todo['id']}"), ("PATCH", f"/todos/{todo['id']}")):
            problem(alice.request(method, path, content=wrong, headers={"Content-Type": "application/json"}), 422)
    assert alice.page()["items"] == [todo]


@core
@says("NUL characters and lone surrogates are refused with 422")
def test_nul_in_a_parameter_is_refused(alice: User) -> None:
    for name in ("tag", "limit", "sort", "created_after"):
        problem(alice.get(f"/todos?{name}=%00"), 422)


@pytest.mark.full
@says("A name that occurs twice in an object is refused with a 422 that names it")
@pytest.mark.parametrize("name", ["title", "ti\\u0074le", "tags"])
def test_repeated_member_names_are_refused(alice: User, name: str) -> None:
    todo = alice.create()
    content = f'{{"title": "a", "tags": [], "{name}": "b"}}'
    plain = json.loads(f'"{name}"')
    for method, path in (("POST", "/todos"), ("PUT", f"/todos/{todo['id']}"), ("PATCH", f"/todos/{todo['id']}")):
        response = alice.request(method, path, content=content, headers={"Content-Type": "application/json"})
        assert f"/{plain}" in mistakes(response)
    batch = f'{{"operations": [{{"op": "create", "data": {content}}}]}}'
    response = alice.post("/todos/batch", content=batch, headers={"Content-Type": "application/json"})
    assert f"/operations/0/data/{plain}" in mistakes(response)
    assert alice.page()["items"] == [todo]


@pytest.mark.full
@says("A 422 has the first 100 errors, and says if there are more")
def test_all_errors_are_reported_at_once(alice: User) -> None:
    for count in (50, 150):
        answer = problem(alice.post("/todos", json={"title": "x"} | {f"x{each}": 1 for each in range(count)}), 422)
        assert len(answer["errors"]) == min(count, 100)
        assert ("there are more" in answer["detail"]) is (count > 100)


@pytest.mark.full
@says("Text is stored and measured in Unicode's normal form NFC")
@says("filters compare in NFC too")
def test_text_is_normalized_to_nfc(alice: User) -> None:
    todo = alice.create(title="e\u0301" * 200, description="e\u0301" * 10_000, tags=["\u00e9", "e\u0301"])
    assert (todo["title"], todo["description"], todo["tags"]) == ("\u00e9" * 200, "\u00e9" * 10_000, ["\u00e9"])
    for tag in ("\u00e9", "e\u0301"):
        assert alice.page(tag=tag)["total"] == 1


@pytest.mark.full
@says("More than 30 combining characters in a row are refused")
def test_runs_of_combining_characters_are_limited(alice: User) -> None:
    alice.create(title="x" + "\u0316\u0300" * 15)
    for field in ("title", "description"):
        wrong = {"title": "x", field: "x" + "\u0316\u0300" * 16}
        assert mistakes(alice.post("/todos", json=wrong)) == {f"/{field}"}
    problem(alice.get("/todos", params={"tag": "\u0316\u0300" * 16}), 422)


@pytest.mark.full
@says("Titles, names and tags are single lines: trimmed, without control characters and line breaks")
@says("including U+2028 and U+2029")
@says("and with at least one visible character")
@says("spaces, formatting characters, combining marks and fillers are not visible")
def test_single_line_texts_refuse_control_characters(alice: User) -> None:
    for wrong in ("a\nb", "a\x1b[2Jb", "a\x9bb", "a\u2028b", "a\u2029b", "\u200b", "\u3164", "\u0301", "\u2800"):
        assert mistakes(alice.post("/todos", json={"title": wrong})) == {"/title"}
        assert mistakes(alice.post("/todos", json={"title": "x", "tags": [wrong]})) == {"/tags/0"}
    assert alice.create(title="\n 👨\u200d👩 \t")["title"] == "👨\u200d👩"


@pytest.mark.full
@says("Descriptions and bio have no control characters (C0, DEL, C1) except tab, newline and carriage return")
@says("Characters that set the text direction are allowed: right-to-left scripts need them")
def test_long_texts_may_have_line_breaks(alice: User) -> None:
    fine = "a\tb\r\nc\u202b\u05d0\u202c"
    assert alice.create(title="\u202b\u05d0\u202c", description=fine)["description"] == fine
    for wrong in ("\x01", "\x1b", "\x7f", "\x80", "\x9f"):
        assert mistakes(alice.post("/todos", json={"title": "x", "description": f"a{wrong}"})) == {"/description"}


@core
@says("Fields that the server sets (id, user_id, created_at, …) cannot be written")
@pytest.mark.contract("4. Todos /api/{user_id}/todos", "set by the server")
@pytest.mark.parametrize("field", OWN)
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
def test_server_owned_fields_are_refused(alice: User, bob: User, field: str, method: str) -> None:
    todo = alice.create()
    other = bob.create()
    path = "/todos" if method == "POST" else f"/todos/{todo['id']}"
    for value in (todo[field], other[field], 99):
        assert mistakes(alice.request(method, path, json={"title": "x", field: value})) == {f"/{field}"}
    assert alice.page()["items"] == [todo]


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | storable(20),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(max_size=5), values, max_size=3),
    max_leaves=8,
)
names = st.sampled_from(["title", "description", "completed", "priority", "due_date", "due_at", "tags", "id", "x"])


@core
@says("refused with a 422 that names them (a typo must not lose data)")
@pytest.mark.contract("2. Errors", "422 well-formed but invalid")
@examples(80)
@given(value=json_values | st.dictionaries(names, json_values, min_size=1, max_size=5))
def test_any_json_is_accepted_or_refused(new_user: Callable[..., User], value: Any) -> None:
    user = new_user()
    todo = user.create()
    text = json.dumps(value).encode()
    for method, path in (("POST", "/todos"), ("PUT", f"/todos/{todo['id']}"), ("PATCH", f"/todos/{todo['id']}")):
        response = user.request(method, path, content=text, headers={"Content-Type": "application/json"})
        if response.status_code < 300:
            assert value.keys() <= {*FIELDS} - {*OWN}
            todo = todo if method == "POST" else body(response)
        else:
            problem(response, 422)
        assert user.read(todo["id"]) == todo
