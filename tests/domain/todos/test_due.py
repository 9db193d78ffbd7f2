"""`due=` on the user's own calendar, which their profile's time zone makes."""

from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from litestar import Litestar
from sqlalchemy import select
from sqlalchemy.dialects import postgresql

from app.domain.todos.services import TodoService
from tests.domain.todos.verbs import listed, titles
from tests.factories import insert_todos, new_user_id, todo_row
from tests.support import Client, mistakes

ZONES = ["UTC", "Pacific/Apia", "Pacific/Kiritimati", "America/New_York", "Europe/Berlin", "Asia/Kathmandu"]
ZONES += ["Pacific/Pago_Pago", "Australia/Lord_Howe", "Africa/Casablanca", "America/St_Johns"]
WHEN = ("overdue", "today", "upcoming", "none")


async def live_in(client: Client, zone: str) -> None:
    response = await client.patch(client.path("profile"), json={"time_zone": zone})
    assert response.status_code == 200, response.text


def is_due(when: str, row: dict[str, Any], now: datetime) -> bool:
    """Apply the rules of the contract in plain Python; `now` is on the user's own clock."""
    if row["due_date"] is None and row["due_at"] is None:
        return when == "none"
    day = row["due_date"] or row["due_at"].astimezone(now.tzinfo).date()
    over = row["due_at"] < now if row["due_at"] else row["due_date"] < now.date()
    return {
        "overdue": over and not row["completed"],
        "today": day == now.date(),
        "upcoming": day > now.date(),
        "none": False,
    }[when]


class TestDays:
    @pytest.mark.parametrize("zone", ZONES)
    async def test_are_those_of_the_profile(self, app: Litestar, alice: Client, zone: str) -> None:
        await live_in(alice, zone)
        now = datetime.now(ZoneInfo(zone))
        midnights = [datetime.combine(now.date() + timedelta(days=n), time(), now.tzinfo) for n in range(-1, 3)]
        ticks = [timedelta(microseconds=n) for n in (-1, 0, 1)]
        rows = [
            todo_row(alice.user_id, due_at=midnight.astimezone(UTC) + tick) for midnight in midnights for tick in ticks
        ]
        rows += [todo_row(alice.user_id, due_at=now.astimezone(UTC) + timedelta(minutes=n)) for n in (-5, 5)]
        rows += [todo_row(alice.user_id, due_date=now.date() + timedelta(days=n)) for n in range(-2, 3)]
        rows += [row | {"id": todo_row("x")["id"], "completed": True, "completed_at": now} for row in rows]
        rows.append(todo_row(alice.user_id))
        await insert_todos(app, rows)
        for when in WHEN:
            expected = {str(row["id"]) for row in rows if is_due(when, row, now)}
            shown = {todo["id"] for todo in await listed(alice, due=when)}
            if now.date() == datetime.now(now.tzinfo).date():  # or midnight has come meanwhile
                assert shown == expected, when

    async def test_follow_the_profile_at_once(self, alice: Client) -> None:
        kiritimati = datetime.now(ZoneInfo("Pacific/Kiritimati")).date()
        await alice.create(title="there", due_date=str(kiritimati))
        await live_in(alice, "Pacific/Kiritimati")
        today = await titles(alice, due="today")
        await live_in(alice, "Pacific/Pago_Pago")  # 25 hours behind, always another day
        assert await titles(alice, due="upcoming") == ["there"]
        if kiritimati == datetime.now(ZoneInfo("Pacific/Kiritimati")).date():
            assert today == ["there"]

    async def test_are_each_users_own(self, alice: Client, bob: Client) -> None:
        await live_in(alice, "Pacific/Kiritimati")
        await live_in(bob, "Pacific/Pago_Pago")
        day = str(datetime.now(ZoneInfo("Pacific/Pago_Pago")).date())
        for client in (alice, bob):
            await client.create(title="x", due_date=day)
        assert await titles(alice, due="overdue") == ["x"]
        assert await titles(bob, due="overdue") == []

    @pytest.mark.parametrize("due_at", ["0001-01-01T00:00:00.000001Z", "9999-12-31T23:59:59.999998Z"])
    @pytest.mark.parametrize("zone", ["Pacific/Apia", "America/New_York"])
    async def test_the_ends_of_time(self, alice: Client, due_at: str, zone: str) -> None:
        await live_in(alice, zone)
        await alice.create(title="x", due_at=due_at)
        past = due_at.startswith("0")
        assert await titles(alice, due="overdue") == (["x"] if past else [])
        assert await titles(alice, due="upcoming") == ([] if past else ["x"])
        assert await titles(alice, due="today") == []

    @pytest.mark.parametrize("due", ["", "now", "Today", "tomorrow", "null"])
    async def test_invalid(self, alice: Client, due: str) -> None:
        assert list(mistakes(await alice.get(alice.todos(), params={"due": due}))) == ["due"]


# Around the changes of the clocks of 2026, and the day that Samoa left out in 2011.
CHANGES = [
    ("America/New_York", date(2026, 3, 8)),
    ("America/New_York", date(2026, 11, 1)),
    ("Europe/Berlin", date(2026, 3, 29)),
    ("Europe/Berlin", date(2026, 10, 25)),
    ("Australia/Lord_Howe", date(2026, 4, 5)),
    ("Pacific/Apia", date(2011, 12, 30)),
    ("Asia/Kathmandu", date(2026, 3, 8)),
]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    change=st.sampled_from(CHANGES),
    minutes=st.integers(-30 * 4, 54 * 4).map(lambda quarters: quarters * 15),
    rows=st.lists(
        st.tuples(st.integers(-60, 80), st.sampled_from([0, 30]), st.booleans(), st.booleans()), min_size=3, max_size=12
    ),
)
async def test_days_are_right_where_the_clocks_change(
    app: Litestar,
    client_of: Any,
    change: tuple[str, date],
    minutes: int,
    rows: list[tuple[int, int, bool, bool]],
) -> None:
    """The filters of the service, asked as at another moment: `now()` alone is replaced in their SQL."""
    zone, day = change
    client = client_of(new_user_id())
    await live_in(client, zone)
    start = datetime.combine(day, time(), UTC)
    now = (start + timedelta(minutes=minutes)).astimezone(ZoneInfo(zone))
    stored = []
    for hour, minute, whole_day, completed in rows:
        moment = start + timedelta(hours=hour, minutes=minute)
        due = {"due_date": moment.date()} if whole_day else {"due_at": moment}
        done = {"completed": True, "completed_at": moment} if completed else {}
        stored.append(todo_row(client.user_id, **due, **done))
    await insert_todos(app, stored)
    moment = f"'{now.astimezone(UTC).isoformat()}'::timestamptz"
    async with app.state.database.begin(unscoped="tests") as connection:
        for when in WHEN:
            statement = select(TodoService.model.id).where(
                TodoService.statements.mine, TodoService.filters[f"due={when}"]
            )
            sql = str(statement.compile(dialect=postgresql.dialect(paramstyle="named"))).replace(
                ":owner", f"'{client.user_id}'"
            )
            sql = sql.replace(f":filter_due={when}", "NULL")
            shown = {row.id for row in await connection.exec_driver_sql(sql.replace("now()", moment))}
            assert shown == {row["id"] for row in stored if is_due(when, row, now)}, (when, now)
