"""`GET /api/{user_id}/todos?q=`: words as beginnings of words, quoted phrases, the best match first."""

# ruff: noqa: RUF001 - letters of many scripts are the subject

import re
from itertools import cycle, islice
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from litestar import Litestar

from app.lib.persistence.full_text_search import terms_of
from tests.domain.todos.verbs import batch, listed, titles
from tests.factories import insert_todos, new_user_id, todo_row
from tests.support import Client, mistakes

# Each is repeated to 10,000 characters.
HOSTILE = [
    *(
        "a",
        "1",
        "a_",
        "a-",
        "a.",
        "/a",
        "1.",
        "-1e5+",
        "<",
        "<a&",
        "<a ",
        "&",
        "&amp;",
        "http://a.b/",
        "a@b.",
        "\\",
        "'",
    ),
    *('"', "漢", "漢_", "한", "ｶﾞ", "𐐀", "💩", "\u200b"),
    *("e\u0301", "\ufdfa"),
]


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
            ("Water the plants", '"the pla', True),
            ("Water the plants", '"water pla', False),
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
            ("Buy milk/bread", "bread", True),
            ("Buy milk/bread", "milk/br", True),
            ("Buy milk/bread", '"milk bread"', True),
            ("Buy bread/milk", "milk/bread", False),
            ("Call 555-1234", "1234", True),
            ("Call 555-1234", "555-1234", True),
            ("Call 555-1234", "-1234", True),
            ("Upgrade node.js", "js", True),
            ("Upgrade node.js", "node.js", True),
            ("Upgrade node.js", "ode.js", False),
            ("Fix <Header> component", "header", True),
            ("Mail ann@example.org", "example", True),
            ("Mail ann@example.org", "ann@ex", True),
            ("See https://example.org/a_b?c=1.5e10", "b?c=1.5e", True),
            ("1.5e-10 &amp; v2.0-rc1", "amp rc1 10", True),
            ("snake_case", "case", True),
            ("Müller", "muller", True),
            ("Muller", "Mu\u0308ller", True),
            ("Straße", "STRASSE", True),
            ("STRASSE", "straß", True),
            ("İSTANBUL ısı", "istanbul ISI", True),
            ("ΟΔΟΣ", "οδός", True),
            ("Œuvre Łódź smørrebrød", "oeuvre lodz smorrebrod", True),
            ("ﬁnancé", "financ", True),
            ("ｶﾞｿﾘﾝ ＡＢＣ１２３", "ガソリン abc123", True),
            ("カ", "ガ", False),
            ("한국어", "한국", True),
            ("हिन्दी में", "हिन्दी", True),
            ("كِتَاب", "كتاب", True),
            ("co\u00adoperate", "cooperate", True),
            ("買い物リスト", "買い物", True),
            ("買い物リスト", "リスト", False),
            ("x²", "x2", True),
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
    async def test_all_words_must_match(self, alice: Client, text: str, q: str, matches: bool) -> None:
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

    async def test_words_match_across_title_and_description(self, alice: Client) -> None:
        await alice.create(title="one", description="two")
        assert await found(alice, "two one") == ["one"]

    async def test_phrase_matches_within_one_field(self, alice: Client) -> None:
        await alice.create(title="buy milk", description="today for us")
        assert await found(alice, '"milk today"') == []
        assert await found(alice, '"buy milk" "today for"') == ["buy milk"]

    async def test_changed_text_is_found_at_once(self, alice: Client) -> None:
        todo = await alice.create(title="before", description="old")
        await alice.patch(alice.todos(todo["id"]), json={"title": "after", "description": None})
        assert await found(alice, "before") == await found(alice, "old") == []
        assert await found(alice, "after") == ["after"]

    async def test_search_finds_only_own_todos(self, alice: Client, bob: Client) -> None:
        await alice.create(title="secret")
        assert await found(bob, "secret") == []

    async def test_search_combines_with_other_filters(self, alice: Client) -> None:
        await alice.create(title="word a", completed=True)
        await alice.create(title="word b")
        assert await found(alice, "word", completed="true") == ["word a"]
        assert await found(alice, "word", sort="title:desc") == ["word b", "word a"]

    async def test_parts_of_a_token_are_adjacent_in_one_field(self, alice: Client) -> None:
        await alice.create(title="call 555", description="1234 times")
        assert await found(alice, "555-1234") == []
        assert await found(alice, "555 1234") == ["call 555"]

    async def test_hostile_texts_are_stored_and_their_beginnings_found(self, alice: Client) -> None:
        texts = ["".join(islice(cycle(text), 10_000)) for text in HOSTILE]
        operations = [
            {"op": "create", "data": {"title": f"{number}", "description": text}} for number, text in enumerate(texts)
        ]
        for some in (operations[:10], operations[10:20], operations[20:]):
            assert (await batch(alice, *some)).status_code == 200
        for number, text in enumerate(texts):
            if any(each.isalnum() for each in text):
                assert f"{number}" in await found(alice, text[:199]), text[:10]

    @pytest.mark.parametrize(
        "q", ["a b c d e f " * 16, "a.b " * 50, '"a" ' * 50, "a." * 100, "\ufdfa" * 200, "'\\:*&" * 40]
    )
    async def test_hostile_queries_are_answered(self, alice: Client, q: str) -> None:
        await alice.create(title="hostile", description="a b c d e f " * 800)
        assert (await alice.get(alice.todos(), params={"q": q[:200]})).status_code == 200

    async def test_the_first_3000_words_of_a_text_are_found(self, alice: Client) -> None:
        await alice.create(title="most", description=" ".join(map(chr, range(0x4E00, 0x4E00 + 5000))))
        assert await found(alice, chr(0x4E00 + 2999)) == ["most"]
        assert await found(alice, chr(0x4E00 + 3000)) == []

    async def test_longest_texts_are_searchable(self, alice: Client) -> None:
        await alice.create(title="x" * 200, description="\N{PILE OF POO} " * 5000)
        await alice.create(title="many", description=" ".join(f"w{number}" for number in range(1700)))
        await alice.create(title="one", description="y" * 10_000)
        assert await found(alice, "x" * 200) == ["x" * 200]
        assert await found(alice, "w1699") == ["many"]
        assert await found(alice, "x " * 100) == ["x" * 200]
        assert await found(alice, "'" * 200) == []

    @pytest.mark.parametrize("q", ["", "x" * 201, "a\x00", "\x00"])
    async def test_invalid_queries_are_refused(self, alice: Client, q: str) -> None:
        assert list(mistakes(await alice.get(alice.todos(), params={"q": q}))) == ["q"]

    async def test_repeated_query_parameter_is_refused(self, alice: Client) -> None:
        assert mistakes(await alice.get(f"{alice.todos()}?q=a&q=b")) == {"q": "Expected the parameter once"}
        response = await alice.get(f"{alice.todos()}?q=%ff")
        assert response.status_code == 422


