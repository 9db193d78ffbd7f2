"""Requests that an HTTP client would tidy up before it sends them: ASGI scopes made by hand, as a server makes them."""

from urllib.parse import unquote

from litestar import Litestar
from msgspec import Struct

from tests.support import token_for


class Answer(Struct):
    """What the application sent."""

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
    """Send a request whose path and headers arrive just as they are written here; a Host among them replaces `host`."""
    if host is not None and not any(name.lower() == "host" for name, _ in headers):
        headers = (("Host", host), *headers)
    raw_path, _, query = path.partition("?")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": version,
        "method": method,
        "scheme": "http",
        "path": unquote(raw_path),
        "raw_path": raw_path.encode(),
        "root_path": "",
        "query_string": query.encode(),
        "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in headers],
        "client": ("127.0.0.1", 50000),
        "server": ("testserver", 80),
        "state": {},
    }
    answer = Answer(0, {}, b"")

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: dict[str, object]) -> None:
        if message["type"] == "http.response.start":
            answer.status = message["status"]
            answer.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        else:
            answer.body += message.get("body", b"")

    await app(scope, receive, send)
    return answer


def bearer(user_id: object, **options: object) -> tuple[str, str]:
    """Give the Authorization header of a user's token."""
    return ("Authorization", f"Bearer {token_for(user_id, **options)}")
