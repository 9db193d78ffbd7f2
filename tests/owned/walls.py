"""The promises of an owned resource. The test class of each operation opens with 401, 403 and another user's row."""

import asyncio
import json
from typing import Any, ClassVar
from uuid import UUID, uuid4

import httpx
import pytest
from litestar import Litestar
from sqlalchemy import CheckConstraint
from sqlalchemy.exc import DBAPIError
from uuid_utils.compat import uuid7

from app.lib.persistence.errors import constraint_name, sqlstate
from tests.factories import new_user_id, rows_of
from tests.owned.resource import SERVER_OWNED, Resource, send_raw
from tests.owned.samples import Compare, Samples
from tests.support import Client, assert_problem, mistakes

MISSING_TOKEN = "Missing authentication token"
FORBIDDEN = "Forbidden: not authorized to access this resource"
STALE = "The resource has changed: this is not the version that was expected"
NULL, OUT_OF_RANGE = "23502", "22"


class Owned:
    """Tests that take a `field` run for each field of the resource."""

    resource: ClassVar[Resource]

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        if "field" in metafunc.fixturenames:
            metafunc.parametrize("field", self.resource.fields)


class OneOwned(Owned):
    """Describes an operation on one row: its method, and whether it takes a body."""

    method: ClassVar[str]
    takes_body: ClassVar[bool] = False

    async def send(self, client: httpx.AsyncClient, path: str, **headers: str) -> httpx.Response:
        body = self.resource.body() if self.takes_body else None
        return await client.request(self.method, path, headers=headers, json=body)

    async def ask(self, client: Client, item: dict[str, Any], **headers: str) -> httpx.Response:
        return await self.send(client, self.resource.path(client, item["id"]), **headers)

    async def test_request_without_token_is_401(
        self, app: Litestar, anonymous: httpx.AsyncClient, alice: Client
    ) -> None:
        item = await self.resource.create(alice)
        before = await self.resource.rows(app, alice)
        response = await self.send(anonymous, self.resource.path(alice, item["id"]))
        assert_problem(response, 401, MISSING_TOKEN)
        assert await self.resource.rows(app, alice) == before

    async def test_path_of_another_user_is_403(self, app: Litestar, alice: Client, bob: Client) -> None:
        item = await self.resource.create(alice)
        before = await self.resource.rows(app, alice)
        for key in (item["id"], uuid7()):
            assert_problem(await self.send(bob, self.resource.path(alice, key)), 403, FORBIDDEN)
        assert await self.resource.rows(app, alice) == before

    async def test_row_of_another_user_is_404_like_a_missing_one(
        self, app: Litestar, alice: Client, bob: Client
    ) -> None:
        item = await self.resource.create(alice)
        before = await self.resource.rows(app, alice)
        paths = [self.resource.path(bob, key) for key in (item["id"], uuid7())]
        foreign, missing = [await self.send(bob, path, **{"X-Request-ID": "1"}) for path in paths]
        for answer in (foreign, missing):
            assert assert_problem(answer, 404, "Not found")["instance"] == answer.request.url.path
        assert foreign.json() | {"instance": ""} == missing.json() | {"instance": ""}
        assert foreign.headers.keys() == missing.headers.keys()
        assert await self.resource.rows(app, alice) == before

    async def test_conditions_do_not_reveal_rows_of_another_user(self, alice: Client, bob: Client) -> None:
        item = await self.resource.create(alice)
        for tag in ('"1"', "*", '"2"'):
            headers = {"If-Match": tag, "If-None-Match": tag}
            response = await self.send(bob, self.resource.path(bob, item["id"]), **headers)
            assert_problem(response, 404, "Not found")
            assert "etag" not in response.headers

    async def test_same_id_of_two_users_is_two_rows(self, app: Litestar, alice: Client, bob: Client) -> None:
        key = uuid7()
        await self.resource.insert(app, *(self.resource.row(client.user_id, id=key) for client in (alice, bob)))
        before = await self.resource.rows(app, alice)
        assert (await self.send(bob, self.resource.path(bob, key))).is_success
        assert await self.resource.rows(app, alice) == before

    @pytest.mark.parametrize("key", ["1", "x", "None", "00000000-0000-0000-0000-00000000000", "%00", "%F0%9F%98%80"])
    async def test_malformed_id_is_404(self, alice: Client, key: str) -> None:
        assert_problem(await self.send(alice, self.resource.path(alice, key)), 404, "Not found")

    async def test_unknown_uuid_is_404(self, alice: Client) -> None:
        for key in (uuid4(), UUID(int=0), UUID(int=2**128 - 1)):
            assert_problem(await self.send(alice, self.resource.path(alice, key)), 404, "Not found")

    async def test_unknown_query_parameter_is_422(self, alice: Client) -> None:
        item = await self.resource.create(alice)
        response = await self.send(alice, self.resource.path(alice, item["id"]) + "?limit=1&x=y")
        assert mistakes(response) == dict.fromkeys(("limit", "x"), "Unknown query parameter")
        assert await self.resource.read(alice, item) == item


