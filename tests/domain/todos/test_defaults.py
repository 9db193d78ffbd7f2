"""What the preferences say of new todos."""

import asyncio
from typing import Any

import pytest

from tests.domain.todos.tasks.dialect import tasks
from tests.support import Client


async def prefer(client: Client, **preferences: Any) -> None:
    response = await client.patch(client.path("preferences"), json=preferences)
    assert response.status_code == 200, response.text


async def new_list(client: Client, name: str = "Inbox") -> str:
    response = await client.post(client.path("lists"), json={"name": name})
    assert response.status_code == 201, response.text
    key: str = response.json()["id"]
    return key


class TestDefaults:
    async def test_defaults_apply_to_every_way_to_create(self, alice: Client) -> None:
        home = await new_list(alice)
        await prefer(alice, default_list_id=home, default_priority="low")
        created = [await alice.create()]
        operation = {"op": "create", "data": {"title": "x"}}
        batch = await alice.post(alice.todos("batch"), json={"operations": [operation, operation]})
        created += [result["todo"] for result in batch.json()["results"]]
        task = await alice.post(tasks(alice), json={"title": "x"})
        created.append((await alice.get(alice.todos(task.json()["id"]))).json())
        response = await alice.post(alice.todos(), json={"title": "x"}, headers={"Idempotency-Key": "k"})
        created.append(response.json())
        assert [(todo["list_id"], todo["priority"]) for todo in created] == [(home, "low")] * 5

    @pytest.mark.parametrize(
        ("said", "expected"),
        [
            ({"list_id": None}, (None, "low")),
            ({"priority": "none"}, ("home", "none")),
            ({"list_id": None, "priority": "high"}, (None, "high")),
        ],
    )
    async def test_sent_values_override_defaults(self, alice: Client, said: dict[str, Any], expected: Any) -> None:
        home = await new_list(alice)
        await prefer(alice, default_list_id=home, default_priority="low")
        todo = await alice.create(**said)
        assert ("home" if todo["list_id"] == home else todo["list_id"], todo["priority"]) == expected

    async def test_subtask_without_list_goes_to_the_default_list(self, alice: Client) -> None:
        parent, home = await alice.create(), await new_list(alice)
        await prefer(alice, default_list_id=home)
        assert (await alice.create(parent_id=parent["id"]))["list_id"] == home

    async def test_put_resets_to_none_and_not_to_the_defaults(self, alice: Client) -> None:
        home = await new_list(alice)
        await prefer(alice, default_list_id=home, default_priority="high")
        todo = await alice.create()
        replaced = (await alice.put(alice.todos(todo["id"]), json={"title": "x"})).json()
        assert (replaced["list_id"], replaced["priority"]) == (None, "none")

    async def test_deleted_default_list_is_ignored(self, alice: Client) -> None:
        home = await new_list(alice)
        await prefer(alice, default_list_id=home)
        assert (await alice.delete(alice.path("lists", home))).status_code == 204
        assert (await alice.create())["list_id"] is None

    async def test_default_list_deleted_meanwhile_is_ignored(self, alice: Client) -> None:
        for round_ in range(5):
            home = await new_list(alice, f"List {round_}")
            await prefer(alice, default_list_id=home)
            creations = [alice.post(alice.todos(), json={"title": "x"}) for _ in range(8)]
            deletion, *responses = await asyncio.gather(alice.delete(alice.path("lists", home)), *creations)
            assert deletion.status_code == 204
            assert {response.status_code for response in responses} == {201}
        todos = (await alice.get(alice.todos(), params={"limit": 100})).json()["items"]
        assert {todo["list_id"] for todo in todos} == {None}

    async def test_defaults_are_per_user(self, alice: Client, bob: Client) -> None:
        home = await new_list(alice)
        await prefer(alice, default_list_id=home, default_priority="high")
        todo = await bob.create()
        assert (todo["list_id"], todo["priority"]) == (None, "none")

    async def test_new_todo_is_last_in_the_default_list(self, alice: Client) -> None:
        home = await new_list(alice)
        first = await alice.create(list_id=home)
        await prefer(alice, default_list_id=home)
        second = await alice.create()
        assert first["position"] < second["position"]
