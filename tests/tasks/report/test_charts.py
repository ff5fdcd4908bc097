"""Charts are SVG that a page can hold: the same bytes again, themed by variables, free of anything outside."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import matplotlib as mpl
import pytest

from tasks.report.charts import histogram, intervals, learning_curve, over_steps, running_mean, s_curve

STEPS = list(range(1, 61))
LOSSES: dict[str, list[float | None]] = {
    "Japanese": [4 - step / 30 for step in STEPS],
    "English": [3.0 if step % 3 else None for step in STEPS],
}
LR = [1e-4 * min(step / 6, 1) for step in STEPS]
PANELS: list[tuple[str, list[tuple[str, float, float | None, float | None]]]] = [
    ("Japanese, bits per byte", [("base", 1.7, 1.6, 1.8), ("trained", 1.4, 1.3, 1.5)]),
    ("English, bits per byte", [("base", 1.0, None, None)]),
]


def parse(svg: str) -> ElementTree.Element:
    return ElementTree.fromstring(svg.replace("<svg", '<svg xmlns:xlink="http://www.w3.org/1999/xlink"', 1))


@pytest.mark.parametrize(
    "svg",
    [
        learning_curve(STEPS, LOSSES, LR),
        intervals(PANELS, "scores"),
        intervals(PANELS, "differences", from_zero=True),
        over_steps(STEPS, LOSSES, "TFLOPS"),
        histogram([(f"bar {n}", n) for n in range(20)], "Japanese"),
        histogram([("1", 90_000), ("2", 1)], "Japanese", "clusters", powers=True),
        s_curve([(0.7, 0.05), (0.8, 0.4), (1.0, 1.0)], [(0.8, 0.42, 0.02)], 0.7),
    ],
    ids=["curve", "scores", "differences", "over steps", "histogram", "powers", "S-curve"],
)
def test_fit_for_a_page(svg: str) -> None:
    element = parse(svg)
    assert element.get("role") == "img"
    assert element.get("aria-label")
    assert element.get("width") is None  # the page sets it
    assert "http" not in svg
    assert "<style" not in svg  # would hold for the whole page
    assert "DejaVu" not in svg
    colors = set(re.findall(r"(?:fill|stroke): ([^;\"]+)", svg)) - {"none"}
    assert {color for color in colors if not color.startswith("var(--")} == set()
    assert any(f">{text}<" in svg for text in ("base", "Japanese", "theory"))  # text stays text


def test_the_same_numbers_give_the_same_bytes() -> None:
    assert learning_curve(STEPS, LOSSES, LR) == learning_curve(STEPS, LOSSES, LR)
    assert intervals(PANELS, "scores") == intervals(PANELS, "scores")


def test_the_users_own_matplotlib_settings_change_nothing() -> None:
    expected = intervals(PANELS, "scores")
    with mpl.rc_context({"lines.markersize": 30, "axes.facecolor": "red", "font.size": 40}):
        assert intervals(PANELS, "scores") == expected
        assert mpl.rcParams["font.size"] == 40


def test_about_seven_bars_of_many_are_labelled() -> None:
    svg = histogram([(f"bar {n}", n) for n in range(20)], "day")
    assert [n for n in range(20) if f">bar {n}<" in svg] == [0, 3, 6, 9, 12, 15, 18]


def test_counts_of_any_magnitude_show_side_by_side() -> None:
    svg = histogram([("1", 90_000), ("2", 300), ("3", 1)], "size", "clusters", powers=True)
    bars = re.findall(r'<path d="([^"]+)"[^>]*fill: var\(--series-1\)', svg)
    most, middle, one = (min(float(y) for y in re.findall(r"[ML] \S+ (\S+)", bar)) for bar in bars)
    assert middle == pytest.approx((most + one) / 2)  # 300 is the square root of 90,000
    axis = re.findall(r'<path d="M \S+ (\S+) \nL \S+ \1 \n"[^>]*stroke: var\(--muted\)', svg)
    assert float(axis[-1]) - one > 4  # one is not nothing
    assert ">10,000<" in svg
    assert ">clusters<" in svg


def test_an_s_curve_without_points_needs_no_legend() -> None:
    curve = [(0.7, 0.05), (0.8, 0.4), (1.0, 1.0)]
    assert ">theory<" not in s_curve(curve, [], 0.7)
    assert ">measured<" in s_curve(curve, [(0.8, 0.42, 0.02)], 0.7)


def test_a_gap_in_a_measure_is_no_zero_and_a_lone_line_needs_no_legend() -> None:
    with_gap = over_steps([1, 2, 3], {"only": [5.0, None, 5.0]}, "tokens/s")
    assert with_gap == over_steps([1, 3], {"only": [5.0, 5.0]}, "tokens/s")
    assert ">only<" not in with_gap
    assert ">one<" in over_steps([1], {"one": [1.0], "two": [2.0]}, "tokens/s")


def test_more_languages_than_colors_are_all_drawn() -> None:
    names = [f"language {number}" for number in range(6)]
    svg = learning_curve(STEPS, dict.fromkeys(names, LOSSES["Japanese"]), LR)
    assert [name for name in names if f">{name}<" not in svg] == []


def test_one_step_and_nothing_known_can_be_drawn() -> None:
    assert parse(learning_curve([1], {"Japanese": [2.0]}, [None])).tag.endswith("svg")
    assert parse(learning_curve([1], {}, [1e-4])).tag.endswith("svg")


def test_running_mean_looks_back_only() -> None:
    assert running_mean([4, 2, 0, 2], 2) == [4, 3, 1, 1]
    assert running_mean([4, 2], 1) == [4, 2]
