"""Query strings: typed structs, and every parameter that is wrong named at once."""

from contextlib import suppress
from datetime import UTC, date, datetime
from typing import Annotated, Any
from urllib.parse import quote, urlencode

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec import UNSET, Meta, UnsetType

from app.domain.todos.schemas import TodoQuery
from app.lib.errors import Invalid
from app.lib.validation.query import MAX_OFFSET, Moment, PageQuery, parse_query, parse_sort, refuse_parameters
from tests.support import Client, mistakes


class Search(PageQuery):
    """Something of each kind."""

    done: bool | UnsetType = UNSET
    tag: Annotated[list[str], Meta(max_length=3)] | UnsetType = UNSET
    since: Moment | UnsetType = UNSET


def collect_errors(query: str | bytes, kind: Any = Search) -> dict[str | None, str]:
    with pytest.raises(Invalid) as invalid:
        parse_query(query if isinstance(query, bytes) else query.encode(), kind)
    assert all(error.pointer is None for error in invalid.value.errors)
    return {error.parameter: error.detail for error in invalid.value.errors}


def parsed(query: str) -> Search:
    return parse_query(query.encode(), Search)


class TestParameters:
    def test_query_parameters_have_defaults(self) -> None:
        empty = parsed("")
        assert (empty.limit, empty.offset, empty.done, empty.tag) == (20, 0, UNSET, UNSET)

    def test_all_query_errors_are_reported_at_once(self) -> None:
        query = "limit=0&offset=-1&done=maybe&since=soon&tag=a&tag=b&tag=c&tag=d&nope=1&Limit=1"
        assert collect_errors(query).keys() == {"limit", "offset", "done", "since", "tag", "nope", "Limit"}

    def test_repeated_query_parameter_is_refused_unless_a_list(self) -> None:
        assert collect_errors("limit=1&limit=1&done=true&done=true").keys() == {"limit", "done"}
        assert parsed("tag=b&tag=a&tag=b").tag == ["b", "a", "b"]

    def test_query_parameters_may_be_percent_encoded(self) -> None:
        assert parsed("%6Cimit=%35&tag=a+b&tag=%26%3D").limit == 5
        assert parsed("tag=a+b&tag=%26%3D%2B&tag=%F0%9F%A6%84").tag == ["a b", "&=+", "🦄"]

    def test_empty_query_segments_are_ignored(self) -> None:
        assert parsed("&&limit=5&").limit == 5

    @pytest.mark.parametrize("name", ["", "%00", "%ED%A0%80", "a%0Ab", "%F0%9F%A6%84", "tag%5B%5D", "x" * 1000])
    def test_unknown_query_parameters_are_refused(self, name: str) -> None:
        assert collect_errors(f"{name}=1")

    @pytest.mark.parametrize("query", [b"tag=%ff", b"tag=\xff", b"%ff=1", b"tag=a&" * 101, "tag=ü".encode()])
    def test_undecodable_query_is_malformed(self, query: bytes) -> None:
        assert collect_errors(query) == {"": "Malformed query string"}

    def test_nul_in_a_query_parameter_is_refused(self) -> None:
        assert collect_errors("tag=a&tag=%00&limit=1%00").keys() == {"tag", "limit"}

    def test_query_is_refused_where_none_is_expected(self) -> None:
        with pytest.raises(Invalid) as invalid:
            refuse_parameters(b"a=1&b&a=2")
        assert [error.parameter for error in invalid.value.errors] == ["a", "b"]
        refuse_parameters(b"")
        refuse_parameters(b"&&")


class TestNumbers:
    @pytest.mark.parametrize(("text", "limit"), [("1", 1), ("100", 100), ("007", 7)])
    def test_query_numbers_are_plain_decimals(self, text: str, limit: int) -> None:
        assert parsed(f"limit={text}").limit == limit

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "0",
            "101",
            "-1",
            "1.0",
            "1e1",
            "+5",
            "%205",
            "5%20",
            "5%0A",
            "0x5",
            "%D9%A5",
            "%C2%B2",
            "1_0",
            "null",
            "1" + "0" * 30,
            "9" * 5000,
            "nan",
            "true",
            "-" + "0" * 31,
        ],
    )
    def test_other_query_numbers_are_refused(self, text: str) -> None:
        assert collect_errors(f"limit={text}").keys() == {"limit"}

    def test_query_numbers_have_a_maximum(self) -> None:
        assert parsed(f"offset={MAX_OFFSET}").offset == MAX_OFFSET
        assert collect_errors(f"offset={MAX_OFFSET + 1}").keys() == {"offset"}