class Get(OneOwned):
    """GET of one."""

    method: ClassVar = "GET"

    async def test_get_returns_what_was_created(self, alice: Client) -> None:
        item = await self.resource.create(alice)
        response = await self.ask(alice, item)
        assert (response.status_code, response.json(), response.headers["etag"]) == (200, item, '"1"')

    async def test_current_if_none_match_is_304(self, alice: Client) -> None:
        item = await self.resource.create(alice)
        for tag in ('"1"', "*", 'W/"1"', '"7", "1"'):
            response = await self.ask(alice, item, **{"If-None-Match": tag})
            assert (response.status_code, response.content, response.headers["etag"]) == (304, b"", '"1"')
        assert (await self.ask(alice, item, **{"If-None-Match": '"2"'})).json() == item

    async def test_row_of_defaults_has_every_field(self, app: Litestar, alice: Client) -> None:
        absent = {name: None for name in self.resource.fields if name not in self.resource.required}
        row = self.resource.row(alice.user_id, version=7, **absent)
        await self.resource.insert(app, row)
        response = await alice.get(self.resource.path(alice, row["id"]))
        assert response.json().items() >= absent.items()
        assert response.json().keys() == {*self.resource.fields, *SERVER_OWNED}
        assert response.headers["etag"] == '"7"'


class Conditional(OneOwned):
    """A write of one, only of the version that one knows."""

    async def test_stale_if_match_is_412_and_changes_nothing(self, app: Litestar, alice: Client) -> None:
        item = await self.resource.create(alice)
        await alice.put(self.resource.path(alice, item["id"]), json=self.resource.body())
        before = await self.resource.rows(app, alice)
        for tag in ('"1"', '"3"', "2", '"', ""):
            assert_problem(await self.ask(alice, item, **{"If-Match": tag}), 412, STALE)
        for tag in ('W/"2"', '"2-gzip"'):
            assert (
                "a proxy has changed it"
                in assert_problem(await self.ask(alice, item, **{"If-Match": tag}), 412)["detail"]
            )
        for tag in ("*", '"2"', 'W/"2"'):
            assert_problem(await self.ask(alice, item, **{"If-None-Match": tag}), 412, STALE)
        assert await self.resource.rows(app, alice) == before
        assert (await self.ask(alice, item, **{"If-Match": '"1", "2"'})).is_success
        assert await self.resource.rows(app, alice) != before

    async def test_missing_row_is_404_before_412(self, alice: Client, bob: Client) -> None:
        theirs = await self.resource.create(bob)
        for key in (theirs["id"], uuid7()):
            response = await self.send(alice, self.resource.path(alice, key), **{"If-Match": '"9"'})
            assert_problem(response, 404, "Not found")

    async def test_one_of_many_concurrent_conditional_writes_wins(self, alice: Client) -> None:
        item = await self.resource.create(alice)
        answers = await asyncio.gather(*(self.ask(alice, item, **{"If-Match": '"1"'}) for _ in range(8)))
        assert sum(answer.is_success for answer in answers) == 1
        assert {answer.status_code for answer in answers if not answer.is_success} <= {404, 412}


