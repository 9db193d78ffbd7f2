"""`due=` on the user's own calendar, which their profile's time zone makes."""

from datetime import UTC, date, datetime, time, timedelta
from typing import Any, ClassVar
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from litestar import Litestar
from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql.base import PGDialect

from app.domain.todos import services
from app.domain.todos.services import TodoService
from app.lib import time_zones
from tests.domain.todos.verbs import listed, titles
from tests.factories import insert_todos, new_user_id, todo_row, todos, users
from tests.support import Client, mistakes

ZONES = ["UTC", "Pacific/Apia", "Pacific/Kiritimati", "America/New_York", "Europe/Berlin", "Asia/Kathmandu"]
ZONES += ["Pacific/Pago_Pago", "Australia/Lord_Howe", "Africa/Casablanca", "America/St_Johns"]
WHEN = ("overdue", "today", "upcoming", "none")

NAMED = PGDialect(paramstyle="named")  # type: ignore[no-untyped-call]


async def live_in(client: Client, zone: str) -> None:
    response = await client.patch(client.path("profile"), json={"time_zone": zone})
    assert response.status_code == 200, response.text


def is_due(when: str, row: dict[str, Any], now: datetime) -> bool:
    """Apply the rules of the contract in plain Python; `now` is on the user's own clock."""
    if row["due_date"] is None and row["due_at"] is None:
        return when == "none"
    day = row["due_date"] or row["due_at"].astimezone(now.tzinfo).date()
    over = row["due_at"] < now if row["due_at"] else row["due_date"] < now.date()
    answers: dict[str, bool] = {
        "overdue": bool(over and not row["completed"]),
        "today": day == now.date(),
        "upcoming": day > now.date(),
        "none": False,
    }
    return answers[when]


class TestDays:
    @pytest.mark.parametrize("zone", ZONES)
    async def test_days_are_those_of_the_profile_time_zone(self, app: Litestar, alice: Client, zone: str) -> None:
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

    async def test_days_follow_a_changed_time_zone(self, alice: Client) -> None:
        kiritimati = datetime.now(ZoneInfo("Pacific/Kiritimati")).date()
        await alice.create(title="there", due_date=str(kiritimati))
        await live_in(alice, "Pacific/Kiritimati")
        today = await titles(alice, due="today")
        await live_in(alice, "Pacific/Pago_Pago")  # 25 hours behind, always another day
        assert await titles(alice, due="upcoming") == ["there"]
        if kiritimati == datetime.now(ZoneInfo("Pacific/Kiritimati")).date():
            assert today == ["there"]

    async def test_days_are_per_user(self, alice: Client, bob: Client) -> None:
        await live_in(alice, "Pacific/Kiritimati")
        await live_in(bob, "Pacific/Pago_Pago")
        day = str(datetime.now(ZoneInfo("Pacific/Pago_Pago")).date())
        for client in (alice, bob):
            await client.create(title="x", due_date=day)
        assert await titles(alice, due="overdue") == ["x"]
        assert await titles(bob, due="overdue") == []

    @pytest.mark.parametrize("due_at", ["0001-01-01T00:00:00.000001Z", "9999-12-31T23:59:59.999998Z"])
    @pytest.mark.parametrize("zone", ["Pacific/Apia", "America/New_York"])
    async def test_first_and_last_dates_are_filtered(self, alice: Client, due_at: str, zone: str) -> None:
        await live_in(alice, zone)
        await alice.create(title="x", due_at=due_at)
        past = due_at.startswith("0")
        assert await titles(alice, due="overdue") == (["x"] if past else [])
        assert await titles(alice, due="upcoming") == ([] if past else ["x"])
        assert await titles(alice, due="today") == []

    @pytest.mark.parametrize("due", ["", "now", "Today", "tomorrow", "null"])
    async def test_invalid_due_filter_is_refused(self, alice: Client, due: str) -> None:
        assert list(mistakes(await alice.get(alice.todos(), params={"due": due}))) == ["due"]


