"""Breaks when n-grams are not counted exactly."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from tasks.code_points import code_points
from tasks.curate.ngrams import REPEATED_SIZES, SIZES, TOP_SIZES, ngram_fractions
from tests.tasks.curate.warc_files import JAPANESE


def counted(text: str) -> dict[str, float]:
    """The same by plain counting."""
    fractions = {}
    for n in SIZES:
        counts = Counter(text[start : start + n] for start in range(len(text) - n + 1))
        total, repeated = max(1, counts.total()), [count for count in counts.values() if count > 1]
        if n in TOP_SIZES:
            fractions[f"top_{n}gram_fraction"] = max(counts.values(), default=0) / total
        else:
            fractions[f"duplicate_{n}gram_fraction"] = len(repeated) / max(1, len(counts))
            fractions[f"repeated_{n}gram_fraction"] = sum(repeated) / total
    return fractions


def drawn(num_letters: int, length: int, seed: int = 0) -> str:
    """A text of so many different letters."""
    chance = random.Random(seed)
    return "".join(chr(0x4E00 + chance.randrange(num_letters)) for _ in range(length))


TEXTS = {
    "prose": JAPANESE,
    "repeated": JAPANESE[:60] * 3,
    "one letter": "あ" * 30,
    "ten letters, the longest n-gram": "あ" * 10,
    "one more": "あ" * 11,
    "short of an n-gram": "あいあいあいあいう",
    "three": "あいう",
    "one": "あ",
    "none": "",
    "outside the BMP": "𠮷野𩸽𠮷野𩸽" * 3 + "\x00" * 12,
    "ends as it began": drawn(50, 40) + "。" + drawn(50, 40),
    **{f"{num_letters} letters": drawn(num_letters, 300, seed=num_letters) for num_letters in (1, 2, 3, 5, 20)},
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_fractions_equal_plain_counting(text: str) -> None:
    assert ngram_fractions(code_points(text)) == counted(text)


@pytest.mark.parametrize("num_letters", [400, 2000, 9000, 20000])
def test_alphabets_of_every_size(num_letters: int) -> None:
    """The more letters, the fewer fit into a key: each width has texts that need it."""
    text = drawn(num_letters, 5000) + drawn(60, 400, seed=1)
    text += text[1000:4500] + drawn(num_letters, 2 * num_letters, seed=2) + text[:500]
    assert ngram_fractions(code_points(text)) == counted(text)


def test_texts_do_not_see_one_another() -> None:
    """The scratch table keeps what the text before wrote."""
    first = ngram_fractions(code_points(JAPANESE))
    ngram_fractions(code_points(drawn(3000, 5000)))
    assert ngram_fractions(code_points(JAPANESE)) == first


def test_occurrences_see_a_phrase_that_fills_the_text() -> None:
    """Of distinct n-grams it is a small part however often it stands there; Gopher's rule is about the occurrences."""
    phrase = "本日限りの特別価格で"
    text = "".join(phrase + drawn(5000, 20, seed=number) for number in range(20))
    fractions = ngram_fractions(code_points(text))
    assert fractions["duplicate_5gram_fraction"] < 0.05
    assert fractions["repeated_5gram_fraction"] == 20 * 6 / (len(text) - 4)
    assert REPEATED_SIZES[-1] == 10
    assert fractions["repeated_10gram_fraction"] == 20 / (len(text) - 9)
