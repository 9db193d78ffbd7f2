"""What is told of a request: one line, and one before it where it was refused for security's sake."""

from collections.abc import Callable
from typing import Any

import structlog
from litestar.types import HTTPScope, Scope

from app.lib.auth.tokens import Identity
from app.lib.deployment_secret import DeploymentSecret
from app.lib.http.client_address import ClientAddress, rate_limit_bucket
from app.lib.log import MAX_LOGGED_ID, user_pseudonymizer
from app.lib.rate_limit import RateLimit
from app.lib.settings import Settings

REFUSALS_OF_A_CLIENT = 60  # in a minute; further ones leave no line, so that nobody fills the disk
REFUSALS = 600  # of all clients together

_log = structlog.get_logger()

type AuditLogger = Callable[[str, str], None]
"""Writes the name of an event and the user whom it befell."""


def audit_logger(settings: Settings, scope: Scope | None = None, secret: DeploymentSecret | None = None) -> AuditLogger:
    """Give what tells the log of changes to users: those that the user of this request makes, or a command."""
    name = user_pseudonymizer(settings, secret)
    by: dict[str, str] = {"by": "command"}
    if scope is not None:
        client = ClientAddress(settings.trusted_proxies).of(scope)
        by = {"request_id": scope["state"]["request_id"], "client": client}
        by |= {"by": name(scope["user"].id)} if name else {}

    def record(event: str, user_id: str) -> None:
        _log.warning(event, **by, **({"user": name(user_id)} if name else {}))

    return record


def _client_of(scope: Scope) -> dict[str, str]:
    """Return the OAuth client of an access token, cut to what a line may hold; it is printable ASCII."""
    user: Identity | None = scope.get("user")
    if user is None or user.grant is None:
        return {}
    return {"client_id": user.grant.client_id[:MAX_LOGGED_ID]}


class AccessLog:
    """Writes the lines of requests, as the settings have it."""

    def __init__(self, settings: Settings, secret: DeploymentSecret | None = None) -> None:
        self._logs_requests = settings.log_level in ("debug", "info")
        self._logs_refusals = settings.log_level != "error"
        self._name = user_pseudonymizer(settings, secret)
        self._address = ClientAddress(settings.trusted_proxies)
        self._of_a_client = RateLimit("refusals of a client", REFUSALS_OF_A_CLIENT)
        self._of_all = RateLimit("refusals", REFUSALS)
        self._untold = 0

    def write(self, scope: HTTPScope, method: str, status: int, seconds: float) -> None:
        """Tell of a request that was answered."""
        refused = scope["state"].get("refused")
        if not (self._logs_requests or (refused and self._logs_refusals)):
            return
        told = {"request_id": scope["state"]["request_id"]}
        user = scope.get("user")
        if user is not None and self._name is not None:
            told["user"] = self._name(user.id)
        told |= _client_of(scope)
        if refused and not self._record_refusal(scope, told, *refused):
            return
        if self._logs_requests:
            _log.info(
                "request",
                **told,
                method=method,
                route=scope.get("path_template", "-"),
                status=status,
                duration_ms=round(seconds * 1000, 2),
            )

    def _record_refusal(self, scope: HTTPScope, told: dict[str, str], event: str, cause: str | None) -> bool:
        """Write a security event, unless there were too many; the next one that is written tells how many."""
        client = self._address.of(scope)
        if not (self._of_a_client.use(rate_limit_bucket(client))[0] and self._of_all.use("")[0]):
            self._untold += 1
            return False
        more: dict[str, Any] = {"cause": cause} if cause else {}
        if self._untold:
            more["untold"], self._untold = self._untold, 0
        _log.warning(event, **told, client=client, **more)
        return True
