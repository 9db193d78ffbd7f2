"""Bodies: strict JSON into typed structs, and everything that is wrong named at once."""

import json
import tracemalloc
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from typing import Annotated, Any, ClassVar

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec import UNSET, Meta, Struct, UnsetType

from app.domain.todos.schemas import TodoCreate, TodoUpdate
from app.lib.body import Body, Broken, Digits, Instant, Trimmed, distinct, in_utc
from app.lib.decoding import decode
from app.lib.errors import BadRequest, FieldError, Invalid

Word = Annotated[str, Trimmed(1, 5)]


class Thing(Body):
    """Something of each kind."""

    name: Word
    count: Annotated[int, Meta(ge=0, le=9)] = 0
    at: Instant | None = None
    words: Annotated[list[Word], distinct, Meta(max_length=3)] = []
    ratio: float | UnsetType = UNSET

    def mistakes(self) -> Iterator[FieldError]:
        if self.count > len(self.name):
            yield FieldError("More than there are characters", pointer="/count")


class Lenient(Thing, forbid_unknown_fields=False):
    """The same, with room for more."""


def mistakes_in(body: Any, kind: type[Struct] = Thing) -> dict[str | None, str]:
    """Give what is wrong with a body, by pointer."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    with pytest.raises(Invalid) as invalid:
        decode(content, kind)
    assert msgspec.json.encode(invalid.value.errors)
    return {error.pointer: error.detail for error in invalid.value.errors}


class TestMistakes:
    def test_all_are_named_at_once(self) -> None:
        body = {"name": "", "count": 10, "at": "now", "words": ["a", 1], "ratio": "x", "nope": 1, "id": 2}
        assert mistakes_in(body).keys() == {"/name", "/count", "/at", "/words/1", "/ratio", "/nope", "/id"}

    @pytest.mark.parametrize("number", ["1.0", "1e0", "10E-1", "1.000"])
    def test_an_integer_is_one_however_it_is_written(self, number: str) -> None:
        assert decode(f'{{"name": "x", "count": {number}}}'.encode(), Thing) == Thing(name="x", count=1)

    @pytest.mark.parametrize("number", ["1.5", "1e-1", "1e300", "9007199254740993.0"])
    def test_and_what_is_none_is_refused(self, number: str) -> None:
        assert mistakes_in(f'{{"name": "x", "count": {number}}}'.encode()).keys() == {"/count"}

    def test_of_unknown_fields_there_are_none_where_they_are_passed_over(self) -> None:
        unknown = {"nope": "\x00", "\x00": "\ud800", "": 10**4000, "deep": [[[{"name": 1}]]]}
        assert decode(json.dumps({"name": " x ", **unknown}).encode(), Lenient) == Lenient(name="x")
        assert mistakes_in({"name": "", "count": 10, **unknown}, Lenient).keys() == {"/name", "/count"}
        assert mistakes_in({"name": "x", "count": 2, **unknown}, Lenient).keys() == {"/count"}

    @pytest.mark.parametrize("value", [b'"\xff"', b"tru", b"01", b"NaN", b'"\x01"', b"[" * 100_000])
    def test_what_is_passed_over_must_be_json(self, value: bytes) -> None:
        with pytest.raises(BadRequest):
            decode(b'{"name": "x", "nope": ' + value + b"}", Lenient)

    def test_a_missing_field_is_one(self) -> None:
        assert mistakes_in({"count": -1}).keys() == {"/name", "/count"}

    def test_null_is_not_absence(self) -> None:
        assert mistakes_in({"name": None, "count": None, "words": None}).keys() == {"/name", "/count", "/words"}
        assert decode(b'{"name": "x", "at": null}', Thing).at is None

    def test_those_between_fields_come_when_each_is_valid(self) -> None:
        assert mistakes_in({"name": "abc", "count": 4}) == {"/count": "More than there are characters"}
        assert mistakes_in({"name": "abc", "count": 4, "words": 1}).keys() == {"/words"}

    @pytest.mark.parametrize("body", ["[]", "1", '"x"', "null", "true", "1e999", "[[]]", '"\\u0000"', '"\\ud800"'])
    def test_what_is_no_object_is_one(self, body: str) -> None:
        assert mistakes_in(body.encode()) == {"": "Expected an object"}

    def test_pointers_are_escaped(self) -> None:
        assert mistakes_in({"name": "x", "a/b~c": 1, "": 2, "~1": 3}).keys() == {"/a~1b~0c", "/", "/~01"}

    def test_pointers_reach_into_arrays(self) -> None:
        assert mistakes_in({"name": "x", "words": ["a", "  ", "b"]}).keys() == {"/words/1"}
        assert mistakes_in({"name": "x", "words": ["a", "toolong"]}).keys() == {"/words/1"}

    def test_hostile_names_do_not_break_the_answer(self) -> None:
        for name in ("\ud800", "\x00", "a\nb", "\u202e", "x" * 10_000, "$", "name\x00"):
            found = mistakes_in({"name": "x", name: 1})
            assert json.dumps(list(found), ensure_ascii=False).encode()

    def test_details_repeat_no_value(self) -> None:
        found = mistakes_in({"name": 12345, "count": "hunter2", "at": "hunter2", "words": ["hunter2 hunter2"]})
        assert "hunter2" not in str(found)

    def test_types_are_not_guessed(self) -> None:
        for count in ("1", 1.5, True, [1], {"a": 1}, None, 10**400):
            assert mistakes_in({"name": "x", "count": count}).keys() == {"/count"}


class TestText:
    def test_is_trimmed_before_it_is_measured(self) -> None:
        assert decode(b'{"name": " \\t\\n 12345 \\u00a0\\u2003 "}', Thing).name == "12345"
        for name in ("", " ", "\t\n", "\u00a0", "123456", " 123456 "):
            assert mistakes_in({"name": name}).keys() == {"/name"}

    def test_is_measured_in_characters(self) -> None:
        assert decode(json.dumps({"name": "🦄" * 5}).encode(), Thing).name == "🦄" * 5
        assert mistakes_in({"name": "🦄" * 6}).keys() == {"/name"}

    @pytest.mark.parametrize("text", ["\x00", "a\x00b", "\ud800", "a\ud83d", "\ude00\ud83d"])
    def test_nul_and_surrogates_are_refused_wherever_they_are(self, text: str) -> None:
        assert mistakes_in({"name": text}).keys() >= {"/name"}
        assert mistakes_in({"name": "x", "words": ["a", text]}).keys() >= {"/words/1"}
        assert mistakes_in({"name": "x", "unknown": {"deep": [text]}}).keys() >= {"/unknown/deep/0", "/unknown"}

    def test_pairs_of_surrogates_are_text(self) -> None:
        assert decode(b'{"name": "\\ud83e\\udd84"}', Thing).name == "🦄"

    def test_an_escaped_backslash_is_not_nul(self) -> None:
        assert decode(b'{"name": "\\\\u00"}', Thing).name == "\\u00"
        assert decode(b'{"title": "\\\\u0000"}', TodoCreate).title == "\\u0000"

    def test_doubles_go_after_trimming(self) -> None:
        assert decode(b'{"name": "x", "words": [" a", "b", "a "]}', Thing).words == ["a", "b"]

    def test_a_later_field_of_the_same_name_counts(self) -> None:
        assert decode(b'{"name": "a", "name": "b"}', Thing).name == "b"
        assert mistakes_in(b'{"name": "a", "name": ""}').keys() == {"/name"}


class TestNumbers:
    @pytest.mark.parametrize("number", ["1e999", "-1e999", "1" * 400, "-" + "1" * 5000, "1" + "0" * 400 + ".5"])
    def test_out_of_range_is_well_formed_and_wrong(self, number: str) -> None:
        for field in ("count", "unknown", "name"):
            content = f'{{"name": "x", "{field}": {number}}}'.encode()
            assert f"/{field}" in mistakes_in(content)

    def test_no_infinity_gets_in(self) -> None:
        assert mistakes_in(b'{"name": "x", "ratio": 1e999}') == {"/ratio": "Number out of range"}

    @pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "01", "1.", ".5", "+1", "0x1", "1_0", "--1"])
    def test_what_json_does_not_know_is_not_json(self, number: str) -> None:
        with pytest.raises(BadRequest):
            decode(f'{{"name": "x", "count": {number}}}'.encode(), Thing)


class TestDigits:
    @pytest.mark.parametrize("text", ["0", "-0", "1.5", "9999999999.99", "-9999999999.99", "0.01", "10"])
    def test_are_kept_as_they_were_written(self, text: str) -> None:
        assert Digits(12, 2)(text) == text

    @pytest.mark.parametrize(
        "text",
        [
            *("", "NaN", "-Infinity", "1e3", "1.", ".5", "+1", "01", "1,5", "1\n", " 1", "1_0", "\u0661"),
            *("10000000000", "0.001", "9" * 5000),
        ],
    )
    def test_refuse_what_the_column_would_not_hold_as_it_is(self, text: str) -> None:
        with pytest.raises(Broken, match="up to 10 digits before its point, 2 behind"):
            Digits(12, 2)(text)


class TestInstants:
    @pytest.mark.parametrize(
        "text",
        ["0001-01-01T00:00:01Z", "9999-12-31T23:59:59.999998Z", "0001-01-01T12:00:01+12:00", "2024-02-29T00:00:00Z"],
    )
    def test_within_the_calendar_are_taken(self, text: str) -> None:
        at = decode(json.dumps({"name": "x", "at": text}).encode(), Thing).at
        assert at is not None
        assert at.utcoffset() == timedelta(0)

    @pytest.mark.parametrize(
        "text",
        [
            "0001-01-01T00:00:00+00:01",
            "9999-12-31T23:59:59-00:01",
            "0001-01-01T00:00:00Z",
            "9999-12-31T23:59:59.999999Z",
            "0000-01-01T00:00:00Z",
            "10000-01-01T00:00:00Z",
            "2026-01-01T00:00:00",
            "2026-01-01",
            "2025-02-29T00:00:00Z",
            "2026-01-01T24:00:01Z",
            "2026-01-01T00:00:00+24:00",
            "",
            "now",
            "1767225600",
        ],
    )
    def test_others_are_refused(self, text: str) -> None:
        assert mistakes_in({"name": "x", "at": text}).keys() == {"/at"}

    @given(
        at=st.datetimes(timezones=st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes))))
    )
    def test_move_to_utc_or_are_refused(self, at: datetime) -> None:
        try:
            moved = in_utc(at)
        except ValueError:
            assert at.year in (1, 9999)
        else:
            assert moved == at


class TestMalformed:
    @pytest.mark.parametrize("body", [b"", b"{", b"}", b"[" * 100_000, b'{"a":' * 100_000, b"\xff", b"\xef\xbb\xbf{}"])
    def test_is_not_json(self, body: bytes) -> None:
        with pytest.raises(BadRequest):
            decode(body, Thing)

    def test_deep_but_closed_is_refused_too(self) -> None:
        for body in (b"[" * 100_000 + b"]" * 100_000, b'{"name": ' + b"[" * 5000 + b"]" * 5000 + b"}"):
            with pytest.raises((BadRequest, Invalid)):
                decode(body, Thing)


json_values = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
todo_fields = st.sampled_from([*TodoCreate.__struct_encode_fields__, "id", "user_id", "Title", "\x00"])


class TestAnything:
    kinds: ClassVar = (Thing, TodoCreate, TodoUpdate)

    @given(body=st.binary())
    @example(body=b'{"name": "\\ud800"')
    @example(body=b'"\\u0000')
    @example(body=b'{"name": 1e999}}')
    def test_any_bytes_are_taken_or_refused(self, body: bytes) -> None:
        for kind in self.kinds:
            with suppress(BadRequest, Invalid):
                assert isinstance(decode(body, kind), kind)

    @given(body=st.dictionaries(todo_fields, json_values) | json_values)
    def test_any_json_is_taken_or_refused_with_reasons(self, body: Any) -> None:
        content = json.dumps(body).encode()
        for kind in (TodoCreate, TodoUpdate):
            with suppress(Invalid):
                assert msgspec.json.encode(decode(content, kind))
                continue
            assert mistakes_in(content, kind)

    @given(
        title=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=1).map(str.strip),
        completed=st.booleans(),
        priority=st.sampled_from(["none", "low", "medium", "high"]),
        due_at=st.datetimes(datetime(2, 1, 1), datetime(9998, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
        tags=st.lists(st.sampled_from(["a", "b", "c", "🦄"]), unique=True, max_size=4),
    )
    def test_a_valid_body_comes_through_as_it_is(self, **fields: Any) -> None:
        content = msgspec.json.encode(fields)
        if 1 <= len(fields["title"]) <= 200:
            taken = decode(content, TodoCreate)
            assert {name: getattr(taken, name) for name in fields} == fields
        else:
            assert mistakes_in(content, TodoCreate).keys() == {"/title"}

    @given(fields=st.sets(st.sampled_from(["description", "due_date", "due_at"])))
    def test_a_patch_knows_what_was_sent(self, fields: set[str]) -> None:
        patch = decode(json.dumps(dict.fromkeys(fields)).encode(), TodoUpdate)
        assert patch.sent() == dict.fromkeys(fields)


class TestHostileSize:
    def test_memory_grows_with_the_body_only(self) -> None:
        """A long key over many items once cost their product."""
        body = b'{"title":"x","' + b"k" * 40_000 + b'":[' + b",".join([b"0"] * 20_000) + b"]}"
        tracemalloc.start()
        with pytest.raises(Invalid):
            decode(body, TodoCreate)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 50 * len(body)

    @pytest.mark.parametrize("item", [b'"\\u0000"', b'"\\ud800"', b"1e999"])
    def test_the_answer_names_a_bounded_number_of_mistakes(self, item: bytes) -> None:
        body = b'{"title":"x","tags":[' + b",".join([item] * 20_000) + b"]}"
        with pytest.raises(Invalid) as invalid:
            decode(body, TodoCreate)
        assert len(invalid.value.errors) == 100

    def test_long_keys_and_values_are_cut(self) -> None:
        body = b'{"title":"x","priority":"' + b"p" * 100_000 + b'","' + b"k" * 100_000 + b'":1}'
        with pytest.raises(Invalid) as invalid:
            decode(body, TodoCreate)
        assert all(len(error.detail) <= 500 and len(error.pointer or "") <= 500 for error in invalid.value.errors)

    @pytest.mark.parametrize("field", TodoCreate.__struct_fields__)
    @pytest.mark.parametrize("value", ['"\\ud800"', '["\\udfff"]', '{"\\ud800": 1}'])
    def test_a_lone_surrogate_is_invalid_in_every_field(self, field: str, value: str) -> None:
        with pytest.raises(Invalid) as invalid:
            decode(f'{{"title": "x", "{field}": {value}}}'.encode(), TodoCreate)
        assert any((error.pointer or "").startswith(f"/{field}") for error in invalid.value.errors)
