"""What handlers read: query structs of any parameter's name, and bodies wherever they are asked for."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from litestar import Controller, Request, get, post
from litestar.di import NamedDependency, Provide
from litestar.exceptions import ImproperlyConfiguredException
from litestar.params import FromPath, JSONBody, MsgPackBody, RawBody

from app.lib.auth.guards import requires_owner
from app.lib.auth.scopes import scopes
from app.lib.http.requests import ApiRequest
from app.lib.openapi.document import document_of
from app.lib.settings import Settings
from app.lib.validation.body import Body
from app.lib.validation.query import Number, Query
from tests.asgi import asgi_transport
from tests.lib.http.probes import app_with, running_with
from tests.support import Client, assert_problem, mistakes

type ClientOf = Callable[..., Client]


class Word(Body):
    """A body."""

    word: str


class Window(Query):
    """A query string."""

    first: Number = 1


async def length_of(data: JSONBody[Word]) -> int:
    return len(data.word)


class Probe(Controller):
    """Handlers that read in every way."""

    path = "/{user_id:str}/probes"
    opt = scopes("todos:read", "todos:write")
    guards = [requires_owner]
    dependencies = {"length": Provide(length_of)}

    @get("/window")
    async def get_window(self, anything: NamedDependency[Window]) -> dict[str, int]:
        """Read the query string under a name of its own."""
        return {"first": anything.first}

    @get("/{number:int}")
    async def get_number(self, number: FromPath[int], window: NamedDependency[Window]) -> dict[str, int]:
        """Read the path, too."""
        return {"number": number, "first": window.first}

    @post("/raw", status_code=200)
    async def post_raw(self, body: RawBody) -> dict[str, str]:
        """Read bytes of any type."""
        return {"body": body.decode()}

    @post("/both", status_code=200)
    async def post_both(self, body: RawBody, data: JSONBody[Word]) -> dict[str, str]:
        """Read bytes and the struct."""
        return {"body": body.decode(), "word": data.word}

    @post("/plain", status_code=200)
    async def post_plain(self, request: ApiRequest) -> dict[str, Any]:
        """Ask the request itself."""
        return {"json": await request.json()}

    @post("/below", status_code=200)
    async def post_below(self, length: NamedDependency[int]) -> dict[str, int]:
        """Let a dependency read the body."""
        return {"length": length}


@pytest.fixture
async def probe(settings: Settings, client_of: ClientOf, alice: Client) -> AsyncIterator[Client]:
    async with (
        running_with(settings, Probe) as app,
        Client(alice.user_id, transport=asgi_transport(app), headers=alice.headers) as client,
    ):
        yield client


async def test_query_struct_is_read_whatever_its_parameter_is_called(probe: Client) -> None:
    assert (await probe.get(probe.path("probes", "window?first=7"))).json() == {"first": 7}
    assert (await probe.get(probe.path("probes", "window"))).json() == {"first": 1}
    assert (await probe.get(probe.path("probes", "3?first=7"))).json() == {"number": 3, "first": 7}
    assert mistakes(await probe.get(probe.path("probes", "window?first=x"))) == {"first": "Expected an integer"}
    assert mistakes(await probe.get(probe.path("probes", "window?last=1"))) == {"last": "Unknown query parameter"}


async def test_raw_body_may_be_of_any_media_type(probe: Client) -> None:
    response = await probe.post(probe.path("probes", "raw"), content=b"a,b", headers={"Content-Type": "text/csv"})
    assert response.json() == {"body": "a,b"}


async def test_body_and_struct_can_both_be_read(probe: Client) -> None:
    path = probe.path("probes", "both")
    assert (await probe.post(path, json={"word": "tea"})).json() == {"body": '{"word":"tea"}', "word": "tea"}
    assert_problem(await probe.post(path, content=b"a,b", headers={"Content-Type": "text/csv"}), 415)


async def test_request_json_works_without_a_data_parameter(probe: Client) -> None:
    path = probe.path("probes", "plain")
    assert (await probe.post(path, json=[1])).json() == {"json": [1]}
    assert_problem(await probe.post(path, content=b"["), 400)
    assert_problem(await probe.post(path, content=b"[1]", headers={"Content-Encoding": "gzip"}), 415)


async def test_dependency_reads_the_body_as_strictly_as_a_handler(probe: Client) -> None:
    path = probe.path("probes", "below")
    assert (await probe.post(path, json={"word": "tea"})).json() == {"length": 3}
    assert mistakes(await probe.post(path, json={"word": "tea", "more": 1})).keys() == {"/more"}
    assert_problem(await probe.post(path, content=b"tea", headers={"Content-Type": "text/plain"}), 415)


def test_description_names_the_query_struct_of_any_parameter(settings: Settings) -> None:
    operation = document_of(app_with(settings, Probe))["paths"]["/api/{user_id}/probes/window"]["get"]
    assert "first" in {parameter.get("name") for parameter in operation["parameters"]}


@post("/two", status_code=200)
async def two_queries(one: NamedDependency[Window], two: NamedDependency[Window]) -> None: ...


@post("/packed", status_code=200)
async def packed(data: MsgPackBody[Word]) -> None: ...


@post("/loose", status_code=200)
async def loose(data: JSONBody[dict[str, int]], request: Request[Any, Any, Any]) -> None: ...


@pytest.mark.parametrize(
    ("handler", "message"),
    [(two_queries, "only one parameter"), (packed, "JSONBody"), (loose, "msgspec Struct")],
    ids=["two queries", "MessagePack", "no struct"],
)
def test_input_that_cannot_be_read_strictly_is_refused_at_start(settings: Settings, handler: Any, message: str) -> None:
    with pytest.raises(ImproperlyConfiguredException, match=rf"{handler.handler_name}.*{message}"):
        app_with(settings, handler)
