"""/api/{user_id}/admin: users and numbers for administrators, and no way to anybody's rows."""

import asyncio
import secrets
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from litestar import Litestar
from sqlalchemy import event

from app.domain.users.services import UserDirectory
from app.main import create_app
from tests.asgi import asgi_transport
from tests.factories import new_user_id
from tests.live import call
from tests.support import Client, assert_problem, mistakes, running, token_for

FORBIDDEN = "Forbidden: not authorized to access this resource"
OPERATIONS = [
    ("GET", "admin/users"),
    ("GET", "admin/counts"),
    ("POST", "admin/users/{}/deactivate"),
    ("POST", "admin/users/{}/reactivate"),
]
every_operation = pytest.mark.parametrize(("method", "path"), OPERATIONS)


@pytest.fixture
def with_role(client_of: Callable[..., Client]) -> Callable[[Any], Client]:
    """Give a function that makes a client of a new user whose token has this role."""

    def make(role: Any) -> Client:
        user_id = f"user-{secrets.token_hex(8)}"
        return client_of(user_id, headers={"Authorization": f"Bearer {token_for(user_id, role=role)}"})

    return make


@pytest.fixture
def admin(with_role: Callable[[Any], Client]) -> Client:
    return with_role("admin")


@every_operation
class TestWalls:
    async def test_request_without_token_is_401(
        self, anonymous: httpx.AsyncClient, admin: Client, method: str, path: str
    ) -> None:
        response = await anonymous.request(method, admin.path(path.format("bob")))
        assert_problem(response, 401, "Missing authentication token")

    @pytest.mark.parametrize("role", [None, "user", "Admin", "administrator", "admin2", ["user"], {"admin": 1}, True])
    async def test_admin_routes_need_the_role(
        self, alice: Client, with_role: Callable[[Any], Client], method: str, path: str, role: Any
    ) -> None:
        await alice.create()
        somebody = with_role(role)
        response = await somebody.request(method, somebody.path(path.format(alice.user_id)))
        assert_problem(response, 403, FORBIDDEN)
        assert (await alice.get(alice.todos())).status_code == 200

    async def test_admin_role_does_not_open_other_paths(
        self, admin: Client, alice: Client, method: str, path: str
    ) -> None:
        assert_problem(await admin.request(method, alice.path(path.format(alice.user_id))), 403, FORBIDDEN)

    @pytest.mark.parametrize("role", ["admin", "admin,user", "user, admin", ["user", "admin"]])
    async def test_admin_role_may_be_one_of_several(
        self, alice: Client, with_role: Callable[[Any], Client], method: str, path: str, role: Any
    ) -> None:
        await alice.create()
        admin = with_role(role)
        assert (await admin.request(method, admin.path(path.format(alice.user_id)))).status_code == 200

    async def test_unknown_query_parameter_is_422(self, admin: Client, method: str, path: str) -> None:
        response = await admin.request(method, admin.path(path.format("bob")) + "?x=1")
        assert mistakes(response) == {"x": "Unknown query parameter"}


class TestNothingElse:
    @pytest.mark.parametrize(
        "path", ["todos", "todos/{}", "tasks", "tasks/{}", "profile", "preferences", "export", "admin/users"]
    )
    async def test_admin_reads_no_rows_of_other_users(self, admin: Client, alice: Client, path: str) -> None:
        todo = await alice.create()
        assert_problem(await admin.get(alice.path(path.format(todo["id"]))), 403, FORBIDDEN)
        answer = await admin.get(admin.path(path.format(todo["id"])))
        assert todo["id"] not in answer.text.replace(answer.request.url.path, "")

    async def test_admin_cannot_erase_another_account(self, admin: Client, alice: Client) -> None:
        todo = await alice.create()
        assert_problem(await admin.delete(alice.path("account")), 403, FORBIDDEN)
        assert (await alice.get(alice.todos(todo["id"]))).json() == todo


