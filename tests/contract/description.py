"""What the server says of itself, held against every answer that any test gets."""

import re
from typing import Any

import httpx

TOLD = {
    "allow",
    "etag",
    "idempotency-replayed",
    "link",
    "location",
    "retry-after",
    "www-authenticate",
    "x-request-id",
    "x-total-count",
}


class Description:
    """An OpenAPI document, by which an answer can be found."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._paths = [
            (re.compile(re.sub(r"\{\w+\}", "[^/]+", path)), operations)
            for path, operations in sorted(document["paths"].items(), key=lambda item: item[0].count("{"))
        ]
        self._components = document.get("components", {})

    def hold(self, response: httpx.Response) -> None:
        """Assert that an answer of a described operation has a status and headers that it tells of."""
        method = response.request.method.lower().replace("head", "get")
        path = response.request.url.path
        found = [operations for pattern, operations in self._paths if pattern.fullmatch(path)]
        if not found or method not in found[0]:
            return
        said = f"{response.request.method} {path}: {response.status_code} {response.text[:300]}"
        responses = found[0][method]["responses"]
        status = str(response.status_code)
        assert status in responses, (
            f"5. Other resources: the OpenAPI document lists every status, but not that of {said}"
        )
        headers = {name.lower() for name in self._resolved(responses[status]).get("headers", {})}
        untold = {*response.headers} & TOLD - headers
        assert not untold, f"5. Other resources: the OpenAPI document lists the headers, but not {untold} of {said}"

    def _resolved(self, found: dict[str, Any]) -> dict[str, Any]:
        while "$ref" in found:
            kind, name = found["$ref"].split("/")[-2:]
            found = self._components[kind][name]
        return found
