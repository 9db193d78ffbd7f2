"""Every route, by every way to reach for another's rows, made from the routes themselves: a new route joins by itself.

No byte of the victim's may be in any answer to the attacker, and the victim's rows stay as they are, in every table.
"""

from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any, NamedTuple
from uuid import uuid4

import httpx
import pytest
from litestar import Litestar

from app.lib.auth.guards import requires_owner
from app.lib.http.routes import guarded_by, operations
from app.lib.openapi.document import document_of
from app.lib.settings import Settings
from app.main import create_app
from tests.isolation.values import Description, placed
from tests.isolation.victim import Persona, Rows, without
from tests.support import SECRET

ADMIN = "requires_role(admin)"
LIKELY = ("user_id", "owner", "id", "q", "search")  # parameters and fields that nobody declared, but somebody may read
REPLAYED = "idempotency-replayed"

_model = create_app(Settings(environment="test", database_url="postgresql://localhost/none", better_auth_secret=SECRET))
description = Description(document_of(_model))
ADMINISTRATION = {(item.method, item.path) for item in operations(_model) if ADMIN in guarded_by(item.handler)}
ADMINISTRATION |= {("HEAD", path) for method, path in ADMINISTRATION if method == "GET"}


class Cell(NamedTuple):
    """One way to reach for another's rows, on one route."""

    method: str
    path: str
    attack: str

    @property
    def parameters(self) -> list[str]:
        """The parameters of the path beside the user."""
        return [part[1:-1] for part in self.path.split("/") if part.startswith("{") and part != "{user_id}"]

    @property
    def is_of_a_user(self) -> bool:
        """Whether the path names a user."""
        return "{user_id}" in self.path

    @property
    def body(self) -> Any:
        """A body that fits, in the attacker's words."""
        schema = description.body(self.method, self.path)
        return None if schema is None else description.value(schema, "Mine")


def routes() -> Iterator[tuple[str, str]]:
    for item in operations(_model):
        yield item.method, item.path
        if item.method == "GET":
            yield "HEAD", item.path


def cells() -> Iterator[Cell]:
    for method, path in routes():
        for attack, (applies, _) in ATTACKS.items():
            if applies(cell := Cell(method, path, attack)):
                yield cell


@pytest.fixture(scope="module")
async def victim(app: Litestar) -> AsyncIterator[Persona]:
    """Give a user who has something in every table, and a secret in every text."""
    bob = Persona(app, description, "bob")
    await bob.settle(linked=True)
    gets = [path for method, path in routes() if method == "GET" and "{user_id}" in path]
    await bob.gather(
        [path for path in gets if path.count("{") > 1 and "admin" not in path],
        [path for path in gets if "cursor" in description.query("GET", path)],
    )
    await bob.plant()
    yield bob
    await bob.client.aclose()


@pytest.fixture(scope="module")
async def untouched(victim: Persona) -> Rows:
    """Give the victim's rows as they must stay."""
    return await victim.rows()


@pytest.fixture(scope="module")
async def attacker(request: pytest.FixtureRequest, app: Litestar) -> AsyncIterator[Persona]:
    """Give a user, and an administrator."""
    alice = Persona(app, description, "alice", role=request.param)  # indirectly, by the tests
    yield alice
    await alice.client.aclose()


