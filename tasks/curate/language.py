"""The language decision, and the Japanese lines of mixed pages.

In: the main text of a page. Out: a score between 0 and 1 for "this is Japanese", and with `japanese_lines`
the text reduced to its Japanese lines.

The script score is the share of kana and kanji among the letters, 0 where kana are so rare among them that
the text is Chinese. It needs no model, and no text of another language reaches it. The fastText score is the
probability of `ja` by a language model such as lid.176 (Joulin et al., 2017).

Many pages are mixed: a manual half translated, comments in English around Japanese articles. Refusing them
loses the Japanese, taking them whole trains on English labelled Japanese. So a page that is not Japanese as
a whole is judged again by its Japanese lines, and of every page only these go on. A line is Japanese by its
share of kana, or of kana and kanji, among its letters. Lines that say nothing either way (blank, numbers, a
product's name) follow their neighbours.

    judge = LanguageJudge(config.language, config.japanese_lines)
    judged = judge(text)  # judged.score, judged.text, judged.lines_removed
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from tasks.curate.characters import JAPANESE, KANA, LETTER, classify
from tasks.curate.config import JapaneseLinesConfig, LanguageConfig


@dataclass(frozen=True, slots=True)
class Judged:
    """The decision, and the text that goes on; removed counts are of lines with anything on them."""

    is_japanese: bool
    score: float
    text: str
    lines_removed: int = 0
    characters_removed: int = 0


class LanguageJudge:
    """Decides on texts; loads the fastText model once in a process.

    Raises:
        ValueError: the fastText model is not there or not readable.
    """

    def __init__(self, language: LanguageConfig, lines: JapaneseLinesConfig) -> None:
        self.language = language
        self.lines = lines
        self._model = _load_model(language.model) if language.method == "fasttext" and language.model else None

    def __call__(self, text: str) -> Judged:
        score = self.score(text)
        is_japanese = score >= self.language.min_score
        if not self.lines.enabled:
            return Judged(is_japanese, score, text)
        kept, lines_removed = keep_japanese_lines(text, self.lines)
        if not is_japanese and kept and _num_letters(kept) >= self.language.min_mixed_share * _num_letters(text):
            kept_score = self.score(kept)
            is_japanese = kept_score >= self.language.min_score
            score = max(score, kept_score)
        return Judged(is_japanese and bool(kept), score, kept, lines_removed, len(text) - len(kept))

    def score(self, text: str) -> float:
        """How Japanese a text is, 0 to 1."""
        if self._model is None:
            return script_score(text, self.language.min_kana_share)
        labels, probabilities = self._model.predict(text.replace("\n", " "), k=5)
        return min(1.0, float(dict(zip(labels, probabilities, strict=True)).get("__label__ja", 0.0)))


def script_score(text: str, min_kana_share: float) -> float:
    """Share of kana and kanji among the letters; 0 where kana are less than `min_kana_share` of them."""
    classes = classify(text)
    num_kana = np.count_nonzero(classes & KANA)
    num_japanese = np.count_nonzero(classes & JAPANESE)
    if not num_kana or num_kana < min_kana_share * num_japanese:
        return 0.0
    return float(num_japanese / np.count_nonzero(classes & (LETTER | JAPANESE)))


def keep_japanese_lines(text: str, config: JapaneseLinesConfig) -> tuple[str, int]:
    """The text without its lines in other languages, and how many lines (blank ones apart) that took away."""
    lines = text.split("\n")
    lengths = np.array([len(line) + 1 for line in lines])
    starts = np.cumsum(lengths) - lengths
    classes = classify(text + "\n")
    num_letters = _sum_lines(classes & (LETTER | JAPANESE), starts)
    num_kana = _sum_lines(classes & KANA, starts)
    num_japanese = _sum_lines(classes & JAPANESE, starts)
    japanese = (num_japanese > 0) & (
        (num_kana >= config.min_kana_ratio * num_letters) & (num_kana > 0)
        | (num_japanese >= config.min_japanese_ratio * num_letters)
    )
    neutral = ~japanese & (num_letters <= config.max_neutral_letters)
    kept = japanese | neutral & _neighbours_kept(japanese, neutral)
    removed = [line for line, keep in zip(lines, kept, strict=True) if not keep and line.strip()]
    return "\n".join(line for line, keep in zip(lines, kept, strict=True) if keep).strip("\n"), len(removed)


def _sum_lines(flags: np.ndarray, starts: np.ndarray) -> np.ndarray:
    return np.add.reduceat(flags.astype(bool).astype(np.int64), starts)


def _neighbours_kept(japanese: np.ndarray, neutral: np.ndarray) -> np.ndarray:
    """For each line: is the nearest line that is not neutral Japanese, both above and below?"""
    index = np.arange(len(japanese))
    above = np.maximum.accumulate(np.where(neutral, -1, index))
    below = np.minimum.accumulate(np.where(neutral, len(japanese), index)[::-1])[::-1]
    padded = np.append(japanese, False)  # index len: nothing below; index -1, the same place: nothing above
    return padded[above] & padded[below]


def _num_letters(text: str) -> int:
    return int(np.count_nonzero(classify(text) & (LETTER | JAPANESE)))


@cache
def _load_model(path: str) -> Any:
    try:
        import fasttext
    except ImportError as error:
        raise ValueError("curate.language.method fasttext: run `pip install fasttext-numpy2`") from error
    try:
        return fasttext.load_model(path)
    except ValueError as error:
        raise ValueError(f"curate.language.model: cannot load {path}: {error}") from error