class TestList:
    async def test_user_list_has_no_data_of_the_users(self, admin: Client, client_of: Callable[..., Client]) -> None:
        user_id = new_user_id()
        token = token_for(user_id, email="zoe@example.com", name="Zoë", image="https://example.com/z.png")
        zoe = client_of(user_id, headers={"Authorization": f"Bearer {token}"})
        await zoe.patch(zoe.path("profile"), json={"bio": "secret"})
        found = await self.everybody(admin)
        user = found[user_id]
        assert list(user) == ["id", "email", "name", "created_at", "deactivated_at"]
        assert (user["email"], user["name"], user["deactivated_at"]) == ("zoe@example.com", "Zoë", None)
        assert "secret" not in str(found)

    async def test_user_list_pages_and_filters(self, admin: Client, client_of: Callable[..., Client]) -> None:
        ids = [new_user_id() for _ in range(4)]
        for user_id in ids:
            await client_of(user_id).get(client_of(user_id).todos())
        for user_id in ids[:2]:
            await admin.post(admin.path("admin/users", user_id, "deactivate"))
        closed, active = [await self.everybody(admin, deactivated=each) for each in ("true", "false")]
        assert {*ids[:2]} <= closed.keys()
        assert {*ids[2:]} <= active.keys()
        assert not closed.keys() & active.keys()
        assert all((user["deactivated_at"] is None) == (key in active) for key, user in (closed | active).items())

    async def test_page_beyond_the_last_has_the_total(self, admin: Client) -> None:
        page = (await admin.get(admin.path("admin/users?limit=1"))).json()
        beyond = (await admin.get(admin.path("admin/users?offset=1000000"))).json()
        assert (len(page["items"]), page["limit"], page["offset"]) == (1, 1, 0)
        assert (beyond["items"], beyond["next_cursor"]) == ([], None)
        assert beyond["total"] >= page["total"] >= 1

    @pytest.mark.parametrize(
        "query", ["limit=0", "limit=101", "limit=x", "offset=-1", "deactivated=maybe", "sort=id", "cursor=x", "q=a"]
    )
    async def test_invalid_user_list_parameters_are_refused(self, admin: Client, query: str) -> None:
        response = await admin.get(admin.path(f"admin/users?{query}"))
        assert mistakes(response).keys() == {query.partition("=")[0]}

    @staticmethod
    async def everybody(admin: Client, **query: str) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while True:
            parameters = {"limit": "100", "offset": str(len(found)), **query}
            page = (await admin.get(admin.path("admin/users"), params=parameters)).json()
            found |= {user["id"]: user for user in page["items"]}
            if not page["items"]:
                return found


