"""Ours beside the libraries whose values the metrics promise, on random and on real pairs of texts.

sacrebleu and nagisa are always there. fuzzywuzzy (with python-Levenshtein) and rouge_score are no dependency of the
project: to compare with them, install both somewhere and put that folder on PYTHONPATH.
"""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from statistics import mean

import pytest
import sacrebleu

from tasks.evaluate.metrics.bleu import BLEU, Tokenize, bleu_columns
from tasks.evaluate.metrics.fuzzy import fuzzy_ratio, token_sort_ratio
from tasks.evaluate.metrics.normalise import for_c_library, nfkc
from tasks.evaluate.metrics.rouge import mecab_tokens, rouge_l, rouge_n
from tests.tasks.evaluate.metrics.texts import random_pairs

Pairs = Sequence[tuple[str, str]]


@pytest.fixture(scope="module")
def real_pairs(shared_data: Path) -> list[tuple[str, str]]:
    """10,000 pairs of sentences: neighbours, and sentences beside themselves with words and characters lost."""
    sentences: list[str] = []
    for year in ("wmt21", "wmt22"):
        for name in ("en-ja.ref.ja", "ja-en.src.ja", "en-ja.src.en", "ja-en.ref.en"):
            sentences += (shared_data / "eval" / year / name).read_text(encoding="utf-8").splitlines()
    for path in sorted((shared_data / "text").glob("*.jsonl.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            for _, line in zip(range(400), lines, strict=False):
                sentences += [part[:200] for part in json.loads(line)["text"].splitlines()[:10]]
    generator = random.Random(0)
    pairs = []
    for first, second in pairwise(sentences):
        pairs.append((first, second))
        pairs.append(("".join(letter for letter in first if generator.random() > 1 / 10), first))
    generator.shuffle(pairs)
    assert len(pairs) > 10_000
    return pairs[:10_000]


def largest_difference(pairs: Pairs, tokenize: Tokenize, corpus: int) -> float:
    """Between BLEU and sacrebleu's `corpus_bleu` (in its per cent), over corpora of this many pairs."""
    import nagisa

    differences = []
    for start in range(0, len(pairs), corpus):
        part = pairs[start : start + corpus]
        ours = [for_c_library(pred) for pred, _ in part]
        theirs = [for_c_library(gold) for _, gold in part]
        value = BLEU.of([{"columns": bleu_columns(pred, gold, tokenize)} for pred, gold in part])
        if tokenize == "nagisa-13a":
            ours, theirs = ([" ".join(nagisa.tagging(text.strip()).words) for text in side] for side in (ours, theirs))
        name = "13a" if tokenize == "nagisa-13a" else tokenize
        differences.append(abs(100 * value - sacrebleu.corpus_bleu(ours, [theirs], tokenize=name).score))
    return max(differences)


@pytest.mark.parametrize("corpus", [1, 3, 200])
@pytest.mark.parametrize("tokenize", ["13a", "ja-mecab", "nagisa-13a", "char"])
def test_bleu_of_random_texts(tokenize: Tokenize, corpus: int) -> None:
    pairs = [(for_c_library(pred), for_c_library(gold)) for pred, gold in random_pairs(seed=8, count=200)]
    assert largest_difference(pairs, tokenize, corpus) < 1e-9


@pytest.mark.slow
@pytest.mark.parametrize(
    ("tokenize", "count"), [("13a", 10_000), ("ja-mecab", 10_000), ("nagisa-13a", 1_000), ("char", 10_000)]
)
def test_bleu_of_real_texts(real_pairs: Pairs, tokenize: Tokenize, count: int) -> None:
    assert largest_difference(real_pairs[:count], tokenize, 50) < 1e-9


@pytest.mark.slow
def test_the_fuzzy_ratio_is_fuzzywuzzys(real_pairs: Pairs) -> None:
    fuzz = pytest.importorskip("fuzzywuzzy.fuzz")
    pytest.importorskip("Levenshtein", reason="without python-Levenshtein fuzzywuzzy computes something else")
    pairs = [*random_pairs(seed=9, count=20_000), *real_pairs, ("", ""), ("é", "!"), ("", "é"), ("。", "、")]
    wrong = [pair for pair in pairs if token_sort_ratio(*pair) != fuzz.token_sort_ratio(*pair)]
    assert not wrong, wrong[:5]
    for pred, gold in real_pairs:
        assert fuzzy_ratio(pred, gold) == fuzz.token_sort_ratio(nfkc(pred), nfkc(gold)) / 100


@pytest.mark.slow
def test_rouge_is_rouge_scores_and_its_aggregate_lies_around_the_mean(real_pairs: Pairs) -> None:
    rouge_scorer = pytest.importorskip("rouge_score.rouge_scorer")
    scoring = pytest.importorskip("rouge_score.scoring")

    class Words:
        def tokenize(self, text: str) -> list[str]:
            return mecab_tokens(text)

    scorer = rouge_scorer.RougeScorer(["rouge1", "rouge2", "rougeL"], tokenizer=Words())
    aggregator = scoring.BootstrapAggregator()
    scores = []
    for pred, gold in real_pairs[:766]:
        theirs = scorer.score(gold, pred)
        aggregator.add_scores(theirs)
        tokens = mecab_tokens(pred), mecab_tokens(gold)
        for name, ours in [
            ("rouge1", rouge_n(*tokens, 1)),
            ("rouge2", rouge_n(*tokens, 2)),
            ("rougeL", rouge_l(*tokens)),
        ]:
            assert ours == pytest.approx(tuple(theirs[name]), abs=1e-12)
        scores.append(rouge_n(*tokens, 2).f1)
    assert aggregator.aggregate()["rouge2"].mid.fmeasure == pytest.approx(mean(scores), abs=0.005)
