"""Log one line per request, and one before it for a request that was refused for security reasons."""

from collections.abc import Callable

import structlog
from litestar.types import HTTPScope, Scope

from app.lib.auth.tokens import Identity
from app.lib.deployment_secret import DeploymentSecret
from app.lib.http.client_address import ClientAddress, rate_limit_bucket
from app.lib.log import MAX_LOGGED_ID, user_pseudonymizer
from app.lib.rate_limit import RateLimit
from app.lib.settings import Settings

REFUSALS_OF_A_CLIENT = 60  # lines per minute; more are not logged, so that no client can fill the disk
REFUSALS = 600  # lines per minute, of all clients together

_log = structlog.get_logger()

type AuditLogger = Callable[[str, str], None]
"""Logs the name of an event and the user whom it concerns."""


def audit_logger(settings: Settings, scope: Scope | None = None, secret: DeploymentSecret | None = None) -> AuditLogger:
    """Return a logger of changes to users, made by the user of the request, or by a command without `scope`."""
    pseudonym = user_pseudonymizer(settings, secret)
    origin: dict[str, str] = {"by": "command"}
    if scope is not None:
        client = ClientAddress(settings.trusted_proxies).of(scope)
        origin = {"request_id": scope["state"]["request_id"], "client": client}
        origin |= {"by": pseudonym(scope["user"].id)} if pseudonym else {}

    def record(event: str, user_id: str) -> None:
        _log.warning(event, **origin, **({"user": pseudonym(user_id)} if pseudonym else {}))

    return record


def _client_of(scope: Scope) -> dict[str, str]:
    # The client's id is printable ASCII, and of any length.
    user: Identity | None = scope.get("user")
    if user is None or user.grant is None:
        return {}
    return {"client_id": user.grant.client_id[:MAX_LOGGED_ID]}


class AccessLog:
    def __init__(self, settings: Settings, secret: DeploymentSecret | None = None) -> None:
        self._logs_requests = settings.log_level in ("debug", "info")
        self._logs_refusals = settings.log_level != "error"
        self._pseudonym = user_pseudonymizer(settings, secret)
        self._address = ClientAddress(settings.trusted_proxies)
        self._of_a_client = RateLimit("refusals of a client", REFUSALS_OF_A_CLIENT)
        self._of_all = RateLimit("refusals", REFUSALS)
        self._unlogged = 0

    def write(self, scope: HTTPScope, method: str, status: int, seconds: float) -> None:
        refused = scope["state"].get("refused")
        if not (self._logs_requests or (refused and self._logs_refusals)):
            return
        fields = {"request_id": scope["state"]["request_id"]}
        user = scope.get("user")
        if user is not None and self._pseudonym is not None:
            fields["user"] = self._pseudonym(user.id)
        fields |= _client_of(scope)
        if refused and not self._record_refusal(scope, fields, *refused):
            return
        if self._logs_requests:
            _log.info(
                "request",
                **fields,
                method=method,
                route=scope.get("path_template", "-"),
                status=status,
                duration_ms=round(seconds * 1000, 2),
            )

    def _record_refusal(self, scope: HTTPScope, fields: dict[str, str], event: str, cause: str | None) -> bool:
        """Log a security event, unless there were too many; the next line has the number of those left out."""
        client = self._address.of(scope)
        if not (self._of_a_client.use(rate_limit_bucket(client))[0] and self._of_all.use("")[0]):
            self._unlogged += 1
            return False
        details: dict[str, str | int] = {"cause": cause} if cause else {}
        if self._unlogged:
            details["unlogged"], self._unlogged = self._unlogged, 0
        _log.warning(event, **fields, client=client, **details)
        return True
