"""Breaks when a label is lost or doubled, or when a detector's figures are not what its scores say."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from benchmarks.language import LABELS, Detector, Page, best_threshold, evaluate, read_labels

KINDS = {"short-text", "code-heavy", "bilingual", "chinese-kana-menu", "other"}


def test_the_labels_are_many_and_each_page_has_one() -> None:
    labels = read_labels(LABELS)
    assert len(labels) >= 300
    assert len({label.url for label in labels}) == len(labels)
    assert {label.kind for label in labels} <= KINDS
    assert min(Counter(label.is_japanese for label in labels).values()) >= 100


def test_a_label_of_another_word_is_named(tmp_path: Path) -> None:
    path = tmp_path / "labels.tsv"
    path.write_text("# how it was labelled\nurl\tkind\tlabel\tnote\nhttp://a.example/\tother\tperhaps\t\n")
    with pytest.raises(ValueError, match=r"labels\.tsv: .*got 'perhaps' for http://a\.example/"):
        read_labels(path)


@pytest.mark.parametrize(
    ("text", "from_japanese_folder", "is_japanese"),
    [("空の色abc", True, True), ("空の色abcd", True, False), ("空の色abc", False, False), ("12", True, False)],
)
def test_the_first_truth(text: str, from_japanese_folder: bool, is_japanese: bool) -> None:
    assert Page("u", from_japanese_folder, "utf-8", text, 0, True).is_japanese == is_japanese


def test_figures_of_a_detector_by_hand() -> None:
    scores = np.array([0.9, 0.6, 0.4, 0.1, 0.9, 0.6, 0.4, 0.1])
    truth = np.array([True, True, True, False] * 2)
    halves = np.array([True] * 4 + [False] * 4)
    row = evaluate(Detector("x", 0.5, lambda page: 0.0), scores, truth, halves, cpu_ms=1)
    assert (row.pages, row.japanese, row.precision, row.recall) == (8, 6, 1, pytest.approx(4 / 6))
    assert row.f1 == pytest.approx(0.8)
    assert row.best_f1 == 1, "0.25, halfway between 0.4 and 0.1, parts either half"


def test_the_threshold_is_chosen_on_the_other_half() -> None:
    scores = np.array([0.9, 0.2, 0.9, 0.6])
    truth = np.array([True, False, True, False])
    halves = np.array([True, True, False, False])
    row = evaluate(Detector("x", 0.5, lambda page: 0.0), scores, truth, halves, cpu_ms=1)
    assert row.best_f1 == pytest.approx(0.8), "the first half's 0.55 calls 0.6 Japanese"
    assert best_threshold(scores[:2], truth[:2]) == pytest.approx(0.55)
