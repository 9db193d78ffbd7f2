"""Every route of the contract, below `/api/{user_id}`, with a body that would do."""

from typing import Any, NamedTuple
from uuid import uuid4

import pytest


class Route(NamedTuple):
    """An operation; `{id}` in its path is that of a resource."""

    method: str
    path: str
    json: Any = None

    def of(self, resource: object = None) -> dict[str, Any]:
        """Give the arguments of a request to it, on this resource or on one that never was."""
        return {"method": self.method, "path": self.path.format(id=resource or uuid4()), "json": self.json}


TITLE = {"title": "Another title"}
CORE = (
    Route("GET", "/todos"),
    Route("POST", "/todos", TITLE),
    Route("GET", "/todos/{id}"),
    Route("PUT", "/todos/{id}", TITLE),
    Route("PATCH", "/todos/{id}", TITLE),
    Route("DELETE", "/todos/{id}"),
    Route("POST", "/todos/{id}/toggle-complete"),
    Route("POST", "/todos/{id}/complete"),
    Route("POST", "/todos/{id}/reopen"),
)
TASKS = (
    Route("GET", "/tasks"),
    Route("POST", "/tasks", TITLE),
    Route("GET", "/tasks/{id}"),
    Route("PUT", "/tasks/{id}", TITLE),
    Route("PATCH", "/tasks/{id}", TITLE),
    Route("DELETE", "/tasks/{id}"),
    Route("PATCH", "/tasks/{id}/complete"),
)
TODOS = (
    Route("POST", "/todos/{id}/restore"),
    Route("POST", "/todos/{id}/move", {"before": str(uuid4())}),
    Route("POST", "/todos/batch", {"operations": [{"op": "create", "data": TITLE}]}),
)
LISTS = (
    Route("GET", "/lists"),
    Route("POST", "/lists", {"name": "Another list"}),
    Route("GET", "/lists/{id}"),
    Route("PUT", "/lists/{id}", {"name": "Another name"}),
    Route("PATCH", "/lists/{id}", {"name": "Another name"}),
    Route("DELETE", "/lists/{id}"),
    Route("POST", "/lists/{id}/move", {"before": str(uuid4())}),
    Route("GET", "/tags"),
)
OWN = (
    Route("GET", "/profile"),
    Route("PUT", "/profile", {"name": "Another name"}),
    Route("PATCH", "/profile", {"name": "Another name"}),
    Route("GET", "/preferences"),
    Route("PUT", "/preferences", {"theme": "dark"}),
    Route("PATCH", "/preferences", {"theme": "dark"}),
)
ACCOUNT = (Route("GET", "/export"), Route("DELETE", "/account"))
ADMIN = (
    Route("GET", "/admin/users"),
    Route("POST", "/admin/users/{id}/deactivate"),
    Route("POST", "/admin/users/{id}/reactivate"),
    Route("GET", "/admin/counts"),
)
FULL = TASKS + TODOS + LISTS + OWN + ACCOUNT
ON_A_ROW = tuple(route for route in CORE + FULL if "{id}" in route.path)


def parameters(*routes: Route) -> list[Any]:
    """Give routes as parameters of a test, each in its level."""
    mark = {True: pytest.mark.core, False: pytest.mark.full}
    return [pytest.param(route, marks=mark[route in CORE], id=f"{route.method} {route.path}") for route in routes]
