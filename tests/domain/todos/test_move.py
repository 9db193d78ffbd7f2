"""POST /api/{user_id}/todos/{id}/move, and the order that it makes."""

import asyncio
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from litestar import Litestar

from app.lib.persistence.fractional_index import MAX_POSITION
from tests.domain.todos.verbs import chain, discard, get, listed, move, new_list, put_next_to, restore, titles
from tests.domain.todos.walls import OneTodo
from tests.factories import insert_todos, new_user_id, todo_row, todo_rows
from tests.support import Client, assert_problem, mistakes

AN_ID = "0198c2f0-0000-7000-8000-000000000000"
SIDES = ("before", "after", "into")


async def some(client: Client, names: str, **fields: Any) -> dict[str, dict[str, Any]]:
    """Create todos with these letters as titles."""
    return {name: await client.create(title=name, **fields) for name in names}


class TestMove(OneTodo):
    method: ClassVar = "POST"
    action: ClassVar = "move"
    body: ClassVar = {"after": AN_ID}

    async def test_new_todo_is_last(self, alice: Client) -> None:
        await some(alice, "abc")
        assert await titles(alice) == ["a", "b", "c"]

    @pytest.mark.parametrize(
        ("moved", "side", "other", "order"),
        [
            ("c", "before", "a", "cabd"),
            ("c", "before", "b", "acbd"),
            ("c", "before", "d", "abcd"),
            ("a", "before", "d", "bcad"),
            ("a", "after", "b", "bacd"),
            ("a", "after", "d", "bcda"),
            ("d", "after", "a", "adbc"),
            ("b", "after", "a", "abcd"),
            ("d", "after", "c", "abcd"),
        ],
    )
    async def test_moved_todo_is_next_to_the_other(
        self, alice: Client, moved: str, side: str, other: str, order: str
    ) -> None:
        todos = await some(alice, "abcd")
        answer = await put_next_to(alice, todos[moved], **{side: todos[other]})
        assert await titles(alice) == list(order)
        assert answer == await get(alice, todos[moved])
        kept = answer | {name: todos[moved][name] for name in ("position", "updated_at", "version")}
        assert kept == todos[moved]
        assert answer["version"] == 2

    async def test_move_returns_the_new_etag(self, alice: Client) -> None:
        todos = await some(alice, "ab")
        response = await move(alice, todos["b"], before=todos["a"])
        assert response.headers["etag"] == '"2"'

    async def test_move_keeps_other_positions(self, alice: Client) -> None:
        todos = await some(alice, "abc")
        await put_next_to(alice, todos["c"], before=todos["b"])
        for name in "ab":
            assert await get(alice, todos[name]) == todos[name]

    async def test_moved_todo_takes_list_and_parent_of_the_other(self, alice: Client) -> None:
        home = await new_list(alice)
        parent = await alice.create(title="p")
        todos = await some(alice, "ab", list_id=home["id"], parent_id=parent["id"])
        stranger = await alice.create(title="x")
        for side in ("before", "after"):
            moved = await put_next_to(alice, stranger, **{side: todos["b"]})
            assert (moved["list_id"], moved["parent_id"]) == (home["id"], parent["id"])
        moved = await put_next_to(alice, stranger, before=parent)
        assert (moved["list_id"], moved["parent_id"]) == (None, None)

    async def test_move_into_makes_it_the_last_subtask(self, alice: Client) -> None:
        home = await new_list(alice)
        parent = await alice.create(title="p", list_id=home["id"])
        await some(alice, "ab", list_id=home["id"], parent_id=parent["id"])
        stranger = await alice.create(title="x")
        await some(alice, "yz", list_id=home["id"])
        moved = await put_next_to(alice, stranger, into=parent)
        assert (moved["list_id"], moved["parent_id"]) == (home["id"], parent["id"])
        assert await titles(alice, parent_id=parent["id"]) == ["a", "b", "x"]

    async def test_subtasks_move_with_their_parent(self, alice: Client) -> None:
        top, middle, leaf = await chain(alice, 3)
        other = await alice.create(title="other")
        await put_next_to(alice, middle, after=other)
        assert (await get(alice, leaf))["parent_id"] == middle["id"]
        assert (await get(alice, middle))["parent_id"] is None
        assert await listed(alice, parent_id=top["id"]) == []

    @pytest.mark.parametrize(
        "body",
        [{}, {"before": AN_ID, "after": AN_ID}, {"after": AN_ID, "into": AN_ID}, dict.fromkeys(SIDES, AN_ID)],
    )
    async def test_move_needs_exactly_one_place(self, alice: Client, body: dict[str, Any]) -> None:
        todo = await alice.create()
        response = await alice.post(alice.todos(todo["id"], "move"), json=body)
        assert mistakes(response) == {"": "Expected exactly one of before, after, into"}

    @pytest.mark.parametrize("side", SIDES)
    @pytest.mark.parametrize("value", [None, "", "x", 1, [AN_ID], {"id": AN_ID}, AN_ID[:-1], "\x00"])
    async def test_place_must_be_an_id(self, alice: Client, side: str, value: Any) -> None:
        todo = await alice.create()
        assert f"/{side}" in mistakes(await alice.post(alice.todos(todo["id"], "move"), json={side: value}))

    @pytest.mark.parametrize("body", [{"after": AN_ID, "x": 1}, {"top": True}, {"position": "V"}])
    async def test_unknown_fields_are_reported(self, alice: Client, body: dict[str, Any]) -> None:
        todo = await alice.create()
        found = mistakes(await alice.post(alice.todos(todo["id"], "move"), json=body))
        assert "Unknown field" in found.values()

    @pytest.mark.parametrize("side", SIDES)
    async def test_move_refuses_other_kinds_of_places(
        self, app: Litestar, alice: Client, bob: Client, side: str
    ) -> None:
        todo, _ = await alice.create(), await alice.create()
        gone, foreign = await alice.create(), await bob.create()
        await discard(alice, gone)
        home = await new_list(alice)
        before = await todo_rows(app, alice.user_id)
        for other in (todo, gone, foreign, home, AN_ID):
            assert list(mistakes(await move(alice, todo, **{side: other}))) == [f"/{side}"]
        assert await todo_rows(app, alice.user_id) == before

    async def test_another_users_todo_is_no_place(self, alice: Client, bob: Client) -> None:
        todo, foreign = await alice.create(), await bob.create()
        for side in SIDES:
            assert mistakes(await move(alice, todo, **{side: foreign})) == mistakes(
                await move(alice, todo, **{side: AN_ID})
            )

    @pytest.mark.parametrize("side", SIDES)
    async def test_own_subtask_is_no_place(self, app: Litestar, alice: Client, side: str) -> None:
        todos = await chain(alice, 4)
        before = await todo_rows(app, alice.user_id)
        for other in todos[1:]:
            assert list(mistakes(await move(alice, todos[0], **{side: other}))) == [f"/{side}"]
        assert await todo_rows(app, alice.user_id) == before

    async def test_move_below_five_levels_is_refused(self, app: Litestar, alice: Client) -> None:
        deep, short = await chain(alice, 4), await chain(alice, 2)
        before = await todo_rows(app, alice.user_id)
        detail = "Expected at most 5 levels of todos"
        assert mistakes(await move(alice, short[0], into=deep[3])) == {"/into": detail}
        lone = await put_next_to(alice, short[1], into=deep[3])
        assert mistakes(await move(alice, await alice.create(), into=lone)) == {"/into": detail}
        assert mistakes(await move(alice, deep[0], into=short[0])) == {"/into": detail}
        await put_next_to(alice, short[0], before=lone)
        assert mistakes(await move(alice, deep[1], before=short[0]))["/before"]
        assert len(await todo_rows(app, alice.user_id)) == len(before) + 1

    async def test_trashed_todo_cannot_be_moved(self, alice: Client) -> None:
        todo, other = await alice.create(), await alice.create()
        await discard(alice, todo)
        assert_problem(await move(alice, todo, before=other), 404, "Not found")

    async def test_restored_todo_keeps_its_position(self, alice: Client) -> None:
        todos = await some(alice, "abcd")
        await discard(alice, todos["b"])
        await put_next_to(alice, todos["d"], before=todos["c"])
        await put_next_to(alice, todos["c"], before=todos["a"])
        await restore(alice, todos["b"])
        order = await titles(alice)
        assert order.index("a") < order.index("b") < order.index("d")

    @pytest.mark.parametrize("if_match", ['"1"', "*", '"7", "1"'])
    async def test_current_if_match_moves(self, alice: Client, if_match: str) -> None:
        todos = await some(alice, "ab")
        path, body = alice.todos(todos["b"]["id"], "move"), {"before": todos["a"]["id"]}
        response = await alice.post(path, json=body, headers={"If-Match": if_match})
        assert (response.status_code, response.json()["version"]) == (200, 2)

    @pytest.mark.parametrize("if_match", ['"2"', 'W/"1"', "x"])
    async def test_stale_if_match_is_412_and_changes_nothing(self, app: Litestar, alice: Client, if_match: str) -> None:
        todos = await some(alice, "ab")
        before = await todo_rows(app, alice.user_id)
        path, body = alice.todos(todos["b"]["id"], "move"), {"before": todos["a"]["id"]}
        assert_problem(await alice.post(path, json=body, headers={"If-Match": if_match}), 412)
        assert await todo_rows(app, alice.user_id) == before


