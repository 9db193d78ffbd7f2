"""GET, PUT, PATCH /api/{user_id}/profile."""

import asyncio
import secrets
import unicodedata
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from litestar import Litestar
from sqlalchemy import delete

from app.lib import time_zones
from app.lib.time_zones import KNOWN, canonical
from app.lib.validation.body import RuleViolation, Trimmed
from tests.factories import users
from tests.support import Client, assert_problem, mistakes, token_for

FIELDS = ["id", "email", "name", "image", "bio", "time_zone", "created_at", "updated_at"]
BODIES = {"GET": None, "PUT": {"name": "Zoë"}, "PATCH": {"name": "Zoë"}}
OWN = ("id", "email", "image", "created_at", "updated_at", "deactivated_at", "user_id", "version")


async def erase(app: Litestar, user_id: str) -> None:
    async with app.state.database.begin(unscoped="tests") as connection:
        await connection.execute(delete(users).where(users.c.id == user_id))


@pytest.mark.parametrize("method", BODIES)
class TestWalls:
    async def test_request_without_token_is_401(self, anonymous: httpx.AsyncClient, alice: Client, method: str) -> None:
        response = await anonymous.request(method, alice.path("profile"), json=BODIES[method])
        assert_problem(response, 401, "Missing authentication token")

    async def test_path_of_another_user_is_403(self, alice: Client, bob: Client, method: str) -> None:
        before = (await alice.get(alice.path("profile"))).json()
        assert_problem(await bob.request(method, alice.path("profile"), json=BODIES[method]), 403)
        assert (await alice.get(alice.path("profile"))).json() == before

    async def test_administrator_cannot_read_another_profile(
        self, alice: Client, client_of: Callable[..., Client], method: str
    ) -> None:
        admin_id = f"admin-{secrets.token_hex(8)}"
        admin = client_of(admin_id, headers={"Authorization": f"Bearer {token_for(admin_id, role='admin')}"})
        assert_problem(await admin.request(method, alice.path("profile"), json=BODIES[method]), 403)

    async def test_unknown_query_parameter_is_422(self, alice: Client, method: str) -> None:
        response = await alice.request(method, alice.path("profile") + "?x=1", json=BODIES[method])
        assert mistakes(response) == {"x": "Unknown query parameter"}

    async def test_profile_after_erasure_elsewhere_is_new(self, app: Litestar, alice: Client, method: str) -> None:
        before = (await alice.put(alice.path("profile"), json={"bio": "Old"})).json()
        await erase(app, alice.user_id)
        response = await alice.request(method, alice.path("profile"), json=BODIES[method])
        assert response.status_code == 200
        assert response.json()["bio"] is None
        assert response.json()["created_at"] > before["created_at"]


class TestGet:
    async def test_profile_has_the_claims_of_the_first_token(self, client_of: Callable[..., Client]) -> None:
        user_id = f"user-{secrets.token_hex(8)}"
        claims = {"email": "zoe@example.com", "name": "Zoë", "image": "https://example.com/z.png"}
        zoe = client_of(user_id, headers={"Authorization": f"Bearer {token_for(user_id, **claims)}"})
        response = await zoe.get(zoe.path("profile"))
        profile = response.json()
        assert (response.status_code, list(profile)) == (200, FIELDS)
        assert profile.items() >= {"id": user_id, "bio": None, "time_zone": "UTC", **claims}.items()
        assert profile["created_at"] == profile["updated_at"]
        assert "etag" not in response.headers

    async def test_profile_exists_at_the_first_request(self, alice: Client) -> None:
        profile = (await alice.get(alice.path("profile"))).json()
        assert profile.items() >= dict.fromkeys(("email", "name", "image", "bio"), None).items()


