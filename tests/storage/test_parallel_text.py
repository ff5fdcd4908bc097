"""Breaks when a pair is not put as the templates say, or when a document's direction changes."""

from __future__ import annotations

import pytest

from storage.documents import document_id
from storage.parallel_text import direction, render_pairs

PAIRS = [("雲雀は{鳥}だ。", "A lark is a {bird}."), ("燕{en}も。", "So is a swallow{ja}.")]
JA_FIRST, EN_FIRST = bytes(16), bytes(15) + b"\x01"


@pytest.mark.parametrize(
    ("template", "id", "text"),
    [
        ("concatenation", JA_FIRST, "雲雀は{鳥}だ。\nA lark is a {bird}.\n\n燕{en}も。\nSo is a swallow{ja}."),
        ("concatenation", EN_FIRST, "A lark is a {bird}.\n雲雀は{鳥}だ。\n\nSo is a swallow{ja}.\n燕{en}も。"),
    ],
)
def test_a_document_is_its_pairs_in_one_direction(template: str, id: bytes, text: str) -> None:
    assert render_pairs(PAIRS, id, template) == text


@pytest.mark.parametrize(("id", "first", "words"), [(JA_FIRST, 0, "英語に訳し"), (EN_FIRST, 1, "into Japanese")])
def test_an_instruction_stands_between_a_sentence_and_its_translation(id: bytes, first: int, words: str) -> None:
    (pair,) = PAIRS[:1]
    text = render_pairs([pair], id, "instruction")
    assert text.index(pair[first]) < text.index(words) < text.index(pair[1 - first])


def test_both_directions_are_about_as_frequent() -> None:
    ids = [document_id("parallel", number) for number in range(1_000)]
    assert 450 < sum(direction(id) == "ja-en" for id in ids) < 550
