"""`GET /api/{user_id}/todos?q=`: words as beginnings of words, quoted phrases, the best match first."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from litestar import Litestar

from app.lib.search import terms_of
from tests.domain.todos.verbs import listed, titles
from tests.factories import insert_todos, new_user_id, todo_row
from tests.support import Client, mistakes


async def found(client: Client, q: str, **query: Any) -> list[str]:
    return await titles(client, q=q, **query)


class TestWords:
    @pytest.mark.parametrize(
        ("text", "q", "matches"),
        [
            ("Water the plants", "water", True),
            ("Water the plants", "WAT", True),
            ("Water the plants", "plants water", True),
            ("Water the plants", "pla wat th", True),
            ("Water the plants", "ater", False),
            ("Water the plants", "water fire", False),
            ("Water the plants", "watered", False),
            ("Water the plants", "  water  ", True),
            ("Water the plants", '"water the"', True),
            ("Water the plants", '"the plants" water', True),
            ("Water the plants", '"the plants', True),
            ("Water the plants", '"water plants"', False),
            ("Water the plants", '"plants the"', False),
            ("Water the plants", '"wat the"', False),
            ("Water the plants", '"the plan"', False),
            ("Water the plants", '"WATER"', True),
            ("Water the plants", 'the"water"', True),
            ("Water the plants", '"" water', True),
            ("ÜBER die Straße", "über", True),
            ("über", "ÜB", True),
            ("日本語 のタスク", "日本", True),
            ("Привет мир", "привет МИ", True),
            ("don't panic", "don't", True),
            ("don't panic", "don pan", True),
            ("O'Neil", "o'n", True),
            ("three-four", "three-f", True),
            ("a/b testing", "test", True),
            ("Version 10", "10", True),
            ("it's 100%", "100%", True),
            ("emoji 🎉 party", "🎉 party", True),
            ("alpha", "alpha:*", True),
            ("alpha", "alpha*", True),
            ("alpha beta", "alpha & beta", True),
            ("alpha beta", "alpha | gamma", False),
            ("alpha beta", "!alpha", True),
            ("alpha beta", "alpha <-> beta", True),
            ("alpha beta", "(alpha)", True),
            ("alpha beta", "alpha\\", True),
            ("alpha beta", "'alpha'", True),
            ("alpha beta", "alpha:C", False),
        ],
    )
    async def test_all_must_occur(self, alice: Client, text: str, q: str, matches: bool) -> None:
        await alice.create(title=text)
        assert await found(alice, q) == ([text] if matches else [])
        await alice.create(title="other", description=text)
        assert len(await found(alice, q)) == 2 * matches

    @pytest.mark.parametrize(
        "q", [" ", "*", "%", '"', '""', "''", "\\", "& | !", "<->", ":*", "()", '"!!!"', "'", "\t\n", "_"]
    )
    async def test_without_a_word_nothing_matches(self, alice: Client, q: str) -> None:
        await alice.create(title="anything 🎉 goes % _ * ' \\")
        page = (await alice.get(alice.todos(), params={"q": q})).json()
        assert (page["items"], page["total"]) == ([], 0)

    async def test_words_may_be_in_title_and_description(self, alice: Client) -> None:
        await alice.create(title="one", description="two")
        assert await found(alice, "two one") == ["one"]

    async def test_a_phrase_lies_in_one_of_them(self, alice: Client) -> None:
        await alice.create(title="buy milk", description="today for us")
        assert await found(alice, '"milk today"') == []
        assert await found(alice, '"buy milk" "today for"') == ["buy milk"]

    async def test_changes_are_found_at_once(self, alice: Client) -> None:
        todo = await alice.create(title="before", description="old")
        await alice.patch(alice.todos(todo["id"]), json={"title": "after", "description": None})
        assert await found(alice, "before") == await found(alice, "old") == []
        assert await found(alice, "after") == ["after"]

    async def test_finds_only_ones_own(self, alice: Client, bob: Client) -> None:
        await alice.create(title="secret")
        assert await found(bob, "secret") == []

    async def test_joins_other_filters(self, alice: Client) -> None:
        await alice.create(title="word a", completed=True)
        await alice.create(title="word b")
        assert await found(alice, "word", completed="true") == ["word a"]
        assert await found(alice, "word", sort="title:desc") == ["word b", "word a"]

    async def test_the_longest_texts(self, alice: Client) -> None:
        await alice.create(title="x" * 200, description="\N{PILE OF POO} " * 5000)
        await alice.create(title="many", description=" ".join(f"w{number}" for number in range(1700)))
        await alice.create(title="one", description="y" * 10_000)
        assert await found(alice, "x" * 200) == ["x" * 200]
        assert await found(alice, "w1699") == ["many"]
        assert await found(alice, "x " * 100) == ["x" * 200]
        assert await found(alice, "'" * 200) == []

    @pytest.mark.parametrize("q", ["", "x" * 201, "a\x00", "\x00"])
    async def test_invalid(self, alice: Client, q: str) -> None:
        assert list(mistakes(await alice.get(alice.todos(), params={"q": q}))) == ["q"]

    async def test_it_is_given_once(self, alice: Client) -> None:
        assert mistakes(await alice.get(f"{alice.todos()}?q=a&q=b")) == {"q": "Expected the parameter once"}
        response = await alice.get(f"{alice.todos()}?q=%ff")
        assert response.status_code == 422


class TestRank:
    async def test_the_best_comes_first(self, alice: Client) -> None:
        await alice.create(title="below", description="word")
        await alice.create(title="word")
        await alice.create(title="neither", description="nothing")
        assert [todo["title"] for todo in await listed(alice, q="word")] == ["word", "below"]

    async def test_the_rank_is_no_sort_that_clients_ask_for(self, alice: Client) -> None:
        assert "sort" in mistakes(await alice.get(alice.todos(), params={"q": "a", "sort": "rank"}))

    async def test_cursors_follow_it(self, alice: Client) -> None:
        for number in range(12):
            await alice.create(title="word " * (number % 3 + 1), description="word" if number % 2 else None)
        whole = [todo["id"] for todo in await listed(alice, q="wor")]
        response = await alice.get(alice.todos(), params={"q": "wor", "limit": 5})
        seen = response.json()["items"]
        while "link" in response.headers:
            assert "q=wor" in response.links["next"]["url"]
            response = await alice.get(response.links["next"]["url"])
            seen += response.json()["items"]
        assert [todo["id"] for todo in seen] == whole
        assert len(whole) == 12

    async def test_its_cursor_is_of_no_other_sort(self, alice: Client) -> None:
        for _ in range(2):
            await alice.create(title="word")
        cursor = (await alice.get(alice.todos(), params={"q": "word", "limit": 1})).json()["next_cursor"]
        for query in ({}, {"sort": "title"}, {"q": "word", "sort": "created_at:desc"}):
            assert "cursor" in mistakes(await alice.get(alice.todos(), params={"cursor": cursor} | query))


@given(text=st.text())
def test_terms_hold_no_space_or_are_phrases(text: str) -> None:
    for term in terms_of(text):
        assert term.startswith('"') or len(term.split()) == 1
        assert term.count('"') == term.startswith('"')


vocabulary = st.sampled_from(["ab", "abc", "b", "bc", "cab", "über", "Ab", "x1", "日本"])
texts = st.lists(vocabulary, max_size=4).map(" ".join)
terms = st.one_of(vocabulary, vocabulary.map(lambda word: word[:1]), st.lists(vocabulary, min_size=1, max_size=3))


def matches(title: str, description: str, query: list[Any]) -> bool:
    """Apply the rules of the contract in plain Python."""
    fields = [text.lower().split() for text in (title, description)]
    words = [word for field in fields for word in field]
    for term in query:
        if isinstance(term, str):
            if not any(word.startswith(term.lower()) for word in words):
                return False
        else:
            phrase = [word.lower() for word in term]
            starts = [(field, at) for field in fields for at in range(len(field))]
            if not any(field[at : at + len(phrase)] == phrase for field, at in starts):
                return False
    return True


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.tuples(texts.filter(bool), texts), min_size=5, max_size=15),
    queries=st.lists(st.lists(terms, min_size=1, max_size=3), min_size=3, max_size=6),
)
async def test_what_is_found_is_that_of_the_model(
    app: Litestar, client_of: Any, rows: list[tuple[str, str]], queries: list[list[Any]]
) -> None:
    client = client_of(new_user_id())
    stored = [todo_row(client.user_id, title=title, description=description) for title, description in rows]
    await insert_todos(app, stored)
    for query in queries:
        q = " ".join(term if isinstance(term, str) else f'"{" ".join(term)}"' for term in query)
        expected = {str(row["id"]) for row in stored if matches(row["title"], row["description"], query)}
        assert {todo["id"] for todo in await listed(client, q=q)} == expected
