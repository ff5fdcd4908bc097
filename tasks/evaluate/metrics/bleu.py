"""Corpus BLEU as a function of sums of n-gram counts.

In: a hypothesis and its reference; out: ten columns (matched and all n-grams of 1 to 4 words, words of hypothesis and
reference), and the metric that makes BLEU of their sums (Papineni et al. 2002): the geometric mean of the four
precisions times exp(1 - reference / hypothesis) where the hypotheses are shorter. Where no n-gram of some order
matches, its precision is 1 / (2^k · n-grams), k being the number of such orders so far (sacrebleu's `exp`). Equal to
`sacrebleu.corpus_bleu` / 100 with its defaults; a bootstrap resample needs no text again.

Words are cut in one of four ways:

- `13a`: as mteval-v13a, for languages with spaces.
- `ja-mecab`: MeCab with the IPA dictionary; sacrebleu's own way for Japanese.
- `nagisa-13a`: what the harness of 2023 does for Japanese: nagisa cuts, `13a` cuts the result again. nagisa takes the
  text through NFKC first (so widths never differ), writes U+3000 for each space (which then vanishes as white space),
  and cuts numbers into single digits, which makes 4-grams of them: 1989年 is five words, two with `ja-mecab`.
- `char`: every character.

    rows = [{"columns": bleu_columns(ours, reference, "ja-mecab")} for ours, reference in pairs]
    BLEU.of(rows)
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from functools import cache
from typing import Literal

import numpy as np

from tasks.evaluate.metric import Floats, Metric
from tasks.evaluate.metrics.normalise import for_c_library

Tokenize = Literal["13a", "ja-mecab", "nagisa-13a", "char"]
ORDERS = (1, 2, 3, 4)
COLUMNS = (
    *(f"bleu_correct_{order}" for order in ORDERS),
    *(f"bleu_total_{order}" for order in ORDERS),
    "bleu_hypothesis",
    "bleu_reference",
)


def bleu_columns(hypothesis: str, reference: str, tokenize: Tokenize) -> dict[str, float]:
    """The counts of one pair, under the names of `COLUMNS`.

    The first call starts the tokenizer, once per process: nagisa takes 2 s and 200 MiB, the others 0.2 s. nagisa then
    cuts 33,000 characters a second, MeCab 1.3 million.
    """
    ours, theirs = words(hypothesis, tokenize), words(reference, tokenize)
    correct, total = [], []
    for order in ORDERS:
        grams = _ngrams(ours, order)
        correct.append(float((grams & _ngrams(theirs, order)).total()))
        total.append(float(grams.total()))
    return dict(zip(COLUMNS, [*correct, *total, float(len(ours)), float(len(theirs))], strict=True))


def words(text: str, tokenize: Tokenize) -> list[str]:
    """The words that n-grams are made of."""
    return _tokenizer(tokenize)(text.rstrip()).split()


def _ngrams(tokens: list[str], order: int) -> Counter[tuple[str, ...]]:
    return Counter(zip(*(tokens[start:] for start in range(order)), strict=False))


@cache
def _tokenizer(tokenize: Tokenize) -> Callable[[str], str]:
    if tokenize == "nagisa-13a":
        root = logging.getLogger()
        handlers, level = list(root.handlers), root.level
        import nagisa  # its training module sets up logging for the whole process

        root.handlers[:] = handlers
        root.setLevel(level)
        after = _tokenizer("13a")
        return lambda text: after(" ".join(nagisa.wakati(text.strip())))
    import sacrebleu

    cut: Callable[[str], str] = sacrebleu.BLEU(tokenize=tokenize).tokenizer
    return (lambda text: cut(for_c_library(text))) if tokenize == "ja-mecab" else cut


def bleu_of_sums(sums: Floats) -> Floats:
    """BLEU as a share, (..., 10) to (...,); 0 where no word matches or no hypothesis has four words, never NaN."""
    correct, total, ours, theirs = sums[..., :4], sums[..., 4:8], sums[..., 8], sums[..., 9]
    unmatched = (correct == 0) & (total > 0)
    matched = np.where(unmatched, 0.5 ** np.cumsum(unmatched, axis=-1), correct)
    with np.errstate(divide="ignore", invalid="ignore"):
        log_precision = np.log(np.where(total > 0, matched / total, 0.0)).mean(axis=-1)
        log_brevity = np.where(ours > 0, np.minimum(0.0, 1 - theirs / ours), -np.inf)
        return np.where(correct.any(axis=-1), np.exp(log_precision + log_brevity), 0.0)


BLEU = Metric("bleu", "share", COLUMNS, bleu_of_sums)
