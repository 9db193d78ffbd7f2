"""Language tags by RFC 5646: its grammar, its appendix A, and its canonical case."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.lib.validation.body import RuleViolation
from app.lib.validation.language_tags import language_tag

# Appendix A, in its canonical case, and what else the grammar allows.
WELL_FORMED = """
    de fr ja zh-Hant zh-Hans sr-Cyrl sr-Latn zh-cmn-Hans-CN cmn-Hans-CN zh-yue-HK yue-HK zh-Hans-CN sr-Latn-RS
    sl-rozaj sl-rozaj-biske sl-nedis de-CH-1901 sl-IT-nedis hy-Latn-IT-arevela de-DE en-US es-419 de-CH-x-phonebk
    az-Arab-x-aze-derbend x-whatever qaa-Qaaa-QM-x-southern de-Qaaa sr-Latn-QM sr-Qaaa-RS en-US-u-islamcal
    zh-CN-a-myext-x-private en-a-myext-b-another en-CA-x-ca en-u-ca-gregory-nu-latn az-Latn-x-latn
    en-GB-oed sgn-BE-FR sgn-BE-NL sgn-CH-DE i-klingon i-default art-lojban zh-min-nan
"""
BROKEN = """
    de-419-DE a-DE ar-a-aaa-b-bbb-a-ccc de-1996-1996 en_US e abcdefghi en- -en en--US en-a en-x x x- i-unheard
    deutsch1 en-USA-USA-USA-USA de-DE-DE en-US-Latn \u212aa e\u00f1 en-\u0661\u0661\u0661
"""


@pytest.mark.parametrize("tag", WELL_FORMED.split())
def test_well_formed_language_tags_are_accepted(tag: str) -> None:
    for text in (tag, tag.upper(), tag.lower()):
        assert language_tag(text) == tag


@pytest.mark.parametrize("tag", [*BROKEN.split(), "", " en", "en\n", "en US", "en\x00"])
def test_malformed_language_tags_are_refused(tag: str) -> None:
    with pytest.raises(RuleViolation):
        language_tag(tag)


@given(st.from_regex(r"[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8}){0,6}", fullmatch=True) | st.text(max_size=30))
def test_canonical_language_tag_is_stable(text: str) -> None:
    try:
        tag = language_tag(text)
    except RuleViolation:
        return
    assert tag.lower() == text.lower()
    assert language_tag(tag) == tag
