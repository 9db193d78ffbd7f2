"""Show how PostgreSQL runs the app's main statements among 1,000,000 todos of 1,000 users.

`python -m benchmarks.explain [--database-url URL]`
"""

import argparse
import asyncio
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import md5
from typing import Any
from uuid import UUID

from rich.console import Console
from rich.table import Table
from sqlalchemy import Executable, event
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from uuid_utils.compat import uuid7

from app.domain.todos.schemas import TodoCreate, TodoUpdate
from app.domain.todos.services import BEST_FIRST, TodoService, Trash
from app.domain.todos.tags.services import PAGE as TAGS_PAGE
from app.lib.database_url import parse_database_url
from app.lib.persistence.full_text_search import terms_of
from benchmarks.database import environment, execute, fetch, manage, scratch_database

USERS = 1_000
TODOS = 1_000_000
NEWEST_FIRST = (("created_at", True),)
FUTURE = datetime(2100, 1, 1, tzinfo=UTC)

console = Console(highlight=False, width=150)

LOAD_USERS = """
    INSERT INTO app.users (id, email, name)
    SELECT 'user-' || n, 'user-' || n || '@example.com', 'User ' || n FROM generate_series(1, {users}) AS n
"""
LOAD_LISTS = """
    INSERT INTO app.lists (user_id, id, name)
    SELECT 'user-' || n, md5('list' || n || '-' || k)::uuid, 'List ' || k
    FROM generate_series(1, {users}) AS n, generate_series(0, 4) AS k
"""
# Todos of all users arrive mixed, as they do in life: the rows of one user do not lie side by side.
LOAD_TODOS = """
    INSERT INTO app.todos
        (user_id, id, title, description, completed, completed_at, priority, due_date, due_at, tags,
         list_id, position, deleted_at, created_at, updated_at)
    SELECT
        'user-' || 1 + n * 7919::bigint % {users},
        (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || '7' || substr(md5(n::text), 1, 3)
            || '8' || substr(md5(n::text), 4, 15))::uuid,
        'Todo number ' || n || (ARRAY[' about the garden', ' for the trip', '', ' with Sam', ' again'])[1 + k % 5],
        CASE WHEN k % 3 = 0 THEN repeat('Some words about it. ', 1 + k % 5) END,
        k % 4 > 0, CASE WHEN k % 4 > 0 THEN at END,
        (ARRAY['none', 'low', 'medium', 'high'])[1 + k / 7 % 4],
        CASE WHEN k % 10 < 3 THEN at::date + 7 END,
        CASE WHEN k % 10 BETWEEN 3 AND 5 THEN at + interval '7 days' END,
        CASE WHEN k % 11 = 0 THEN ARRAY['home', 'urgent'] WHEN k % 2 = 0 THEN ARRAY['home'] ELSE '{{}}' END,
        CASE WHEN k % 3 = 0 THEN md5('list' || 1 + n * 7919::bigint % {users} || '-' || k % 5)::uuid END,
        lpad(to_hex((extract(epoch FROM at) * 1000000)::bigint), 13, '0'),
        CASE WHEN k % 20 = 19 THEN at + interval '1 hour' END,
        at, at
    FROM
        generate_series(1, {todos}) AS n,
        LATERAL (SELECT n / {users} AS k, now() - ({todos} - n) * interval '30 s' AS at) AS its
"""


@dataclass(frozen=True)
class Statement:
    """A statement as the app builds it, and the values that it is sent with."""

    name: str
    statement: Executable
    values: dict[str, Any] = field(default_factory=dict)


def main_statements(user_id: str, todo_id: UUID) -> Iterator[Statement]:
    """Take the statements from the app itself: what it sends is what is explained."""
    build, trash = TodoService.statements, Trash.statements
    key = {"owner": user_id, "key": todo_id}
    page = {"owner": user_id, "page_limit": 20, "page_offset": 0}
    soon = datetime.now(UTC)
    create = TodoCreate(title="Water the plants", priority="high", tags=["home"])
    change = TodoUpdate(title="Water the ferns", completed=True)

    yield Statement("get one", build.get, key)
    yield Statement("page of 20 with total", build.page((), NEWEST_FIRST), page)
    yield Statement("page 41 of 48", build.page((), NEWEST_FIRST), page | {"page_offset": 800})
    yield Statement("first page by cursor", build.page_after((), NEWEST_FIRST, (False, False)), after(user_id, FUTURE))
    last = after(user_id, soon - timedelta(days=345))
    yield Statement("last page by cursor", build.page_after((), NEWEST_FIRST, (False, False)), last)
    for name, values in filters(user_id, soon).items():
        yield Statement(f"by {name}", build.page((name.split()[0],), NEWEST_FIRST), page | values)
    for text, query in (
        ("a rare word", "1234"),
        ("a common word", "garden"),
        ("a prefix", "gar"),
        ("a phrase", '"the trip"'),
    ):
        parameters = page | {"filter_q": terms_of(query)}
        yield Statement(f"by q, {text}, best first", build.page(("q",), BEST_FIRST), parameters)
    for name in TodoService.sorts:
        yield Statement(f"sorted by {name}", build.page((), ((name, False),)), page)
    in_list = page | {"filter_list_id": list_of(user_id)}
    yield Statement("a list by position", build.page(("list_id",), (("position", False),)), in_list)
    yield Statement("the trash", trash.page((), NEWEST_FIRST), page)
    yield Statement("tags with counts", TAGS_PAGE, page)
    yield Statement(
        "insert", build.insert(tuple(create.sent())), {"owner": user_id, "key": uuid7()} | new_values(create.sent())
    )
    yield Statement("update", build.update(tuple(change.sent()), False), key | new_values(change.sent()))
    yield Statement("toggle", build.transition("toggle", False), key)
    yield Statement("to the trash", TodoService.tree.discard[False], key)
    yield Statement("delete", build.delete(False), key)


