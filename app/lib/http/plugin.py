"""The rules of this HTTP layer, applied to every handler when the application starts."""

from litestar import Router
from litestar.config.app import AppConfig
from litestar.handlers import HTTPRouteHandler
from litestar.plugins import InitPlugin, ReceiveRoutePlugin
from litestar.routes import BaseRoute, HTTPRoute

from app.lib.http.exception_handlers import handle_error
from app.lib.http.hooks import before_handler
from app.lib.http.inputs import provide_query, store_inputs
from app.lib.http.requests import ApiRequest
from app.lib.http.responses import ApiResponse


class ApiPlugin(InitPlugin, ReceiveRoutePlugin):
    """Strict requests, JSON responses and problem documents, for every handler of the application."""

    def on_app_init(self, app_config: AppConfig) -> AppConfig:
        """Set the classes and hooks, and prepare the handlers before they are registered."""
        app_config.request_class = ApiRequest
        app_config.response_class = ApiResponse
        app_config.before_request = before_handler
        app_config.exception_handlers = {Exception: handle_error, **app_config.exception_handlers}
        router = Router("/", route_handlers=app_config.route_handlers)  # makes handlers of controllers
        for handler in (each for route in router.routes for each in _handlers(route)):
            provide_query(handler)
        app_config.route_handlers = [router]
        return app_config

    def receive_route(self, route: BaseRoute) -> None:
        """Store what the handlers of a route read."""
        for handler in _handlers(route):
            store_inputs(handler)


def _handlers(route: BaseRoute) -> list[HTTPRouteHandler]:
    return route.route_handlers if isinstance(route, HTTPRoute) else []
