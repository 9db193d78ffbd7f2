"""How the API describes itself: OpenAPI 3.1, behind the token like everything else."""

from typing import Any

from litestar.handlers import HTTPRouteHandler
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme
from litestar.types import Method

BEARER = "bearerAuth"


def openapi_config() -> OpenAPIConfig:
    """Name operations after their handlers, take their docstrings, and say that all of them need a token."""
    scheme = SecurityScheme(type="http", scheme="bearer", bearer_format="JWT", description="Issued by Better Auth")
    return OpenAPIConfig(
        title="Todo API",
        version="1",
        path="/api/schema",
        render_plugins=[JsonRenderPlugin()],
        use_handler_docstrings=True,
        operation_id_creator=_operation_id,
        components=Components(security_schemes={BEARER: scheme}),
        security=[{BEARER: []}],
    )


def _operation_id(handler: HTTPRouteHandler, method: Method, path: list[Any]) -> str:
    del method, path  # a handler serves one method on one path
    return handler.handler_name
