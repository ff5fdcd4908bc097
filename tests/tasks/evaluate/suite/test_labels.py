from __future__ import annotations

from typing import Any

import pytest

from tasks.evaluate.suite.labels import read_label, written_label
from tasks.evaluate.suite.reading import NoItemError

NAMES = ("positive", "negative")
WRITTEN = {"positive": "肯定", "negative": "否定"}


@pytest.mark.parametrize(("value", "label"), [("negative", "negative"), (0, "positive"), ("1", "negative")])
def test_a_label_is_read_by_name_or_by_number(value: Any, label: str) -> None:
    assert read_label({"label": value}, "label", NAMES) == label


@pytest.mark.parametrize("value", [None, "neutral", 2, -1, True, ["positive"], ""])
def test_what_is_no_label_is_refused(value: Any) -> None:
    with pytest.raises(NoItemError, match="expected one of positive, negative in `label`"):
        read_label({"label": value}, "label", NAMES)


@pytest.mark.parametrize(
    ("line", "label"),
    [
        ("肯定", "positive"),
        ("「否定」。", "negative"),
        ("Negative", "negative"),
        ("", None),
        ("肯定的です", None),
        ("肯定か否定", None),
    ],
)
def test_only_the_label_alone_is_a_label(line: str, label: str | None) -> None:
    assert written_label(line, WRITTEN) == label
