"""The tasks as scores name them: what is measured of each, and under which key its examples are kept.

A benchmark in one profile has the key `jsquad-strict`, as in its files' names; the project's own two measures have no
profiles, and their names as keys.

    task = scored_task("jsquad-strict", config)
    task.metrics[0].name, task.kind     # the headline, "RC"
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tasks.evaluate.benchmark import Benchmark
from tasks.evaluate.metric import Metric, mean, ratio
from tasks.evaluate.suite import load_benchmark

ExampleRows = Sequence[Mapping[str, Any]]

METRICS: Mapping[str, tuple[Metric, ...]] = {
    "bits_per_byte": (ratio("bits_per_byte", "bits", "bytes", "bits/byte", lower_is_better=True),),
    "hibari_probe": (
        mean("accuracy", "score"),
        mean("accuracy_per_byte", "score_per_byte"),
        mean("margin", "margin", "bits/byte"),
    ),
}
_LABELS = {"bits_per_byte": ("bits per byte", "bits"), "hibari_probe": ("probe", "probe")}
_VERSION = 1  # of the project's own two


@dataclass(frozen=True)
class ScoredTask:
    """A task in one profile.

    Attributes:
        name: `jsquad`.
        profile: `strict`; of the project's own measures, what the run file says.
        kind: category of a benchmark, else "bits" or "probe".
        metrics: the first is the headline.
        language: of a benchmark; None where each example has its own.
        averaged: counts towards the average of its language.
        stands_in_for: the benchmark whose place it takes there, where that one was not evaluated.
        classes: labels that a prediction can be, where one taking all is a danger.
    """

    name: str
    profile: str
    label: str
    kind: str
    version: int
    metrics: tuple[Metric, ...]
    language: str | None = None
    averaged: bool = False
    stands_in_for: str | None = None
    classes: tuple[str, ...] = ()

    @property
    def is_benchmark(self) -> bool:
        return self.name not in METRICS


def scored_task(key: str, profile: str, benchmarks: Mapping[str, Benchmark] | None = None) -> ScoredTask:
    """The task of a key.

    Args:
        profile: of the project's own measures.
        benchmarks: by name, where they are not those of the suite.

    Raises:
        ValueError: no task is called so, or it has no such profile.
    """
    if key in METRICS:
        label, kind = _LABELS[key]
        return ScoredTask(key, profile, label, kind, _VERSION, METRICS[key])
    name, _, own_profile = key.partition("-")
    benchmark = benchmarks[name] if benchmarks and name in benchmarks else load_benchmark(name)
    forms = {str(name): form for name, form in benchmark.forms.items()}
    if own_profile not in forms:
        raise ValueError(f"{name} has no profile {own_profile or '(none)'}; it has {', '.join(forms)}")
    form = forms[own_profile]
    return ScoredTask(
        name,
        own_profile,
        benchmark.label,
        benchmark.category,
        form.version,
        form.metrics,
        benchmark.language,
        benchmark.averaged,
        benchmark.stands_in_for,
        form.classes,
    )


def with_columns(task: ScoredTask, rows: ExampleRows) -> ExampleRows:
    """Example rows as metrics read them: those of the project's own measures hold their columns themselves."""
    return rows if task.is_benchmark else [{**row, "columns": row} for row in rows]


def right_choice(row: Mapping[str, Any]) -> Any:
    """The right class or choice of an example, as its `predicted` would name it; None where a row does not say."""
    right = row.get("right")
    return row.get("gold") if right is None else right


@dataclass(frozen=True)
class Group:
    """Examples that are scored together.

    Attributes:
        category: of the probe's questions; None: all of a language.
        subset: "clean" and "dirty" where it is known which examples the training corpus holds.
        chosen: indices of the rows.
    """

    language: str
    category: str | None
    subset: str
    chosen: Sequence[int]

    def name(self, task: ScoredTask) -> str:
        """Seeds the group's resamples: the same for every model, pair of models and profile."""
        name = f"{task.name}/{self.language}/{self.category or ''}"
        return name if self.subset == "all" else f"{name}/{self.subset}"

    def of(self, rows: ExampleRows) -> ExampleRows:
        return [rows[index] for index in self.chosen]


def groups(rows: ExampleRows, dirty: Mapping[str, bool | None] | None = None) -> Iterator[Group]:
    """The whole of each language, each category of it, and what is clean and dirty of the whole.

    Args:
        dirty: id -> whether the corpus holds it, None where nobody can say; ids that are not there are clean. None:
            nothing was compared with the corpus.
    """
    found: dict[tuple[str, str | None, str], list[int]] = {}
    for index, row in enumerate(rows):
        found.setdefault((row["language"], None, "all"), []).append(index)
        if row.get("category") is not None:
            found.setdefault((row["language"], row["category"], "all"), []).append(index)
        if dirty is not None and (held := dirty.get(row["id"], False)) is not None:
            found.setdefault((row["language"], None, "dirty" if held else "clean"), []).append(index)
    for (language, category, subset), chosen in found.items():
        yield Group(language, category, subset, chosen)
