"""4. Todos: full text, and what is due."""

from datetime import UTC, date, datetime, timedelta, timezone

import pytest

from .api import User, body, mistakes, section

pytestmark = pytest.mark.full
says = section("4. Todos /api/{user_id}/todos")


class TestSearch:
    @says("q (full text over title and description")
    def test_search_reads_title_and_description(self, alice: User, bob: User) -> None:
        alice.create(title="Water the plants")
        alice.create(title="Garden", description="needs water")
        alice.create(title="Other")
        bob.create(title="Water polo")
        assert sorted(alice.titles(q="water")) == ["Garden", "Water the plants"]
        assert alice.page(q="water")["total"] == 2
        assert alice.titles(q="nothing") == []

    @says("Each word must occur as the beginning of a word")
    def test_search_matches_word_prefixes(self, alice: User) -> None:
        alice.create(title="Water the plants", description="on Monday")
        for found in ("wat", "plan", "mon pla", "plants water", "water the"):
            assert alice.titles(q=found) == ["Water the plants"], found
        for missed in ("ater", "lants", "water tuesday", "waterfall"):
            assert alice.titles(q=missed) == [], missed

    @says('"words in quotes" must occur complete and in this order')
    def test_search_matches_phrases(self, alice: User) -> None:
        alice.create(title="Water the plants today")
        for found in ('"water the plants"', '"the plants" wat', '"today"'):
            assert alice.titles(q=found) == ["Water the plants today"], found
        for missed in ('"plants the"', '"water plants"', '"the plan"', '"wat"'):
            assert alice.titles(q=missed) == [], missed

    @says("Case is ignored")
    def test_search_ignores_case(self, alice: User) -> None:
        alice.create(title="ÄPFEL und Birnen")
        for text in ("äpfel", "ÄPFEL", "Äpf", "bIRNEN", '"UND birnen"'):
            assert alice.titles(q=text) == ["ÄPFEL und Birnen"], text

    @says("Spaces, punctuation and symbols only separate words: Call 555-1234 is found by 1234, Fix <Header> by header")
    @says("A word is a run of letters and digits")
    @says("Words without a space between them are a phrase: node.js finds node followed by js…, in one text")
    @pytest.mark.parametrize(
        ("title", "found", "missed"),
        [
            ("Call 555-1234", ("1234", "555-1234", "555-12", "call 1234"), ("1234-555", "55-1234")),
            ("Fix <Header> component", ("header", "<header>", "<Header> comp"), ("eader",)),
            ("Upgrade node.js", ("js", "node.js", "node.j", "upgrade node.js"), ("js.node", "nod.js")),
            ("Buy milk/bread", ("bread", "milk/bread", "milk/b"), ("bread/milk",)),
            ("Mail ann@example.org", ("ann", "example", "ann@example.org", "org"), ("ann@org",)),
        ],
    )
    def test_punctuation_separates_words(
        self, alice: User, title: str, found: tuple[str, ...], missed: tuple[str, ...]
    ) -> None:
        alice.create(title=title)
        assert [q for q in found if alice.titles(q=q) != [title]] == []
        assert [q for q in missed if alice.titles(q=q)] == []

    @says("In a phrase without a closing quote, the last word is the beginning of a word")
    @says("So each prefix of a title that ends in a letter or digit finds that title")
    def test_every_prefix_of_a_title_finds_it(self, alice: User) -> None:
        title = 'Read "The C++ FAQ", https://a.example/b_c?d=1#e (p. 12-14), at 5:30!'
        alice.create(title=title)
        ends = [end for end, character in enumerate(title, 1) if character.isalnum()]
        assert [title[:end] for end in ends if alice.titles(q=title[:end]) != [title]] == []

    @says("Accents, vowel points and compatibility forms are ignored, too")
    @says("ß æ œ ø đ ł ħ ŧ ı are ss ae oe o d l h t i")  # noqa: RUF001
    @pytest.mark.parametrize(
        ("title", "q"),
        [
            ("Müller", "muller"),
            ("Straße", "strasse"),
            ("ﬁn", "fin"),
            ("ｶﾞｿﾘﾝ", "ガソリン"),
            ("née", "NÉE"),
            ("æœøđłħŧı", "AEoeodlhti"),
        ],
    )
    def test_search_folds_case_beyond_ascii(self, alice: User, title: str, q: str) -> None:
        alice.create(title=title)
        for one, other in ((title, q), (q, title)):
            todo = alice.create(title=f"in {one}")
            assert f"in {one}" in alice.titles(q=other)
            alice.delete(f"/todos/{todo['id']}")

    @says("The first 3,000 words of a description are searched, and the first 255 characters of a word")
    def test_search_reads_long_texts(self, alice: User) -> None:
        alice.create(title="words", description=" ".join(chr(0x4E00 + number) for number in range(5000)))
        alice.create(title="word", description="𐐀" * 10_000)
        assert [alice.titles(q=chr(0x4E00 + number)) for number in (0, 2999, 3000)] == [["words"], ["words"], []]
        assert alice.titles(q="𐐨" * 200) == ["word"]

    @says("/tasks?search= finds any part of a text")
    @says("In scripts without spaces, the text between two separators is one word")
    def test_search_in_scripts_without_spaces(self, alice: User) -> None:
        alice.create(title="買い物リスト、牛乳")
        found = [q for q in ("買い物", "牛乳", "リスト") if alice.titles(q=q)]
        assert found == ["買い物", "牛乳"]
        assert len(body(alice.get("/tasks", params={"search": "リスト"}))) == 1

    @says("Without sort, the best match comes first")
    def test_best_match_comes_first(self, alice: User) -> None:
        alice.create(title="apple apple", description="apple, apple and apple")
        alice.create(title="Shopping", description="milk, bread, an apple, and so on and on")
        assert alice.titles(q="apple") == ["apple apple", "Shopping"]
        assert alice.titles(q="apple", sort="title:desc") == ["apple apple", "Shopping"]
        assert alice.titles(q="apple", sort="created_at:desc") == ["Shopping", "apple apple"]

    @says("q (full text")
    @says("?cursor= pages")
    def test_matches_are_paged(self, alice: User) -> None:
        made = {alice.create(title="apple " * (1 + number % 3))["id"] for number in range(7)}
        page = alice.page(q="apple", limit=2)
        seen = [todo["id"] for todo in page["items"]]
        while page["next_cursor"]:
            page = alice.page(q="apple", limit=2, cursor=page["next_cursor"])
            seen += [todo["id"] for todo in page["items"]]
        assert sorted(seen) == sorted(made)

    @says("A q without any word matches nothing")
    @pytest.mark.parametrize("text", ["!", "&", "|", ":*", "()", "''", '"', '""', '" "', "<->", "\\", "-", "…", " "])
    def test_query_without_a_word_matches_nothing(self, alice: User, text: str) -> None:
        alice.create(title="Water & plants! <-> 'x' -- \\ (y) :*")
        assert alice.titles(q=text) == []

    @says("Each word must occur")
    @pytest.mark.parametrize("text", ["water & | !", "water:*", "(water)", "'water'", "!water", 'water"', "water\\"])
    def test_search_has_no_operators(self, alice: User, text: str) -> None:
        alice.create(title="Water")
        assert alice.titles(q=text) == ["Water"]

    @says("q has 1 to 200 characters")
    def test_search_query_length_is_limited(self, alice: User) -> None:
        alice.create(title="x")
        assert alice.titles(q="x") == ["x"]
        assert alice.titles(q="y" * 200) == []
        for wrong in ("", "x" * 201):
            assert mistakes(alice.get("/todos", params={"q": wrong})) == {"q"}

    @says("q (full text over title and description")
    def test_changed_text_is_found(self, alice: User) -> None:
        todo = alice.create(title="before")
        body(alice.patch(f"/todos/{todo['id']}", json={"title": "after"}))
        assert (alice.titles(q="before"), alice.titles(q="after")) == ([], ["after"])


