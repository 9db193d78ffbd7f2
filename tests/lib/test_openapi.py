"""The API's description of itself."""

from app.lib.routes import operations
from tests.support import Client


async def test_names_every_operation_once_and_needs_the_token(alice: Client) -> None:
    document = (await alice.get("/api/schema/openapi.json")).json()
    assert document["openapi"].startswith("3.1")
    assert document["security"] == [{"bearerAuth": []}]
    found = {
        (method.upper(), path): operation["operationId"]
        for path, item in document["paths"].items()
        for method, operation in item.items()
        if method in ("get", "post", "put", "patch", "delete")
    }
    app = alice._transport.app  # type: ignore[attr-defined]
    served = {(each.method, each.path): each.name for each in operations(app) if "/schema" not in each.path}
    assert found == served
    assert len(set(found.values())) == len(found)
