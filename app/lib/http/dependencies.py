"""Dependencies that handlers ask for."""

from collections.abc import Callable
from typing import Any

from litestar.di import Provide
from litestar.types import Scope

from app.lib.http.requests import ApiRequest
from app.lib.persistence.session import Session
from app.lib.persistence.singleton import SingletonService
from app.lib.persistence.user_scoped import UserScopedService
from app.lib.validation.conditions import condition_of


def session_of(scope: Scope, make: Callable[[str], Session]) -> Session:
    """Give the session of the request's user: one with a transaction that was begun around it, or a new one."""
    begun: Session | None = scope["state"].get("session")
    return begun or make(scope["user"].id)


def provide(service: type[UserScopedService[Any, Any]]) -> Provide:
    """Return the dependency that makes a service for the user of a request and its conditions."""

    def make(request: ApiRequest) -> Any:
        state, headers = request.app.state, request.headers
        condition = condition_of(headers.getall("if-match", ()), headers.getall("if-none-match", ()))
        session = session_of(request.scope, state.database.session)
        return service(session, request.user.id, state.cursor_seal, condition, state.row_quota)

    return Provide(make, sync_to_thread=False)


def provide_singleton(service: type[SingletonService[Any]]) -> Provide:
    """Return the dependency that makes a service of the one row of a request's user."""

    def make(request: ApiRequest) -> Any:
        return service(session_of(request.scope, request.app.state.database.session), request.user.id)

    return Provide(make, sync_to_thread=False)