class Delete(Conditional):
    """DELETE of one."""

    method: ClassVar = "DELETE"

    async def test_delete_removes_the_row_and_no_other(self, app: Litestar, alice: Client, bob: Client) -> None:
        items = [await self.resource.create(client) for client in (alice, alice, bob)]
        response = await self.ask(alice, items[0])
        assert (response.status_code, response.content) == (204, b"")
        assert [*await self.resource.rows(app, alice)] == [UUID(items[1]["id"])]
        assert (await self.resource.page(bob))["items"] == [items[2]]

    async def test_second_delete_is_404(self, alice: Client) -> None:
        item = await self.resource.create(alice)
        assert (await self.ask(alice, item)).status_code == 204
        assert_problem(await self.ask(alice, item), 404, "Not found")


class Write(Owned):
    """What is the same for every operation with a body."""

    method: ClassVar[str]

    async def write(self, client: Client, item: dict[str, Any] | None, body: Any) -> httpx.Response:
        """Send a body to what takes it; `item` is what a write of one changes."""
        path = self.resource.path(client, *([item["id"]] if item else []))
        return await send_raw(client, self.method, path, body)

    async def target(self, client: Client) -> dict[str, Any] | None:
        """Make what is written to."""
        return await self.resource.create(client)

    async def test_valid_values_of_a_field_are_accepted(self, alice: Client, field: str) -> None:
        for sent, kept in self.resource.fields[field].taken:
            response = await self.write(alice, await self.target(alice), self.resource.body(**{field: sent}))
            assert response.is_success, response.text
            assert response.json()[field] == kept
            assert response.headers["etag"] == f'"{response.json()["version"]}"'
            assert await self.resource.read(alice, response.json()) == response.json()

    async def test_invalid_values_are_refused(self, app: Litestar, alice: Client, field: str) -> None:
        target = await self.target(alice)
        before = await self.resource.rows(app, alice)
        for value in self.resource.fields[field].refused:
            response = await self.write(alice, target, self.resource.body(**{field: value}))
            assert all(pointer.startswith(f"/{field}") for pointer in mistakes(response)), value
        assert await self.resource.rows(app, alice) == before

    async def test_all_errors_are_reported_at_once(self, app: Litestar, alice: Client) -> None:
        target = await self.target(alice)
        before = await self.resource.rows(app, alice)
        wrong = {name: samples.invalid[-1] for name, samples in self.resource.fields.items()}
        response = await self.write(alice, target, wrong | SERVER_OWNED | {"nope": 1})
        assert mistakes(response).keys() == {f"/{name}" for name in (*wrong, *SERVER_OWNED, "nope")}
        assert await self.resource.rows(app, alice) == before

    @pytest.mark.parametrize("body", [[], "x", 1, None, True])
    async def test_body_must_be_an_object(self, alice: Client, body: Any) -> None:
        assert mistakes(await self.write(alice, await self.target(alice), body)) == {"": "Expected an object"}