class TestMoments:
    @pytest.mark.parametrize(
        ("text", "moment"),
        [
            ("2026-01-02T03:04:05Z", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
            ("2026-01-02T03:04:05%2B02:00", datetime(2026, 1, 2, 1, 4, 5, tzinfo=UTC)),
            ("2026-01-02", datetime(2026, 1, 2, tzinfo=UTC)),
            ("0001-01-01", datetime(1, 1, 1, tzinfo=UTC)),
            ("9999-12-31T23:59:59.999999Z", datetime.max.replace(tzinfo=UTC)),
        ],
    )
    def test_query_moments_are_timestamps_or_days(self, text: str, moment: datetime) -> None:
        assert parsed(f"since={text}").since == moment

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "2026",
            "2026-13-01",
            "2026-01-02T03:04:05",
            "2026-01-02T03:04:05+02:00",
            "0001-01-01T00:00:00%2B01:00",
            "9999-12-31T23:59:59-01:00",
            "1767225600",
            "today",
            "0000-01-01",
            "2026-01-02T03:04:05Z%00",
        ],
    )
    def test_other_query_moments_are_refused(self, text: str) -> None:
        assert collect_errors(f"since={text}").keys() == {"since"}

    @given(day=st.dates())
    def test_query_day_is_its_first_moment(self, day: date) -> None:
        assert parsed(f"since={day}").since == datetime(day.year, day.month, day.day, tzinfo=UTC)


class TestSort:
    def test_sort_is_parsed_to_keys_and_directions(self) -> None:
        assert parse_sort("title,due:desc,at:asc", ("title", "due", "at")) == (
            ("title", False),
            ("due", True),
            ("at", False),
        )

    @given(text=st.text("ab:,descasc \x00", max_size=12))
    def test_invalid_sort_is_refused(self, text: str) -> None:
        with suppress(Invalid):
            keys = parse_sort(text, ("a", "b"))
            assert 1 <= len(keys) <= 2
            assert {name for name, _ in keys} <= {"a", "b"}

    async def test_invalid_sort_is_422_over_http(self, alice: Client) -> None:
        for sort in ("", "nope", "title:", "title:up", "title,title:desc", "title,,id", "title;drop", "id"):
            assert mistakes(await alice.get(f"{alice.todos()}?sort={quote(sort)}")).keys() == {"sort"}


class TestAnything:
    @given(query=st.binary())
    @example(query=b"limit=%zz")
    @example(query=b"limit=1;offset=2")
    @example(query=b"=&=")
    def test_any_query_bytes_are_accepted_or_refused(self, query: bytes) -> None:
        for kind in (Search, TodoQuery):
            with suppress(Invalid):
                assert isinstance(parse_query(query, kind), kind)
                continue
            assert collect_errors(query, kind)

    @given(pairs=st.lists(st.tuples(st.sampled_from(TodoQuery.__struct_fields__), st.text(max_size=30)), max_size=8))
    def test_any_query_values_are_accepted_or_refused(self, pairs: list[tuple[str, str]]) -> None:
        try:
            query = urlencode(pairs)
        except UnicodeEncodeError:
            return
        with suppress(Invalid):
            assert 1 <= parse_query(query.encode(), TodoQuery).limit <= 100
            return
        assert collect_errors(query, TodoQuery).keys() <= {name for name, _ in pairs}

    @given(limit=st.integers(1, 100), offset=st.integers(0, MAX_OFFSET), tags=st.lists(st.text("ab&=+%ü "), max_size=3))
    def test_valid_query_values_are_unchanged(self, limit: int, offset: int, tags: list[str]) -> None:
        query = urlencode([("limit", limit), ("offset", offset), *(("tag", tag) for tag in tags)])
        taken = parsed(query)
        assert (taken.limit, taken.offset) == (limit, offset)
        assert taken.tag == (tags or UNSET)
