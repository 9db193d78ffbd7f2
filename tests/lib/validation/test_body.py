"""Bodies: strict JSON into typed structs, and everything that is wrong named at once."""

import json
import tracemalloc
import unicodedata
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from functools import partial
from typing import Annotated, Any, ClassVar
from uuid import UUID

import jsonschema_rs
import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec import UNSET, Meta, Struct, UnsetType

from app.domain.todos.batch.schemas import Batch
from app.domain.todos.schemas import TodoCreate, TodoUpdate
from app.lib.errors import BadRequest, FieldError, Invalid
from app.lib.validation import error_collection
from app.lib.validation.body import Body, Digits, Instant, LongText, RuleViolation, Trimmed, distinct, in_utc
from app.lib.validation.json_body import MAX_NODES, TooManyValues, decode

nfc = partial(unicodedata.normalize, "NFC")
Word = Annotated[str, Trimmed(1, 5)]


class Thing(Body):
    """Something of each kind."""

    name: Word
    count: Annotated[int, Meta(ge=0, le=9)] = 0
    at: Instant | None = None
    words: Annotated[list[Word], distinct, Meta(max_length=3)] = []
    ratio: float | UnsetType = UNSET

    def validate(self) -> Iterator[FieldError]:
        if self.count > len(self.name):
            yield FieldError("More than there are characters", pointer="/count")


class Texts(Body):
    """Texts without rules."""

    texts: list[str]


class Lenient(Thing, forbid_unknown_fields=False):
    """The same, with room for more."""


