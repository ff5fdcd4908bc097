"""The comparison of tokenizers as a page: fertility, what models save, vocabulary use, pieces, cut sentences.

In: the figures that `flows.tokenizer_comparison.facts` gathers, JSON-like. Out: one self-contained HTML page, like the
report; its bytes are a function of the figures.

    html = render(facts)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from markupsafe import Markup

from tasks.report import formats
from tasks.report.charts import intervals
from tasks.report.page import render_page

PAGE = "tokenizer_comparison.html"
_NOTHING = 0.0005  # a change that rounds to 0.0 %
NO_BREAK_SPACE = "\u00a0"


def render(facts: Mapping[str, Any]) -> str:
    """The page of these figures."""
    filters: dict[str, Callable[..., str]] = {"kind_of_text": kind_of_text, "bounds": bounds, "flops": flops}
    return render_page(PAGE, facts, filters, charts=[Markup(fertility_chart(facts))], headlines=headlines(facts))


def headlines(facts: Mapping[str, Any]) -> list[dict[str, str]]:
    """For each tokenizer but the reference, what it makes of the texts: `tokenizer`, `says`."""
    lines = []
    for name in (each["name"] for each in facts["tokenizers"]):
        if name == facts["reference"]:
            continue
        parts, as_many = [], []
        for text in facts["texts"]:
            change = text["measures"][name]["tokens_change"]["value"]
            if abs(change) < _NOTHING:
                as_many.append(kind_of_text(text))
            else:
                much = f"{formats.share(abs(change))} {'fewer' if change < 0 else 'more'} tokens"
                parts.append(f"{much} of {kind_of_text(text)}")
        if as_many:
            parts.append(f"as many of {', '.join(as_many)}")
        lines.append({"tokenizer": name, "says": "; ".join(parts)})
    return lines


def kind_of_text(text: Mapping[str, Any]) -> str:
    """`Japanese (corpus)`; only the name where it says the language."""
    spoken = formats.language(text["language"])
    return spoken if text["name"] in (text["language"], spoken) else f"{spoken} ({text['name']})"


def bounds(found: Mapping[str, Any] | None, digits: int = 3, percent: bool = False) -> str:
    """The interval of a figure, `0.71 to 0.74`; empty where there is none."""
    if found is None or found["low"] is None or found["high"] is None:
        return ""
    if percent:
        low, high = (formats.change(found[end]) for end in ("low", "high"))
        return f"{low.partition(NO_BREAK_SPACE)[0]} to {high}"
    return f"{formats.decimal(found['low'], digits)} to {formats.decimal(found['high'], digits)}"


def flops(value: float | None) -> str:
    """Operations in three digits and a unit: `46.4 GFLOP`."""
    if value is None:
        return formats.UNKNOWN
    for unit, size in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{formats.significant(value / size)}\u00a0{unit}FLOP"
    return f"{formats.significant(value)}\u00a0FLOP"


def fertility_chart(facts: Mapping[str, Any]) -> str:
    """Tokens per character of each text under each tokenizer, with intervals."""
    panels = []
    for text in facts["texts"]:
        rows = []
        for name, measures in text["measures"].items():
            found = measures["tokens_per_character"]
            rows.append((name, found["value"], found["low"], found["high"]))
        panels.append((f"{kind_of_text(text)}, tokens per character", rows))
    return intervals(panels, "Tokens per character of each text under each tokenizer, with intervals")