class Attempt:
    """Sends what a cell says, and looks at every answer."""

    def __init__(self, cell: Cell, attacker: Persona, victim: Persona) -> None:
        self.cell, self.attacker, self.victim = cell, attacker, victim
        self.body = cell.body

    async def fit(self) -> None:
        """Take out of the body what is refused in it, one by one: fields that exclude each other, ids of nothing."""
        for _ in range(8):
            answer = await self.send()
            if answer.status_code != 422 or not isinstance(self.body, dict):
                return
            smaller = without(self.body, [answer.json()["errors"][0].get("pointer") or ""])
            self.body = smaller if smaller != self.body else dict(list(self.body.items())[:1])

    async def send(self, path: str | None = None, **options: Any) -> httpx.Response:
        url = path or self.attacker.url(self.cell.path, **dict.fromkeys(self.cell.parameters, str(uuid4())))
        if (body := options.pop("json", self.body)) is not None:
            options["json"] = body
        answer = await self.attacker.client.request(self.cell.method, url, **options)
        assert answer.status_code < 500, answer.text
        # A refusal may repeat what was just sent.
        if answer.status_code != 422 or self.victim.secret not in url + repr(options):
            assert self.victim.secret not in f"{answer.headers!r} {answer.text}"
        return answer


async def own_path(attempt: Attempt) -> None:
    """The attacker's own rows, and nothing but them."""
    await attempt.attacker.settled()
    for own in [str(uuid4()), *(await attempt.attacker.ids() if attempt.cell.parameters else ())]:
        path = attempt.attacker.url(attempt.cell.path, **dict.fromkeys(attempt.cell.parameters, own))
        answer = await attempt.send(path)
        assert attempt.victim.user_id not in answer.text


async def anothers_path(attempt: Attempt) -> None:
    for own in [str(uuid4()), *(await attempt.victim.ids() if attempt.cell.parameters else ())]:
        path = attempt.attacker.url(
            attempt.cell.path, attempt.victim.user_id, **dict.fromkeys(attempt.cell.parameters, own)
        )
        answer = await attempt.send(path)
        assert answer.status_code == 403
        assert "etag" not in answer.headers


async def anothers_id_in_path(attempt: Attempt) -> None:
    """The same answer as for an id that never was."""
    await attempt.fit()
    never = await attempt.send(headers={"X-Request-ID": "1"})
    for theirs in await attempt.victim.ids():
        path = attempt.attacker.url(attempt.cell.path, **dict.fromkeys(attempt.cell.parameters, theirs))
        answer = await attempt.send(path, headers={"X-Request-ID": "1"})
        assert answer.status_code == never.status_code
        assert answer.status_code in (403, 404, 422)  # a body may need an id that is there, as a move does
        assert len(answer.content) == len(never.content)


async def anothers_id_in_body(attempt: Attempt) -> None:
    """Wherever the body takes an id, and in fields that it does not take."""
    await attempt.attacker.settled()
    await attempt.fit()
    schema, body = description.body(attempt.cell.method, attempt.cell.path), attempt.cell.body
    theirs = await attempt.victim.ids()
    bodies = [placed(body, place, id_) for id_ in theirs for place in description.references(schema or {}, body)]
    bodies += [{**body, name: attempt.victim.user_id} for name in LIKELY] + [{**body, "id": id_} for id_ in theirs]
    for own in await attempt.attacker.ids() if attempt.cell.parameters else [""]:
        path = attempt.attacker.url(attempt.cell.path, **dict.fromkeys(attempt.cell.parameters, own))
        if not attempt.cell.parameters or (await attempt.send(path)).status_code != 404:  # one of the route's kind
            for each in bodies:
                await attempt.send(path, json=each)
    mine = str(await attempt.attacker.rows())
    assert not [id_ for id_ in theirs if id_ in mine]


async def anothers_id_in_query(attempt: Attempt) -> None:
    theirs = [*await attempt.victim.ids(), attempt.victim.user_id, "*", "%"]
    for name in {*description.query(attempt.cell.method, attempt.cell.path), *LIKELY}:
        for value in theirs:
            answer = await attempt.send(params={name: value})
            assert answer.status_code == 422 or value in ("*", "%") or value not in answer.text


async def anothers_words_in_query(attempt: Attempt) -> None:
    """What the victim wrote is found by nobody else."""
    for name in description.query(attempt.cell.method, attempt.cell.path):
        await attempt.send(params={name: attempt.victim.secret})


