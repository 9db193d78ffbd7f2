"""An owned resource as its tests see it: a path, a table, a factory of bodies, and samples of its fields."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import httpx
import msgspec
from litestar import Litestar
from polyfactory.factories.msgspec_factory import MsgspecFactory
from sqlalchemy import Table
from uuid_utils.compat import uuid7

from app.db.base import Base, table_of
from app.lib.validation.body import Body
from tests.factories import insert_rows, rows_of
from tests.owned.samples import Samples
from tests.support import Client

SERVER_OWNED: dict[str, Any] = {
    "id": "0198c2f0-0000-7000-8000-000000000000",
    "user_id": "somebody",
    "created_at": "2020-01-01T00:00:00Z",
    "updated_at": "2020-01-01T00:00:00Z",
    "version": 7,
}


class BodyFactory[T: Body](MsgspecFactory[T]):
    """Makes bodies that a client could send, of what their annotations say."""

    __is_base_factory__ = True

    @classmethod
    def get_constrained_field_value(cls, annotation: Any, *arguments: Any, **options: Any) -> Any:
        """Give instants, which polyfactory takes for days where something is said of them, a time and a zone."""
        if annotation is datetime:
            return cls.__faker__.date_time(tzinfo=UTC)
        return super().get_constrained_field_value(annotation, *arguments, **options)


class Resource:
    """What the test classes of a resource share."""

    def __init__(
        self, name: str, model: type[Base], factory: type[BodyFactory[Any]], fields: Mapping[str, Samples]
    ) -> None:
        self.name = name
        self.table: Table = table_of(model)
        self.factory = factory
        self.fields = fields
        self.required = [name for name, samples in fields.items() if not samples.is_nullable]

    def body(self, **changes: Any) -> dict[str, Any]:
        """Give a body of which every field is set."""
        made: dict[str, Any] = msgspec.to_builtins(self.factory.build())
        filled = {name: samples.ascending[-1] for name, samples in self.fields.items() if made[name] is None}
        return made | filled | changes

    def path(self, client: Client, *parts: object) -> str:
        """Give a path below the user's own."""
        return client.path(self.name, *parts)

    async def create(self, client: Client, **fields: Any) -> dict[str, Any]:
        """Create one over HTTP, and give it as the server answered."""
        response = await client.post(self.path(client), json=self.body(**fields))
        assert response.status_code == 201, response.text
        created: dict[str, Any] = response.json()
        return created

    async def read(self, client: Client, item: Mapping[str, Any]) -> dict[str, Any]:
        """Get one over HTTP."""
        response = await client.get(self.path(client, item["id"]))
        assert response.status_code == 200, response.text
        found: dict[str, Any] = response.json()
        return found

    async def page(self, client: Client, **parameters: Any) -> dict[str, Any]:
        """List over HTTP."""
        response = await client.get(self.path(client), params=parameters)
        assert response.status_code == 200, response.text
        page: dict[str, Any] = response.json()
        return page

    def row(self, user_id: str, **values: Any) -> dict[str, Any]:
        """Give a whole row that satisfies every constraint, but for the given values."""
        now = datetime.now(UTC)
        own = {"user_id": user_id, "id": uuid7(), "created_at": now, "updated_at": now, "version": 1}
        return own | msgspec.structs.asdict(self.factory.build()) | values

    async def insert(self, app: Litestar, *rows: Mapping[str, Any]) -> None:
        """Insert rows by SQL."""
        await insert_rows(app, self.table, rows)

    async def rows(self, app: Litestar, client: Client) -> dict[UUID, dict[str, Any]]:
        """Read a user's rows by SQL, by id."""
        return await rows_of(app, self.table, client.user_id)


async def send_raw(client: httpx.AsyncClient, method: str, path: str, body: Any) -> httpx.Response:
    """Send what `json=` would not: lone surrogates, as escapes."""
    headers = {"Content-Type": "application/json"}
    return await client.request(method, path, content=json.dumps(body).encode(), headers=headers)
