"""English answers compared word by word: SQuAD and TriviaQA.

In: a prediction and all accepted answers; out: a share, the best over the answers. SQuAD's normalisation is that of its
official script (evaluate-v2.0.py): lower case, ASCII punctuation deleted, the words a, an, the deleted, single spaces.
TriviaQA's official script differs: punctuation, four more quotation marks among it, becomes spaces. The harness of 2023
had its own for TriviaQA (version 3 of the task): articles and inner spaces stay.

    squad_f1("in the Edo period", ["Edo period", "the Edo era"]) == 0.8
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence

_DELETED = str.maketrans("", "", string.punctuation)
_SPACED = dict.fromkeys(map(ord, string.punctuation + "‘’´`"), " ")
_ARTICLE = re.compile(r"\b(?:a|an|the)\b")


def squad_normalise(text: str) -> str:
    """As SQuAD's official script compares answers."""
    return " ".join(_ARTICLE.sub(" ", text.lower().translate(_DELETED)).split())


def squad_exact(pred: str, golds: Sequence[str]) -> float:
    """1 where the prediction is an answer after normalisation, else 0.

    A question without answers (or with none that normalisation leaves anything of) wants an empty prediction: the word
    "unanswerable" is wrong there. The official script can take a question as unanswered by a probability; with its
    default threshold of 1 that never happens, so it plays no part in `exact` and `f1`.
    """
    return float(squad_normalise(pred) in _answers(golds))


def squad_f1(pred: str, golds: Sequence[str]) -> float:
    """The highest F1 over the multisets of words; where either side has none, 1 if the other has none too, else 0."""
    return max(_f1(squad_normalise(pred).split(), gold.split()) for gold in _answers(golds))


def _answers(golds: Sequence[str]) -> list[str]:
    return [gold for gold in map(squad_normalise, golds) if gold] or [""]


def _f1(ours: list[str], theirs: list[str]) -> float:
    if not ours or not theirs:
        return float(ours == theirs)
    return 2 * (Counter(ours) & Counter(theirs)).total() / (len(ours) + len(theirs))


def triviaqa_exact(pred: str, aliases: Sequence[str]) -> float:
    """1 where the prediction is one of the aliases, both normalised as by TriviaQA's official script."""
    return float(triviaqa_normalise(pred) in {triviaqa_normalise(alias) for alias in aliases})


def triviaqa_normalise(text: str) -> str:
    """As TriviaQA's official script compares answers: "The Ship-Yard" is "ship yard"."""
    return " ".join(_ARTICLE.sub(" ", text.lower().translate(_SPACED)).split())


def harness_triviaqa_exact(pred: str, aliases: Sequence[str]) -> float:
    """1 where the prediction is one of the aliases as the harness of 2023 compares them.

    Both are lower-cased and lose ASCII punctuation. White space around is taken off the prediction alone, and before
    the punctuation: `Paris !` becomes `paris` with a space, which no alias is.
    """
    return float(harness_triviaqa_normalise(pred.strip()) in set(map(harness_triviaqa_normalise, aliases)))


def harness_triviaqa_normalise(text: str) -> str:
    """Lower case, without ASCII punctuation: "The Ship-Yard" is "the shipyard"."""
    return text.lower().translate(_DELETED)