async def anothers_cursor(attempt: Attempt) -> None:
    assert attempt.victim.cursors
    for cursor in attempt.victim.cursors.values():
        answer = await attempt.send(params={"cursor": cursor})
        assert answer.status_code in (403, 422)


async def anothers_key(attempt: Attempt) -> None:
    """The key is as good as new, whatever was sent with it."""
    await attempt.fit()
    fresh = await attempt.send(headers={"Idempotency-Key": uuid4().hex})
    for sent in attempt.victim.sent:
        answer = await attempt.send(headers={"Idempotency-Key": sent.key})
        assert REPLAYED not in answer.headers
        assert answer.status_code in (fresh.status_code, 409)  # a name may be taken by the one before
        assert "Idempotency-Key" not in answer.text


async def anothers_etag(attempt: Attempt) -> None:
    """Whether it matches is not told."""
    assert attempt.victim.etags
    await attempt.fit()
    for etag in [*attempt.victim.etags, "*", '"1"']:
        for theirs in [str(uuid4()), *await attempt.victim.ids()]:
            path = attempt.attacker.url(attempt.cell.path, **dict.fromkeys(attempt.cell.parameters, theirs))
            answer = await attempt.send(path, headers={"If-Match": etag, "If-None-Match": etag})
            assert answer.status_code in (403, 404, 422)
            assert "etag" not in answer.headers


type Attack = Callable[[Attempt], Coroutine[Any, Any, None]]


def _has_cursor(cell: Cell) -> bool:
    return "cursor" in description.query(cell.method, cell.path)


ATTACKS: dict[str, tuple[Callable[[Cell], bool], Attack]] = {
    "own path": (lambda _: True, own_path),
    "another's path": (lambda cell: cell.is_of_a_user, anothers_path),
    "another's id in path": (lambda cell: bool(cell.parameters), anothers_id_in_path),
    "another's id in body": (lambda cell: cell.is_of_a_user and isinstance(cell.body, dict), anothers_id_in_body),
    "another's id in query": (lambda _: True, anothers_id_in_query),
    "another's words in query": (lambda cell: bool(description.query(cell.method, cell.path)), anothers_words_in_query),
    "another's cursor": (_has_cursor, anothers_cursor),
    "another's idempotency key": (lambda cell: cell.method == "POST", anothers_key),
    "another's etag": (lambda cell: bool(cell.parameters), anothers_etag),
}


def attempts() -> Iterator[Any]:
    """Give each cell for a user, and for an administrator, who may do more, but on routes of their own."""
    for cell in cells():
        for role in ("user", "admin"):
            if role == "user" or (cell.method, cell.path) not in ADMINISTRATION:
                yield pytest.param(role, cell, id=f"{role}: {cell.method} {cell.path}: {cell.attack}")


@pytest.mark.parametrize(("attacker", "cell"), list(attempts()), indirect=["attacker"])
async def test_attack_on_another_user_reveals_and_changes_nothing(
    cell: Cell, attacker: Persona, victim: Persona, untouched: Rows
) -> None:
    await ATTACKS[cell.attack][1](Attempt(cell, attacker, victim))
    assert await victim.rows() == untouched


def test_victim_has_rows_in_every_table(victim: Persona, untouched: Rows) -> None:
    assert all(untouched.values()), untouched
    assert all(victim.secret in str(rows) for rows in untouched.values()), untouched
    assert victim.cursors
    assert victim.etags


def test_every_route_is_in_the_matrix() -> None:
    served = {(item.method, item.path) for item in operations(_model)}
    assert served <= {(cell.method, cell.path) for cell in cells()}
    owned = {
        (item.method, item.path) for item in operations(_model) if requires_owner.__name__ in guarded_by(item.handler)
    }
    assert owned == {(cell.method, cell.path) for cell in cells() if cell.attack == "another's path"} - {
        (method, path) for method, path in routes() if method == "HEAD"
    }
    assert len(list(cells())) > 250