def collect_errors(body: Any, kind: type[Struct] = Thing) -> dict[str | None, str]:
    """Give what is wrong with a body, by pointer."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    with pytest.raises(Invalid) as invalid:
        decode(content, kind)
    assert msgspec.json.encode(invalid.value.errors)
    return {error.pointer: error.detail for error in invalid.value.errors}


class TestMistakes:
    def test_all_errors_are_reported_at_once(self) -> None:
        body = {"name": "", "count": 10, "at": "now", "words": ["a", 1], "ratio": "x", "nope": 1, "id": 2}
        assert collect_errors(body).keys() == {"/name", "/count", "/at", "/words/1", "/ratio", "/nope", "/id"}

    @pytest.mark.parametrize("number", ["1.0", "1e0", "10E-1", "1.000"])
    def test_integral_numbers_are_accepted_in_any_notation(self, number: str) -> None:
        assert decode(f'{{"name": "x", "count": {number}}}'.encode(), Thing) == Thing(name="x", count=1)

    @pytest.mark.parametrize("number", ["1.5", "1e-1", "1e300", "9007199254740993.0"])
    def test_non_integral_numbers_are_refused(self, number: str) -> None:
        assert collect_errors(f'{{"name": "x", "count": {number}}}'.encode()).keys() == {"/count"}

    def test_ignored_unknown_fields_are_no_errors(self) -> None:
        unknown = {"nope": "\x00", "\x00": "\ud800", "": 10**4000, "deep": [[[{"name": 1}]]]}
        assert decode(json.dumps({"name": " x ", **unknown}).encode(), Lenient) == Lenient(name="x")
        assert collect_errors({"name": "", "count": 10, **unknown}, Lenient).keys() == {"/name", "/count"}
        assert collect_errors({"name": "x", "count": 2, **unknown}, Lenient).keys() == {"/count"}

    @pytest.mark.parametrize("value", [b'"\xff"', b"tru", b"01", b"NaN", b'"\x01"', b"[" * 100_000])
    def test_ignored_fields_must_be_valid_json(self, value: bytes) -> None:
        with pytest.raises(BadRequest):
            decode(b'{"name": "x", "nope": ' + value + b"}", Lenient)

    def test_missing_field_is_an_error(self) -> None:
        assert collect_errors({"count": -1}).keys() == {"/name", "/count"}

    def test_null_is_not_a_missing_field(self) -> None:
        assert collect_errors({"name": None, "count": None, "words": None}).keys() == {"/name", "/count", "/words"}
        assert decode(b'{"name": "x", "at": null}', Thing).at is None

    def test_cross_field_errors_need_valid_fields(self) -> None:
        assert collect_errors({"name": "abc", "count": 4}) == {"/count": "More than there are characters"}
        assert collect_errors({"name": "abc", "count": 4, "words": 1}).keys() == {"/words"}

    @pytest.mark.parametrize("body", ["[]", "1", '"x"', "null", "true", "1e999", "[[]]", '"\\u0000"', '"\\ud800"'])
    def test_body_must_be_an_object(self, body: str) -> None:
        assert collect_errors(body.encode()) == {"": "Expected an object"}

    def test_pointers_are_escaped(self) -> None:
        assert collect_errors({"name": "x", "a/b~c": 1, "": 2, "~1": 3}).keys() == {"/a~1b~0c", "/", "/~01"}

    def test_pointers_reach_into_arrays(self) -> None:
        assert collect_errors({"name": "x", "words": ["a", "  ", "b"]}).keys() == {"/words/1"}
        assert collect_errors({"name": "x", "words": ["a", "toolong"]}).keys() == {"/words/1"}

    def test_hostile_field_names_are_reported_safely(self) -> None:
        for name in ("\ud800", "\x00", "a\nb", "\u202e", "x" * 10_000, "$", "name\x00"):
            found = collect_errors({"name": "x", name: 1})
            assert json.dumps(list(found), ensure_ascii=False).encode()

    def test_error_details_repeat_no_value(self) -> None:
        found = collect_errors({"name": 12345, "count": "hunter2", "at": "hunter2", "words": ["hunter2 hunter2"]})
        assert "hunter2" not in str(found)

    def test_types_are_not_coerced(self) -> None:
        for count in ("1", 1.5, True, [1], {"a": 1}, None, 10**400):
            assert collect_errors({"name": "x", "count": count}).keys() == {"/count"}


class TestText:
    def test_text_is_trimmed_before_its_length_is_checked(self) -> None:
        assert decode(b'{"name": " \\t\\n 12345 \\u00a0\\u2003 "}', Thing).name == "12345"
        for name in ("", " ", "\t\n", "\u00a0", "123456", " 123456 "):
            assert collect_errors({"name": name}).keys() == {"/name"}

    def test_text_length_is_measured_in_characters(self) -> None:
        assert decode(json.dumps({"name": "🦄" * 5}).encode(), Thing).name == "🦄" * 5
        assert collect_errors({"name": "🦄" * 6}).keys() == {"/name"}

    @pytest.mark.parametrize("text", ["\x00", "a\x00b", "\ud800", "a\ud83d", "\ude00\ud83d"])
    def test_nul_and_surrogates_are_refused_at_any_depth(self, text: str) -> None:
        assert collect_errors({"name": text}).keys() >= {"/name"}
        assert collect_errors({"name": "x", "words": ["a", text]}).keys() >= {"/words/1"}
        assert collect_errors({"name": "x", "unknown": {"deep": [text]}}).keys() >= {"/unknown/deep/0", "/unknown"}

    def test_surrogate_pairs_are_text(self) -> None:
        assert decode(b'{"name": "\\ud83e\\udd84"}', Thing).name == "🦄"

    def test_escaped_backslash_before_u0000_is_text(self) -> None:
        assert decode(b'{"name": "\\\\u00"}', Thing).name == "\\u00"
        assert decode(b'{"title": "\\\\u0000"}', TodoCreate).title == "\\u0000"

    def test_duplicates_are_removed_after_trimming(self) -> None:
        assert decode(b'{"name": "x", "words": [" a", "b", "a "]}', Thing).words == ["a", "b"]


class TestRepeatedNames:
    @pytest.mark.parametrize(
        "body",
        [
            b'{"name": "a", "name": "a"}',
            b'{"name": "a", "count": 1, "n\\u0061me": "b"}',
            b'{"name": "a", "name"\n:\t"b", "name": "c"}',
            b'{"name": "a", "name": ""}',
            b'{"name": 1, "name": "b"}',
        ],
    )
    def test_repeated_names_are_refused_by_name(self, body: bytes) -> None:
        for kind in (Thing, Lenient):
            assert collect_errors(body, kind)["/name"]

    def test_repeated_names_are_found_in_nested_objects(self) -> None:
        operation = b'{"op": "create", "data": {"title": "a", "tags": [], "ti\\u0074le": "b"}}'
        body = b'{"operations": [{"op": "create", "data": {"title": ": \\":"}}, ' + operation + b"]}"
        assert collect_errors(body, Batch) == {"/operations/1/data/title": "The name occurs more than once"}

    def test_repeated_ignored_names_are_ignored(self) -> None:
        assert decode(b'{"name": "x", "nope": 1, "nope": {"a": 1, "a": 2}}', Lenient) == Lenient(name="x")

    @given(names=st.lists(st.sampled_from(["name", "count", "words", "ratio"]), max_size=6))
    def test_repeated_names_are_refused_exactly_where_they_occur(self, names: list[str]) -> None:
        values = {"name": '"x:\\":"', "count": "0", "words": '["count", ":"]', "ratio": "1.5"}
        body = ", ".join(f'"{name}": {values[name]}' for name in ("name", *names)).join("{}").encode()
        repeated = {f"/{name}" for name in names if ("name", *names).count(name) > 1}
        if repeated:
            assert collect_errors(body).keys() == repeated
        else:
            assert decode(body, Thing).name == 'x:":'


class TestUnicode:
    @pytest.mark.parametrize(
        "text",
        [
            *("a\nb", "a\tb", "a\rb", "a\x1bb", "a\x7f", "\x80a", "a\x9bb", "a\u2028b", "a\u2029b", "a\x85b"),
            *(
                "\u200b",
                "\u200d\u2060",
                "\ufeff",
                "\u0301",
                "\u0301\u0302",
                "\u0e31",
                "\ufe0f",
                "\u3164",
                "\u115f\u1160",
            ),
            *(
                "\uffa0",
                "\u2800",
                "\u00ad",
                "\u180e",
                "\u202e",
                "\u2066\u2069",
                "\U000e0041",
                "\U000e0100",
                "\U0001d165",
            ),
            *("\U0001d159", "\ufdd0", "\uffff", "\u034f", "\u200b \u200b"),
        ],
    )
    def test_line_needs_a_visible_character_and_no_controls(self, text: str) -> None:
        assert collect_errors({"name": text}).keys() == {"/name"}
        pattern = jsonschema_rs.validator_for(Trimmed(1, 5).json_schema)
        assert not pattern.is_valid(text)

    @pytest.mark.parametrize(
        "text", ["a\u200b", "\u0e01\u0e31", "👨\u200d👩", "❤\ufe0f", "\ue000", "\u202aa\u202c", "ﷺ", "ก"]
    )
    def test_line_may_contain_invisible_characters(self, text: str) -> None:
        assert decode(json.dumps({"name": text}).encode(), Thing).name == text
        assert jsonschema_rs.validator_for(Trimmed(1, 5).json_schema).is_valid(text)

    @given(text=st.text(max_size=7))
    def test_pattern_of_a_line_equals_its_rule(self, text: str) -> None:
        text = unicodedata.normalize("NFC", text)
        is_valid = jsonschema_rs.validator_for(Trimmed(1, 5).json_schema).is_valid(text)
        try:
            assert Trimmed(1, 5)(text) == text.strip()
            assert is_valid
        except RuleViolation:
            assert not is_valid

    def test_text_is_stored_and_measured_in_nfc(self) -> None:
        body = {"name": "e\u0301" * 5, "words": ["\u00e9", "e\u0301", "\u1112\u1161\u11ab"]}
        thing = decode(json.dumps(body).encode(), Thing)
        assert (thing.name, thing.words) == ("é" * 5, ["é", "한"])
        assert collect_errors({"name": "\u0958" * 3}).keys() == {"/name"}  # each is two characters in NFC

    def test_long_text_allows_line_breaks_and_no_other_controls(self) -> None:
        lines = "a\tb\r\nc\u2028 e\u0301\u00a0"
        assert LongText(50)(lines) == unicodedata.normalize("NFC", lines)
        for code in (*range(32), *range(127, 160)):
            if chr(code) not in "\t\n\r":
                with pytest.raises(RuleViolation, match="Control characters"):
                    LongText(50)(f"é{chr(code)}")
        with pytest.raises(RuleViolation, match="at most 5 characters"):
            LongText(5)("é" * 6)

    def test_run_of_combining_characters_is_limited(self) -> None:
        """Ordering one is quadratic."""
        for start in range(40):
            assert LongText(200)("é" * start + "\u0316\u0300" * 15 + "é")
            for rule in (LongText(200), Trimmed(1, 200)):
                with pytest.raises(RuleViolation, match="at most 30 combining"):
                    rule("x" + "é" * start + "\u0316\u0300" * 15 + "\u0316é")


class TestNumbers:
    @pytest.mark.parametrize("number", ["1e999", "-1e999", "1" * 400, "-" + "1" * 5000, "1" + "0" * 400 + ".5"])
    def test_number_out_of_range_is_422(self, number: str) -> None:
        for field in ("count", "unknown", "name"):
            content = f'{{"name": "x", "{field}": {number}}}'.encode()
            assert f"/{field}" in collect_errors(content)

    def test_infinity_is_refused(self) -> None:
        assert collect_errors(b'{"name": "x", "ratio": 1e999}') == {"/ratio": "Number out of range"}

    @pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "01", "1.", ".5", "+1", "0x1", "1_0", "--1"])
    def test_nan_and_infinity_literals_are_not_json(self, number: str) -> None:
        with pytest.raises(BadRequest):
            decode(f'{{"name": "x", "count": {number}}}'.encode(), Thing)


class TestDigits:
    @pytest.mark.parametrize("text", ["0", "-0", "1.5", "9999999999.99", "-9999999999.99", "0.01", "10"])
    def test_digits_are_kept_as_written(self, text: str) -> None:
        assert Digits(12, 2)(text) == text

    @pytest.mark.parametrize(
        "text",
        [
            *("", "NaN", "-Infinity", "1e3", "1.", ".5", "+1", "01", "1,5", "1\n", " 1", "1_0", "\u0661"),
            *("10000000000", "0.001", "9" * 5000),
        ],
    )
    def test_digits_beyond_the_column_are_refused(self, text: str) -> None:
        with pytest.raises(RuleViolation, match="up to 10 digits before its point, 2 behind"):
            Digits(12, 2)(text)


class TestInstants:
    @pytest.mark.parametrize(
        "text",
        ["0001-01-01T00:00:01Z", "9999-12-31T23:59:59.999998Z", "0001-01-01T12:00:01+12:00", "2024-02-29T00:00:00Z"],
    )
    def test_instants_within_the_calendar_are_accepted(self, text: str) -> None:
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
    def test_malformed_instants_are_refused(self, text: str) -> None:
        assert collect_errors({"name": "x", "at": text}).keys() == {"/at"}

    @given(
        at=st.datetimes(timezones=st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes))))
    )
    def test_instants_are_converted_to_utc_or_refused(self, at: datetime) -> None:
        try:
            moved = in_utc(at)
        except ValueError:
            assert at.year in (1, 9999)
        else:
            assert moved == at


class TestMalformed:
    @pytest.mark.parametrize("body", [b"", b"{", b"}", b"[" * 100_000, b'{"a":' * 100_000, b"\xff", b"\xef\xbb\xbf{}"])
    def test_malformed_json_is_refused(self, body: bytes) -> None:
        with pytest.raises(BadRequest):
            decode(body, Thing)

    def test_deep_but_closed_json_is_refused(self) -> None:
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
    def test_any_bytes_are_accepted_or_refused(self, body: bytes) -> None:
        for kind in self.kinds:
            with suppress(BadRequest, Invalid):
                assert isinstance(decode(body, kind), kind)

    @given(body=st.dictionaries(todo_fields, json_values) | json_values)
    def test_any_json_is_accepted_or_refused_with_errors(self, body: Any) -> None:
        content = json.dumps(body).encode()
        for kind in (TodoCreate, TodoUpdate):
            with suppress(Invalid):
                assert msgspec.json.encode(decode(content, kind))
                continue
            assert collect_errors(content, kind)

    @given(
        title=st.text(st.characters(exclude_categories=["C", "M", "Z"]), min_size=1).map(nfc),
        completed=st.booleans(),
        priority=st.sampled_from(["none", "low", "medium", "high"]),
        due_at=st.datetimes(datetime(2, 1, 1), datetime(9998, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
        tags=st.lists(st.sampled_from(["a", "b", "c", "🦄"]), unique=True, max_size=4),
    )
    def test_valid_body_is_unchanged(self, **fields: Any) -> None:
        content = msgspec.json.encode(fields)
        if 1 <= len(fields["title"]) <= 200:
            taken = decode(content, TodoCreate)
            assert {name: getattr(taken, name) for name in fields} == fields
        else:
            assert collect_errors(content, TodoCreate).keys() == {"/title"}

    @given(fields=st.sets(st.sampled_from(["description", "due_date", "due_at"])))
    def test_patch_knows_the_sent_fields(self, fields: set[str]) -> None:
        patch = decode(json.dumps(dict.fromkeys(fields)).encode(), TodoUpdate)
        assert patch.sent() == dict.fromkeys(fields)


class TestHostileSize:
    def test_memory_grows_with_the_body_only(self) -> None:
        """A long key over many items once cost their product."""
        body = b'{"title":"x","' + b"k" * 40_000 + b'":[' + b",".join([b"0"] * 4000) + b"]}"
        tracemalloc.start()
        with pytest.raises(Invalid):
            decode(body, TodoCreate)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 50 * len(body)

    @pytest.mark.parametrize("item", [b'"\\u0000"', b'"\\ud800"', b"1e999"])
    def test_number_of_reported_errors_is_bounded(self, item: bytes) -> None:
        body = b'{"title":"x","tags":[' + b",".join([item] * 4000) + b"]}"
        with pytest.raises(Invalid, match="the first 100 errors, there are more") as invalid:
            decode(body, TodoCreate)
        assert len(invalid.value.errors) == 100

    @pytest.mark.parametrize(
        "crowd",
        [
            b'{"title":"a","tags":[%s]}' % b",".join([b'"a"'] * MAX_NODES),
            b'{"operations":[%s]}' % b",".join([b'{"op":"create","data":{"title":"a"}}'] * 2000),
            b'{"title":"\\"[%s\\\\","tags":[%s]}' % (b"," * 5000, b",".join([b"1"] * MAX_NODES)),
            b"{%s}" % b",".join(b'"%d":1' % number for number in range(MAX_NODES + 1)),
            b"{%s}" % b",".join([b'"title":"a"'] * (MAX_NODES + 1)),
            b"[%s" % (b"[]," * MAX_NODES),
            b'[{"%s' % (b'a","' * 30_000),
        ],
    )
    def test_too_many_values_are_refused_before_decoding(self, crowd: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("app.lib.validation.json_body._decoder", None)
        monkeypatch.setattr("app.lib.validation.json_body._parse", None)
        for kind in (TodoCreate, Batch, Lenient):
            with pytest.raises(TooManyValues):
                decode(crowd, kind)

    def test_batch_of_complete_todos_is_within_the_value_limit(self) -> None:
        text = 'Milk, bread [2], {"\\": "butter"}, ' * 30
        todo = {"title": "[,{", "description": text, "completed": True, "priority": "low", "due_at": None}
        todo |= {"tags": [f"{n},[{{" for n in range(20)], "list_id": None, "parent_id": None, "due_date": None}
        operation = {"op": "update", "id": str(UUID(int=0)), "data": todo, "version": 1}
        body = json.dumps({"operations": [operation] * 100}).encode()
        assert len(decode(body, Batch).operations) == 100

    @pytest.mark.parametrize("last", ["", "x"])
    def test_few_values_are_checked_for_errors(self, last: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Neither an array that is too long nor what is valid beside a mistake is explained field by field."""
        explained: list[object] = []
        wrong = error_collection._wrong_field

        def explain(*arguments: Any) -> object:
            explained.append(arguments)
            return wrong(*arguments)

        monkeypatch.setattr(error_collection, "_wrong_field", explain)
        for count in (100, 1200):
            operations = [{"op": "create", "data": {"title": "a"}}] * count
            operations[-1] = {"op": "create", "data": {"title": last, "tags": 1}}
            assert collect_errors({"operations": operations}, Batch)
        assert len(explained) <= 20

    @pytest.mark.parametrize("text", ["\x00", "\ud800"])
    def test_error_after_many_valid_values_is_found(self, text: str) -> None:
        assert collect_errors({"texts": ["a"] * 3000 + [text]}, Texts).keys() == {"/texts/3000"}

    def test_long_keys_and_values_are_truncated_in_errors(self) -> None:
        body = b'{"title":"x","priority":"' + b"p" * 100_000 + b'","' + b"k" * 100_000 + b'":1}'
        with pytest.raises(Invalid) as invalid:
            decode(body, TodoCreate)
        assert all(len(error.detail) <= 500 and len(error.pointer or "") <= 500 for error in invalid.value.errors)

    @pytest.mark.parametrize("field", TodoCreate.__struct_fields__)
    @pytest.mark.parametrize("value", ['"\\ud800"', '["\\udfff"]', '{"\\ud800": 1}'])
    def test_lone_surrogate_is_invalid_in_every_field(self, field: str, value: str) -> None:
        with pytest.raises(Invalid) as invalid:
            decode(f'{{"title": "x", "{field}": {value}}}'.encode(), TodoCreate)
        assert any((error.pointer or "").startswith(f"/{field}") for error in invalid.value.errors)
