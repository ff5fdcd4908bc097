"""The thresholds of the quality rules: `quality` in the `curate` section of a run file.

Every threshold has the value of the Swallow Corpus v1 recipe (Okazaki et al., COLM 2024; the released `swallow-corpus`
code, `quality.py` `apply_v1`) unless its description names another source. The rules are in `rules.py`.

    QualityConfig(min_letters=200)
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class NgWordsConfig(BaseModel):
    """Which words no text may be full of."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    files: list[str] = Field(
        default=["builtin"],
        description="lists in UTF-8, one word a line, # for comments: paths or URIs, or builtin for the list that "
        "comes with Hibari; none at all turns the rule off",
    )


class QualityConfig(BaseModel):
    """Thresholds of the quality rules; a document is dropped when a measure is outside."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    japanese_letters: Literal["full", "swallow"] = Field(
        default="full",
        description="what counts as a Japanese letter: swallow = hiragana, katakana, kanji of the BMP, 、，。．！？; "
        "full = also ー, iteration marks, half-width katakana and all other kanji; Hibari",
    )
    ngram_duplication: Literal["occurrences", "distinct"] = Field(
        default="occurrences",
        description="repeated 5- to 10-grams: distinct = share of the distinct n-grams, as Swallow v1 was released; "
        "occurrences = share of all n-grams, as its README says; Hibari",
    )
    sentences: Literal["prose", "swallow"] = Field(
        default="prose",
        description="sentence rules: swallow = every line of a list is a sentence, and one too long drops the text; "
        "prose = as described at min_prose_ratio, min_mean_sentence_length and max_sentence_length; Hibari",
    )
    min_letters: int = Field(default=400, ge=0, description="characters of the text; Swallow v1")
    min_japanese_letters: int = Field(default=400, ge=0, description="kana, kanji and Japanese punctuation; Swallow v1")
    max_duplicate_paragraph_fraction: float = Field(
        default=0.30, ge=0, le=1, description="lines that occurred before / lines; Swallow v1, after Gopher"
    )
    max_duplicate_paragraph_character_fraction: float = Field(
        default=0.20, ge=0, le=1, description="the same, in characters; Swallow v1, after Gopher"
    )
    max_duplicate_sentence_fraction: float = Field(
        default=0.30,
        ge=0,
        le=1,
        description="sentences that occurred before / sentences; Swallow v1, after Gopher",
    )
    max_duplicate_sentence_character_fraction: float = Field(
        default=0.20, ge=0, le=1, description="the same, in characters; Swallow v1, after Gopher"
    )
    max_top_2gram_fraction: float = Field(
        default=0.20,
        ge=0,
        le=1,
        description="occurrences of the most frequent character 2-gram / 2-grams; Swallow v1",
    )
    max_top_3gram_fraction: float = Field(default=0.18, ge=0, le=1, description="the same for 3-grams; Swallow v1")
    max_top_4gram_fraction: float = Field(default=0.16, ge=0, le=1, description="the same for 4-grams; Swallow v1")
    max_duplicate_5gram_fraction: float = Field(
        default=0.15,
        ge=0,
        le=1,
        description="distinct character 5-grams seen again / distinct; Swallow v1, as released",
    )
    max_duplicate_6gram_fraction: float = Field(
        default=0.14, ge=0, le=1, description="the same for 6-grams; Swallow v1"
    )
    max_duplicate_7gram_fraction: float = Field(
        default=0.13, ge=0, le=1, description="the same for 7-grams; Swallow v1"
    )
    max_duplicate_8gram_fraction: float = Field(
        default=0.12, ge=0, le=1, description="the same for 8-grams; Swallow v1"
    )
    max_duplicate_9gram_fraction: float = Field(
        default=0.11, ge=0, le=1, description="the same for 9-grams; Swallow v1"
    )
    max_duplicate_10gram_fraction: float = Field(
        default=0.10, ge=0, le=1, description="the same for 10-grams; Swallow v1"
    )
    max_repeated_5gram_fraction: float = Field(
        default=0.39,
        ge=0,
        le=1,
        description="occurrences of character 5-grams seen more than once / 5-grams; Hibari: of the texts that Swallow "
        "v1 accepts 99.5 % have no more, rounded up to hundredths (python -m benchmarks.quality)",
    )
    max_repeated_6gram_fraction: float = Field(
        default=0.32, ge=0, le=1, description="the same for 6-grams; Hibari, likewise"
    )
    max_repeated_7gram_fraction: float = Field(
        default=0.28, ge=0, le=1, description="the same for 7-grams; Hibari, likewise"
    )
    max_repeated_8gram_fraction: float = Field(
        default=0.25, ge=0, le=1, description="the same for 8-grams; Hibari, likewise"
    )
    max_repeated_9gram_fraction: float = Field(
        default=0.22, ge=0, le=1, description="the same for 9-grams; Hibari, likewise"
    )
    max_repeated_10gram_fraction: float = Field(
        default=0.20, ge=0, le=1, description="the same for 10-grams; Hibari, likewise"
    )
    min_hiragana_ratio: float = Field(default=0.2, ge=0, le=1, description="hiragana / Japanese letters; Swallow v1")
    max_katakana_ratio: float = Field(default=0.5, ge=0, le=1, description="katakana / Japanese letters; Swallow v1")
    min_japanese_ratio: float = Field(default=0.5, ge=0, le=1, description="Japanese letters / characters; Swallow v1")
    min_prose_ratio: float = Field(
        default=0.2,
        ge=0,
        le=1,
        description="characters in sentences that end as prose does (in a mark, an ellipsis, a closing quotation mark) "
        "/ characters; sentences: prose only; Hibari",
    )
    min_mean_sentence_length: float = Field(
        default=20,
        ge=0,
        description="characters a sentence; with sentences: prose the larger of the mean over all sentences and that "
        "over those that end as prose does; Swallow v1",
    )
    max_mean_sentence_length: float = Field(default=90, ge=0, description="characters a sentence; Swallow v1")
    max_sentence_length: int = Field(
        default=200,
        ge=0,
        description="characters of the longest sentence; with sentences: prose, longer ones may hold a tenth of the "
        "characters; Swallow v1",
    )
    max_ellipsis_ratio: float = Field(
        default=0.2, ge=0, le=1, description="sentences ending in ・ or … / all; Swallow v1"
    )
    ng_words: NgWordsConfig = Field(default_factory=NgWordsConfig, description="lists of NG words")
    max_ng_word_ratio: float = Field(
        default=0.05,
        ge=0,
        description="letters in NG words / Japanese letters (as swallow counts them) from which on a text is dropped; "
        "Swallow v1",
    )
    min_quality_score: float = Field(
        default=0,
        ge=0,
        le=1,
        description="lowest score of the quality classifier, where there is one; 0 drops nothing; Hibari",
    )
