"""Users with something in everything: rows in every owned table, made over the API by what it says of itself."""

import secrets
from collections.abc import Mapping
from typing import Any, NamedTuple

from litestar import Litestar
from sqlalchemy import ARRAY, Column, String, Table, func, literal, select, update
from sqlalchemy.exc import DBAPIError

from app.db.base import metadata, owners
from app.lib.http.routes import operations
from tests.asgi import asgi_transport
from tests.isolation.values import Description, placed
from tests.support import Client, token_for

type Rows = dict[str, list[tuple[Any, ...]]]


class Sent(NamedTuple):
    """A request that was answered with success."""

    method: str
    path: str  # with {user_id}
    body: Any
    key: str


class Persona:
    """A user, what they have, and how they got it."""

    def __init__(self, app: Litestar, description: Description, name: str, **claims: Any) -> None:
        self.app = app
        self.secret = f"canary{secrets.token_hex(8)}"  # in all of the user's texts
        self.user_id = f"{name}-{secrets.token_hex(8)}"
        self.sent: list[Sent] = []
        self.cursors: dict[str, str] = {}
        self.etags: set[str] = set()
        self._description = description
        transport = asgi_transport(app)
        token = token_for(self.user_id, email=f"{self.secret}@example.com", name=self.secret, **claims)
        self.client = Client(self.user_id, transport=transport, headers={"Authorization": f"Bearer {token}"})

    def url(self, path: str, user_id: str | None = None, **parameters: Any) -> str:
        """Fill a path in."""
        return path.format(user_id=user_id or self.user_id, **parameters)

    async def settle(self, *, linked: bool = False) -> None:
        """Send all that makes something and names nothing that exists, twice; then, `linked` to what exists."""
        makers = [item for item in operations(self.app) if is_maker(item.method, item.path)]
        described = [(item, self._description.body(item.method, item.path)) for item in makers]
        made = [(item, schema, self._description.value(schema, self.secret)) for item, schema in described if schema]
        for item, schema, body in made:
            fit = await self._make(item.method, item.path, body)
            await self._make(item.method, item.path, fit)
            for place in self._description.references(schema, body) if linked else ():
                for own in await self.ids():
                    await self._make(item.method, item.path, placed(body, place, own))

    async def settled(self) -> None:
        """Settle, unless there is something of each kind already."""
        rows = await self.rows()
        if not all(found for name, found in rows.items() if name != "idempotency_keys"):
            await self.settle()

    async def _make(self, method: str, path: str, body: Any) -> Any:
        """Send a body without what is refused in it, as fields that exclude each other are; give the rest."""
        key = secrets.token_hex(8)
        for _ in range(10):
            headers = {"Idempotency-Key": key}
            answer = await self.client.request(method, self.url(path), json=body, headers=headers)
            if answer.is_success:
                self.sent.append(Sent(method, path, body, key))
                break
            if answer.status_code != 422:
                assert answer.status_code < 500, answer.text
                break
            body = without(body, [error.get("pointer") or "" for error in answer.json()["errors"]])
        return body

    async def plant(self) -> None:
        """Put the secret into every text that takes it, past the API, and throw one row of each kind away."""
        for table in owned_tables():
            async with self.app.state.database.begin(unscoped="tests") as connection:
                for column in table.columns:
                    if is_text(column):
                        text = literal(f"{self.secret}-{column.name}")
                        value = func.array_append(column, text) if isinstance(column.type, ARRAY) else text
                        try:
                            async with connection.begin_nested():
                                await connection.execute(update(table).where(self._owns(table)).values({column: value}))
                        except DBAPIError:
                            pass  # one of a few values, or unique for the user

    async def gather(self, get_paths: list[str], list_paths: list[str]) -> None:
        """Take what the server gives to come back with: cursors and ETags."""
        for path in list_paths:
            page = (await self.client.get(self.url(path), params={"limit": 1})).json()
            if cursor := page.get("next_cursor"):
                self.cursors[path] = cursor
        for path in get_paths:
            for own in await self.ids():
                names = [part[1:-1] for part in path.split("/") if part.startswith("{") and part != "{user_id}"]
                answer = await self.client.get(self.url(path, **dict.fromkeys(names, own)))
                if etag := answer.headers.get("etag"):
                    self.etags.add(etag)

    async def rows(self) -> Rows:
        """Read all that the user has, in every table."""
        found: Rows = {}
        async with self.app.state.database.begin(unscoped="tests") as connection:
            for table in owned_tables():
                rows = await connection.execute(select(table).where(self._owns(table)).order_by(*table.primary_key))
                found[table.name] = [tuple(row) for row in rows]
        return found

    async def ids(self) -> list[str]:
        """Give the ids of the user's rows, of one or two of each kind."""
        found: list[str] = []
        async with self.app.state.database.begin(unscoped="tests") as connection:
            for table in owned_tables():
                if "id" in table.columns and owners()[table.fullname] != "id":
                    ids = await connection.execute(
                        select(table.c.id).where(self._owns(table)).order_by(table.c.id).limit(2)
                    )
                    found += [str(row[0]) for row in ids]
        return found

    def _owns(self, table: Table) -> Any:
        return table.c[owners()[table.fullname]] == self.user_id


def owned_tables() -> list[Table]:
    """Give every table of users' rows."""
    return [metadata.tables[name] for name in sorted(owners())]


def is_maker(method: str, path: str) -> bool:
    """Tell whether an operation makes something of a user's, and names nothing that must exist."""
    return method in ("POST", "PUT", "PATCH") and path.startswith("/api/{user_id}/") and path.count("{") == 1


def is_text(column: Column[Any]) -> bool:
    """Tell whether a column holds free text: no key, no reference, nothing computed."""
    kind = column.type.item_type if isinstance(column.type, ARRAY) else column.type
    return isinstance(kind, String) and not (column.primary_key or column.foreign_keys or column.computed)


def without(body: Any, pointers: list[str]) -> Any:
    """Give a copy of a body without the deepest field that each pointer leads to."""
    for pointer in pointers:
        body = _removed(body, pointer.split("/")[1:])
    return body


def _removed(body: Any, parts: list[str]) -> Any:
    if isinstance(body, list) and parts and parts[0].isdigit():
        return [_removed(item, parts[1:]) if number == int(parts[0]) else item for number, item in enumerate(body)]
    if not isinstance(body, Mapping) or not parts:
        return body
    copy = dict(body)
    if parts[1:] and isinstance(copy.get(parts[0]), Mapping | list):
        copy[parts[0]] = _removed(copy[parts[0]], parts[1:])
    else:
        copy.pop(parts[0], None)
    return copy
