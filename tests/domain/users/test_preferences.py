"""GET, PUT, PATCH /api/{user_id}/preferences."""

import asyncio
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from litestar import Litestar
from sqlalchemy import delete, insert, select
from sqlalchemy.dialects.postgresql import insert as upsert
from uuid_utils.compat import uuid7

from app.db.base import table_of
from app.domain.todos.lists.models import TodoList
from app.domain.todos.schemas import PRIORITIES as TODO_PRIORITIES
from app.domain.users.models import Preferences
from app.domain.users.schemas import PRIORITIES, THEMES, WEEK_STARTS
from tests.factories import users
from tests.support import Client, JsonObject, assert_problem, mistakes

SILENT = {"email": False, "push": False, "due_reminders": False, "daily_summary": False}
DEFAULTS = {
    "theme": "system",
    "language": "en",
    "week_start": "monday",
    "default_list_id": None,
    "default_priority": "none",
    "notifications": SILENT,
}
BODIES = {"GET": None, "PUT": {"theme": "dark"}, "PATCH": {"theme": "dark"}}
preferences, lists = table_of(Preferences), table_of(TodoList)


async def rows_of(app: Litestar, user_id: str) -> list[Any]:
    async with app.state.database.begin(unscoped="tests") as connection:
        return list(await connection.execute(select(preferences).where(preferences.c.user_id == user_id)))


async def new_list(app: Litestar, user_id: str) -> str:
    list_id = uuid7()
    async with app.state.database.begin(unscoped="tests") as connection:
        await connection.execute(upsert(users).on_conflict_do_nothing(), [{"id": user_id}])
        await connection.execute(insert(lists), {"user_id": user_id, "id": list_id, "name": "Errands"})
    return str(list_id)


@pytest.mark.parametrize("method", BODIES)
class TestWalls:
    async def test_request_without_token_is_401(self, anonymous: httpx.AsyncClient, alice: Client, method: str) -> None:
        response = await anonymous.request(method, alice.path("preferences"), json=BODIES[method])
        assert_problem(response, 401, "Missing authentication token")

    async def test_path_of_another_user_is_403(self, app: Litestar, alice: Client, bob: Client, method: str) -> None:
        assert_problem(await bob.request(method, alice.path("preferences"), json=BODIES[method]), 403)
        assert await rows_of(app, alice.user_id) == []

    async def test_unknown_query_parameter_is_422(self, alice: Client, method: str) -> None:
        response = await alice.request(method, alice.path("preferences") + "?x=1", json=BODIES[method])
        assert mistakes(response) == {"x": "Unknown query parameter"}

    async def test_preferences_are_per_user(self, alice: Client, bob: Client, method: str) -> None:
        await alice.put(alice.path("preferences"), json={"theme": "light", "notifications": {"push": True}})
        response = await bob.request(method, bob.path("preferences"), json=BODIES[method])
        assert response.json() == DEFAULTS | (BODIES[method] or {})
        assert (await alice.get(alice.path("preferences"))).json()["theme"] == "light"


class TestGet:
    async def test_get_returns_defaults_and_writes_nothing(self, app: Litestar, alice: Client) -> None:
        response = await alice.get(alice.path("preferences"))
        assert (response.status_code, response.json()) == (200, DEFAULTS)
        assert "etag" not in response.headers
        assert await rows_of(app, alice.user_id) == []

    async def test_preference_defaults_equal_the_table(self, alice: Client) -> None:
        await alice.patch(alice.path("preferences"), json={"theme": "system"})
        assert (await alice.get(alice.path("preferences"))).json() == DEFAULTS


class TestPut:
    async def test_put_replaces_preferences(self, app: Litestar, alice: Client) -> None:
        whole = {
            "theme": "dark",
            "language": "pt-BR",
            "week_start": "sunday",
            "default_list_id": await new_list(app, alice.user_id),
            "default_priority": "high",
            "notifications": SILENT | {"email": True},
        }
        response = await alice.put(alice.path("preferences"), json=whole)
        assert (response.status_code, response.json()) == (200, whole)
        assert (await alice.put(alice.path("preferences"), json=whole)).json() == whole
        assert (await alice.put(alice.path("preferences"), json={})).json() == DEFAULTS

    async def test_put_turns_off_missing_notifications(self, alice: Client) -> None:
        for name in ("email", "push"):
            response = await alice.put(alice.path("preferences"), json={"notifications": {name: True}})
            assert response.json()["notifications"] == SILENT | {name: True}