async def crowd(app: Litestar, client: Client, names: str, **values: Any) -> dict[str, dict[str, Any]]:
    """Insert todos that leave no room between them, and give them as a client sees them."""
    first = "5".ljust(MAX_POSITION, "V")  # before all that come at the end
    rows = [todo_row(client.user_id, title=name, position=first[:-1] + name, **values) for name in names]
    await client.get(client.todos())  # the user is known from here on
    await insert_todos(app, rows)
    return {row["title"]: await get(client, row) for row in rows}


class TestPositions:
    async def test_positions_stay_short_and_ordered(self, app: Litestar, alice: Client) -> None:
        """A few at the front of the list, always before the first: there is the least room."""
        front = "0" * (MAX_POSITION - 20)
        rows = [todo_row(alice.user_id, title=name, position=front + name) for name in "abc"]
        await insert_todos(app, rows)
        todos = {row["title"]: await get(alice, row) for row in rows}
        for count in range(60):
            moved, first = todos["ab"[count % 2]], todos["ba"[count % 2]]
            answer = await put_next_to(alice, moved, before=first)
            assert 1 <= len(answer["position"]) <= MAX_POSITION
        assert await titles(alice) == ["b", "a", "c"]
        assert answer["version"] <= 32
        assert (await get(alice, todos["c"]))["version"] == 2

    async def test_full_gap_moves_the_following_todos(self, app: Litestar, alice: Client) -> None:
        todos = await crowd(app, alice, "abcdef")
        answer = await put_next_to(alice, todos["f"], after=todos["b"])
        assert await titles(alice) == list("abfcde")
        assert answer["version"] == 2
        for todo in await listed(alice):
            assert len(todo["position"]) < MAX_POSITION / 2
            assert todo["version"] == 2

    async def test_full_gap_moves_only_nearby_todos(self, app: Litestar, alice: Client) -> None:
        rows = [todo_row(alice.user_id, title=f"{number:03}", position=f"{number:03}") for number in range(150)]
        await insert_todos(app, rows)
        todos = await crowd(app, alice, "ab")
        await put_next_to(alice, (await listed(alice, q="000"))[0], after=todos["a"])
        last = await listed(alice, sort="position", offset=52)
        assert [todo["title"] for todo in last[-4:]] == ["149", "a", "000", "b"]
        unmoved = (await alice.get(alice.todos(), params={"sort": "title", "offset": 1, "limit": 80})).json()["items"]
        assert {todo["version"] for todo in unmoved} == {1}
        assert last[-5]["version"] == 2

    async def test_if_match_holds_while_others_are_rebalanced(self, app: Litestar, alice: Client) -> None:
        """The write is one: its version grows by one, whatever the others need."""
        todos = await crowd(app, alice, "abc")
        response = await alice.post(
            alice.todos(todos["c"]["id"], "move"), json={"before": todos["b"]["id"]}, headers={"If-Match": '"1"'}
        )
        assert (response.status_code, response.json()["version"]) == (200, 2)
        assert await titles(alice) == ["a", "c", "b"]

    async def test_equal_positions_are_separated(self, app: Litestar, alice: Client) -> None:
        await insert_todos(app, [todo_row(alice.user_id, title=name, position="7") for name in "abc"])
        todos = {todo["title"]: todo for todo in await listed(alice)}
        await put_next_to(alice, todos["c"], after=todos["a"])
        assert await titles(alice) == ["a", "c", "b"]

    async def test_new_todo_is_last_after_rebalancing(self, app: Litestar, alice: Client) -> None:
        todos = await crowd(app, alice, "abc")
        await put_next_to(alice, todos["c"], before=todos["b"])
        await alice.create(title="new")
        assert await titles(alice) == ["a", "c", "b", "new"]
        await put_next_to(alice, todos["a"], after=todos["b"])
        assert await titles(alice) == ["c", "b", "a", "new"]

    async def test_trashed_todo_keeps_its_order_when_rebalanced(self, app: Litestar, alice: Client) -> None:
        todos = await crowd(app, alice, "abcd")
        await discard(alice, todos["b"])
        await put_next_to(alice, todos["d"], before=todos["c"])
        await restore(alice, todos["b"])
        assert await titles(alice) == ["a", "b", "d", "c"]

    async def test_rebalancing_keeps_other_lists_and_users(self, app: Litestar, alice: Client, bob: Client) -> None:
        home = await new_list(alice)
        others = [(alice, await crowd(app, alice, "xy", list_id=home["id"])), (bob, await crowd(app, bob, "xy"))]
        todos = await crowd(app, alice, "abc")
        await put_next_to(alice, todos["c"], before=todos["b"])
        for client, theirs in others:
            for todo in theirs.values():
                assert await get(client, todo) == todo

    @pytest.mark.parametrize("method", ["PATCH", "PUT"])
    async def test_todo_moved_to_another_list_is_last(self, alice: Client, method: str) -> None:
        home = await new_list(alice)
        first = await alice.create(title="first")
        await some(alice, "ab", list_id=home["id"])
        body = {"title": "first", "list_id": home["id"]}
        moved = (await alice.request(method, alice.todos(first["id"]), json=body)).json()
        assert moved["position"] > first["position"]
        assert await titles(alice, list_id=home["id"]) == ["a", "b", "first"]

    @pytest.mark.parametrize("method", ["PATCH", "PUT"])
    async def test_todo_patched_with_its_own_list_keeps_its_position(self, alice: Client, method: str) -> None:
        home = await new_list(alice)
        todos = await some(alice, "ab", list_id=home["id"])
        body = {"title": "a", "list_id": home["id"]}
        await alice.request(method, alice.todos(todos["a"]["id"]), json=body)
        assert await titles(alice, list_id=home["id"]) == ["a", "b"]

    async def test_todo_removed_from_its_list_is_last_of_those_without(self, alice: Client) -> None:
        home = await new_list(alice)
        todo = await alice.create(title="x", list_id=home["id"])
        await some(alice, "ab")
        await alice.patch(alice.todos(todo["id"]), json={"list_id": None})
        assert await titles(alice, list_id="none") == ["a", "b", "x"]


