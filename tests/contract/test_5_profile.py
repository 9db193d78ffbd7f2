"""5. Other resources: the user's own profile and preferences."""

import secrets
from typing import Any

import pytest

from .api import Api, User, body, mistakes, problem, section

pytestmark = pytest.mark.full
says = section("5. Other resources")

PROFILE = {"id", "email", "name", "image", "bio", "time_zone", "created_at", "updated_at"}
NOTIFICATIONS = dict.fromkeys(("email", "push", "due_reminders", "daily_summary"), False)
PREFERENCES: dict[str, Any] = {
    "theme": "system",
    "language": "en",
    "week_start": "monday",
    "default_list_id": None,
    "default_priority": "none",
    "notifications": NOTIFICATIONS,
}


class TestProfile:
    @says(
        "/profile: GET, PUT, PATCH: the user's own row: id, email, name, image from the claims of the "
        "user's first token"
    )
    def test_profile_starts_with_the_claims_of_the_token(self, api: Api) -> None:
        user_id = f"claims-{secrets.token_hex(10)}"
        claims = {"email": "zoe@example.com", "name": "Zoë", "image": "https://example.com/zoe.png"}
        user = api.bearing(api.tokens.sign(api.tokens.claims(user_id, **claims)), user_id)
        profile = body(user.get("/profile"))
        assert profile.keys() >= PROFILE
        assert profile.items() >= (claims | {"id": user_id}).items()
        body(user.patch("/profile", json={"name": "Mine"}))
        later = api.bearing(api.tokens.sign(api.tokens.claims(user_id, name="Other")), user_id)
        assert body(later.get("/profile"))["name"] == "Mine"

    @says("time_zone (IANA, default UTC)")
    def test_profile_defaults(self, alice: User) -> None:
        profile = body(alice.get("/profile"))
        assert profile.items() >= {"id": alice.id, "bio": None, "time_zone": "UTC"}.items()

    @says("editable name (1..200 or null), bio (0..2,000 or null), time_zone (IANA, default UTC)")
    @pytest.mark.parametrize("method", ["PUT", "PATCH"])
    def test_valid_profile_values(self, alice: User, method: str) -> None:
        for change in (
            {"name": "x"},
            {"name": "😀" * 200},
            {"name": None},
            {"bio": "x" * 2000},
            {"bio": ""},
            {"bio": None},
            {"time_zone": "America/Argentina/Buenos_Aires"},
        ):
            assert body(alice.request(method, "/profile", json=change)).items() >= change.items()
            assert body(alice.get("/profile")).items() >= change.items()

    @says("editable name (1..200 or null), bio (0..2,000 or null), time_zone (IANA, default UTC)")
    @pytest.mark.parametrize("method", ["PUT", "PATCH"])
    @pytest.mark.parametrize(
        ("field", "values"),
        [
            ("name", ["", " ", "x" * 201, 1, []]),
            ("bio", ["x" * 2001, 1, {}]),
            ("time_zone", ["", "Mars/Phobos", "+02:00", "../etc/passwd", None, 1]),
            *((field, ["x", None]) for field in ("id", "email", "image", "created_at", "updated_at", "nickname")),
        ],
    )
    def test_invalid_profile_values_are_refused(self, alice: User, method: str, field: str, values: list[Any]) -> None:
        before = body(alice.get("/profile"))
        for value in values:
            assert mistakes(alice.request(method, "/profile", json={field: value})) == {f"/{field}"}, value
        assert body(alice.get("/profile")) == before

    @says("PUT takes a complete profile or complete preferences, PATCH a merge patch")
    def test_put_replaces_and_patch_merges_the_profile(self, alice: User) -> None:
        body(alice.put("/profile", json={"name": "Alice", "bio": "b", "time_zone": "Asia/Tokyo"}))
        changed = body(alice.patch("/profile", json={"bio": None}))
        assert (changed["name"], changed["bio"], changed["time_zone"]) == ("Alice", None, "Asia/Tokyo")
        replaced = body(alice.put("/profile", json={"bio": "new"}))
        assert (replaced["name"], replaced["bio"], replaced["time_zone"]) == (None, "new", "UTC")

    @says("the user's own row")
    def test_another_users_profile_is_403(self, alice: User, bob: User) -> None:
        body(alice.patch("/profile", json={"bio": "Alice's own"}))
        assert body(bob.get("/profile"))["bio"] is None
        for method in ("GET", "PUT", "PATCH"):
            problem(bob.request(method, alice.at("/profile"), json={"bio": "x"}), 403)
        assert body(alice.get("/profile"))["bio"] == "Alice's own"


