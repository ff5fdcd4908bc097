"""The fuzzy ratio that the tables of the Swallow authors call character F1.

llm-jp-eval 1.1 computes its `char_f1` with `token_sort_ratio` of fuzzywuzzy 0.18, in whole per cent for each example.
fuzzywuzzy is GPL-2, so its value is computed here with rapidfuzz; on 20,000 random pairs (Japanese, mixed widths,
Latin-1, emoji, empty, punctuation only) and 10,000 real ones both give the same number. What it does to two texts:

1. Every character from U+0080 to U+00FF is deleted: `café` is `caf`, `°` and `×` and the no-break space vanish.
2. Every character that is not a letter, digit or underscore becomes a space (punctuation, emoji, combining marks that
   NFKC left alone), and the rest is lower-cased.
3. Words, which are what spaces separate, are sorted by code point and joined by one space. So 織田信長、豊臣秀吉 equals
   豊臣秀吉、織田信長, and a comma inside a Japanese sentence swaps its halves.
4. The ratio is 200 · LCS / (both lengths), LCS being the longest common subsequence in characters, rounded to a whole
   number, halves to the even one. Spaces put between words count.
5. Where nothing is left of either text the ratio is 100: 。 equals ！, and an empty output equals an answer of
   punctuation or of Latin-1 letters alone. Where something is left of one text only, it is 0.

The authors' lock file has python-Levenshtein, which decides the value. Without it fuzzywuzzy falls back on difflib,
which finds blocks instead of the longest common subsequence: on the 10,000 real pairs 28 % came out different, by up to
78 of 100, and the mean fell from 56.1 to 53.5.

    fuzzy_ratio("京都", "東京") == 0.5
"""

from __future__ import annotations

import re

from rapidfuzz.distance import Indel

from tasks.evaluate.metrics.normalise import nfkc

_LATIN_1 = re.compile("[\u0080-\u00ff]")
_NO_WORD = re.compile(r"\W")


def fuzzy_ratio(pred: str, gold: str) -> float:
    """`token_sort_ratio` of both texts after NFKC, as a share: one of 0, 0.01 … 1."""
    return token_sort_ratio(nfkc(pred), nfkc(gold)) / 100


def token_sort_ratio(first: str, second: str) -> int:
    """fuzzywuzzy's function of this name with python-Levenshtein installed, in per cent."""
    return ratio(_sorted_words(first), _sorted_words(second))


def ratio(first: str, second: str) -> int:
    """fuzzywuzzy's `fuzz.ratio` of the texts as they are, in per cent."""
    return round(100 * Indel.normalized_similarity(first, second))


def _sorted_words(text: str) -> str:
    return " ".join(sorted(_NO_WORD.sub(" ", _LATIN_1.sub("", text)).lower().split()))
