"""The quality classifier: how good a text is, by a fastText model over its characters.

In: a text. Out: a score between 0 and 1, which becomes the metric `quality_score`; the rule LOW_QUALITY_SCORE holds it
against `quality.min_quality_score`. The classes of the model are numbers from 0, worst, to K, best
(`__label__0` ...), and the score is the expected class divided by K: with two classes the probability of the good one,
with four the score of the Swallow Corpus v2's classifier of an LLM's grades (README of `edu-classifier`).

As there, no word segmentation is needed: features are n-grams of characters. The text goes in as its characters
with a space between any two, so that fastText's word n-grams (Joulin et al., 2017) are those of characters.

    classifier = Classifier("quality.bin")  # of `hibari classifier train`
    classifier.score("雲雀が空高く鳴いている。")
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from storage.artifact import input_digests
from storage.uri import localized

LABEL = "__label__"
MAX_CHARACTERS = 8192  # of the head of a text: a page's quality shows in it, and the time of a page is bounded


class Classifier:
    """Scores texts; all of a process share one loaded model.

    Raises:
        FileNotFoundError: no model there.
        ValueError: not a fastText model, or its labels are not classes from 0.
    """

    def __init__(self, path: str) -> None:
        self._model, self._num_classes = _load(path, input_digests([path])[0])

    def score(self, text: str) -> float:
        """How good a text is, from 0 to 1."""
        labels, probabilities = self._model.predict(as_characters(text), k=self._num_classes)
        expected = sum(
            int(label.removeprefix(LABEL)) * probability
            for label, probability in zip(labels, probabilities.tolist(), strict=True)
        )
        return float(expected / (probabilities.sum() * (self._num_classes - 1)))  # fastText's do not quite add up to 1


def as_characters(text: str) -> str:
    """The head of a text as one line of characters with spaces between; its own white space left out."""
    head = "".join(text[: 2 * MAX_CHARACTERS].split())[:MAX_CHARACTERS]
    return " ".join(head.encode("utf-8", "replace").decode())  # a lone surrogate is nothing fastText can read


@lru_cache(maxsize=1)
def _load(path: str, digest: str) -> tuple[Any, int]:
    """The model and its number of classes; another `digest` is another model."""
    import fasttext

    with localized(path) as file:
        try:
            model = fasttext.load_model(str(file))
        except (ValueError, RuntimeError, MemoryError) as error:
            raise ValueError(f"curate.classifier.model: {path} is not a fastText model: {error}") from error
    labels = sorted(model.get_labels())
    expected = [f"{LABEL}{number}" for number in range(max(2, len(labels)))]
    if labels != expected:
        raise ValueError(
            f"curate.classifier.model: {path} has the labels {', '.join(labels)}; expected {', '.join(expected)}, "
            "from worst to best: train one with `hibari classifier train`"
        )
    return model, len(labels)
