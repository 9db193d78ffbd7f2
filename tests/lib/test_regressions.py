"""What a hostile reviewer found, and shall not find again."""

from pathlib import Path

import pytest
from litestar import Litestar
from sqlalchemy import select

from app.db.base import table_of
from app.domain.users.models import User
from app.lib.settings import PROJECT, ConfigurationError, Settings
from tests.live import call
from tests.support import SECRET, Client, assert_problem, token_for


async def test_what_is_not_there_below_the_schema_is_a_problem_not_a_page(alice: Client) -> None:
    for path in ("/api/schema/nowhere", "/api/schema/swagger/x"):
        assert (await alice.get(path)).headers["content-type"] == "application/problem+json"


async def test_every_line_of_if_none_match_counts(alice: Client) -> None:
    path = alice.todos((await alice.create())["id"])
    for lines in (('"9"', '"1"'), ('"1"', '"9"')):
        response = await alice.get(path, headers=[("If-None-Match", line) for line in lines])
        assert response.status_code == 304


async def test_a_client_that_leaves_is_no_fault_of_ours(
    app: Litestar, alice: Client, capfd: pytest.CaptureFixture[str]
) -> None:
    headers = [(b"authorization", alice.headers["authorization"].encode()), (b"content-type", b"application/json")]
    for more in ([], [(b"idempotency-key", b"left")]):
        scope = {"type": "http", "method": "POST", "path": alice.todos(), "query_string": b"", "state": {}}
        sent: list[dict[str, object]] = []
        messages = iter([{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}])

        async def receive(messages=messages):
            return next(messages)

        async def send(message, sent=sent):
            sent.append(message)

        await app({**scope, "headers": [*headers, *more], "client": ("127.0.0.1", 1)}, receive, send)
        assert sent[0]["status"] == 400
    assert "unhandled" not in capfd.readouterr().err


async def test_nor_where_a_body_is_optional(app: Litestar, alice: Client, capfd: pytest.CaptureFixture[str]) -> None:
    path = alice.path("tasks", (await alice.create())["id"], "complete")
    headers = [(b"authorization", alice.headers["authorization"].encode()), (b"content-type", b"application/json")]
    messages = iter([{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}])
    sent: list[dict[str, object]] = []

    async def receive() -> dict[str, object]:
        return next(messages)

    async def send(message: dict[str, object]) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "PATCH", "path": path, "query_string": b"", "state": {}, "headers": headers}
    await app({**scope, "client": ("127.0.0.1", 1)}, receive, send)
    assert sent[0]["status"] == 400
    assert "unhandled" not in capfd.readouterr().err


def test_a_seed_may_take_longer_than_a_request(settings: Settings) -> None:
    hasty = settings.model_copy(update={"database_statement_timeout": 0.03})
    status, said = call(hasty, "seed", "--user", "a-large-seed", "--todos", "10000")
    assert status == 0, said


async def test_control_characters_in_claims_reach_no_terminal(app: Litestar, alice: Client) -> None:
    token = token_for(alice.user_id, name="x\x1b]0;pwned\x07\nid: admin", email="a@b.c\tactive\nother")
    alice.headers["authorization"] = f"Bearer {token}"
    await alice.create()
    users = table_of(User).c
    rows = await app.state.database.session(unscoped="tests").read(
        select(users.name, users.email).where(users.id == alice.user_id), {}
    )
    assert [tuple(row) for row in rows] == [(None, None)]


async def test_a_wrong_host_is_not_called_bad_json(alice: Client) -> None:
    assert_problem(await alice.get(alice.todos(), headers={"Host": "a b"}), 400)


class TestSettings:
    def test_a_blank_data_dir_is_the_default_one(self) -> None:
        assert Settings(_env_file=None, data_dir=" ", better_auth_secret=SECRET).data_dir == PROJECT / ".data"

    def test_what_cannot_be_used_is_said(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "file").touch()
        (tmp_path / "latin").write_bytes(b"ROLE_CLAIM=\xff")
        for name, value in (("DATA_DIR", str(tmp_path / "file" / "x")), ("ENV_FILE", str(tmp_path / "latin"))):
            with monkeypatch.context() as patch:
                patch.setenv(name, value)
                with pytest.raises(ConfigurationError, match=r"DATA_DIR|UTF-8"):
                    Settings.load()

    def test_any_host_is_an_empty_list(self) -> None:
        with pytest.raises(ValueError, match="leave it empty"):
            Settings(_env_file=None, allowed_hosts="*")

    def test_a_port_must_exist(self) -> None:
        with pytest.raises(ValueError, match="better_auth_jwks_url"):
            Settings(_env_file=None, better_auth_jwks_url="http://127.0.0.1:99999/x")