def today(hours: int) -> date:
    """Give the calendar day of now, this far from UTC."""
    return datetime.now(timezone(timedelta(hours=hours))).date()


class TestDue:
    @says("due (overdue today upcoming none, in the profile's time zone)")
    @says("today are those due on the user's current day, upcoming on a later one; none are those without")
    @pytest.mark.parametrize(
        ("zone", "hours"), [("UTC", 0), ("Pacific/Kiritimati", 14), ("Pacific/Pago_Pago", -11), ("Asia/Tokyo", 9)]
    )
    def test_due_filters_use_days_of_the_profile_zone(self, alice: User, zone: str, hours: int) -> None:
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

    @says("overdue are open todos whose day or instant has passed")
    def test_overdue_filter(self, alice: User) -> None:
        now = datetime.now(UTC)
        alice.create(title="a minute ago", due_at=(now - timedelta(minutes=1)).isoformat())
        alice.create(title="in an hour", due_at=(now + timedelta(hours=1)).isoformat())
        alice.create(title="long ago", due_date="2001-01-01")
        alice.create(title="done", due_date="2001-01-01", completed=True)
        assert sorted(alice.titles(due="overdue")) == ["a minute ago", "long ago"]
        assert alice.titles(due="upcoming", completed="true") == []

    @says("today are those due on the user's current day, upcoming on a later one")
    def test_due_filters_compare_instants(self, alice: User) -> None:
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

    @says("the same holds for sort=due_at")
    def test_sort_by_due_mixes_days_and_instants(self, alice: User) -> None:
        alice.create(title="noon", due_at="2026-03-01T12:00:00Z")
        alice.create(title="day", due_date="2026-03-01")
        alice.create(title="eve", due_at="2026-02-28T23:59:59Z")
        assert alice.titles(sort="due_at") == ["eve", "day", "noon"]

    @says("due (overdue today upcoming none")
    def test_invalid_due_filter_is_refused(self, alice: User) -> None:
        for wrong in ("", "Today", "tomorrow", "null"):
            assert mistakes(alice.get("/todos", params={"due": wrong})) == {"due"}