class Create(Write):
    """POST of a new one."""

    method: ClassVar = "POST"

    async def target(self, client: Client) -> None:
        del client

    async def test_request_without_token_is_401(
        self, app: Litestar, anonymous: httpx.AsyncClient, alice: Client
    ) -> None:
        response = await anonymous.post(self.resource.path(alice), json=self.resource.body())
        assert_problem(response, 401, MISSING_TOKEN)
        assert await self.resource.rows(app, alice) == {}

    async def test_path_of_another_user_is_403(self, app: Litestar, alice: Client, bob: Client) -> None:
        for body in (self.resource.body(), self.resource.body(user_id=alice.user_id), {}):
            assert_problem(await bob.post(self.resource.path(alice), json=body), 403, FORBIDDEN)
        assert await self.resource.rows(app, alice) == await self.resource.rows(app, bob) == {}

    async def test_create_returns_the_row_and_its_location(self, alice: Client) -> None:
        body = self.resource.body(**{name: samples.ascending[0] for name, samples in self.resource.fields.items()})
        response = await alice.post(self.resource.path(alice), json=body)
        item = response.json()
        assert (response.status_code, item["user_id"], item["version"]) == (201, alice.user_id, 1)
        assert item.items() >= body.items()
        assert item.keys() == {*body, *SERVER_OWNED}
        assert item["created_at"] == item["updated_at"]
        assert response.headers["etag"] == '"1"'
        assert response.headers["location"] == self.resource.path(alice, item["id"])

    async def test_create_requires_only_fields_without_default(self, alice: Client) -> None:
        needed = {name: value for name, value in self.resource.body().items() if name in self.resource.required}
        response = await alice.post(self.resource.path(alice), json=needed)
        assert response.status_code == 201
        assert all(response.json()[name] is None for name in self.resource.fields.keys() - needed.keys())
        for left_out in needed:
            body = {name: value for name, value in needed.items() if name != left_out}
            response = await alice.post(self.resource.path(alice), json=body)
            assert mistakes(response) == {f"/{left_out}": "Required field is missing"}

    async def test_retried_create_creates_one_row(self, app: Litestar, alice: Client) -> None:
        body, headers = self.resource.body(), {"Idempotency-Key": "once"}
        calls = [await alice.post(self.resource.path(alice), json=body, headers=headers) for _ in range(2)]
        assert calls[0].json() == calls[1].json()
        assert len(await self.resource.rows(app, alice)) == 1


class Replace(Conditional, Write):
    """PUT of one."""

    method: ClassVar = "PUT"
    takes_body: ClassVar = True

    async def test_put_resets_missing_fields_and_keeps_server_owned_ones(self, alice: Client) -> None:
        before = await self.resource.create(alice)
        body = {name: samples.ascending[-1] for name, samples in self.resource.fields.items()}
        needed = {name: value for name, value in body.items() if name in self.resource.required}
        response = await alice.put(self.resource.path(alice, before["id"]), json=needed)
        item = response.json()
        assert item == before | dict.fromkeys(body) | needed | {"version": 2, "updated_at": item["updated_at"]}
        assert item["updated_at"] > before["updated_at"]

    async def test_put_does_not_create(self, app: Litestar, alice: Client) -> None:
        response = await alice.put(self.resource.path(alice, uuid7()), json=self.resource.body())
        assert_problem(response, 404, "Not found")
        assert await self.resource.rows(app, alice) == {}


class Update(Conditional, Write):
    """PATCH of one."""

    method: ClassVar = "PATCH"
    takes_body: ClassVar = True

    async def test_patch_changes_only_sent_fields(self, alice: Client, field: str) -> None:
        for sent, kept in self.resource.fields[field].taken:
            before = await self.resource.create(alice)
            response = await alice.patch(self.resource.path(alice, before["id"]), json={field: sent})
            item = response.json()
            assert item == before | {field: kept, "version": 2, "updated_at": item["updated_at"]}
            assert item["updated_at"] > before["updated_at"]

    async def test_empty_patch_changes_nothing(self, app: Litestar, alice: Client) -> None:
        item = await self.resource.create(alice)
        before = await self.resource.rows(app, alice)
        assert (await alice.patch(self.resource.path(alice, item["id"]), json={})).json() == item
        assert await self.resource.rows(app, alice) == before