class TestDeactivate:
    async def test_deactivation_and_reactivation_apply_at_once(self, admin: Client, alice: Client) -> None:
        todo = await alice.create()
        response = await admin.post(admin.path("admin/users", alice.user_id, "deactivate"))
        assert (response.status_code, response.json()["id"]) == (200, alice.user_id)
        assert response.json()["deactivated_at"] is not None
        assert_problem(await alice.get(alice.todos()), 403, FORBIDDEN)
        response = await admin.post(admin.path("admin/users", alice.user_id, "reactivate"))
        assert (response.status_code, response.json()["deactivated_at"]) == (200, None)
        assert (await alice.get(alice.todos(todo["id"]))).json() == todo

    async def test_deactivation_is_idempotent(self, admin: Client, alice: Client) -> None:
        await alice.create()
        for action in ("deactivate", "reactivate"):
            path = admin.path("admin/users", alice.user_id, action)
            first, again = [await admin.post(path) for _ in range(2)]
            assert (first.status_code, first.json()) == (again.status_code, again.json()) == (200, again.json())

    async def test_deactivation_with_a_key_is_replayed(self, admin: Client, alice: Client) -> None:
        await alice.create()
        path = admin.path("admin/users", alice.user_id, "deactivate")
        first, again = [await admin.post(path, headers={"Idempotency-Key": "k"}) for _ in range(2)]
        assert_problem(await alice.get(alice.todos()), 403, FORBIDDEN)
        assert first.json() == again.json()
        assert again.headers["idempotency-replayed"] == "true"

    @pytest.mark.parametrize("action", ["deactivate", "reactivate"])
    async def test_admin_cannot_deactivate_themselves(self, admin: Client, action: str) -> None:
        assert_problem(await admin.post(admin.path("admin/users", admin.user_id, action)), 409)
        assert (await admin.get(admin.path("profile"))).status_code == 200

    @pytest.mark.parametrize("user_id", ["nobody", "%00", "%F0%9F%98%80", "x" * 129, "a%20b"])
    @pytest.mark.parametrize("action", ["deactivate", "reactivate"])
    async def test_unknown_user_is_404(self, admin: Client, action: str, user_id: str) -> None:
        assert_problem(await admin.post(admin.path("admin/users", user_id, action)), 404, "Not found")

    async def test_any_valid_user_id_can_be_deactivated(self, admin: Client, client_of: Callable[..., Client]) -> None:
        odd = client_of(f"auth0|{secrets.token_hex(4)}:a@b~c.d")
        await odd.create()
        response = await admin.post(admin.path("admin/users", odd.user_id.replace("|", "%7C"), "deactivate"))
        assert response.json()["id"] == odd.user_id

    async def test_concurrent_deactivations_agree(self, admin: Client, alice: Client) -> None:
        await alice.create()
        path = admin.path("admin/users", alice.user_id, "deactivate")
        answers = await asyncio.gather(*(admin.post(path) for _ in range(10)))
        assert len({answer.json()["deactivated_at"] for answer in answers}) == 1

    async def test_deactivation_is_noticed_by_another_process(
        self, app: Litestar, admin: Client, alice: Client
    ) -> None:
        now = 0.0
        async with running(create_app(app.state.settings)) as other:
            other.state.users = UserDirectory(other.state.database.session, lambda: now)
            transport = asgi_transport(other, raises=True)
            headers = {"Authorization": f"Bearer {token_for(alice.user_id)}"}
            async with Client(alice.user_id, transport=transport, headers=headers) as elsewhere:
                await elsewhere.create()
                await admin.post(admin.path("admin/users", alice.user_id, "deactivate"))
                now = 5.0
                assert_problem(await elsewhere.get(elsewhere.todos()), 403)


class TestCounts:
    async def test_counts_include_all_users(self, admin: Client, alice: Client, bob: Client) -> None:
        await admin.get(admin.path("profile"))
        before = (await admin.get(admin.path("admin/counts"))).json()
        for client, todos in ((alice, 2), (bob, 3)):
            for _ in range(todos):
                await client.create()
        await admin.post(admin.path("admin/users", bob.user_id, "deactivate"))
        after = (await admin.get(admin.path("admin/counts"))).json()
        assert after.keys() == before.keys() >= {"users", "active_users", "todos", "lists"}
        assert {name: after[name] - before[name] for name in ("users", "active_users", "todos", "lists")} == {
            "users": 2,
            "active_users": 1,
            "todos": 5,
            "lists": 0,
        }

    async def test_counts_take_one_round_trip(self, app: Litestar, admin: Client) -> None:
        statements: list[str] = []

        def note(*arguments: Any) -> None:
            statements.append(arguments[2])

        await admin.get(admin.path("profile"))
        event.listen(app.state.database.engine.sync_engine, "before_cursor_execute", note)
        await admin.get(admin.path("admin/counts"))
        await admin.get(admin.path("admin/users"))
        event.remove(app.state.database.engine.sync_engine, "before_cursor_execute", note)
        assert len(statements) == 2

    async def test_counts_are_only_numbers(self, admin: Client) -> None:
        counts = (await admin.get(admin.path("admin/counts"))).json()
        assert {type(number) for number in counts.values()} == {int}


def test_admin_routes_show_their_guard(app: Litestar) -> None:
    status, output = call(app.state.settings, "routes")
    lines = [line for line in output.splitlines() if "/admin/" in line]
    assert (status, len(lines)) == (0, len(OPERATIONS))
    assert all(line.endswith("requires_owner, requires_role(admin)") for line in lines)
