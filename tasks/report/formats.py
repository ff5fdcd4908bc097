"""How figures are written on the page: thousands separators, sensible digits, a dash for what is not known.

Every function takes None and answers with a dash, so that a page of an old or thin run is still a page. Units are
joined by no-break spaces; the minus is U+2212.

    count(19265), share(0.1234), change(-0.2025)  # '19,265', '12.3 %', '−20.3 %'
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

UNKNOWN = "–"
_NAMES = {
    "byte_level_bpe": "byte-level BPE",
    "sentencepiece": "SentencePiece",
    "bleu": "BLEU",
    "character_f1": "character F1",
    "rouge_2": "ROUGE-2",
}
_LANGUAGES = {"ja": "Japanese", "en": "English", "zh": "Chinese", "ko": "Korean", "code": "Code"}


def count(value: float | None) -> str:
    """A whole number: `19,265`."""
    return UNKNOWN if value is None else _minus(f"{round(value):,}")


def decimal(value: float | None, digits: int = 3) -> str:
    """A number with a fixed number of decimals: `1.704`."""
    return UNKNOWN if value is None else _minus(f"{value:,.{digits}f}")


def signed(value: float | None, digits: int = 3) -> str:
    """A difference, always with its sign: `+0.012`."""
    return UNKNOWN if value is None else _minus(f"{value:+,.{digits}f}")


def share(value: float | None, digits: int = 1) -> str:
    """A part of one as a percentage; what rounds to nothing but is something shows as `< 0.1 %`."""
    if value is None:
        return UNKNOWN
    smallest = 10.0**-digits
    if 0 < value * 100 < smallest / 2:
        return f"<\u00a0{smallest:g}\u00a0%"
    return _minus(f"{value * 100:,.{digits}f}\u00a0%")


def change(value: float | None, digits: int = 1, unit: str = "%") -> str:
    """A change as a part of one, in percent or percentage points: `−20.3 %`, `+2.0 pp`."""
    return UNKNOWN if value is None else _minus(f"{value * 100:+,.{digits}f}\u00a0{unit}")


def significant(value: float | None) -> str:
    """A number of any magnitude in three digits: `0.0212`, `1,340`."""
    return UNKNOWN if value is None else _minus(f"{float(f'{value:.3g}'):,.12g}")


def scientific(value: float | None) -> str:
    """A small number as one writes learning rates: `1e-4`, `3.3e-6`."""
    if value is None:
        return UNKNOWN
    mantissa, exponent = f"{value:.2e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}" if value else "0"


def size(value: float | None) -> str:
    """Bytes in decimal units: `1.2 MB`."""
    if value is None:
        return UNKNOWN
    for unit in ("bytes", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:,.0f}\u00a0{unit}" if unit == "bytes" else f"{value:.3g}\u00a0{unit}"
        value /= 1000
    return f"{value:,.1f}\u00a0TB"


def duration(seconds: float | None) -> str:
    """A time span: `0.08 s`, `7.8 s`, `12 s`, `4 min 05 s`, `2 h 03 min`."""
    if seconds is None:
        return UNKNOWN
    if seconds < 0.95:
        return f"{seconds:.2f}\u00a0s"
    if seconds < 9.95:
        return f"{seconds:.1f}\u00a0s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}\u00a0s"
    if whole < 3600:
        return f"{whole // 60}\u00a0min\u00a0{whole % 60:02d}\u00a0s"
    minutes = round(seconds / 60)
    return f"{minutes // 60:,}\u00a0h\u00a0{minutes % 60:02d}\u00a0min"


def language(code: str | None) -> str:
    """The English name of a language code where we have one."""
    return UNKNOWN if code is None else _LANGUAGES.get(code, code)


def words(name: str | None) -> str:
    """A name out of data as words: `not_html` becomes `not html`."""
    return UNKNOWN if name is None else _NAMES.get(name, name.replace("_", " "))


def percentile(name: str | None) -> str:
    """What a percentile is called in a table's head: `median`, `90 %`."""
    named = {None: UNKNOWN, "min": "shortest", "p50": "median", "max": "longest"}
    return named[name] if name in named else f"{str(name)[1:]}\u00a0%"


def asked(dropped: Mapping[str, Any]) -> str:
    """What a rule asked of a page it dropped, `at least 400`: the bound is on the other side of what was measured."""
    value, threshold = dropped.get("value"), dropped.get("threshold")
    if value is None or threshold is None:
        return UNKNOWN
    return f"at {'least' if value < threshold else 'most'} {significant(threshold)}"


def moment(started: str | None) -> str:
    """An ISO 8601 time as `2026-11-21 20:07 UTC`."""
    if started is None:
        return UNKNOWN
    return f"{datetime.fromisoformat(started).astimezone(UTC):%Y-%m-%d %H:%M}\u00a0UTC"


def cell(score: Mapping[str, Any], name: str = "value") -> str:
    """A score, or one of the ends of its interval, in the way of its unit: accuracies in percent."""
    value = score.get(name)
    return share(value) if score.get("unit") == "share" else decimal(value)


def difference(score: Mapping[str, Any]) -> str:
    """How far a model is from the base: bits per byte in percent, accuracies in points, margins as they are."""
    return _difference(score, "difference")


def interval(score: Mapping[str, Any]) -> str:
    """The interval of `cell`, `1.664 to 1.754`; empty where there is none."""
    if score.get("ci_low") is None or score.get("ci_high") is None:
        return ""
    return _span(cell(score, "ci_low"), cell(score, "ci_high"))


def difference_interval(score: Mapping[str, Any]) -> str:
    """The interval of `difference`, in the same unit; empty where there is none."""
    if score.get("difference_low") is None or score.get("difference_high") is None:
        return ""
    return _span(_difference(score, "difference_low"), _difference(score, "difference_high"))


def difference_in_unit(score: Mapping[str, Any], name: str) -> float | None:
    """A difference as `difference` writes it: percent of the base, percentage points, or as it is."""
    value, base = score.get(name), score.get("base_value")
    if value is None:
        return None
    if score.get("unit") == "share":
        return 100 * value
    return 100 * value / base if score.get("metric") == "bits_per_byte" and base else value


def _difference(score: Mapping[str, Any], name: str) -> str:
    value = difference_in_unit(score, name)
    if value is None:
        return UNKNOWN
    if score.get("unit") == "share":
        return change(value / 100, unit="points")
    if score.get("metric") == "bits_per_byte" and score.get("base_value"):
        return change(value / 100)
    return signed(value)


def _span(low: str, high: str) -> str:
    """Both ends, with the unit only once."""
    number, space, unit = low.rpartition("\u00a0")
    return f"{number if space and high.endswith(space + unit) else low} to {high}"


def _minus(text: str) -> str:
    if text.startswith(("-", "+")) and not any(digit in text for digit in "123456789"):
        text = text[1:]  # rounds to zero, which has no sign
    return text.replace("-", "\u2212")


FILTERS: dict[str, Callable[..., str]] = {
    function.__name__: function
    for function in (
        count, decimal, signed, share, change, scientific, significant, size, duration, language, words, cell, interval,
        difference, difference_interval, moment, percentile, asked,
    )
}  # fmt: skip