class Listing(Owned):
    """GET of all."""

    async def fill(self, client: Client, field: str) -> list[dict[str, Any]]:
        """Make one of each value of a field, in no order that a list has by itself."""
        samples = self.resource.fields[field]
        values = [*samples.ascending[1::2], *samples.ascending[::2], *([None] if samples.is_nullable else [])]
        return [await self.resource.create(client, **{field: value}) for value in values]

    async def follow(self, client: Client, **parameters: Any) -> list[dict[str, Any]]:
        """Read a whole list, page after page, by the `Link` of each."""
        response = await client.get(self.resource.path(client), params=parameters)
        items: list[dict[str, Any]] = list(response.json()["items"])
        while "link" in response.headers:
            response = await client.get(response.links["next"]["url"])
            items += response.json()["items"]
        return items

    async def test_request_without_token_is_401(self, anonymous: httpx.AsyncClient, alice: Client) -> None:
        assert_problem(await anonymous.get(self.resource.path(alice)), 401, MISSING_TOKEN)

    async def test_path_of_another_user_is_403(self, alice: Client, bob: Client) -> None:
        await self.resource.create(alice)
        for parameters in ({}, {"limit": 0}, {"nope": 1}):
            assert_problem(await bob.get(self.resource.path(alice), params=parameters), 403, FORBIDDEN)

    async def test_list_shows_no_row_of_another_user(self, alice: Client, bob: Client, field: str) -> None:
        samples = self.resource.fields[field]
        mine = await self.resource.create(alice, **{field: samples.ascending[0]})
        await self.resource.create(bob, **{field: samples.ascending[0]})
        queries = [{}, *({name: samples.ascending[0]} for name in samples.filters(field))]
        for parameters in queries:
            page = await self.resource.page(alice, **parameters)
            assert (page["items"], page["total"]) in (([mine], 1), ([], 0))

    async def test_list_of_a_new_user_is_empty(self, alice: Client) -> None:
        page = await self.resource.page(alice)
        assert page == {"items": [], "total": 0, "limit": 20, "offset": 0, "next_cursor": None}

    async def test_default_sort_is_newest_first(self, alice: Client) -> None:
        items = [await self.resource.create(alice) for _ in range(3)]
        assert (await self.resource.page(alice))["items"] == items[::-1]

    async def test_list_filters_by_a_field(self, alice: Client, field: str) -> None:
        samples = self.resource.fields[field]
        items = await self.fill(alice, field)
        for parameter, holds in samples.filters(field).items():
            for given in samples.ascending:
                kept = [item for item in items if holds_for(samples, holds, item[field], given)]
                found = await self.resource.page(alice, sort="created_at", **{parameter: given})
                assert (found["items"], found["total"]) == (kept, len(kept)), (parameter, given)

    async def test_list_sorts_by_a_field_and_pages_by_cursor(self, alice: Client, field: str) -> None:
        samples = self.resource.fields[field]
        await self.fill(alice, field)
        if not samples.is_sorted:
            response = await alice.get(self.resource.path(alice), params={"sort": field})
            assert mistakes(response).keys() == {"sort"}
            return
        null = [None] if samples.is_nullable else []
        for sort, values in ((field, samples.ascending), (f"{field}:desc", samples.ascending[::-1])):
            page = await self.resource.page(alice, sort=sort)
            assert [item[field] for item in page["items"]] == [*values, *null]
            assert await self.follow(alice, sort=sort, limit=2) == page["items"]

    async def test_invalid_filters_are_reported(self, alice: Client, field: str) -> None:
        samples = self.resource.fields[field]
        for parameter in samples.filters(field):
            for text in samples.unreadable:
                response = await alice.get(self.resource.path(alice), params={parameter: text})
                assert mistakes(response).keys() == {parameter}, text
            response = await alice.get(f"{self.resource.path(alice)}?{parameter}=1&{parameter}=1")
            assert mistakes(response) == {parameter: "Expected the parameter once"}

    async def test_unknown_parameters_are_reported(self, alice: Client) -> None:
        unknown = dict.fromkeys(("nope", "user_id", "Limit", *self.without_filter()), "1")
        response = await alice.get(self.resource.path(alice), params=unknown | {"limit": 0, "sort": "nope"})
        assert mistakes(response).keys() == {*unknown, "limit"}

    def without_filter(self) -> list[str]:
        return [name for name, samples in self.resource.fields.items() if name not in samples.filters(name)]

    async def test_pages_cover_all_rows_once(self, alice: Client) -> None:
        items = [await self.resource.create(alice) for _ in range(5)]
        pages = [await self.resource.page(alice, limit=2, offset=offset) for offset in (0, 2, 4, 6)]
        assert [item for page in pages for item in page["items"]] == items[::-1]
        assert [(page["total"], page["limit"], page["offset"]) for page in pages] == [(5, 2, at) for at in (0, 2, 4, 6)]
        assert await self.follow(alice, limit=2) == items[::-1]

    async def test_cursor_of_another_user_is_refused(self, alice: Client, bob: Client) -> None:
        for client in (alice, bob):
            for _ in range(2):
                await self.resource.create(client)
        cursor = (await self.resource.page(alice, limit=1))["next_cursor"]
        response = await bob.get(self.resource.path(bob), params={"cursor": cursor})
        assert mistakes(response).keys() == {"cursor"}


