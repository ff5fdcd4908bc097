"""The quality metrics of a text.

In: a text. Out: `Metrics`, which the rules (`rules.py`) hold against thresholds and which become columns of
the document, so that other thresholds can be tried without reading the crawl again.

The definitions are those of the released swallow-corpus code (`quality.py`, commit 2d03507) to the last
quirk, because Swallow's thresholds were set on them: a paragraph is a line without what no sentence claims
(leading and repeated sentence ends); a duplicate is a unit that occurred before; the duplicate n-gram
fraction is *distinct repeated* over *distinct* n-grams, not occurrences; letters are all characters. Where
that code crashes, on texts without a sentence or shorter than 4 characters, the fractions are 0 here and
`num_sentences` tells.

N-grams are counted exactly, over code points: an n-gram's number is (number of its first n-1 characters,
number of its last), renumbered densely at each n. From n = 5 on only positions whose (n-1)-gram is repeated
are looked at.

    measure("雲雀が鳴く。空は青い。").mean_sentence_length  # 5.5
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import pyarrow as pa

from tasks.curate.characters import HIRAGANA, KANJI, KATAKANA, KUTEN, TOTEN, classify, code_points

TOP_SIZES = (2, 3, 4)
DUPLICATE_SIZES = (5, 6, 7, 8, 9, 10)
_SENTENCE = re.compile(r"[^。．！？!?]+[。．！？!?]?")
_ELLIPSES = ("・", "…")


@dataclass(frozen=True, slots=True)
class Metrics:
    """What the quality rules look at. Fractions are between 0 and 1, lengths in characters."""

    num_letters: int
    num_japanese_letters: int
    num_hiragana_letters: int
    num_katakana_letters: int
    num_kanji_letters: int
    num_kuten: int
    num_toten: int
    hiragana_fraction: float
    katakana_fraction: float
    kanji_fraction: float
    japanese_fraction: float
    num_sentences: int
    mean_sentence_length: float
    longest_sentence_length: int
    ellipsis_fraction: float
    duplicate_paragraph_fraction: float
    duplicate_paragraph_character_fraction: float
    duplicate_sentence_fraction: float
    duplicate_sentence_character_fraction: float
    top_2gram_fraction: float
    top_3gram_fraction: float
    top_4gram_fraction: float
    duplicate_5gram_fraction: float
    duplicate_6gram_fraction: float
    duplicate_7gram_fraction: float
    duplicate_8gram_fraction: float
    duplicate_9gram_fraction: float
    duplicate_10gram_fraction: float


def metric_fields() -> list[pa.Field]:
    """The metrics as columns, in their order."""
    kinds = {"int": pa.int64(), "float": pa.float64()}
    return [pa.field(field.name, kinds[str(field.type)], nullable=False) for field in fields(Metrics)]


def measure(text: str) -> Metrics:
    """All quality metrics of a text."""
    lines = [_SENTENCE.findall(line) for line in text.split("\n")]
    sentences = [sentence for line in lines for sentence in line]
    paragraph_dup, paragraph_dup_characters = _duplicates(["".join(line) for line in lines])
    sentence_dup, sentence_dup_characters = _duplicates(sentences)
    lengths = [len(sentence) for sentence in sentences]
    counts = _count_letters(text)
    num_japanese = sum(counts.values())
    fractions = _ngram_fractions(code_points(text))
    return Metrics(
        num_letters=len(text),
        num_japanese_letters=num_japanese,
        **counts,
        hiragana_fraction=_ratio(counts["num_hiragana_letters"], num_japanese),
        katakana_fraction=_ratio(counts["num_katakana_letters"], num_japanese),
        kanji_fraction=_ratio(counts["num_kanji_letters"], num_japanese),
        japanese_fraction=_ratio(num_japanese, len(text)),
        num_sentences=len(sentences),
        mean_sentence_length=_ratio(sum(lengths), len(sentences)),
        longest_sentence_length=max(lengths, default=0),
        ellipsis_fraction=_ratio(sum(sentence.endswith(_ELLIPSES) for sentence in sentences), len(sentences)),
        duplicate_paragraph_fraction=paragraph_dup,
        duplicate_paragraph_character_fraction=paragraph_dup_characters,
        duplicate_sentence_fraction=sentence_dup,
        duplicate_sentence_character_fraction=sentence_dup_characters,
        **fractions,  # type: ignore[arg-type]
    )


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


def _count_letters(text: str) -> dict[str, int]:
    classes = classify(text)
    flags = {
        "num_hiragana_letters": HIRAGANA,
        "num_katakana_letters": KATAKANA,
        "num_kanji_letters": KANJI,
        "num_kuten": KUTEN,
        "num_toten": TOTEN,
    }
    return {name: int(np.count_nonzero(classes & flag)) for name, flag in flags.items()}


def _duplicates(units: Sequence[str]) -> tuple[float, float]:
    """Share of the units that occurred before, and of the characters in them."""
    distinct = dict.fromkeys(units)
    num_characters = sum(map(len, units))
    return (
        _ratio(len(units) - len(distinct), len(units)),
        _ratio(num_characters - sum(map(len, distinct)), num_characters),
    )


def _ngram_fractions(points: np.ndarray) -> dict[str, float]:
    fractions = {f"top_{n}gram_fraction": 0.0 for n in TOP_SIZES}
    fractions |= {f"duplicate_{n}gram_fraction": 0.0 for n in DUPLICATE_SIZES}
    _, letters = np.unique(points, return_inverse=True)
    letters = letters.astype(np.int64)
    num_letters = len(points)
    base = int(letters.max(initial=0)) + 1
    # `grams[i]` is the number of the (n-1)-gram that starts at `starts[i]`.
    starts, grams = np.arange(num_letters), letters
    for n in range(2, max(DUPLICATE_SIZES) + 1):
        num_grams = num_letters - n + 1
        if num_grams < 1:
            break
        fitting = starts < num_grams
        starts = starts[fitting]
        keys = grams[fitting] * base + letters[starts + n - 1]
        _, grams, occurrences = np.unique(keys, return_inverse=True, return_counts=True)
        if n in TOP_SIZES:
            fractions[f"top_{n}gram_fraction"] = int(occurrences.max()) / num_grams
        else:
            # Positions no longer looked at hold n-grams that occur once.
            num_distinct = num_grams - len(starts) + len(occurrences)
            fractions[f"duplicate_{n}gram_fraction"] = int((occurrences > 1).sum()) / num_distinct
        if n >= max(TOP_SIZES):
            repeated = occurrences[grams] > 1
            starts, grams = starts[repeated], grams[repeated]
    return fractions
