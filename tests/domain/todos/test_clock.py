"""A new row is the last one of its list, whatever time earlier rows were given by a clock."""

from typing import Any

import pytest
from litestar import Litestar

from app.db.base import table_of
from app.domain.todos.lists.models import TodoList
from app.lib.persistence.fractional_index import MAX_POSITION
from tests.domain.todos.verbs import titles
from tests.factories import insert_rows, insert_todos, todo_row
from tests.support import Client

LATER = "7abc0123def45"  # a microsecond of the year 2038
LAST = [LATER, f"{LATER}V", f"{LATER[:6]}Vz", f"{LATER[:6]}zz", "8", "9zz", "V", "f" * 13, "zzz", "z" * MAX_POSITION]


async def in_order(client: Client, list_id: str | None) -> str:
    return "".join(await titles(client, sort="position", list_id=list_id or "none"))


async def move(client: Client, todo: dict[str, Any], **place: str) -> None:
    response = await client.post(client.todos(todo["id"], "move"), json=place)
    assert response.status_code == 200, response.text


@pytest.fixture
async def home(alice: Client) -> str:
    key: str = (await alice.post(alice.path("lists"), json={"name": "Home"})).json()["id"]
    return key


@pytest.mark.parametrize("last", LAST)
@pytest.mark.parametrize("in_list", [False, True])
async def test_new_todos_are_last_when_the_clock_went_back(
    app: Litestar, alice: Client, home: str, last: str, in_list: bool
) -> None:
    list_id = home if in_list else None
    await insert_todos(app, [todo_row(alice.user_id, title="a", position=last, list_id=list_id)])
    b = await alice.create(title="b", list_id=list_id)
    await alice.create(title="c", list_id=list_id)
    operations = [{"op": "create", "data": {"title": title, "list_id": list_id}} for title in "de"]
    assert (await alice.post(alice.todos("batch"), json={"operations": operations})).status_code == 200
    assert await in_order(alice, list_id) == "abcde"
    if last < "A":  # what a clock can give
        assert len(b["position"]) == len(LATER)


async def test_moved_todo_is_last_when_the_clock_went_back(app: Litestar, alice: Client, home: str) -> None:
    a, b = (
        todo_row(alice.user_id, title=title, position=LATER, list_id=key) for title, key in (("a", home), ("b", None))
    )
    await insert_todos(app, [a, b])
    c, d = await alice.create(title="c"), await alice.create(title="d")
    await alice.patch(alice.todos(c["id"]), json={"list_id": home})
    await move(alice, d, after=c["id"])
    e = await alice.create(title="e", list_id=home)
    await move(alice, d, after=e["id"])
    await move(alice, c, after=d["id"])
    assert await in_order(alice, home) == "aedc"
    await alice.delete(alice.path("lists", home))
    await alice.create(title="f")
    assert await in_order(alice, None) == "baedcf"


async def test_restored_todo_is_last_though_the_clock_went_back(app: Litestar, alice: Client) -> None:
    a = todo_row(alice.user_id, title="a", position=LATER)
    await insert_todos(app, [a])
    await alice.delete(alice.todos(a["id"]))
    await alice.create(title="b")
    await alice.post(alice.todos(a["id"], "restore"))
    assert await in_order(alice, None) == "ab"


async def test_positions_ahead_of_the_clock_stay_short(app: Litestar, alice: Client) -> None:
    await insert_todos(app, [todo_row(alice.user_id, title="a", position=LATER)])
    for _ in range(3):
        operations = [{"op": "create", "data": {"title": "x"}}] * 100
        response = await alice.post(alice.todos("batch"), json={"operations": operations})
    last = response.json()["results"][-1]["todo"]["position"]
    assert last == f"{int(LATER, 16) + 300:x}"


async def test_new_lists_are_last_when_the_clock_went_back(app: Litestar, alice: Client, home: str) -> None:
    row = {"user_id": alice.user_id, "id": todo_row("x")["id"], "name": "Later", "position": LATER}
    await insert_rows(app, table_of(TodoList), [row])
    for name in ("Next", "Last"):
        await alice.post(alice.path("lists"), json={"name": name})
    lists = (await alice.get(alice.path("lists"))).json()["items"]
    assert [item["name"] for item in lists] == ["Home", "Later", "Next", "Last"]
    response = await alice.post(alice.path("lists", home, "move"), json={"after": lists[-1]["id"]})
    assert response.status_code == 200
    lists = (await alice.get(alice.path("lists"))).json()["items"]
    assert [item["name"] for item in lists] == ["Later", "Next", "Last", "Home"]
