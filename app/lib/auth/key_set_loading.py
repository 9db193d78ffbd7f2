"""Load a JWK set by HTTP or from a file."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx

FETCH_SECONDS = 5.0
DEFAULT_FRESH_SECONDS, MIN_FRESH_SECONDS, MAX_FRESH_SECONDS = 300.0, 60.0, 3600.0
MAX_DOCUMENT_BYTES = 256 * 1024
_MAX_AGE = re.compile(r"(?:^|[\s,])max-age=(\d{1,9})")

type Document = tuple[bytes, float]
"""A key set as JSON, and for how many seconds it is fresh."""

type Load = Callable[[], Awaitable[Document]]


def from_url(url: str) -> Load:
    """Return a loader that fetches the key set within `FETCH_SECONDS` and `MAX_DOCUMENT_BYTES`.

    It raises `httpx.HTTPError`, `TimeoutError` or `ValueError`.
    """

    async def load() -> Document:
        # httpx limits each read, not the whole; `trust_env` would send the request through a proxy of the environment.
        async with (
            asyncio.timeout(FETCH_SECONDS),
            httpx.AsyncClient(timeout=FETCH_SECONDS, trust_env=False) as client,
            client.stream("GET", url, headers={"Accept": "application/json"}) as response,
        ):
            if response.status_code != httpx.codes.OK:
                hint = ", a redirect, which is not followed" if response.is_redirect else ""
                raise ValueError(f"the key set is answered with {response.status_code}{hint}")
            document = bytearray()
            async for chunk in response.aiter_bytes():
                document += chunk
                if len(document) > MAX_DOCUMENT_BYTES:
                    raise ValueError("the key set is too large")
            return bytes(document), _fresh_seconds(response.headers.get("cache-control", ""))

    return load


def from_file(path: Path) -> Load:
    """Return a loader that reads the file again each time: it may be replaced while the server runs."""

    async def load() -> Document:
        return await asyncio.to_thread(path.read_bytes), MIN_FRESH_SECONDS

    return load


def _fresh_seconds(cache_control: str) -> float:
    max_age = _MAX_AGE.search(cache_control.lower())
    seconds = float(max_age[1]) if max_age else DEFAULT_FRESH_SECONDS
    return min(max(seconds, MIN_FRESH_SECONDS), MAX_FRESH_SECONDS)