class Account(Owned):
    """What a user takes along, and what they leave."""

    async def test_export_contains_the_rows(self, alice: Client, bob: Client) -> None:
        items = [await self.resource.create(client) for client in (alice, alice, bob)]
        lines = map(json.loads, (await alice.get(alice.path("export"))).text.splitlines())
        found = [line for line in lines if line["type"] == self.resource.name]
        assert found == [{"type": self.resource.name} | item for item in items[:2]]

    async def test_erased_account_leaves_no_rows(self, app: Litestar, alice: Client, bob: Client) -> None:
        for client in (alice, bob):
            await self.resource.create(client)
        left = await self.resource.rows(app, bob)
        assert (await alice.delete(alice.path("account"))).status_code == 204
        assert (await self.resource.rows(app, alice), await self.resource.rows(app, bob)) == ({}, left)


class SecondWall(Owned):
    """The table refuses what the schemas refuse."""

    async def refusal(self, app: Litestar, row: dict[str, Any]) -> DBAPIError:
        with pytest.raises(DBAPIError) as refused:
            await self.resource.insert(app, row)
        return refused.value

    async def test_database_accepts_what_the_schemas_allow(self, app: Litestar, alice: Client) -> None:
        rows = [self.resource.row(alice.user_id) for _ in range(20)]
        await self.resource.insert(app, *rows)
        assert {UUID(item["id"]) for item in (await self.resource.page(alice))["items"]} == {row["id"] for row in rows}

    async def test_database_refuses_invalid_values_of_a_field(self, app: Litestar, field: str) -> None:
        user_id = new_user_id()
        for value in self.resource.fields[field].beyond:
            error = await self.refusal(app, self.resource.row(user_id, **{field: value}))
            name = constraint_name(error) or ""
            assert (
                name.startswith(f"ck_{self.resource.name}_{field}_")
                or (sqlstate(error) or OUT_OF_RANGE)[:2] == OUT_OF_RANGE
            )
        assert await rows_of(app, self.resource.table, user_id) == {}

    async def test_database_refuses_null_in_required_columns(self, app: Litestar, field: str) -> None:
        row = self.resource.row(new_user_id(), **{field: None})
        if self.resource.fields[field].is_nullable:
            await self.resource.insert(app, row)
        else:
            assert sqlstate(await self.refusal(app, row)) == NULL

    async def test_database_refuses_a_version_below_one(self, app: Litestar) -> None:
        error = await self.refusal(app, self.resource.row(new_user_id(), version=0))
        assert constraint_name(error) == f"ck_{self.resource.name}_version_positive"

    async def test_every_check_constraint_has_a_case(self) -> None:
        checks = {str(each.name) for each in self.resource.table.constraints if isinstance(each, CheckConstraint)}
        tested = {name for name, samples in self.resource.fields.items() if samples.beyond}
        own = {check.removeprefix(f"ck_{self.resource.name}_").rpartition("_")[0] for check in checks}
        assert own - {"version"} <= tested


def holds_for(samples: Samples, holds: Compare, value: Any, given: Any) -> bool:
    """Tell whether a row's value passes a filter; null passes none."""
    return value is not None and holds(samples.read(value), samples.read(given))
