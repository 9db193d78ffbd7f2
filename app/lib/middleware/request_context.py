"""Give every response a request id and security headers, and every request a line in the log."""

import re
import time
from collections.abc import Iterable
from typing import cast

from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send
from uuid_utils import uuid7

from app.lib.deployment_secret import DeploymentSecret
from app.lib.errors import PROBLEM_JSON
from app.lib.http.asgi import CONTENT_POLICY, JSON, problem_response, security_headers
from app.lib.http.exception_handlers import as_api_error
from app.lib.http.references import PublicPrefix
from app.lib.middleware.access_log import AccessLog
from app.lib.settings import Settings

UNMATCHED = "unmatched"  # the route of a request that was refused before routing, or has none
SANE_REQUEST_ID = re.compile(rb"[A-Za-z0-9._~:@/+=-]{1,128}")


class RequestContextMiddleware:
    """Stands outside of authentication and limits, so that their responses (401, 403, 429, 503) pass through it."""

    def __init__(self, app: ASGIApp, settings: Settings, secret: DeploymentSecret | None = None) -> None:
        self._app = app
        self._log = AccessLog(settings, secret)
        self._prefix = PublicPrefix(settings)
        self._headers = security_headers(settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        request: HTTPScope = cast("HTTPScope", scope)
        request_id = _request_id(request["headers"])
        request["state"]["request_id"] = request_id.decode()
        request["state"]["prefix"] = self._prefix.of(request)
        method = request["method"]
        if method == "HEAD":  # run GET; in a copy of the scope, because the server reads the method, too
            request = cast("HTTPScope", {**request, "method": "GET"})
            request["state"]["is_head"] = True  # a streamed body need not be produced
        state = request["state"]
        status = 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                state["route"] = request.get("path_template", UNMATCHED)
                limits = state.get("headers", ())  # set by `AuthenticationMiddleware`
                message["headers"] = [*self._completed(message["headers"]), *limits, (b"x-request-id", request_id)]
            elif message["type"] == "http.response.body" and method == "HEAD":
                message["body"] = b""
            await send(message)

        try:
            await self._app(request, receive, send_with_headers)
        except Exception as error:
            if status:
                raise  # part of the response was sent: the server closes the connection
            await problem_response(as_api_error(error, request), request)(request, receive, send_with_headers)
        finally:
            self._log.write(request, method, status, time.perf_counter() - started)

    def _completed(self, headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        """Add the headers that every response has, except those that the response sets itself."""
        completed = [*headers]
        names = {name for name, _ in completed}
        if b"allow" in names:
            completed = [*map(_amend, completed)]
        defaults = [*self._headers, *_policy(completed)]
        return completed + [pair for pair in defaults if pair[0] not in names]


def _request_id(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    request_id = next((value for name, value in headers if name == b"x-request-id"), None)
    return request_id if request_id and SANE_REQUEST_ID.fullmatch(request_id) else str(uuid7()).encode()


def _amend(header: tuple[bytes, bytes]) -> tuple[bytes, bytes]:
    """Add HEAD to an `Allow` with GET: the router does not know HEAD."""
    name, value = header
    if name == b"allow":
        methods = {*value.replace(b" ", b"").split(b",")}
        value = b", ".join(sorted(methods | {b"HEAD"} if b"GET" in methods else methods))
    return name, value


def _policy(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Return the policy for JSON, which may load nothing; an HTML page sends its own."""
    is_json = any(name == b"content-type" and value.startswith((JSON, PROBLEM_JSON)) for name, value in headers)
    return [CONTENT_POLICY] if is_json else []
