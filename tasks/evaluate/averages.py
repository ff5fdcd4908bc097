"""The averages of the Swallow authors' tables: of a language, and of each category of its tasks.

In: the tasks of one profile that were scored; out: which of them make up which average. An average is the mean of the
tasks' headline metrics, all of them shares from 0 to 1, with equal weights. Where a task of the authors was not
evaluated, another may stand in for it (WMT22 for WMT20). One over other tasks than the authors' is not comparable with
theirs, so the missing ones are named, stood in for or not. A category none of whose tasks counts towards the average
(natural language inference) is averaged over what there is. Source: Fujii et al. 2024, Continual Pre-Training for
Cross-Lingual LLM Adaptation, table 3.

    for average in averages([task for task in tasks if task.profile == "strict"]):
        average.language, average.category, average.tasks, average.missing
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tasks.evaluate.scored_tasks import ScoredTask
from tasks.evaluate.suite import MODULES

# What the authors average, by language and category, in the order of their tables.
AUTHORS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "ja": {
        "MC": ("jcommonsenseqa",),
        "QA": ("jemhopqa", "niilc"),
        "RC": ("jsquad",),
        "SUM": ("xlsum_ja",),
        "MATH": ("mgsm_ja",),
        "MT": ("wmt20_en_ja", "wmt20_ja_en"),
    },
    "en": {
        "MC": ("openbookqa", "hellaswag", "xwinograd_en"),
        "QA": ("triviaqa",),
        "RC": ("squad2",),
        "MATH": ("gsm8k",),
    },
}
CATEGORIES = ("MC", "NLI", "QA", "RC", "SUM", "MATH", "MT")
_ORDER = {name: place for place, name in enumerate(MODULES)}


@dataclass(frozen=True)
class Average:
    """Which tasks of one profile an average is over.

    Attributes:
        category: None: all of the language.
        tasks: names of those that are averaged.
        missing: the authors' tasks that are not.
        stand_ins: missing task -> the one in its place.
    """

    language: str
    category: str | None
    tasks: tuple[str, ...]
    missing: tuple[str, ...]
    stand_ins: Mapping[str, str]


def averages(tasks: Sequence[ScoredTask]) -> list[Average]:
    """The averages that these tasks of one profile allow: Japanese before English, the whole before its categories."""
    found = []
    for language, categories in AUTHORS.items():
        own = [task for task in tasks if task.is_benchmark and task.language == language]
        counted = _in_their_places([task for task in own if task.averaged])
        wanted = [name for names in categories.values() for name in names]
        found.append(_average(language, None, counted, wanted))
        for category in CATEGORIES:
            members = [task for task in own if task.kind == category]
            chosen = [task for task in members if task in counted] or members
            found.append(_average(language, category, chosen, categories.get(category, ())))
    return [average for average in found if average.tasks]


def _in_their_places(tasks: Sequence[ScoredTask]) -> list[ScoredTask]:
    """One task for each place in an average: its own, else the first that stands in for it, in the suite's order."""
    places: dict[str, ScoredTask] = {}
    for task in sorted(tasks, key=lambda task: (task.stands_in_for is not None, _ORDER.get(task.name, len(_ORDER)))):
        places.setdefault(task.stands_in_for or task.name, task)
    return [task for task in tasks if task in places.values()]


def _average(language: str, category: str | None, tasks: Sequence[ScoredTask], wanted: Sequence[str]) -> Average:
    names = tuple(task.name for task in tasks)
    missing = tuple(name for name in wanted if name not in names)
    stand_ins = {task.stands_in_for: task.name for task in tasks if task.stands_in_for in missing}
    return Average(language, category, names, missing, {name: by for name, by in stand_ins.items() if name is not None})
