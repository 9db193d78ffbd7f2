"""The README's TypeScript: it compiles under `strict` against the real packages, and its tokens are accepted."""

import os
import re
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.lib.settings import PROJECT
from tests.better_auth.server import NAME, PASSWORD, BetterAuth, api, bearer, claims_of, migrated
from tests.live import free_port

SNIPPETS = re.findall(r"^```ts\n(.*?)^```", (PROJECT / "README.md").read_text(), re.DOTALL | re.MULTILINE)
NAMES = ("auth", "auth-client", "oauth")  # in the order of the README
TSC = ["--strict", "--skipLibCheck", "--module", "esnext", "--moduleResolution", "bundler", "--target", "es2022"]
TSC += ["--lib", "es2022,dom,dom.iterable", "--types", "node"]


@pytest.fixture(scope="module")
def compiled(installed: Path) -> Iterator[Path]:
    """Compile the snippets beside the packages, and give the folder."""
    folder = installed / f"readme.{os.getpid()}"
    folder.mkdir(exist_ok=True)
    for name, text in zip(NAMES, SNIPPETS, strict=True):
        (folder / f"{name}.ts").write_text(text)
    command = [str(installed / "node_modules" / ".bin" / "tsc"), *TSC, *(f"{name}.ts" for name in NAMES)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    try:
        assert done.returncode == 0, done.stdout
        yield folder
    finally:
        shutil.rmtree(folder)


@pytest.fixture
async def frontend(
    compiled: Path, installed: Path, new_database: Callable[[], Any], request: pytest.FixtureRequest
) -> AsyncIterator[BetterAuth]:
    """Give the server of a snippet."""
    port, url = free_port(), await new_database()
    module = (compiled / f"{request.param}.js").as_uri()
    address = f"http://127.0.0.1:{port}"
    server = BetterAuth(installed, url, "readme.mjs", compiled=module, better_auth_url=address)
    try:
        await migrated(url)
        yield server.start(port)
    finally:
        server.stop()


@pytest.mark.parametrize(
    ("frontend", "path", "closed"),
    [("auth", "/api/auth/token", "/api/session-token"), ("oauth", "/api/session-token", "/api/auth/token")],
    indirect=["frontend"],
)
async def test_token_of_the_readme_snippet_is_accepted(
    frontend: BetterAuth, http: httpx.AsyncClient, path: str, closed: str
) -> None:
    body = {"email": "reader@example.com", "password": PASSWORD, "name": NAME, "image": "https://example.com/i.png"}
    signed_up = await http.post(f"{frontend.base}/sign-up/email", json=body, headers={"Origin": frontend.url})
    assert signed_up.status_code == 200, signed_up.text
    cookie = "; ".join(f"{name}={value}" for name, value in signed_up.cookies.items())
    response = await http.get(f"{frontend.url}{path}", headers={"Cookie": cookie})
    token = response.json()["token"]
    if closed == "/api/auth/token":
        assert (await http.get(f"{frontend.url}{closed}", headers={"Cookie": cookie})).status_code == 404
    user_id = claims_of(token)["sub"]
    async with api(frontend, better_auth_issuer=frontend.url, better_auth_audience=frontend.url) as client:
        profile = await client.get(f"/api/{user_id}/profile", headers=bearer(token))
        assert profile.status_code == 200, profile.text
        shown = {name: profile.json()[name] for name in ("email", "name", "image")}
        assert shown == {name: body[name] for name in shown}
        session_token = signed_up.json()["token"]
        assert (await client.get(f"/api/{user_id}/todos", headers=bearer(session_token))).status_code == 401
        assert (await client.get(f"/api/{user_id}/todos", headers={"Cookie": cookie})).status_code == 401
