"""Generated answers as the judges of this folder read them.

text, flags = generated(result)
"""

from __future__ import annotations

from tasks.evaluate.requests import Generated, Result


def generated(result: Result) -> tuple[str, tuple[str, ...]]:
    """The text of a result that must be of a `Generate`, and its flags: "empty_output" where it holds nothing."""
    assert isinstance(result, Generated)
    return result.text, () if result.text.strip() else ("empty_output",)
