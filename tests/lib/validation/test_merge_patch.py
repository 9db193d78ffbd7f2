"""`class ThingUpdate(Body, patch_of=ThingCreate)`."""

from typing import Annotated, assert_type

import msgspec
import pytest
from msgspec import UNSET, Meta, UnsetType

from app.lib.errors import Invalid
from app.lib.validation.body import AtMostOne, Body, Trimmed
from app.lib.validation.json_body import decode

Name = Annotated[str, Trimmed(1, 5)]


class ThingCreate(Body):
    """A body with a field of each kind: required, nullable, with a default, and one that may be left out."""

    name: Name
    note: str | None = None
    count: Annotated[int, Meta(ge=0)] = 1
    color: str | UnsetType = UNSET
    cross_field_rules = (AtMostOne("note", "color"),)


class ThingUpdate(Body, patch_of=ThingCreate):
    """A merge patch with all fields derived."""


class LongThingUpdate(Body, patch_of=ThingCreate):
    """A merge patch with a field of its own, and one in place of a derived one."""

    name: Annotated[str, Trimmed(1, 9)] | UnsetType = UNSET
    extra: bool = False


def test_every_field_may_be_left_out() -> None:
    assert decode(b"{}", ThingUpdate).sent() == {}


def test_sent_fields_follow_the_rules_of_the_complete_body() -> None:
    assert decode(b'{"name": " a ", "note": null}', ThingUpdate).sent() == {"name": "a", "note": None}
    with pytest.raises(Invalid) as invalid:
        decode(b'{"name": "", "count": -1, "else": 1}', ThingUpdate)
    assert {error.pointer for error in invalid.value.errors} == {"/name", "/count", "/else"}
    with pytest.raises(Invalid) as invalid:
        decode(b'{"note": "a", "color": "b"}', ThingUpdate)
    assert [error.pointer for error in invalid.value.errors] == ["/note"]


def test_null_is_refused_where_the_complete_body_refuses_it() -> None:
    with pytest.raises(Invalid):
        decode(b'{"name": null}', ThingUpdate)


def test_fields_keep_the_order_of_the_complete_body() -> None:
    assert ThingUpdate.__struct_fields__ == ThingCreate.__struct_fields__
    assert LongThingUpdate.__struct_fields__ == (*ThingCreate.__struct_fields__, "extra")


def test_declared_fields_replace_derived_ones() -> None:
    assert decode(b'{"name": "ninechars"}', LongThingUpdate).name == "ninechars"


def test_a_complete_body_is_not_changed() -> None:
    with pytest.raises(Invalid):
        decode(b"{}", ThingCreate)
    assert msgspec.structs.fields(ThingCreate)[0].type == Name


def test_mypy_knows_the_types() -> None:
    """Checked when mypy reads this file; an ignore that is not needed is an error there."""
    patch = ThingUpdate(name="a")
    assert_type(patch.name, str | UnsetType)
    assert_type(patch.note, str | UnsetType | None)
    assert_type(LongThingUpdate().extra, bool)
    with pytest.raises(TypeError):
        ThingUpdate(nope="a")  # type: ignore[call-arg]
