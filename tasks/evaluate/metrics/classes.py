"""Accuracy and balanced accuracy of a classification as sums of columns.

In: an example's class and the predicted one (None where the output names no class: a wrong answer); out: columns
`accuracy`, and for each class `class_<name>` (the example is of it) and `recalled_<name>` (and was found). Balanced
accuracy is the mean of the classes' recalls, over the classes that occur (sklearn's `balanced_accuracy_score`):
guessing one class always gives 1 / classes, however skewed they are.

    BALANCED = balanced_accuracy(("含意", "矛盾", "中立"))
    BALANCED.of([{"columns": class_columns("含意", "中立", ("含意", "矛盾", "中立"))}])
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from tasks.evaluate.metric import Floats, Metric


def class_columns(gold: str, predicted: str | None, classes: Sequence[str]) -> dict[str, float]:
    """The columns of one example.

    Raises:
        ValueError: `gold` is none of the classes.
    """
    if gold not in classes:
        raise ValueError(f"class {gold!r} of an example is none of {', '.join(classes)}")
    columns = {"accuracy": float(predicted == gold)}
    for name in classes:
        columns[f"class_{name}"] = float(gold == name)
        columns[f"recalled_{name}"] = float(gold == name == predicted)
    return columns


def balanced_accuracy(classes: Sequence[str]) -> Metric:
    """The mean recall of the classes that occur; NaN where there are no examples."""
    columns = (*(f"recalled_{name}" for name in classes), *(f"class_{name}" for name in classes))
    return Metric("balanced_accuracy", "share", columns, partial(_mean_recall, len(classes)))


def _mean_recall(num_classes: int, sums: Floats) -> Floats:
    recalled, occurring = sums[..., :num_classes], sums[..., num_classes:]
    with np.errstate(invalid="ignore", divide="ignore"):
        recalls = np.where(occurring > 0, recalled / occurring, 0.0)
        return np.asarray(recalls.sum(axis=-1) / (occurring > 0).sum(axis=-1))
