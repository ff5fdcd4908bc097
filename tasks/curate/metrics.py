"""The quality metrics of a text.

In: a text. Out: `Metrics`, which the rules (`rules.py`) hold against thresholds and which become columns of
the document, so that other thresholds can be tried without reading the crawl again. The metrics of every profile
are always measured.

Most definitions are those of the released swallow-corpus code (`quality.py` and `ngword.py`, commit 2d03507) to the
last quirk, because Swallow's thresholds were set on them: a paragraph is a line without what no sentence claims
(leading and repeated sentence ends); a duplicate is a unit that occurred before; letters are all characters. Where
that code crashes, on texts without a sentence or shorter than 4 characters, the fractions are 0 here and
`num_sentences` tells.

Ours are those named `full_…` (all Japanese letters are counted), `repeated_…` (occurrences of n-grams instead of
distinct n-grams, what that code's README describes) and the prose metrics. A line of a list or a table, a heading or a
menu entry is a "sentence" to the released code. Prose is what ends as a sentence does: in a mark, an ellipsis or a
closing quotation mark, in which a line of dialogue ends.

    measure("雲雀が鳴く。空は青い。").mean_sentence_length  # 5.5
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import pyarrow as pa

from tasks.code_points import code_points
from tasks.curate.characters import (
    HIRAGANA,
    KANA_SIGN,
    KANJI,
    KATAKANA,
    KUTEN,
    RARE_KANJI,
    TOTEN,
    classify,
)
from tasks.curate.ngrams import ngram_fractions
from tasks.curate.ngwords import NgWords

SENTENCE = re.compile(r"[^。．！？!?\n]+[。．！？!?]?")
ELLIPSES = ("・", "…")
PROSE_ENDS = "。．！？!?｡…‥♪」』"
_UNCLAIMED = re.compile(r"(?<![^。．！？!?\n])[。．！？!?]+")
_FLAGS = (HIRAGANA, KATAKANA, KANJI, KUTEN, TOTEN, KANA_SIGN, RARE_KANJI)
_HAS_FLAG = np.array([[bool(classes & flag) for classes in range(256)] for flag in _FLAGS], np.int64)


@dataclass(frozen=True, slots=True)
class Metrics:
    """What the quality rules look at. Fractions are between 0 and 1, lengths in characters.

    Attributes:
        num_kana_signs: `ー`, iteration marks, half-width and small phonetic katakana.
        num_rare_kanji: kanji outside the Basic Multilingual Plane.
        num_full_japanese_letters: the Japanese letters with these two; the `full_…` fractions count so.
        long_sentence_length: sentences longer than this hold a tenth of the characters, or less.
        prose_sentence_length: mean length of all sentences or of those that are prose, whichever is larger: lists
            beside prose pull down the one, line breaks inside sentences the other.
        prose_fraction: characters in sentences that are prose / characters in sentences.
        repeated_5gram_fraction: occurrences of 5-grams that occur more than once / 5-grams.
        ng_word_fraction: letters in words of the list / Japanese letters; 0 without a list.
        quality_score: of the quality classifier, None without one.
    """

    num_letters: int
    num_japanese_letters: int
    num_hiragana_letters: int
    num_katakana_letters: int
    num_kanji_letters: int
    num_kuten: int
    num_toten: int
    num_kana_signs: int
    num_rare_kanji: int
    num_full_japanese_letters: int
    hiragana_fraction: float
    katakana_fraction: float
    kanji_fraction: float
    japanese_fraction: float
    full_hiragana_fraction: float
    full_katakana_fraction: float
    full_japanese_fraction: float
    num_sentences: int
    mean_sentence_length: float
    longest_sentence_length: int
    ellipsis_fraction: float
    long_sentence_length: int
    prose_sentence_length: float
    prose_fraction: float
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
    repeated_5gram_fraction: float
    repeated_6gram_fraction: float
    repeated_7gram_fraction: float
    repeated_8gram_fraction: float
    repeated_9gram_fraction: float
    repeated_10gram_fraction: float
    ng_word_fraction: float
    quality_score: float | None


def metric_fields() -> list[pa.Field]:
    """The metrics as columns, in their order."""
    kinds = {"int": pa.int64(), "float": pa.float64(), "float | None": pa.float64()}
    return [
        pa.field(field.name, kinds[str(field.type)], nullable=str(field.type).endswith("None"))
        for field in fields(Metrics)
    ]


def measure(text: str, ng_words: NgWords | None = None, quality_score: float | None = None) -> Metrics:
    """All quality metrics of a text.

    Args:
        quality_score: what the quality classifier says of the text, handed through.
    """
    letters = _letter_metrics(text)
    num_ng_letters = ng_words.count_letters(text) if ng_words else 0
    return Metrics(
        **letters,  # type: ignore[arg-type]
        **_sentence_metrics(text),  # type: ignore[arg-type]
        **ngram_fractions(code_points(text)),  # type: ignore[arg-type]
        ng_word_fraction=_ratio(num_ng_letters, letters["num_japanese_letters"]),
        quality_score=quality_score,
    )


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


def _letter_metrics(text: str) -> dict[str, float]:
    num_of_classes = np.bincount(classify(text), minlength=256)
    hiragana, katakana, kanji, kuten, toten, kana_signs, rare_kanji = (_HAS_FLAG @ num_of_classes).tolist()
    num_japanese = hiragana + katakana + kanji + kuten + toten
    num_full_japanese = num_japanese + kana_signs + rare_kanji
    return {
        "num_letters": len(text),
        "num_japanese_letters": num_japanese,
        "num_hiragana_letters": hiragana,
        "num_katakana_letters": katakana,
        "num_kanji_letters": kanji,
        "num_kuten": kuten,
        "num_toten": toten,
        "num_kana_signs": kana_signs,
        "num_rare_kanji": rare_kanji,
        "num_full_japanese_letters": num_full_japanese,
        "hiragana_fraction": _ratio(hiragana, num_japanese),
        "katakana_fraction": _ratio(katakana, num_japanese),
        "kanji_fraction": _ratio(kanji, num_japanese),
        "japanese_fraction": _ratio(num_japanese, len(text)),
        "full_hiragana_fraction": _ratio(hiragana, num_full_japanese),
        "full_katakana_fraction": _ratio(katakana + kana_signs, num_full_japanese),
        "full_japanese_fraction": _ratio(num_full_japanese, len(text)),
    }


def _sentence_metrics(text: str) -> dict[str, float]:
    sentences = SENTENCE.findall(text)
    lengths = [len(sentence) for sentence in sentences]
    num_characters = sum(lengths)
    prose_lengths = [len(sentence) for sentence in sentences if sentence[-1] in PROSE_ENDS]
    mean_length = _ratio(num_characters, len(sentences))
    num_ellipses = 0
    if any(mark in text for mark in ELLIPSES):
        num_ellipses = sum(sentence.strip().endswith(ELLIPSES) for sentence in sentences)
    paragraph_fraction, paragraph_characters = _duplicates(paragraphs(text, num_characters))
    sentence_fraction, sentence_characters = _duplicates(sentences)
    return {
        "num_sentences": len(sentences),
        "mean_sentence_length": mean_length,
        "longest_sentence_length": max(lengths, default=0),
        "ellipsis_fraction": _ratio(num_ellipses, len(sentences)),
        "long_sentence_length": _long_length(lengths, num_characters),
        "prose_sentence_length": max(mean_length, _ratio(sum(prose_lengths), len(prose_lengths))),
        "prose_fraction": _ratio(sum(prose_lengths), num_characters),
        "duplicate_paragraph_fraction": paragraph_fraction,
        "duplicate_paragraph_character_fraction": paragraph_characters,
        "duplicate_sentence_fraction": sentence_fraction,
        "duplicate_sentence_character_fraction": sentence_characters,
    }


def paragraphs(text: str, num_characters: int) -> list[str]:
    """The lines of a text, each the sentences in it; `num_characters` is how many characters all of them have."""
    num_unclaimed = len(text) - text.count("\n") - num_characters
    return (_UNCLAIMED.sub("", text) if num_unclaimed else text).split("\n")


def _long_length(lengths: Sequence[int], num_characters: int) -> int:
    """The largest length such that longer sentences hold at most a tenth of the characters."""
    num_longer = 0
    for length in sorted(lengths, reverse=True):
        num_longer += length
        if 10 * num_longer > num_characters:
            return length
    return 0


def _duplicates(units: Sequence[str]) -> tuple[float, float]:
    """Share of the units that occurred before, and of the characters in them."""
    distinct = set(units)
    num_characters = sum(map(len, units))
    return (
        _ratio(len(units) - len(distinct), len(units)),
        _ratio(num_characters - sum(map(len, distinct)), num_characters),
    )
