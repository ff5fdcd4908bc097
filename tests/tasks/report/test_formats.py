"""Figures as they are read: separators, digits, signs, units, and a dash where nothing is known."""

from __future__ import annotations

import pytest

from tasks.report import formats

NBSP = "\u00a0"


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (formats.count(19_265), "19,265"),
        (formats.count(-3), "−3"),
        (formats.decimal(1.7044), "1.704"),
        (formats.decimal(-0.0004), "0.000"),
        (formats.signed(0.0117), "+0.012"),
        (formats.signed(-0.0117), "−0.012"),
        (formats.share(0.1234), f"12.3{NBSP}%"),
        (formats.share(0.0), f"0.0{NBSP}%"),
        (formats.share(0.0004), f"<{NBSP}0.1{NBSP}%"),
        (formats.change(-0.2025), f"−20.2{NBSP}%"),
        (formats.change(-0.0001), f"0.0{NBSP}%"),
        (formats.scientific(1e-4), "1e-4"),
        (formats.scientific(3.3e-6), "3.3e-6"),
        (formats.scientific(0.0), "0"),
        (formats.size(999), f"999{NBSP}bytes"),
        (formats.size(92_900_000), f"92.9{NBSP}MB"),
        (formats.size(3.4e12), f"3.4{NBSP}TB"),
        (formats.duration(0.084), f"0.08{NBSP}s"),
        (formats.duration(0.97), f"1.0{NBSP}s"),
        (formats.significant(0.000679449), "0.000679"),
        (formats.significant(1336.2), "1,340"),
        (formats.significant(12.0), "12"),
        (formats.duration(9.97), f"10{NBSP}s"),
        (formats.duration(59.7), f"1{NBSP}min{NBSP}00{NBSP}s"),
        (formats.duration(245), f"4{NBSP}min{NBSP}05{NBSP}s"),
        (formats.duration(3599.8), f"1{NBSP}h{NBSP}00{NBSP}min"),
        (formats.duration(7380), f"2{NBSP}h{NBSP}03{NBSP}min"),
        (formats.moment("2026-11-22T05:07:31+09:00"), f"2026-11-21 20:07{NBSP}UTC"),
        (formats.language("ja"), "Japanese"),
        (formats.language("fr"), "fr"),
        (formats.words("too_few_letters"), "too few letters"),
        (formats.percentile("p50"), "median"),
        (formats.percentile("p90"), f"90{NBSP}%"),
        (formats.asked({"value": 120.0, "threshold": 400.0}), "at least 400"),
        (formats.asked({"value": 0.31, "threshold": 0.2}), "at most 0.2"),
        (formats.asked({"value": None, "threshold": 0.2}), "–"),
    ],
)
def test_written(written: str, expected: str) -> None:
    assert written == expected


def test_unknown_is_a_dash() -> None:
    for name, write in formats.FILTERS.items():
        of_fields = ("cell", "interval", "difference", "difference_interval", "asked")
        unknown: dict[str, str] | None = {} if name in of_fields else None
        assert write(unknown) == ("" if "interval" in name else "–"), name


def test_a_difference_is_in_the_unit_that_means_something() -> None:
    ends = {"difference": -0.1, "difference_low": -0.2, "difference_high": 0.1}
    bits = {"metric": "bits_per_byte", "unit": "bits/byte", "base_value": 2.0, **ends}
    assert formats.difference(bits) == f"−5.0{NBSP}%"
    assert formats.difference_interval(bits) == f"−10.0 to +5.0{NBSP}%"
    accuracy = {"metric": "accuracy", "unit": "share", "base_value": 0.5, **ends}
    assert formats.difference(accuracy) == f"−10.0{NBSP}points"
    margin = {"metric": "margin", "unit": "bits/byte", "base_value": 0.5, **ends}
    assert formats.difference(margin) == "−0.100"
    assert formats.difference_interval(margin) == "−0.200 to +0.100"
