"""ROUGE over words or over a model's own pieces (Lin 2004).

In: two lists of tokens; out: precision, recall and F1 of their common n-grams or of their longest common subsequence,
as rouge_score computes them. A corpus' score is the mean over its examples. rouge_score's `BootstrapAggregator`, which
the harness of 2023 reports, is the median of 1,000 unseeded resamples' means instead: another number at every run, with
a standard deviation of 0.0004 around the mean on 766 real pairs.

Tokens come in two ways, one for each profile:

- `mecab_tokens` (strict) cuts words by MeCab with the unidic-lite dictionary, as the harness' own `MecabTokenizer`.
- `subword_tokens` (swallow-2023) are the pieces of the evaluated model's tokenizer. The harness' task makes itself a
  MeCab tokenizer, but `evaluator.py` then replaces it with the model's, because the task also asks for that
  (`LOAD_TOKENIZER`); rouge_score calls `tokenize` of whatever it is given, and lower-cases, stems and filters nothing.
  So a model with longer pieces has fewer of them to match: scores of different vocabularies cannot be compared.

    rouge_2(mecab_tokens("猫が椅子で寝た。"), mecab_tokens("猫は椅子で寝た。"))
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from rapidfuzz.distance import LCSseq

from tasks.evaluate.metrics.normalise import encodable, for_c_library

if TYPE_CHECKING:
    from tokenizer.encoder import Encoder

# What the harness removes besides the emoji library's emoji: faces, pictographs, transport, flags, dingbats.
_PICTOGRAPHS = re.compile(
    "[\U0001f600-\U0001f64f\U0001f300-\U0001f5ff\U0001f680-\U0001f6ff\U0001f1e0-\U0001f1ff\u2702-\u27b0]"
)


class Rouge(NamedTuple):
    """Shares, all 0 where nothing is in common."""

    precision: float
    recall: float
    f1: float


def rouge_2(pred_tokens: Sequence[str], gold_tokens: Sequence[str]) -> float:
    """F1 over the multisets of bigrams; 0 where either text has fewer than two tokens."""
    return rouge_n(pred_tokens, gold_tokens, 2).f1


def rouge_n(pred_tokens: Sequence[str], gold_tokens: Sequence[str], order: int) -> Rouge:
    """Over the multisets of n-grams of this order."""
    ours, theirs = _ngrams(pred_tokens, order), _ngrams(gold_tokens, order)
    return _rouge((ours & theirs).total(), ours.total(), theirs.total())


def rouge_l(pred_tokens: Sequence[str], gold_tokens: Sequence[str]) -> Rouge:
    """Over the longest common subsequence of tokens."""
    return _rouge(LCSseq.similarity(pred_tokens, gold_tokens), len(pred_tokens), len(gold_tokens))


def _ngrams(tokens: Sequence[str], order: int) -> Counter[tuple[str, ...]]:
    return Counter(zip(*(tokens[start:] for start in range(order)), strict=False))


def _rouge(common: int, ours: int, theirs: int) -> Rouge:
    return Rouge(common / ours, common / theirs, 2 * common / (ours + theirs)) if common else Rouge(0.0, 0.0, 0.0)


def mecab_tokens(text: str) -> list[str]:
    """Words by MeCab with unidic-lite, after emoji are removed, neologdn has unified widths, hyphens and long vowels
    (ﾊﾝｶｸ and ハンカク; 〜 vanishes, spaces beside Japanese too) and white space is single spaces."""
    import emoji
    import neologdn

    kept = "".join(character for character in for_c_library(text) if not emoji.is_emoji(character))
    normalised = " ".join(neologdn.normalize(_PICTOGRAPHS.sub("", kept)).split())
    tokens: list[str] = _tagger().parse(normalised).split()
    return tokens


@cache
def _tagger() -> Any:
    from fugashi import Tagger

    return Tagger("-Owakati")


def subword_tokens(text: str, encoder: Encoder) -> list[str]:
    """The model's own pieces, each named by its id."""
    return [str(token) for token in encoder.encode(encodable(text))]