class TestPreferences:
    @says("defaults before the first write")
    @says("/preferences: GET, PUT, PATCH")
    def test_preference_defaults(self, alice: User) -> None:
        found = body(alice.get("/preferences"))
        assert found.items() >= PREFERENCES.items()

    @says("theme (system light dark), language (BCP 47, default en), week_start (monday sunday saturday)")
    @says("default_priority (default none), notifications object of booleans")
    @pytest.mark.parametrize("method", ["PUT", "PATCH"])
    def test_valid_preference_values(self, alice: User, method: str) -> None:
        for name, values in (
            ("theme", ["light", "dark", "system"]),
            ("language", ["de", "pt-BR", "zh-Hans-CN", "en"]),
            ("week_start", ["sunday", "saturday", "monday"]),
            ("default_priority", ["high", "low", "medium", "none"]),
            ("notifications", [NOTIFICATIONS | {"push": True}, NOTIFICATIONS]),
        ):
            for value in values:
                assert body(alice.request(method, "/preferences", json={name: value}))[name] == value
                assert body(alice.get("/preferences"))[name] == value

    @says("theme (system light dark), language (BCP 47, default en), week_start (monday sunday saturday)")
    @says("(email push due_reminders daily_summary, each false by default")
    @pytest.mark.parametrize("method", ["PUT", "PATCH"])
    @pytest.mark.parametrize(
        ("field", "values"),
        [
            ("theme", ["", "Dark", "blue", None, 1]),
            ("language", ["", "e", "english language", "en_US", "123456789", None, 1]),
            ("week_start", ["", "tuesday", "Monday", None, 0]),
            ("default_priority", ["", "urgent", None, 1]),
            ("default_list_id", ["", "x", 1]),
            ("notifications", [[], True, "all", {"sms": True}, {"email": "yes"}, {"email": 1}]),
            ("colour", ["red"]),
        ],
    )
    def test_invalid_preference_values_are_refused(
        self, alice: User, method: str, field: str, values: list[Any]
    ) -> None:
        for value in values:
            found = mistakes(alice.request(method, "/preferences", json={field: value}))
            assert {pointer.split("/")[1] for pointer in found} == {field}, value
        assert body(alice.get("/preferences")).items() >= PREFERENCES.items()

    @says("PATCH merges it")
    @says("PUT takes a complete profile or complete preferences, PATCH a merge patch")
    def test_put_replaces_and_patch_merges_preferences(self, alice: User) -> None:
        body(alice.patch("/preferences", json={"theme": "dark", "notifications": {"email": True}}))
        found = body(alice.patch("/preferences", json={"notifications": {"push": True}}))
        assert found["notifications"] == NOTIFICATIONS | {"email": True, "push": True}
        assert found["theme"] == "dark"
        replaced = body(alice.put("/preferences", json={"notifications": {"daily_summary": True}}))
        assert replaced.items() >= (PREFERENCES | {"notifications": NOTIFICATIONS | {"daily_summary": True}}).items()

    @says("/preferences: GET, PUT, PATCH")
    def test_another_users_preferences_are_403(self, alice: User, bob: User) -> None:
        body(alice.patch("/preferences", json={"theme": "dark"}))
        assert body(bob.get("/preferences"))["theme"] == "system"
        for method in ("GET", "PUT", "PATCH"):
            problem(bob.request(method, alice.at("/preferences"), json={"theme": "light"}), 403)
        assert body(alice.get("/preferences"))["theme"] == "dark"


@says("neither is a conditional write")
@pytest.mark.parametrize("path", ["/profile", "/preferences"])
def test_conditions_are_ignored_for_singletons(alice: User, path: str) -> None:
    response = alice.get(path, headers={"If-None-Match": "*"})
    assert (response.status_code, "etag" in response.headers) == (200, False)
    for method in ("PUT", "PATCH"):
        assert alice.request(method, path, json={}, headers={"If-Match": '"99"'}).status_code == 200


@says("stored by its canonical name (Asia/Kolkata for Asia/Calcutta)")
def test_time_zone_aliases_are_canonicalized(alice: User) -> None:
    assert body(alice.patch("/profile", json={"time_zone": "Asia/Calcutta"}))["time_zone"] == "Asia/Kolkata"
    assert body(alice.get("/todos", params={"due": "today"}))["items"] == []


@pytest.mark.contract("4. Todos /api/{user_id}/todos", "a new todo without list_id or priority gets default_list_id")
@pytest.mark.contract("4. Todos /api/{user_id}/todos", "Sent values have priority, including null and none")
def test_preferences_set_defaults_of_new_todos(alice: User) -> None:
    home = body(alice.post("/lists", json={"name": "Home"}), 201)["id"]
    body(alice.patch("/preferences", json={"default_list_id": home, "default_priority": "low"}))
    todo = alice.create()
    assert (todo["list_id"], todo["priority"]) == (home, "low")
    said = alice.create(list_id=None, priority="none")
    assert (said["list_id"], said["priority"]) == (None, "none")
    replaced = body(alice.put(f"/todos/{todo['id']}", json={"title": "x"}))
    assert (replaced["list_id"], replaced["priority"]) == (None, "none")
