"""What the `tasks` dialect shows of a todo, its PUT takes."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.domain.todos.tasks.dialect import tasks
from tests.factories import new_user_id
from tests.support import Client, mistakes

TOUCHED = ("updated_at", "version")


async def put(client: Client, task: dict[str, Any], **fields: Any) -> dict[str, Any]:
    response = await client.put(tasks(client, task["id"]), json=task | fields)
    assert response.status_code == 200, response.text
    changed: dict[str, Any] = response.json()
    return changed


async def task_of(client: Client, todo: dict[str, Any]) -> dict[str, Any]:
    task: dict[str, Any] = (await client.get(tasks(client, todo["id"]))).json()
    return task


def without(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in TOUCHED}


texts = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=30)
todo_fields = st.fixed_dictionaries(
    {
        "title": texts.map(lambda text: f"a{text}"),
        "description": st.one_of(st.none(), texts, st.just("d" * 1001), st.just("\N{PILE OF POO}" * 10_000)),
        "priority": st.sampled_from(["none", "low", "medium", "high"]),
        "completed": st.booleans(),
        "tags": st.lists(texts.map(lambda text: f"t{text}"), max_size=4),
    },
    optional={"due_at": st.sampled_from(["2026-03-01T12:00:00.123456Z", "2026-03-01T00:30:00+05:45"])},
) | st.fixed_dictionaries({"title": st.just("x"), "due_date": st.sampled_from([None, "2026-03-01"])})


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(fields=todo_fields)
async def test_unchanged_task_sent_back_changes_nothing(client_of: Any, fields: dict[str, Any]) -> None:
    client = client_of(new_user_id())
    todo = await client.create(**fields)
    task = await task_of(client, todo)
    assert without(await put(client, task)) == without(task)
    assert without((await client.get(client.todos(todo["id"]))).json()) == without(todo)


class TestDescription:
    @pytest.mark.parametrize("method", ["PUT", "PATCH"])
    async def test_long_description_is_kept_when_the_task_is_renamed(self, alice: Client, method: str) -> None:
        todo = await alice.create(description="é" * 5000)
        task = await task_of(alice, todo)
        response = await alice.request(method, tasks(alice, todo["id"]), json=task | {"title": "renamed"})
        assert (response.json()["title"], response.json()["description"]) == ("renamed", "é" * 5000)

    async def test_changed_long_description_is_refused(self, alice: Client) -> None:
        todo = await alice.create(description="x" * 5000)
        task = await task_of(alice, todo)
        for description in ("x" * 4999, "y" * 1001):
            response = await alice.put(tasks(alice, todo["id"]), json=task | {"description": description})
            assert mistakes(response).keys() == {"/description"}
        assert await task_of(alice, todo) == task
        assert (await put(alice, task, description="y" * 1000))["description"] == "y" * 1000


class TestPriority:
    async def test_priority_none_is_shown_as_medium_and_kept(self, alice: Client) -> None:
        todo = await alice.create(priority="none")
        task = await task_of(alice, todo)
        assert task["priority"] == "medium"
        await put(alice, task)
        assert (await alice.get(alice.todos(todo["id"]))).json()["priority"] == "none"
        await put(alice, task, priority="low")
        await put(alice, task, priority="medium")
        assert (await alice.get(alice.todos(todo["id"]))).json()["priority"] == "medium"

    @pytest.mark.parametrize(
        ("sent", "shown", "stored"),
        [("urgent", "high", "high"), ("none", "medium", "none"), ("medium", "medium", "medium")],
    )
    async def test_accepted_task_priorities(self, alice: Client, sent: str, shown: str, stored: str) -> None:
        response = await alice.post(tasks(alice), json={"title": "x", "priority": sent})
        assert (response.status_code, response.json()["priority"]) == (201, shown)
        assert (await alice.get(alice.todos(response.json()["id"]))).json()["priority"] == stored
        todo = await alice.create(priority="low")
        assert (await put(alice, await task_of(alice, todo), priority=sent))["priority"] == shown

    async def test_priority_filters_and_sorts_use_the_shown_value(self, alice: Client) -> None:
        for priority in ("low", "high", "none", "medium"):
            await alice.create(title=priority, priority=priority)
        for asked, expected in (("medium", ["medium", "none"]), ("low", ["low"]), ("high", ["high"])):
            found = (await alice.get(tasks(alice), params={"priority": asked})).json()
            assert [task["title"] for task in found] == expected
            assert {task["priority"] for task in found} == {asked}
        rising = (await alice.get(tasks(alice), params={"sort": "priority:asc"})).json()
        assert [task["priority"] for task in rising] == ["low", "medium", "medium", "high"]
        assert mistakes(await alice.get(tasks(alice), params={"priority": "none"})).keys() == {"priority"}


class TestTags:
    async def test_task_tags_are_shown_and_accepted(self, alice: Client) -> None:
        response = await alice.post(tasks(alice), json={"title": "x", "tags": ["a", " b ", "a"]})
        assert response.json()["tags"] == ["a", "b"]
        task = response.json()
        assert (await put(alice, {"id": task["id"], "title": "y"}))["tags"] == ["a", "b"]
        assert (await put(alice, task, tags=["c"]))["tags"] == ["c"]
        assert (await put(alice, task, tags=None))["tags"] == []
        response = await alice.put(tasks(alice, task["id"]), json={"tags": ["a", ""]})
        assert mistakes(response).keys() == {"/tags/1"}


class TestDueDate:
    async def test_empty_due_date_is_null(self, alice: Client) -> None:
        response = await alice.post(tasks(alice), json={"title": "x", "due_date": ""})
        assert (response.status_code, response.json()["due_date"]) == (201, None)
        todo = await alice.create(due_date="2026-03-01")
        assert (await put(alice, await task_of(alice, todo), due_date=""))["due_date"] is None

    @pytest.mark.parametrize(
        ("zone", "sent", "shown"),
        [
            ("UTC", "2026-03-01T12:00", "2026-03-01T12:00:00Z"),
            ("Europe/Berlin", "2026-03-01T12:00", "2026-03-01T11:00:00Z"),
            ("Europe/Berlin", "2026-07-01 12:00:00", "2026-07-01T10:00:00Z"),
            ("Asia/Kathmandu", "2026-07-01T00:00:00.500", "2026-06-30T18:15:00.500000Z"),
            ("America/New_York", "2026-03-08T02:30", "2026-03-08T07:30:00Z"),  # left out by the clocks
            ("Asia/Calcutta", "2026-07-01T05:30", "2026-07-01T00:00:00Z"),
        ],
    )
    async def test_due_date_without_offset_is_in_the_profile_time_zone(
        self, alice: Client, zone: str, sent: str, shown: str
    ) -> None:
        await alice.patch(alice.path("profile"), json={"time_zone": zone})
        response = await alice.post(tasks(alice), json={"title": "x", "due_date": sent})
        assert (response.status_code, response.json()["due_date"]) == (201, shown)
        assert (await put(alice, response.json(), due_date=sent))["due_date"] == shown

    @pytest.mark.parametrize(
        "sent", ["2026-02-30T12:00", "2026-03-01T24:01", "2026-03-01T12", "12:00", " ", "0001-01-01T00:00"]
    )
    async def test_malformed_due_date_is_refused(self, alice: Client, sent: str) -> None:
        await alice.patch(alice.path("profile"), json={"time_zone": "Asia/Tokyo"})
        assert mistakes(await alice.post(tasks(alice), json={"title": "x", "due_date": sent})).keys() == {"/due_date"}
