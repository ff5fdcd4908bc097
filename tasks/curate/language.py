"""The language decision, and the Japanese lines of mixed pages.

In: the main text of a page. Out: a score for "this is Japanese", and with `japanese_lines` the text reduced to its
Japanese lines. A text is Japanese when its score is above `min_score`.

Three methods score. `ngram`, the default, is a linear model over character 1- to 3-grams in the form of the released
swallow-corpus code (`ngram_model.py`); above 0 is Japanese. `fasttext` is the probability of `ja` by a language model
such as lid.176 (Joulin et al., 2017). `script` is the share of kana and kanji among the letters, 0 where kana are so
rare among them that the text is Chinese.

Many pages are mixed: a manual half translated, comments in English around Japanese articles, code. Refusing them loses
the Japanese, taking them whole trains on English labelled Japanese. So a page that is not Japanese as a whole is taken
when most of what it tells is told in Japanese (`japanese_share`), and of every page only the Japanese lines go on. A
line is Japanese by its share of kana, or of kana and kanji, among its letters. Lines that say nothing either way
(blank, numbers, a product's name) follow their neighbours.

    judge = LanguageJudge(config.language, config.japanese_lines)
    judged = judge(text)  # judged.score, judged.text, judged.lines_removed
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np

from tasks.curate.characters import JAPANESE, KANA, LETTER, classify
from tasks.curate.config import JapaneseLinesConfig, LanguageConfig
from tasks.curate.ngram_model import load_model

OTHER_LETTER_WEIGHT = 0.45  # nine kana and kanji tell what twenty Latin letters do
MIN_PROSE_WORDS = 4

# Every quantifier is possessive: a megabyte without a space takes as long as one of words.
_LATIN = "A-Za-z\u00aa\u00ba\u00c0-\u024f\u1e00-\u1eff"
_LATIN_WORD = rf"[{_LATIN}]++(?:['’][{_LATIN}]++)?+"
_LATIN_PROSE = re.compile(
    rf"(?<![\w.\-/$])(?:{_LATIN_WORD}[,;:.]?+[ \t]++){{{MIN_PROSE_WORDS - 1},}}+(?:{_LATIN_WORD})?+"
)
_JAPANESE = (
    "\u3005-\u3007\u3041-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U000323af"
)
_OTHER_SCRIPT = re.compile(rf"[^\W\d_{_LATIN}{_JAPANESE}\uff00-\uff5a]")
_OTHER_WORD = re.compile(rf"[^\W\d_{_JAPANESE}]++")


@dataclass(frozen=True, slots=True)
class Judged:
    """The decision, and the text that goes on; removed counts are of lines with anything on them.

    Of a page that is refused nothing goes on, and its lines may not have been looked at.
    """

    is_japanese: bool
    score: float
    text: str
    lines_removed: int = 0
    characters_removed: int = 0


class LanguageJudge:
    """Decides on texts; a model is loaded once in a process.

    Raises:
        ValueError: the model is not there or not readable.
    """

    def __init__(self, language: LanguageConfig, lines: JapaneseLinesConfig) -> None:
        self.language = language
        self.lines = lines
        self.score: Callable[[str], float] = _scorer(language)  # how Japanese a text is

    def __call__(self, text: str) -> Judged:
        score = self.score(text)
        is_japanese = score > self.language.min_score
        if not self.lines.enabled:
            return Judged(is_japanese, score, text)
        if not is_japanese and japanese_share(text) < self.language.min_mixed_share:
            return Judged(False, score, text)
        kept, lines_removed = keep_japanese_lines(text, self.lines)
        if not is_japanese:
            japanese_score = self.score(_OTHER_WORD.sub("", kept))
            is_japanese = japanese_score > self.language.min_score
            score = max(score, japanese_score)
        return Judged(is_japanese and bool(kept), score, kept, lines_removed, len(text) - len(kept))


def _scorer(language: LanguageConfig) -> Callable[[str], float]:
    if language.method == "script":
        return partial(script_score, min_kana_share=language.min_kana_share)
    assert language.model is not None
    if language.method == "ngram":
        return load_model(language.model).score
    return partial(fasttext_score, _load_fasttext(language.model))


def fasttext_score(model: Any, text: str) -> float:
    """The probability of `ja`; 0 where five other languages are likelier."""
    labels, probabilities = model.predict(text.replace("\n", " "), k=5)
    return min(1.0, float(dict(zip(labels, probabilities, strict=True)).get("__label__ja", 0.0)))


def script_score(text: str, min_kana_share: float) -> float:
    """Share of kana and kanji among the letters; 0 where kana are less than `min_kana_share` of them."""
    classes = classify(text)
    num_kana = np.count_nonzero(classes & KANA)
    num_japanese = np.count_nonzero(classes & JAPANESE)
    if not num_kana or num_kana < min_kana_share * num_japanese:
        return 0.0
    return float(num_japanese / np.count_nonzero(classes & (LETTER | JAPANESE)))


def japanese_share(text: str) -> float:
    """Share of what a text tells that is told in kana and kanji, 0 to 1.

    Latin letters count where they make sentences, in runs of words; names, commands and code do not. Letters of other
    scripts always count. Other letters weigh less, as it takes more of them to say the same.
    """
    num_other = sum(len(run) - run.count(" ") for run in _LATIN_PROSE.findall(text)) + len(_OTHER_SCRIPT.findall(text))
    num_japanese = np.count_nonzero(classify(text) & JAPANESE)
    return float(num_japanese / (num_japanese + OTHER_LETTER_WEIGHT * num_other)) if num_japanese else 0.0


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
def _load_fasttext(path: str) -> Any:
    try:
        import fasttext
    except ImportError as error:
        raise ValueError("curate.language.method fasttext: run `pip install fasttext-numpy2`") from error
    try:
        return fasttext.load_model(path)
    except ValueError as error:
        raise ValueError(f"curate.language.model: cannot load {path}: {error}") from error
