"""What every response has, whoever made it: a request id, security headers, a line in the log."""

import re
import time
from collections.abc import Iterable
from typing import Any, cast

from litestar.types import ASGIApp, HTTPScope, Receive, Scope, Send
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
    """ASGI middleware around everything, the 401s included."""

    def __init__(self, app: ASGIApp, settings: Settings, secret: DeploymentSecret | None = None) -> None:
        self._app = app
        self._log = AccessLog(settings, secret)
        self._prefix = PublicPrefix(settings)
        self._headers = security_headers(settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        started = time.perf_counter()
        request: HTTPScope = cast("HTTPScope", scope)
        request_id = _request_id(request["headers"])
        request["state"]["request_id"] = request_id.decode()
        request["state"]["prefix"] = self._prefix.of(request)
        method = request["method"]
        if method == "HEAD":  # GET without the body; in a copy, for the server still has to know
            request = cast("HTTPScope", {**request, "method": "GET"})
            request["state"]["is_head"] = True  # for a body that is a stream
        state = request["state"]
        status = 0

        async def framed(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                state["route"] = request.get("path_template", UNMATCHED)
                more = [*state.get("headers", ()), (b"x-request-id", request_id)]  # the former are of inner middleware
                message["headers"] = [*self._completed(message["headers"]), *more]
            elif method == "HEAD":
                message["body"] = b""
            await send(message)

        try:
            await self._app(request, receive, framed)
        except Exception as error:
            if status:
                raise  # the answer has begun: the server closes the connection
            await problem_response(as_api_error(error, request), request)(request, receive, framed)
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
    given = next((value for name, value in headers if name == b"x-request-id"), None)
    return given if given and SANE_REQUEST_ID.fullmatch(given) else str(uuid7()).encode()


def _amend(header: tuple[bytes, bytes]) -> tuple[bytes, bytes]:
    """Name HEAD beside GET, as it works wherever GET does."""
    name, value = header
    if name == b"allow":
        methods = {*value.replace(b" ", b"").split(b",")}
        value = b", ".join(sorted(methods | {b"HEAD"} if b"GET" in methods else methods))
    return name, value


def _policy(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """A page brings its own policy; JSON may load nothing at all."""
    is_json = any(name == b"content-type" and value.startswith((JSON, PROBLEM_JSON)) for name, value in headers)
    return [CONTENT_POLICY] if is_json else []
