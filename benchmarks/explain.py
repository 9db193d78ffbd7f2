"""Show how PostgreSQL runs the app's main statements among 1,000,000 todos of 1,000 users.

`python -m benchmarks.explain [--database-url URL]`
"""

import argparse
import asyncio
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from rich.console import Console
from sqlalchemy import Executable, event
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from uuid_utils.compat import uuid7

from app.domain.todos.schemas import TodoCreate, TodoUpdate
from app.domain.todos.services import TodoService
from app.lib.database_url import parse_database_url
from benchmarks.database import environment, execute, fetch, manage, scratch_database

USERS = 1_000
TODOS = 1_000_000
NEWEST_FIRST = (("created_at", True),)

console = Console(highlight=False)

LOAD_USERS = """
    INSERT INTO app.users (id, email, name)
    SELECT 'user-' || n, 'user-' || n || '@example.com', 'User ' || n FROM generate_series(1, {users}) AS n
"""
# Todos of all users arrive mixed, as they do in life: the rows of one user do not lie side by side.
LOAD_TODOS = """
    INSERT INTO app.todos
        (user_id, id, title, description, completed, completed_at, priority, due_date, due_at, tags,
         created_at, updated_at)
    SELECT
        'user-' || 1 + n * 7919::bigint % {users},
        (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || '7' || substr(md5(n::text), 1, 3)
            || '8' || substr(md5(n::text), 4, 15))::uuid,
        'Todo number ' || n,
        CASE WHEN k % 3 = 0 THEN repeat('Some words about it. ', 1 + k % 5) END,
        k % 4 > 0, CASE WHEN k % 4 > 0 THEN at END,
        (ARRAY['none', 'low', 'medium', 'high'])[1 + k / 7 % 4],
        CASE WHEN k % 10 < 3 THEN at::date + 7 END,
        CASE WHEN k % 10 BETWEEN 3 AND 5 THEN at + interval '7 days' END,
        CASE WHEN k % 11 = 0 THEN ARRAY['home', 'urgent'] WHEN k % 2 = 0 THEN ARRAY['home'] ELSE '{{}}' END,
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
    build = TodoService.statements
    key = {"owner": user_id, "key": todo_id}
    page = {"owner": user_id, "page_limit": 20, "page_offset": 0}
    soon = datetime.now(UTC)
    create = TodoCreate(title="Water the plants", priority="high", tags=["home"])
    change = TodoUpdate(title="Water the ferns", completed=True)

    yield Statement("get one", build.get, key)
    yield Statement("page of 20 with total", build.page((), NEWEST_FIRST), page)
    yield Statement("page 41 of 50", build.page((), NEWEST_FIRST), page | {"page_offset": 800})
    yield Statement(
        "the page after a cursor",
        build.page_after((), NEWEST_FIRST, (False, False)),
        {"owner": user_id, "page_limit": 21, "place_0": soon - timedelta(days=300), "place_1": todo_id},
    )
    yield Statement("open ones", build.page(("completed",), NEWEST_FIRST), page | {"filter_completed": False})
    yield Statement("with a tag", build.page(("tag",), NEWEST_FIRST), page | {"filter_tag": ["urgent"]})
    yield Statement(
        "due within a week",
        build.page(("due_before", "due_after"), (("due_at", False),)),
        page | {"filter_due_after": soon, "filter_due_before": soon + timedelta(days=7)},
    )
    yield Statement("insert", build.insert(TodoCreate), {"owner": user_id, "key": uuid7()} | new_values(create.sent()))
    yield Statement("update", build.update(tuple(change.sent()), False), key | new_values(change.sent()))
    yield Statement("toggle", build.transition("toggle", False), key)
    yield Statement("delete", build.delete(False), key)


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
            execute(url, LOAD_USERS.format(**size), LOAD_TODOS.format(**size))
            execute(url, "VACUUM ANALYZE app.users", "VACUUM ANALYZE app.todos")
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
        for statement in statements:
            await connection.execute(statement.statement, statement.values)
            await connection.rollback()
            await explain(connection, statement.name, *sent[-1])
    await engine.dispose()


async def explain(connection: AsyncConnection, name: str, sql: str, parameters: Any) -> None:
    """Print the plan of what was sent: it ran before, so caches are warm. What it writes is rolled back."""
    plan = await connection.exec_driver_sql(f"EXPLAIN (ANALYZE, BUFFERS) {sql}", parameters)
    await connection.rollback()
    console.rule(f"[bold]{name}", align="left")
    console.print(sql, markup=False, style="dim")
    console.print("\n".join(plan.scalars()), markup=False, soft_wrap=True)


if __name__ == "__main__":
    main()
