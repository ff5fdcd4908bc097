"""Japanese punctuation: `，．` become `、。` in documents that mostly write the first.

As in the released swallow-corpus code (`kutoten.py`), which counts and replaces commas and full stops apart: runs
of a mark that follow a Japanese character (hiragana, katakana, kanji of the Basic Multilingual Plane, a closing
bracket) are counted, and where the western ones are more, each mark of every run is replaced, but for the first of
a run that follows a full-width letter or digit (`３．１４`) and for a run at the very start. Nothing else changes:
no NFKC, which would fold the full-width letters of a text.

    to_japanese("この文章は，直す．")  # ("この文章は、直す。", 2)
"""

from __future__ import annotations

import re
from functools import partial

_AFTER = "[）」』］〕】〉》\u3041-\u3096\u30a1-\u30fa々〇〻\u3400-\u9fff\uf900-\ufaff]"
# The circumflex is left alone too: the released pattern repeats it inside its brackets.
_REPLACED_AFTER = "[^０-９Ａ-Ｚａ-ｚ^]"
_MARKS = tuple(
    (
        western,
        japanese,
        re.compile(f"{_AFTER}{western}+"),
        re.compile(f"{_AFTER}{japanese}+"),
        re.compile(f"({_REPLACED_AFTER})({western}+)"),
    )
    for western, japanese in (("，", "、"), ("．", "。"))
)


def to_japanese(text: str) -> tuple[str, int]:
    """The text with Japanese punctuation, and how many marks were replaced."""
    num_replaced = 0
    for western, japanese, western_runs, japanese_runs, target in _MARKS:
        if western not in text:
            continue
        if _count(western_runs, text) > _count(japanese_runs, text):
            before = text.count(western)
            text = target.sub(partial(_replace, japanese), text)
            num_replaced += before - text.count(western)
    return text, num_replaced


def _replace(mark: str, match: re.Match[str]) -> str:
    return match[1] + mark * len(match[2])


def _count(runs: re.Pattern[str], text: str) -> int:
    return sum(1 for _ in runs.finditer(text))
