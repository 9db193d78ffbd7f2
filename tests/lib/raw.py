"""Send requests that an HTTP client would normalize: ASGI scopes with the path and headers exactly as given."""

from litestar import Litestar
from litestar.types import HTTPReceiveMessage, Message
from msgspec import Struct

from tests.asgi import http_scope
from tests.support import SECRET, token_for


class Answer(Struct):
    """The application's response."""

    status: int
    headers: dict[str, str]
    body: bytes


async def ask(
    app: Litestar,
    path: str,
    *headers: tuple[str, str],
    method: str = "GET",
    body: bytes = b"",
    host: str | None = "testserver",
    version: str = "1.1",
) -> Answer:
    """Send a request without changing its path and headers; a Host among the headers replaces `host`."""
    if host is not None and not any(name.lower() == "host" for name, _ in headers):
        headers = (("Host", host), *headers)
    encoded = [(name.encode(), value.encode("latin-1")) for name, value in headers]
    answer = Answer(0, {}, b"")

    async def receive() -> HTTPReceiveMessage:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            answer.status = message["status"]
            answer.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        elif message["type"] == "http.response.body":
            answer.body += message["body"]

    await app(http_scope(path, *encoded, method=method, version=version), receive, send)
    return answer


def bearer(user_id: object, *, secret: str = SECRET, algorithm: str = "HS256", **claims: object) -> tuple[str, str]:
    """Return the Authorization header of a user's token."""
    return ("Authorization", f"Bearer {token_for(user_id, secret=secret, algorithm=algorithm, **claims)}")
