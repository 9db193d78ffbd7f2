"""4. Todos: full text, and what is due."""

from datetime import UTC, date, datetime, timedelta, timezone
from functools import partial

import pytest

from .api import User, body, mistakes

pytestmark = pytest.mark.full
says = partial(pytest.mark.contract, "4. Todos /api/{user_id}/todos")


class TestSearch:
    @says("q (full text over title and description")
    def test_title_and_description(self, alice: User, bob: User) -> None:
        alice.create(title="Water the plants")
        alice.create(title="Garden", description="needs water")
        alice.create(title="Other")
        bob.create(title="Water polo")
        assert sorted(alice.titles(q="water")) == ["Garden", "Water the plants"]
        assert alice.page(q="water")["total"] == 2
        assert alice.titles(q="nothing") == []

    @says("Each word must occur, as the beginning of a word")
    def test_every_word_as_a_beginning(self, alice: User) -> None:
        alice.create(title="Water the plants", description="on Monday")
        for found in ("wat", "plan", "mon pla", "plants water", "water the"):
            assert alice.titles(q=found) == ["Water the plants"], found
        for missed in ("ater", "lants", "water tuesday", "waterfall"):
            assert alice.titles(q=missed) == [], missed

    @says('"words in quotes" must occur whole and in this order')
    def test_phrases(self, alice: User) -> None:
        alice.create(title="Water the plants today")
        for found in ('"water the plants"', '"the plants" wat', '"today"'):
            assert alice.titles(q=found) == ["Water the plants today"], found
        for missed in ('"plants the"', '"water plants"', '"the plan"', '"wat"'):
            assert alice.titles(q=missed) == [], missed

    @says("Case does not matter")
    def test_case(self, alice: User) -> None:
        alice.create(title="ÄPFEL und Birnen")
        for text in ("äpfel", "ÄPFEL", "Äpf", "bIRNEN", '"UND birnen"'):
            assert alice.titles(q=text) == ["ÄPFEL und Birnen"], text

    @says("Without sort, the best match comes first")
    def test_the_best_match_comes_first(self, alice: User) -> None:
        alice.create(title="apple apple", description="apple, apple and apple")
        alice.create(title="Shopping", description="milk, bread, an apple, and so on and on")
        assert alice.titles(q="apple") == ["apple apple", "Shopping"]
        assert alice.titles(q="apple", sort="title:desc") == ["apple apple", "Shopping"]
        assert alice.titles(q="apple", sort="created_at:desc") == ["Shopping", "apple apple"]

    @says("q (full text")
    @says("?cursor= pages")
    def test_pages_of_matches(self, alice: User) -> None:
        made = {alice.create(title="apple " * (1 + number % 3))["id"] for number in range(7)}
        page = alice.page(q="apple", limit=2)
        seen = [todo["id"] for todo in page["items"]]
        while page["next_cursor"]:
            page = alice.page(q="apple", limit=2, cursor=page["next_cursor"])
            seen += [todo["id"] for todo in page["items"]]
        assert sorted(seen) == sorted(made)

    @says("Text without any word matches nothing")
    @pytest.mark.parametrize("text", ["!", "&", "|", ":*", "()", "''", '"', '""', '" "', "<->", "\\", "-", "…", " "])
    def test_no_word(self, alice: User, text: str) -> None:
        alice.create(title="Water & plants! <-> 'x' -- \\ (y) :*")
        assert alice.titles(q=text) == []

    @says("Each word must occur")
    @pytest.mark.parametrize("text", ["water & | !", "water:*", "(water)", "'water'", "!water", 'water"', "water\\"])
    def test_no_operators(self, alice: User, text: str) -> None:
        alice.create(title="Water")
        assert alice.titles(q=text) == ["Water"]

    @says("q is 1 to 200 characters")
    def test_lengths(self, alice: User) -> None:
        alice.create(title="x")
        assert alice.titles(q="x") == ["x"]
        assert alice.titles(q="y" * 200) == []
        for wrong in ("", "x" * 201):
            assert mistakes(alice.get("/todos", params={"q": wrong})) == {"q"}

    @says("q (full text over title and description")
    def test_what_was_changed_is_found(self, alice: User) -> None:
        todo = alice.create(title="before")
        body(alice.patch(f"/todos/{todo['id']}", json={"title": "after"}))
        assert (alice.titles(q="before"), alice.titles(q="after")) == ([], ["after"])