def after(user_id: str, moment: datetime) -> dict[str, Any]:
    return {"owner": user_id, "page_limit": 21, "place_0": moment, "place_1": UUID(int=0)}


def list_of(user_id: str) -> UUID:
    return UUID(md5(f"list{user_id.removeprefix('user-')}-0".encode(), usedforsecurity=False).hexdigest())


def filters(user_id: str, soon: datetime) -> dict[str, dict[str, Any]]:
    """Give every filter that a page takes, with a value."""
    week = soon + timedelta(days=7)
    given: dict[str, dict[str, Any]] = {
        "completed": {"filter_completed": False},
        "priority": {"filter_priority": ["high", "low"]},
        "tag": {"filter_tag": ["urgent"]},
        "list_id": {"filter_list_id": list_of(user_id)},
        "parent_id": {"filter_parent_id": uuid7()},
        "due_before": {"filter_due_before": week},
        "due_after": {"filter_due_after": soon},
        "created_before": {"filter_created_before": soon - timedelta(days=340)},
        "created_after": {"filter_created_after": soon - timedelta(days=3)},
        "updated_after": {"filter_updated_after": soon - timedelta(days=3)},
    }
    return given | {name: {} for name in TodoService.filters if "=" in name}


def new_values(sent: dict[str, Any]) -> dict[str, Any]:
    return {f"new_{name}": value for name, value in sent.items()}


def main() -> None:
    """Load, analyze, explain."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.explain", description=__doc__)
    parser.add_argument("--database-url", help="a PostgreSQL where databases can be created; else the embedded one")
    parser.add_argument("--users", type=int, default=USERS)
    parser.add_argument("--todos", type=int, default=TODOS)
    options = parser.parse_args()
    with scratch_database(options.database_url) as url:
        manage("migrate", env=environment(url, secrets.token_urlsafe(32), pool_size=1))
        with console.status(f"Loading {options.todos:,} todos of {options.users:,} users"):
            size = {"users": options.users, "todos": options.todos}
            execute(url, *(load.format(**size) for load in (LOAD_USERS, LOAD_LISTS, LOAD_TODOS)))
            execute(url, *(f"VACUUM ANALYZE app.{table}" for table in ("users", "lists", "todos")))
        user_id = f"user-{1 + options.users // 2}"
        todo_id = fetch(url, "SELECT id FROM app.todos WHERE user_id = $1 LIMIT 1", user_id)[0][0]
        console.print(fetch(url, "SELECT version()")[0][0], soft_wrap=True)
        asyncio.run(explain_all(url, list(main_statements(user_id, todo_id))))


async def explain_all(url: str, statements: list[Statement]) -> None:
    target = parse_database_url(url)
    engine = create_async_engine(target.url, connect_args=target.arguments)
    sent: list[tuple[str, Any]] = []

    @event.listens_for(engine.sync_engine, "before_cursor_execute")
    def remember(_: Any, __: Any, sql: str, parameters: Any, *___: Any) -> None:
        sent.append((sql, parameters))

    async with engine.connect() as connection:
        figures = Table("statement", "buffers", "ms", "scans", title="Buffers of 8 KiB, touched; caches are warm")
        for statement in statements:
            await connection.execute(statement.statement, statement.values)
            await connection.rollback()
            plan = await explain(connection, statement.name, *sent[-1])
            figures.add_row(statement.name, *summary(plan))
    await engine.dispose()
    console.print(figures)


def summary(plan: str) -> tuple[str, str, str]:
    """Give the buffers and the time of the whole, and how the tables were reached."""
    touched = sum(map(int, re.findall(r"(?:hit|read)=(\d+)", plan.partition("Buffers:")[2].partition("\n")[0])))
    (milliseconds,) = re.findall(r"Execution Time: ([\d.]+) ms", plan)
    scans = re.findall(
        r"((?:Seq|Index|Index Only|Bitmap Index) Scan(?: Backward)?)(?: using| on) (?:app\.)?(\w+)", plan
    )
    return f"{touched:,}", milliseconds, ", ".join(dict.fromkeys(f"{kind} {name}" for kind, name in scans))


async def explain(connection: AsyncConnection, name: str, sql: str, parameters: Any) -> str:
    """Print the plan of what was sent: it ran before, so caches are warm. What it writes is rolled back."""
    plan = await connection.exec_driver_sql(f"EXPLAIN (ANALYZE, BUFFERS) {sql}", parameters)
    await connection.rollback()
    console.rule(f"[bold]{name}", align="left")
    console.print(sql, markup=False, style="dim")
    text = "\n".join(plan.scalars())
    console.print(text, markup=False, soft_wrap=True)
    return text


if __name__ == "__main__":
    main()