class TestPatch:
    async def test_patch_changes_sent_preferences(self, alice: Client) -> None:
        await alice.patch(alice.path("preferences"), json={"theme": "dark"})
        response = await alice.patch(alice.path("preferences"), json={"week_start": "saturday"})
        assert response.json() == DEFAULTS | {"theme": "dark", "week_start": "saturday"}

    async def test_patch_merges_notifications(self, alice: Client) -> None:
        expected = dict(SILENT)
        for patch in ({"email": True}, {"push": True, "due_reminders": True}, {"email": False}, {}, {"push": None}):
            expected |= {name: bool(wanted) for name, wanted in patch.items()}
            response = await alice.patch(alice.path("preferences"), json={"notifications": patch})
            assert response.json()["notifications"] == expected

    async def test_empty_patch_writes_nothing(self, app: Litestar, alice: Client) -> None:
        bodies: tuple[JsonObject, ...] = ({}, {"notifications": {}})
        for body in bodies:
            assert (await alice.patch(alice.path("preferences"), json=body)).json() == DEFAULTS
        assert await rows_of(app, alice.user_id) == []

    async def test_concurrent_first_patches_are_all_kept(self, app: Litestar, alice: Client) -> None:
        bodies: list[dict[str, Any]] = [{"theme": "dark"}, {"language": "de"}, {"week_start": "sunday"}]
        bodies += [{"notifications": {name: True}} for name in SILENT]
        answers = await asyncio.gather(*(alice.patch(alice.path("preferences"), json=body) for body in bodies * 3))
        assert {answer.status_code for answer in answers} == {200}
        assert len(await rows_of(app, alice.user_id)) == 1
        expected = DEFAULTS | {"theme": "dark", "language": "de", "week_start": "sunday"}
        expected["notifications"] = dict.fromkeys(SILENT, True)
        assert (await alice.get(alice.path("preferences"))).json() == expected

    async def test_preferences_after_erasure_elsewhere_are_defaults(self, app: Litestar, alice: Client) -> None:
        await alice.patch(alice.path("preferences"), json={"theme": "dark"})
        async with app.state.database.begin(unscoped="tests") as connection:
            await connection.execute(delete(users).where(users.c.id == alice.user_id))
        response = await alice.patch(alice.path("preferences"), json={"language": "de"})
        assert response.json() == DEFAULTS | {"language": "de"}


switches = st.dictionaries(st.sampled_from(list(SILENT)), st.booleans())
patches = st.fixed_dictionaries(
    {},
    optional={
        "theme": st.sampled_from(THEMES),
        "week_start": st.sampled_from(WEEK_STARTS),
        "language": st.sampled_from(["en", "de-CH", "zh-Hant"]),
        "default_priority": st.sampled_from(PRIORITIES),
        "notifications": switches,
    },
)


class TestAnySequence:
    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=30)
    @given(writes=st.lists(st.tuples(st.sampled_from(["PUT", "PATCH"]), patches), min_size=1, max_size=5))
    async def test_any_sequence_of_writes_equals_merged_documents(
        self, alice: Client, writes: list[tuple[str, dict[str, Any]]]
    ) -> None:
        expected = (await alice.get(alice.path("preferences"))).json()
        for method, body in writes:
            before = expected if method == "PATCH" else DEFAULTS
            notifications = before["notifications"] | body.get("notifications", {})
            expected = before | body | {"notifications": notifications}
            response = await alice.request(method, alice.path("preferences"), json=body)
            assert (response.status_code, response.json()) == (200, expected)
        assert (await alice.get(alice.path("preferences"))).json() == expected


class TestDefaultList:
    async def test_default_list_must_be_own(self, app: Litestar, alice: Client, bob: Client) -> None:
        await bob.get(bob.todos())
        for list_id in (await new_list(app, bob.user_id), str(uuid7())):
            for method in ("PUT", "PATCH"):
                response = await alice.request(method, alice.path("preferences"), json={"default_list_id": list_id})
                assert mistakes(response) == {"/default_list_id": "Expected the id of one of your lists"}
        assert await rows_of(app, alice.user_id) == []

    async def test_deleted_default_list_is_unset(self, app: Litestar, alice: Client) -> None:
        body = {"theme": "dark", "default_list_id": await new_list(app, alice.user_id)}
        await alice.patch(alice.path("preferences"), json=body)
        async with app.state.database.begin(unscoped="tests") as connection:
            await connection.execute(delete(lists).where(lists.c.user_id == alice.user_id))
        assert (await alice.get(alice.path("preferences"))).json() == DEFAULTS | {"theme": "dark"}


class TestRules:
    def test_preference_priorities_equal_those_of_todos(self) -> None:
        assert PRIORITIES == TODO_PRIORITIES

    async def test_language_is_stored_in_canonical_case(self, alice: Client) -> None:
        response = await alice.patch(alice.path("preferences"), json={"language": "ZH-hant-tw"})
        assert response.json()["language"] == "zh-Hant-TW"

    @pytest.mark.parametrize("method", ["PUT", "PATCH"])
    async def test_all_errors_are_reported_at_once(self, app: Litestar, alice: Client, method: str) -> None:
        body = {
            "theme": "blue",
            "language": "en_US",
            "week_start": "friday",
            "default_list_id": "x",
            "default_priority": "urgent",
            "notifications": {"email": "yes", "push": 1, "sms": True},
            "user_id": "bob",
        }
        response = await alice.request(method, alice.path("preferences"), json=body)
        inner = {f"/notifications/{name}" for name in body.pop("notifications")}
        assert mistakes(response).keys() == {f"/{name}" for name in body} | inner
        assert await rows_of(app, alice.user_id) == []

    @pytest.mark.parametrize(
        "body",
        [
            *({name: None} for name in DEFAULTS if name != "default_list_id"),
            {"theme": "Dark"},
            {"language": ""},
            {"language": "x" * 101},
            {"notifications": {"sms": True}},
            {"notifications": {"email": 1}},
            {"notifications": []},
            {"notifications": True},
        ],
        ids=str,
    )
    async def test_invalid_preferences_are_refused(self, app: Litestar, alice: Client, body: dict[str, Any]) -> None:
        response = await alice.patch(alice.path("preferences"), json=body)
        (pointer,) = mistakes(response)
        assert pointer.startswith(tuple(f"/{name}" for name in body))
        assert await rows_of(app, alice.user_id) == []
