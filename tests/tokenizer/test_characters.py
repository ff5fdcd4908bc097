"""The Japanese class of characters, and the UTF-8 beginnings that lead nowhere else."""

from __future__ import annotations

from collections import defaultdict

import pytest

from tokenizer.characters import has_japanese, is_japanese, is_japanese_prefix


@pytest.mark.parametrize(
    "text",
    [
        "ひらがな",
        "カタカナー",
        "ﾊﾝｶｸ",
        "漢字々〆",
        "𠮟る𩸽",
        "、。「」『』・〜",
        "　",
        "（！？）",
        "㈱㍻㌔",
        "ゐゑヶ",
        "が゙",
    ],
)
def test_japanese(text: str) -> None:
    assert is_japanese(text)


@pytest.mark.parametrize("text", ["a", "7", "ａ", "７", "▁", " ", "\n", "한", "é", "…", "😀", "①", "“", "ж", ""])
def test_not_japanese(text: str) -> None:
    """Any of these inside a new piece would change the encoding of text in another language."""
    assert not is_japanese(text)
    assert not is_japanese(f"あ{text}") or not text
    assert not has_japanese(text)


def test_every_character_counts() -> None:
    assert not is_japanese("これはtest")
    assert has_japanese("これはtest")


def test_prefixes_are_those_that_only_japanese_begins_with() -> None:
    """Compared with every character there is: one wrong prefix and a byte-level merge would touch, say, hexagrams."""
    others: dict[bytes, bool] = defaultdict(bool)
    for code in [*range(0x80, 0xD800), *range(0xE000, 0x33000), *range(0x3F000, 0x41000), 0x10FFFF]:
        character = chr(code)
        data = character.encode()
        japanese = is_japanese(character)
        for length in range(1, len(data)):
            others[data[:length]] |= not japanese
    wrong = [prefix.hex() for prefix, other in others.items() if is_japanese_prefix(prefix) == other]
    assert not wrong
    assert is_japanese_prefix(b"\xe3\x81")
    assert not is_japanese_prefix("あ".encode())
    assert not is_japanese_prefix(b"\x81\x82")
