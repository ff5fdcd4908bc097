"""Generated answers as the judges of this folder read them.

text, flags = generated(results[0])
text, line = output_line(results)
"""

from __future__ import annotations

from collections.abc import Sequence

from tasks.evaluate.metrics.normalise import first_line, nfkc
from tasks.evaluate.requests import Generated, Result


def generated(result: Result) -> tuple[str, tuple[str, ...]]:
    """The text of a result that must be of a `Generate`, and its flags: "empty_output" where it holds nothing."""
    assert isinstance(result, Generated)
    return result.text, () if result.text.strip() else ("empty_output",)


def output_line(results: Sequence[Result]) -> tuple[str, str]:
    """The raw output of an item's one request, and its first line in NFKC without white space around it."""
    (result,) = results
    text, _ = generated(result)
    return text, nfkc(first_line(text)).strip()
