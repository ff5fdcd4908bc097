"""Two writings of one text must become the same letters, and an n-gram the same hash wherever it stands."""

from __future__ import annotations

import random
import unicodedata

import numpy as np
import pytest

from tasks.refine.letters import letters, ngram_hashes


def read(text: str) -> str:
    return "".join(map(chr, letters(text).points.tolist()))


def reference(text: str) -> str:
    folded = unicodedata.normalize("NFKC", text).casefold()
    return "".join(character for character in folded if character.isalnum())


@pytest.mark.parametrize(
    "text",
    [
        "雲雀が、空高く　鳴いている。",
        "ＡＢＣ１２３　ｶﾞｷﾞｸﾞ　㌔㎡㈱①",
        "が\u3099か\u3099は\u309aﾊﾟ",
        "Straße ﬁn İstanbul Ⅷ ½",
        "𠮟る 👩‍👩‍👧 𝔘𝔫𝔦 é e\u0301",
        "",
        "。、！？",
        "\u3099先頭の濁点",
        "ﾟﾞ",
    ],
)
def test_letters_are_those_of_nfkc_and_casefold(text: str) -> None:
    assert read(text) == reference(text)


def test_positions_lead_back_to_the_text() -> None:
    text = "「Ａ」 ｶﾞ、㎡\n空"
    found = letters(text)
    assert read(text) == "aガm2空"
    assert [text[position] for position in found.positions.tolist()] == ["Ａ", "ｶ", "㎡", "㎡", "空"]


def test_random_texts_agree_with_unicodedata() -> None:
    """Over all that the table replaces, in any order; marks that join across an expanded character are not tried."""
    draw = random.Random(3)
    alphabet = "あいアｱｲ漢字々ーAbＣ①㈱㎡ﬁ½12３ 　、。!?\n𠮟"
    for _ in range(300):
        text = "".join(draw.choices(alphabet, k=draw.randint(0, 40)))
        assert read(text) == reference(text)


@pytest.mark.parametrize("n", [1, 2, 5, 13, 32])
def test_equal_ngrams_have_equal_hashes_wherever_they_stand(n: int) -> None:
    text = "空を飛ぶ雲雀の声は空を飛ぶ雲雀の声よりも高くて空を飛ぶ雲雀の声は空を飛ぶ雲雀の声よりも高い" * 3
    hashes = ngram_hashes(letters(text).points, n)
    ngrams = [text[start : start + n] for start in range(len(text) - n + 1)]
    assert len(hashes) == len(ngrams)
    assert len(set(zip(ngrams, hashes.tolist(), strict=True))) == len(set(ngrams)) == len(set(hashes.tolist()))


def test_hashes_do_not_depend_on_how_long_the_text_is() -> None:
    """Beyond 16,384 letters other powers are computed."""
    head = np.arange(1, 16_385, dtype=np.uint32)
    longer = np.arange(1, 40_000, dtype=np.uint32)
    assert np.array_equal(ngram_hashes(head, 13), ngram_hashes(longer, 13)[: 16_384 - 12])
    assert not len(ngram_hashes(head[:12], 13))