class TestAtOnce:
    async def test_concurrent_moves_to_one_place_all_succeed(self, alice: Client) -> None:
        todos = await some(alice, "abcdefghijklmnopqrstu")
        target = todos.pop("a")
        answers = await asyncio.gather(*(move(alice, todo, before=target) for todo in todos.values()))
        assert {answer.status_code for answer in answers} == {200}
        rows = await listed(alice, sort="position")
        positions = [row["position"] for row in rows]
        assert len(set(positions)) == len(rows) == 21
        assert positions == sorted(positions)
        assert rows[-1]["id"] == target["id"]
        assert max(map(len, positions)) <= MAX_POSITION

    async def test_concurrent_moves_and_creations_leave_one_order(self, alice: Client) -> None:
        todos = list((await some(alice, "abcdefghij")).values())
        calls = [move(alice, todo, after=todos[0]) for todo in todos[1:]]
        await asyncio.gather(*calls, *(alice.create(title="new") for _ in range(10)))
        order = await titles(alice)
        assert order[0] == "a"
        assert set(order[1:10]) == set("bcdefghij")
        assert order[10:] == ["new"] * 10

    async def test_one_of_many_conditional_moves_wins(self, alice: Client) -> None:
        todos = await some(alice, "ab")
        path, body = alice.todos(todos["b"]["id"], "move"), {"before": todos["a"]["id"]}
        calls = (alice.post(path, json=body, headers={"If-Match": '"1"'}) for _ in range(20))
        statuses = sorted(answer.status_code for answer in await asyncio.gather(*calls))
        assert statuses == [200] + [412] * 19

    async def test_concurrent_moves_with_one_key_run_once(self, alice: Client) -> None:
        todos = await some(alice, "ab")
        path, body = alice.todos(todos["b"]["id"], "move"), {"before": todos["a"]["id"]}
        answers = await asyncio.gather(
            *(alice.post(path, json=body, headers={"Idempotency-Key": "move"}) for _ in range(50))
        )
        assert {answer.status_code for answer in answers} <= {200, 409}
        done = {answer.text for answer in answers if answer.status_code == 200}
        assert len(done) == 1
        assert (await get(alice, todos["b"]))["version"] == 2


steps = st.lists(
    st.tuples(st.integers(0, 9), st.sampled_from(["before", "after"]), st.integers(0, 9)), min_size=5, max_size=40
)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=steps)
async def test_order_equals_the_model(client_of: Any, steps: list[tuple[int, str, int]]) -> None:
    client = client_of(new_user_id())
    ids = [(await client.create(title=str(number)))["id"] for number in range(6)]
    order = list(ids)
    for moved, side, other in steps:
        if moved == 9:
            order.append((await client.create())["id"])
            continue
        one, place = order[moved % len(order)], order[other % len(order)]
        response = await client.post(client.todos(one, "move"), json={side: place})
        if one == place:
            assert response.status_code == 422
            continue
        order.remove(one)
        order.insert(order.index(place) + (side == "after"), one)
    assert [todo["id"] for todo in await listed(client, sort="position")] == order