class TestUnknownZones:
    """PostgreSQL does not know the stored zone: it is stored past the API here, which is what another host does."""

    FAR: ClassVar = [
        "Pacific/Kiritimati",
        "Pacific/Pago_Pago",
        "America/New_York",
        "Asia/Kathmandu",
        "Africa/Casablanca",
    ]

    @staticmethod
    async def store(app: Litestar, client: Client, zone: str) -> None:
        await client.get(client.path("profile"))
        async with app.state.database.begin(unscoped="tests") as connection:
            await connection.execute(update(users).values(time_zone=zone).where(users.c.id == client.user_id))

    @pytest.mark.parametrize("footer", [True, False])
    @pytest.mark.parametrize("real", FAR)
    async def test_days_are_computed_by_the_rules_of_python(
        self, app: Litestar, alice: Client, monkeypatch: pytest.MonkeyPatch, real: str, footer: bool
    ) -> None:
        rule = time_zones.posix_rule(real) if footer else time_zones._fixed(real)
        await self.store(app, alice, "Mars/Olympus_Mons")
        monkeypatch.setattr(services, "posix_rule", {"Mars/Olympus_Mons": rule}.__getitem__)
        now = datetime.now(ZoneInfo(real))
        rows = [
            todo_row(alice.user_id, due_at=now.astimezone(UTC) + timedelta(hours=n + 0.5)) for n in range(-30, 31, 5)
        ]
        rows += [todo_row(alice.user_id, due_date=now.date() + timedelta(days=n)) for n in range(-1, 2)]
        await insert_todos(app, rows)
        for when in WHEN:
            expected = {str(row["id"]) for row in rows if is_due(when, row, now)}
            shown = {todo["id"] for todo in await listed(alice, due=when)}
            if now.date() == datetime.now(now.tzinfo).date():
                assert shown == expected, when
        await live_in(alice, "UTC")
        assert (await alice.get(alice.todos(), params={"due": "today"})).status_code == 200

    async def test_unknown_time_zone_is_utc(self, app: Litestar, alice: Client) -> None:
        await self.store(app, alice, "Mars/Olympus_Mons")
        await alice.create(title="x", due_date=str(datetime.now(UTC).date()))
        page = await alice.get(alice.todos(), params={"due": "today", "limit": 1, "offset": 5})
        assert (page.status_code, page.json()["total"]) == (200, 1)
        assert await titles(alice, due="overdue", deleted=True) == []
        assert await titles(alice, due="today") == ["x"]
        response = await alice.post(alice.path("tasks"), json={"title": "y", "due_date": "2026-03-01T12:00"})
        assert response.json()["due_date"] == "2026-03-01T12:00:00Z"

    async def test_every_time_zone_rule_works_in_postgresql(self, app: Litestar, alice: Client) -> None:
        moments = [datetime(2027, month, day, 1, 30, tzinfo=UTC) for month in range(1, 13) for day in (1, 15)]
        rules = {zone: time_zones.posix_rule(zone) for zone in sorted(time_zones.KNOWN)[::5]}
        asked = {(zone, moment): func.timezone(rule, moment) for zone, rule in rules.items() for moment in moments}
        session = app.state.database.session(alice.user_id)
        columns = [column.label(f"c{number}") for number, column in enumerate(asked.values())]
        found = [
            row
            for at in range(0, len(columns), 1000)
            for row in (await session.read(select(*columns[at : at + 1000]), {}))[0]
        ]
        for (zone, moment), local in zip(asked, found, strict=True):
            if zone not in ("Africa/Casablanca", "Africa/El_Aaiun"):  # whose rules for Ramadan are dates
                assert local == moment.astimezone(ZoneInfo(zone)).replace(tzinfo=None), (zone, moment)


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
    instant = f"'{now.astimezone(UTC).isoformat()}'::timestamptz"
    async with app.state.database.begin(unscoped="tests") as connection:
        for when in WHEN:
            statement = select(todos.c.id).where(TodoService.statements.mine, TodoService.filters[f"due={when}"])
            sql = str(statement.compile(dialect=NAMED)).replace(":owner", f"'{client.user_id}'")
            sql = sql.replace(f":filter_due={when}", "NULL")
            shown = {row.id for row in await connection.exec_driver_sql(sql.replace("now()", instant))}
            assert shown == {row["id"] for row in stored if is_due(when, row, now)}, (when, now)
