"""Benchmarks and example rows made up for tests of scores and comparisons: nothing is asked, nothing is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from tasks.evaluate.benchmark import Benchmark, Category, Form
from tasks.evaluate.metric import Floats, Metric, mean
from tasks.evaluate.metrics.classes import balanced_accuracy, class_columns

EXACT = mean("exact_match", "exact_match")
F1 = mean("character_f1", "character_f1")
CLASSES = ("yes", "no")


def _matched(sums: Floats) -> Floats:
    """A metric of a whole corpus, like BLEU: characters that match, squared, over all characters."""
    matched, total = sums[..., 0], sums[..., 1]
    return (matched / total) ** 2


CORPUS = Metric("corpus_match", "share", ("matched", "total"), _matched)


def _unused(*arguments: Any) -> NoReturn:
    raise AssertionError("scores are computed from rows alone")


def benchmark(name: str, language: Any, category: Category, *metrics: Metric, **settings: Any) -> Benchmark:
    classes = settings.pop("classes", ())
    form = Form(1, 4, _unused, _unused, _unused, metrics, classes)
    return Benchmark(
        name,
        name.upper(),
        language,
        category,
        default_items=(),
        where="made up",
        read=_unused,
        forms={"strict": form, "swallow-2023": form},
        **settings,
    )


SUITE = {
    made.name: made
    for made in (
        benchmark("niilc", "ja", "QA", F1, EXACT),
        benchmark("jsquad", "ja", "RC", EXACT),
        benchmark("wmt22_en_ja", "ja", "MT", CORPUS, stands_in_for="wmt20_en_ja"),
        benchmark("jnli", "ja", "NLI", balanced_accuracy(CLASSES), averaged=False, classes=CLASSES),
        benchmark("gsm8k", "en", "MATH", EXACT),
    )
}


def rows(scores: Sequence[float], language: str = "ja") -> list[dict[str, Any]]:
    """Examples that are right, wrong, or right in part; characters match in the same part."""
    return [
        _row({"exact_match": float(score == 1), "character_f1": score, "matched": 10 * score, "total": 10.0}, number)
        | {"language": language, "score": score}
        for number, score in enumerate(scores)
    ]


def class_rows(answers: Sequence[tuple[str, str | None]]) -> list[dict[str, Any]]:
    """Examples of two classes, each (right one, predicted one)."""
    return [
        _row(class_columns(gold, predicted, CLASSES), number)
        | {"predicted": predicted, "gold": gold, "normalised_output": predicted or ""}
        for number, (gold, predicted) in enumerate(answers)
    ]


def _row(columns: Mapping[str, float], number: int) -> dict[str, Any]:
    return {
        "id": f"q{number}",
        "language": "ja",
        "category": None,
        "prompt_hash": f"p{number}",
        "output": f"answer {number}",
        "normalised_output": f"answer {number}",
        "gold": f"gold {number}",
        "predicted": None,
        "columns": dict(columns),
        "flags": [],
    }
