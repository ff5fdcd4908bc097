"""Character F1: how many characters prediction and answer share, in any order.

In: texts; out: a share. Both texts are taken through NFKC and lower-cased. White space, punctuation (Unicode category
P) and control and format characters (category C) do not count, nor does `~`, which NFKC makes of the full-width ～ that
Japanese text writes for the wave dash 〜, a punctuation mark. Other symbols count: without them `C++` would be `C`, and
5℃ `5C`. Then

    F1 = 2 · |shared characters| / (characters of the prediction + characters of the answer),

where a character that occurs n times in one text and m times in the other is shared min(n, m) times. As in SQuAD's F1
over words (Rajpurkar et al. 2016, section 6.1), order does not count: 京都 and 都京 have an F1 of 1.

    character_f1("東京都です。", "東京都") == 0.75
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Sequence

from tasks.evaluate.metrics.normalise import nfkc


def character_f1(pred: str, gold: str) -> float:
    """F1 over the multisets of characters; symmetric.

    Where a text has no character that counts, only the same text (after NFKC, without white space around) is right:
    two empty texts 1, `！` and `？` 0.
    """
    ours, theirs = _characters(pred), _characters(gold)
    if not ours or not theirs:
        return float(nfkc(pred).strip() == nfkc(gold).strip())
    return 2 * (ours & theirs).total() / (ours.total() + theirs.total())


def best_character_f1(pred: str, golds: Sequence[str]) -> tuple[float, str]:
    """The highest F1 over the accepted answers, and the first answer that has it.

    Raises:
        ValueError: there is no answer.
    """
    if not golds:
        raise ValueError("no answer to compare with: at least one is needed")
    scores = [character_f1(pred, gold) for gold in golds]
    best = max(scores)
    return best, golds[scores.index(best)]


def _characters(text: str) -> Counter[str]:
    return Counter(character for character in nfkc(text).lower() if _counts(character))


def _counts(character: str) -> bool:
    return not (character.isspace() or character == "~" or unicodedata.category(character)[0] in "PC")