class TestRank:
    async def test_best_match_comes_first(self, alice: Client) -> None:
        await alice.create(title="below", description="word")
        await alice.create(title="word")
        await alice.create(title="neither", description="nothing")
        assert [todo["title"] for todo in await listed(alice, q="word")] == ["word", "below"]

    async def test_rank_is_not_a_public_sort(self, alice: Client) -> None:
        assert "sort" in mistakes(await alice.get(alice.todos(), params={"q": "a", "sort": "rank"}))

    async def test_cursor_pages_follow_the_rank(self, alice: Client) -> None:
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

    async def test_rank_cursor_is_refused_by_other_sorts(self, alice: Client) -> None:
        for _ in range(2):
            await alice.create(title="word")
        cursor = (await alice.get(alice.todos(), params={"q": "word", "limit": 1})).json()["next_cursor"]
        for query in ({}, {"sort": "title"}, {"q": "word", "sort": "created_at:desc"}):
            assert "cursor" in mistakes(await alice.get(alice.todos(), params={"cursor": cursor} | query))


@given(text=st.text(st.sampled_from('ab" \\')) | st.text())
def test_terms_have_each_word_of_a_query_and_quotes_only_in_front(text: str) -> None:
    terms = terms_of(text)
    assert all('"' not in term[1:] for term in terms)
    assert all(any(word in term for term in terms) for word in filter(None, re.split(r'[\s"]+', text)))


TOKENS = [
    *("Buy", "milk/bread", "555-1234", "node.js", "<Header>", "ann@example.org", "https://example.org/a_b?c=d#e"),
    *("1.5e10", "C:\\Temp\\x", "../etc", "+49(30)1234", "#1", "v2.0-rc.1", "&amp;", "don't", "snake_case", "{x:1}"),
    *("a&b|c", "!", '"quoted', 'text"', '5"x3"', "Straße", "İzmir", "ΟΔΟΣ", "ﬁn", "Œuvre", "e\u0301te\u0301", "Ёж"),
    *("Приве\u0301т", "שָׁלוֹם", "كِتَاب", "می\u200cخواهم", "हिन्दी", "ไทย", "買い物。リスト", "ｶﾞｿﾘﾝ", "한국어", "½", "x²"),
    *("٣", "①", "💩", "𐐀𐐁", "\ufdfa", "\u00ad"),
]
# Not the presentation forms of single accents: they are letters to Unicode, and nothing to a search.
letters = st.characters(
    categories=["L", "N"], exclude_characters=[chr(code) for code in (*range(0xFC5E, 0xFC64), *range(0xFE70, 0xFE80))]
)
tokens = st.sampled_from(TOKENS) | st.text(letters, min_size=1, max_size=4)
made_titles = st.lists(tokens | st.sampled_from([" ", "  ", "-", "_", "/"]), min_size=1, max_size=6).map(" ".join)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(title=made_titles.map(str.strip).filter(lambda title: 0 < len(title) <= 200), data=st.data())
async def test_every_beginning_of_a_title_that_ends_in_a_letter_or_digit_finds_it(
    alice: Client, title: str, data: st.DataObject
) -> None:
    ends = [end for end, each in enumerate(title, 1) if each.isalnum()]
    assume(ends)
    todo = await alice.create(title=title)
    for end in {ends[-1], *data.draw(st.lists(st.sampled_from(ends), max_size=4))}:
        beginning = title[:end].strip()
        assert todo["id"] in {row["id"] for row in await listed(alice, q=beginning)}, beginning


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
async def test_matches_equal_the_model(
    app: Litestar, client_of: Any, rows: list[tuple[str, str]], queries: list[list[Any]]
) -> None:
    client = client_of(new_user_id())
    stored = [todo_row(client.user_id, title=title, description=description) for title, description in rows]
    await insert_todos(app, stored)
    for query in queries:
        q = " ".join(term if isinstance(term, str) else f'"{" ".join(term)}"' for term in query)
        expected = {str(row["id"]) for row in stored if matches(row["title"], row["description"], query)}
        assert {todo["id"] for todo in await listed(client, q=q)} == expected
