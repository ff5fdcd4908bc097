"""Scores over the tokens trained on: which curves there are, in the form of the Swallow authors' figure.

In: rows of scores at checkpoints (`tokens`, `model`, `task`, `metric`, `language`, `value`, and of benchmarks
`profile`, `kind`, `label`), of one run or of several `source`s. Out: `Curve`s: the averages first, then bits per byte
and the probe, then each task. The base model is a line across; published scores are points where the tokens reach their
scale.

    for curve in score_curves(rows):
        measure_curve(curve.title, curve.base, curve.lines, curve.published)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tasks.report.benchmark_tables import AVERAGE
from tasks.report.evaluation_files import NO_BENCHMARK
from tasks.report.formats import language, words
from tasks.report.published import Published, load_published

Points = Sequence[tuple[int, float]]
OWN = {"bits_per_byte": "bits per byte", "accuracy": "probe, right answers"}
TRAINED = "trained"
MIN_PUBLISHED_TOKENS = 10_000_000_000  # below it, the authors' 100 B would leave no room for ours
_SIZE = "7B"


@dataclass(frozen=True)
class Curve:
    """One measure over tokens.

    Attributes:
        base: of the base model.
        lines: name -> (tokens trained on, value), in order of tokens.
        published: the same of published models, as points.
    """

    title: str
    base: float | None
    lines: Mapping[str, Points]
    published: Mapping[str, Points] = field(default_factory=dict)

    @property
    def num_points(self) -> int:
        return max((len(points) for points in self.lines.values()), default=0)


def score_curves(rows: Sequence[Mapping[str, Any]], *, published: bool = True) -> list[Curve]:
    """A curve of every measure that more than the base has; shares in percent.

    Args:
        published: show the authors' averages and scores where a profile imitates their harness.
    """
    grouped: dict[tuple[str, str, str, str], list[Mapping[str, Any]]] = {}
    for row in rows:
        profile = row.get("profile") if is_benchmark(row) else ""
        grouped.setdefault((row.get("task", ""), profile or "", row["metric"], row["language"]), []).append(row)
    several = len({profile for _, profile, _, _ in grouped if profile}) > 1
    theirs = load_published() if published else None
    found = [_curve(key, own, several, theirs) for key, own in sorted(grouped.items(), key=lambda item: _order(*item))]
    return [curve for curve in found if curve.lines]


def measure_name(row: Mapping[str, Any], *, with_profile: bool) -> str:
    """`Japanese, bits per byte`, `JSQuAD`, `Japanese average (strict)`."""
    if not is_benchmark(row):
        return f"{language(row['language'])}, {OWN.get(row['metric'], words(row['metric']))}"
    label = f"{language(row['language'])} average" if row["task"] == AVERAGE else row.get("label") or row["task"]
    return f"{label} ({row['profile']})" if with_profile else label


def is_benchmark(row: Mapping[str, Any]) -> bool:
    """Whether it is of a benchmark or an average; bits per byte, the probe, and rows of old are not."""
    return row.get("kind") not in (None, *NO_BENCHMARK)


def _curve(
    key: tuple[str, str, str, str], rows: Sequence[Mapping[str, Any]], several: bool, theirs: Published | None
) -> Curve:
    task, profile, metric, code = key
    scale = 1 if metric == "bits_per_byte" or rows[0].get("unit", "share") != "share" else 100
    title = measure_name(rows[0], with_profile=several) + (", %" if scale == 100 else "")
    base = next((scale * row["value"] for row in rows if row["model"] == "base"), None)
    lines: dict[str, list[tuple[int, float]]] = {}
    for row in rows:
        if row["model"] != "base":
            lines.setdefault(row.get("source", TRAINED), []).append((row["tokens"], scale * row["value"]))
    points = {name: sorted(found) for name, found in lines.items()}
    reach = max((tokens for found in points.values() for tokens, _ in found), default=0)
    shown = _published(task, profile, code, theirs) if theirs and reach >= MIN_PUBLISHED_TOKENS else {}
    return Curve(title, base, points, shown)


def _published(task: str, profile: str, code: str, published: Published) -> dict[str, Points]:
    """Published models whose number of tokens is published, as points in percent."""
    harness = published.harness_of(profile)
    if harness is None:
        return {}
    scores = published.averages(harness, code) if task == AVERAGE else published.scores(harness, task)
    return {
        name: [(model.tokens, 100 * scores[name])]
        for name, model in published.models.items()
        if name in scores and model.tokens is not None and model.size == _SIZE
    }


def _order(key: tuple[str, str, str, str], rows: Sequence[Mapping[str, Any]]) -> tuple[Any, ...]:
    """Averages, then bits per byte and the probe, then tasks as they come; Japanese before English."""
    task, profile, metric, code = key
    own = list(OWN).index(metric) if metric in OWN and not is_benchmark(rows[0]) else len(OWN)
    return (task != AVERAGE, own, profile, code != "ja", code)