class TestWrite:
    async def test_put_replaces_the_profile(self, alice: Client) -> None:
        await alice.put(alice.path("profile"), json={"name": "A", "bio": "B", "time_zone": "Asia/Tokyo"})
        profile = (await alice.put(alice.path("profile"), json={})).json()
        assert (profile["name"], profile["bio"], profile["time_zone"]) == (None, None, "UTC")
        assert (await alice.get(alice.path("profile"))).json() == profile

    async def test_patch_changes_sent_profile_fields(self, alice: Client) -> None:
        await alice.put(alice.path("profile"), json={"name": "A", "bio": "B", "time_zone": "Asia/Tokyo"})
        profile = (await alice.patch(alice.path("profile"), json={"name": None})).json()
        assert (profile["name"], profile["bio"], profile["time_zone"]) == (None, "B", "Asia/Tokyo")

    async def test_empty_patch_changes_nothing(self, alice: Client) -> None:
        before = (await alice.get(alice.path("profile"))).json()
        assert (await alice.patch(alice.path("profile"), json={})).json() == before

    async def test_profile_write_changes_updated_at(self, alice: Client) -> None:
        before = (await alice.get(alice.path("profile"))).json()
        after = (await alice.patch(alice.path("profile"), json={"bio": "x"})).json()
        assert after["updated_at"] > before["updated_at"]
        assert after["created_at"] == before["created_at"]

    async def test_profile_ignores_conditions(self, alice: Client) -> None:
        response = await alice.patch(alice.path("profile"), json={"bio": "x"}, headers={"If-Match": '"9"'})
        assert response.status_code == 200

    @pytest.mark.parametrize("method", ["PUT", "PATCH"])
    async def test_all_errors_are_reported_at_once(self, alice: Client, method: str) -> None:
        body = {"name": " ", "bio": "x" * 2001, "time_zone": "Mars/Base", "nick": "z"}
        response = await alice.request(method, alice.path("profile"), json=body)
        assert mistakes(response).keys() == {"/name", "/bio", "/time_zone", "/nick"}

    @pytest.mark.parametrize("name", OWN)
    async def test_server_owned_fields_are_refused(self, alice: Client, name: str) -> None:
        response = await alice.patch(alice.path("profile"), json={name: "x"})
        assert mistakes(response) == {f"/{name}": "Unknown field"}

    @pytest.mark.parametrize(
        ("fields", "stored"),
        [
            ({"name": "x" * 200}, "x" * 200),
            ({"name": " Zoë \n"}, "Zoë"),
            ({"bio": ""}, ""),
            ({"bio": "\N{PILE OF POO}" * 2000}, "\N{PILE OF POO}" * 2000),
            ({"bio": " kept as it is "}, " kept as it is "),
            ({"time_zone": "America/Argentina/Buenos_Aires"}, "America/Argentina/Buenos_Aires"),
        ],
    )
    async def test_valid_profiles_are_accepted(self, alice: Client, fields: dict[str, Any], stored: str) -> None:
        response = await alice.patch(alice.path("profile"), json=fields)
        assert response.status_code == 200, response.text
        assert [response.json()[name] for name in fields] == [stored]

    @pytest.mark.parametrize(
        "fields",
        [
            *({"name": value} for value in ("", " ", "x" * 201, 5, "nul\x00", ["a"])),
            *({"bio": value} for value in ("x" * 2001, 5, "nul\x00")),
            *(
                {"time_zone": value}
                for value in (
                    None,
                    "",
                    "utc",
                    "CEST",
                    "UTC+3",
                    "FOO5",
                    "localtime",
                    "../etc/passwd",
                    "Europe/berlin",
                    5,
                )
            ),
        ],
    )
    async def test_invalid_profiles_are_refused(self, alice: Client, fields: dict[str, Any]) -> None:
        before = (await alice.get(alice.path("profile"))).json()
        response = await alice.patch(alice.path("profile"), json=fields)
        assert mistakes(response).keys() == {f"/{name}" for name in fields}
        assert (await alice.get(alice.path("profile"))).json() == before

    async def test_concurrent_patches_of_different_fields_keep_both(self, alice: Client) -> None:
        fields = [{"name": "A"}, {"bio": "B"}, {"time_zone": "Asia/Tokyo"}] * 5
        answers = await asyncio.gather(*(alice.patch(alice.path("profile"), json=each) for each in fields))
        assert {answer.status_code for answer in answers} == {200}
        profile = (await alice.get(alice.path("profile"))).json()
        assert (profile["name"], profile["bio"], profile["time_zone"]) == ("A", "B", "Asia/Tokyo")

    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
    @given(name=st.text(max_size=220))
    async def test_any_text_is_a_name_or_is_refused(self, alice: Client, name: str) -> None:
        response = await alice.patch(alice.path("profile"), json={"name": name})
        try:
            kept = Trimmed(1, 200)(name)
        except RuleViolation:
            assert mistakes(response).keys() == {"/name"}
        else:
            assert response.json()["name"] == kept == unicodedata.normalize("NFC", name.strip())


class TestTimeZones:
    @pytest.mark.parametrize(
        ("sent", "stored"),
        [
            ("Asia/Calcutta", "Asia/Kolkata"),
            ("US/Eastern", "America/New_York"),
            ("Europe/Kiev", "Europe/Kyiv"),
            ("GB", "Europe/London"),
            ("Europe/Oslo", "Europe/Oslo"),  # a link, and what IANA calls the zone of a country
            ("UTC", "UTC"),
            ("America/Argentina/Buenos_Aires", "America/Argentina/Buenos_Aires"),
        ],
    )
    async def test_canonical_time_zone_name_is_stored(self, alice: Client, sent: str, stored: str) -> None:
        for method in ("PUT", "PATCH"):
            response = await alice.request(method, alice.path("profile"), json={"time_zone": sent})
            assert response.json()["time_zone"] == stored
        assert (await alice.get(alice.path("profile"))).json()["time_zone"] == stored

    def test_canonical_time_zone_has_the_same_clock(self) -> None:
        summer, winter = datetime(2027, 7, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)
        for name in KNOWN:
            target = canonical(name)
            assert canonical(target) == target
            for moment in (summer, winter):
                assert moment.astimezone(ZoneInfo(name)).utcoffset() == moment.astimezone(ZoneInfo(target)).utcoffset()

    async def test_time_zone_known_only_to_python_is_accepted(
        self, alice: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(time_zones, "KNOWN", frozenset({"Mars/Olympus_Mons"}))
        response = await alice.patch(alice.path("profile"), json={"time_zone": "Mars/Olympus_Mons"})
        assert response.json()["time_zone"] == "Mars/Olympus_Mons"
