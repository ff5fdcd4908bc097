"""Words: their slices are the text again whatever it holds, and they are Japanese words."""

from __future__ import annotations

import pytest

from tests.tokenizer.conftest import strings_to_try
from tokenizer.words import MAX_CHARACTERS, Words, segmenter


@pytest.fixture(scope="module")
def words() -> Words:
    return Words()


def test_a_sentence_is_cut_into_words(words: Words) -> None:
    found = words.cut("図書館の司書が、手紙を読んでいた。")
    assert found == ["図書", "館", "の", "司書", "が", "、", "手紙", "を", "読ん", "で", "い", "た", "。"]


@pytest.mark.parametrize(
    "text",
    ["", " ", "  猫  と\t犬 ", "猫\u3000犬\u3000", "\u3000", "一行目\n\n二行目\r\n", "猫\x00犬\x00", "\x00",
     "\x1c猫\x1f\x85", "猫\ud83d犬\udc00", "a \xa0b", "▁猫▁ ▁", "か\u3099ﾊﾟ", "👩\u200d👧が", "<s>猫</s>", "\ufeff猫"],
)  # fmt: skip
def test_the_words_are_the_text_again(words: Words, text: str) -> None:
    """MeCab drops white space and ends at NUL; a shift by one would put every later boundary elsewhere."""
    found = words.cut(text)
    assert "".join(found) == text
    assert all(found)


def test_what_mecab_drops_stands_alone(words: Words) -> None:
    assert words.cut("雲雀 が\t\t鳴く\n\x00朝") == ["雲雀", " ", "が", "\t\t", "鳴く", "\n", "\x00", "朝"]


def test_fuzzed_strings_are_their_words(words: Words) -> None:
    assert [text for text in strings_to_try(2_000, seed=21) if "".join(words.cut(text)) != text] == []


def test_a_line_of_a_million_bytes(words: Words) -> None:
    """MeCab counts a word's bytes in 16 bits and holds the lattice of all it is given."""
    unbroken, spoken = "あ" * 350_000, "猫が鳴いた。" * 20_000
    assert "".join(words.cut(unbroken)) == unbroken
    found = words.cut(spoken)
    assert "".join(found) == spoken
    assert found == words.cut("猫が鳴いた。") * 20_000, "a cut after punctuation takes no word apart"


def test_a_line_without_punctuation_is_cut_where_it_must_be(words: Words) -> None:
    found = words.cut("猫" * (MAX_CHARACTERS - 1) + "図書")
    assert found[-2:] == ["図", "書"]


def test_counting_takes_japanese_lines_without_their_white_space(words: Words) -> None:
    counts = words.count(["猫 と 猫\nPlain English line\n\u3000犬\t", "猫"])
    assert counts == {"猫": 3, "と": 1, "犬": 1}


def test_the_dictionary_is_named_with_its_version() -> None:
    named = segmenter()
    assert named["segmenter"].startswith("MeCab (fugashi ")
    assert "unidic-lite 1." in named["dictionary"]
    assert "UniDic 2.1.2" in named["dictionary"]
