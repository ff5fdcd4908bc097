from __future__ import annotations

import numpy as np
import pytest

from tasks.evaluate.metric import mean
from tasks.evaluate.metrics.classes import balanced_accuracy, class_columns

CLASSES = ("含意", "矛盾", "中立")
BALANCED = balanced_accuracy(CLASSES)


def rows(pairs: list[tuple[str, str | None]]) -> list[dict[str, dict[str, float]]]:
    return [{"columns": class_columns(gold, predicted, CLASSES)} for gold, predicted in pairs]


def test_one_class_for_everything_is_guessing_however_skewed() -> None:
    skewed = rows([("中立", "中立")] * 8 + [("含意", "中立"), ("矛盾", "中立")])
    assert mean("accuracy", "accuracy").of(skewed) == 0.8
    assert BALANCED.of(skewed) == pytest.approx(1 / 3)


def test_it_is_the_mean_of_the_recalls_and_no_class_is_a_wrong_answer() -> None:
    mixed = rows(
        [("含意", "含意"), ("含意", None), ("矛盾", "矛盾"), ("矛盾", "中立"), ("中立", "中立"), ("中立", "？")]
    )
    assert BALANCED.of(mixed) == pytest.approx((1 / 2 + 1 / 2 + 1 / 2) / 3)
    assert BALANCED.of(mixed[:3]) == pytest.approx((1 / 2 + 1) / 2)  # 中立 does not occur
    assert BALANCED.of(rows([("含意", None)])) == 0.0


def test_without_examples_there_is_nothing_to_say() -> None:
    assert np.isnan(BALANCED.of([]))


def test_a_resample_is_the_metric_of_the_resampled_list() -> None:
    generator = np.random.default_rng(3)
    examples = rows([(CLASSES[i], CLASSES[j]) for i, j in generator.integers(0, 3, (40, 2))])
    drawn = generator.integers(0, 40, (20, 40))
    weights = np.stack([np.bincount(row, minlength=40) for row in drawn]).astype(float)
    values = BALANCED.of_sums(weights @ BALANCED.matrix(examples))
    assert values == pytest.approx([BALANCED.of([examples[i] for i in row]) for row in drawn], abs=1e-12)


def test_a_gold_of_another_class_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'不明' of an example is none of 含意, 矛盾, 中立"):
        class_columns("不明", "含意", CLASSES)
