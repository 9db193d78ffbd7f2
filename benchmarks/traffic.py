"""Tokens, raw requests and connections for those who attack a server, and its memory meanwhile."""

import asyncio
import base64
import json
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
import psutil
from cryptography.hazmat.primitives.asymmetric import ed25519
from jwt.algorithms import OKPAlgorithm

from benchmarks.servers import HOST

KID = "published"
HONEST = "honest"
SHOT_SECONDS = 60
SAMPLE_SECONDS = 0.2
MIB = 1024 * 1024


class Issuer:
    """Signs tokens, and publishes its key as Better Auth does; counts who fetches it."""

    def __init__(self) -> None:
        self._key = ed25519.Ed25519PrivateKey.generate()
        public = json.loads(OKPAlgorithm.to_jwk(self._key.public_key()))
        self._document = json.dumps({"keys": [public | {"kid": KID, "alg": "EdDSA"}]}).encode()
        self.fetches = 0
        self.silent = threading.Event()

    def token(self, user: str, **claims: Any) -> str:
        now = int(time.time())
        payload = {"sub": user, "iat": now, "exp": now + 3600} | claims
        return jwt.encode(payload, self._key, "EdDSA", headers={"kid": KID})

    @contextmanager
    def published(self) -> Iterator[str]:
        """Serve the key set, and give its URL."""
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer.fetches += 1
                while issuer.silent.is_set():
                    time.sleep(0.1)
                with suppress(OSError):  # who asked may have left
                    self.send_response(200)
                    self.send_header("Content-Type", "application/json")
                    self.send_header("Content-Length", str(len(issuer._document)))
                    self.end_headers()
                    self.wfile.write(issuer._document)

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        server = ThreadingHTTPServer((HOST, 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://{HOST}:{server.server_port}/api/auth/jwks"
        finally:
            server.shutdown()
            server.server_close()


def part(value: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def forged(**header: Any) -> str:
    """Give a token that nobody signed, and that nobody has seen before."""
    claims = {"sub": HONEST, "exp": int(time.time()) + 3600, "jti": secrets.token_hex(8)}
    signature = base64.urlsafe_b64encode(secrets.token_bytes(64)).rstrip(b"=").decode()
    return f"{part({'typ': 'JWT', 'alg': 'EdDSA'} | header)}.{part(claims)}.{signature}"


def request(token: str = "", path: str = f"/api/{HONEST}/todos", *, method: str = "GET", more: str = "") -> bytes:
    authorization = f"Authorization: Bearer {token}\r\n" if token else ""
    return f"{method} {path} HTTP/1.1\r\nHost: {HOST}\r\n{authorization}{more}\r\n".encode()


def post(token: str, path: str, body: bytes, length: int | None = None) -> bytes:
    more = f"Content-Type: application/json\r\nContent-Length: {len(body) if length is None else length}\r\n"
    return request(token, path, method="POST", more=more) + body


def chunked(token: str, path: str, size: int) -> bytes:
    more = "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n"
    chunk = b"10000\r\n" + b" " * 65536 + b"\r\n"
    return request(token, path, method="POST", more=more) + chunk * (size // 65536) + b"0\r\n\r\n"


class Client:
    """A connection that is opened again when the server has closed it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def send(self, data: bytes) -> str:
        """Give the status of the answer, or what happened in its place."""
        try:
            async with asyncio.timeout(SHOT_SECONDS):
                return await self._exchange(data)
        except TimeoutError:
            await self.close()
            return "no answer"
        except (OSError, asyncio.IncompleteReadError):
            await self.close()
            return "closed"

    async def close(self) -> None:
        if self._streams is not None:
            self._streams[1].transport.abort()
            self._streams = None

    @staticmethod
    def _is_spent(status: str, head: bytes) -> bool:
        """Whether more of the last request may be expected, or on its way."""
        return b"connection: close" in head or status in ("400", "408", "413")

    async def _exchange(self, data: bytes) -> str:
        if self._streams is None:
            self._streams = await asyncio.open_connection(HOST, self._port)
        reader, writer = self._streams
        writer.write(data)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        await reader.readexactly(int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0))
        status = head.split(b" ")[1].decode()
        if self._is_spent(status, head):
            await self.close()
        return status


class Memory:
    """The resident memory of the server and of its children, sampled."""

    def __init__(self, process: psutil.Process) -> None:
        self._process = process
        self._over = threading.Event()
        self.samples = [self.now()]

    def now(self) -> float:
        family = [self._process, *self._process.children(recursive=True)]
        return sum(member.memory_info().rss for member in family) / MIB

    @contextmanager
    def watched(self) -> Iterator[None]:
        thread = threading.Thread(target=self._watch, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()

    def _watch(self) -> None:
        while not self._over.wait(SAMPLE_SECONDS):
            self.samples.append(self.now())

    def fifths(self) -> str:
        """Give it at the start, and after each fifth of the time."""
        last = len(self.samples) - 1
        return ", ".join(f"{self.samples[last * n // 5]:.1f}" for n in range(6))