def today(hours: int) -> date:
    """Give the calendar day of now, this far from UTC."""
    return datetime.now(timezone(timedelta(hours=hours))).date()


class TestDue:
    @says("due (overdue today upcoming none, in the profile's time zone)")
    @says("today those that are due on the user's calendar day of now, upcoming on a later one; none those without")
    @pytest.mark.parametrize(
        ("zone", "hours"), [("UTC", 0), ("Pacific/Kiritimati", 14), ("Pacific/Pago_Pago", -11), ("Asia/Tokyo", 9)]
    )
    def test_days(self, alice: User, zone: str, hours: int) -> None:
        body(alice.patch("/profile", json={"time_zone": zone}))
        for _ in range(2):  # again, if a midnight came in between
            day = today(hours)
            made = [
                alice.create(title=str(each), due_date=str(day + timedelta(days=each)))["id"] for each in (-1, 0, 1, 9)
            ]
            made.append(alice.create(title="never")["id"])
            found = {due: sorted(alice.titles(due=due)) for due in ("overdue", "today", "upcoming", "none")}
            if today(hours) == day:
                break
            for key in made:
                alice.delete(f"/todos/{key}")
        assert found == {"overdue": ["-1"], "today": ["0"], "upcoming": ["1", "9"], "none": ["never"]}

    @says("overdue are open todos whose day has passed or whose instant is over")
    def test_overdue(self, alice: User) -> None:
        now = datetime.now(UTC)
        alice.create(title="a minute ago", due_at=(now - timedelta(minutes=1)).isoformat())
        alice.create(title="in an hour", due_at=(now + timedelta(hours=1)).isoformat())
        alice.create(title="long ago", due_date="2001-01-01")
        alice.create(title="done", due_date="2001-01-01", completed=True)
        assert sorted(alice.titles(due="overdue")) == ["a minute ago", "long ago"]
        assert alice.titles(due="upcoming", completed="true") == []

    @says("today those that are due on the user's calendar day of now, upcoming on a later one")
    def test_instants(self, alice: User) -> None:
        body(alice.patch("/profile", json={"time_zone": "Asia/Tokyo"}))
        for _ in range(2):
            day = today(9)
            begins = datetime(day.year, day.month, day.day, tzinfo=timezone(timedelta(hours=9)))
            times = {"first": 0.0, "last": 24 * 60 - 1.0, "next": 24 * 60.0, "before": -1.0}
            made = [
                alice.create(title=title, due_at=(begins + timedelta(minutes=minutes)).isoformat())["id"]
                for title, minutes in times.items()
            ]
            found = {due: sorted(alice.titles(due=due)) for due in ("today", "upcoming")}
            if today(9) == day:
                break
            for key in made:
                alice.delete(f"/todos/{key}")
        assert found == {"today": ["first", "last"], "upcoming": ["next"]}

    @says("so it does in sort=due_at")
    def test_the_sort(self, alice: User) -> None:
        alice.create(title="noon", due_at="2026-03-01T12:00:00Z")
        alice.create(title="day", due_date="2026-03-01")
        alice.create(title="eve", due_at="2026-02-28T23:59:59Z")
        assert alice.titles(sort="due_at") == ["eve", "day", "noon"]

    @says("due (overdue today upcoming none")
    def test_what_is_no_due(self, alice: User) -> None:
        for wrong in ("", "Today", "tomorrow", "null"):
            assert mistakes(alice.get("/todos", params={"due": wrong})) == {"due"}
