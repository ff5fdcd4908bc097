"""What a benchmark is here: a reader of its published files, and for each profile how it asks and how it judges.

A benchmark is a `Benchmark` in a module of `tasks/evaluate/suite/`. Its reader turns files into items; a `Form` turns
an item into requests, and the model's results into a judgement whose columns the metrics sum up. Two profiles: `strict`
is ours; `swallow-2023` is what the Swallow authors ran in 2023, quirks included, each of them named.

    from tasks.evaluate.suite import load_benchmark
    benchmark, files = load_benchmark("jsquad"), Files(items=("jsquad/valid.json",))
    items = benchmark.read(files)
    item, form = items.items[0], benchmark.forms["strict"]
    requests = form.ask(item, form.shots(items, files, [item])[item.id])
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from tasks.evaluate.config import Profile
from tasks.evaluate.metric import Metric
from tasks.evaluate.requests import Request, Result

if TYPE_CHECKING:
    from tokenizer.encoder import Encoder

Category = Literal["MC", "NLI", "QA", "RC", "SUM", "MATH", "MT"]


class MissingDataError(ValueError):
    """A benchmark's file, or a profile's prompt file, is not there; the message says where to get it."""


@dataclass(frozen=True)
class Files:
    """Where a benchmark's data are.

    Attributes:
        items: path or URI of the evaluated items, or `hf:owner/name[:config][@split]`; several where a benchmark
            comes in several files, in the order of the benchmark's `default_items`.
        shots: of examples that are not evaluated (a training split), where the user has them.
        prompts: the folder of the prompt files of `swallow-2023`, where the user has it.
    """

    items: tuple[str, ...]
    shots: str | None = None
    prompts: str | None = None


@dataclass(frozen=True)
class Item:
    """One example as its file gives it.

    Attributes:
        id: the file's own, else the line's number; unique in the benchmark.
        parts: the benchmark's own names: question, choices, passage.
        gold: index of the right choice, the accepted answers, a reference, a number.
        text: what a training document would hold if it were contaminated: question, passage beginning, answer.
    """

    id: str
    parts: Mapping[str, Any]
    gold: Any
    text: str


@dataclass(frozen=True)
class Items:
    """What a reader found: items in the order of the file, and for each line that is none, where and why.

    `left_out`: how many the benchmark itself does not ask (NIILC's questions without an answer).
    """

    items: Sequence[Item]
    malformed: Sequence[str] = ()
    left_out: int = 0


@dataclass(frozen=True)
class Judgement:
    """What came of one item.

    Attributes:
        output: raw text of the model; for choices the text of the chosen one.
        normalised: as it was compared.
        gold: as it was compared with (the closest of several).
        columns: numbers that the form's metrics sum up.
        predicted: the class or choice, where there are such; None also where the output is none of them.
        flags: "empty_output", "unparsable" and what else a form counts.
        right: the right class or choice, as `predicted` would name it, where `gold` is its text; None: `gold` names it.
    """

    output: str
    normalised: str
    gold: str
    columns: Mapping[str, float]
    predicted: str | None = None
    flags: tuple[str, ...] = ()
    right: str | None = None


Read = Callable[[Files], Items]
Shots = Mapping[str, Sequence[Any]]  # item id -> its shots, in the form's own type
ShotsOf = Callable[[Items, Files, Sequence[Item] | None], Shots]
Ask = Callable[[Item, Sequence[Any]], tuple[Request, ...]]
Judge = Callable[[Item, Sequence[Result], "Encoder"], Judgement]


@dataclass(frozen=True)
class Form:
    """How a profile asks and judges.

    Attributes:
        version: raised whenever the same item and results give other requests or columns.
        num_shots: worked examples before the question.
        shots: (all items, files, chosen items) -> the shots of each chosen item (None: of all). Reads the prompt or
            shot file where the profile has one; MissingDataError where it is not there.
        ask: (item, its shots) -> requests.
        judge: (item, results in the order of the requests, the model's encoder) -> judgement. Only `swallow-2023`'s
            XL-Sum needs the encoder.
        metrics: the first is the headline.
        classes: labels that `predicted` can be, where one class taking all is a danger; else empty.
        quirks: what differs from what one would expect, a sentence each.
        shots_from: files -> what the shots are from, for people: a file's name, or "the evaluated items"; None: the
            file of the benchmark's own name, ours in `strict`, the user's prompt file in `swallow-2023`.
    """

    version: int
    num_shots: int
    shots: ShotsOf
    ask: Ask
    judge: Judge
    metrics: tuple[Metric, ...]
    classes: tuple[str, ...] = ()
    quirks: tuple[str, ...] = ()
    shots_from: Callable[[Files], str] | None = None


@dataclass(frozen=True)
class Benchmark:
    """A benchmark.

    Attributes:
        name: as in run files: `jsquad`, `wmt20_en_ja`.
        label: as on pages: `JSQuAD`, `WMT20 En-Ja`.
        language: of the answers' language group: "ja" or "en"; translation counts as Japanese, as the authors do.
        default_items: paths of the items below the data folder; the first set that is there is taken.
        default_shots: likewise for shots, where such a file is published.
        where: a sentence: who publishes the files, under which licence, and what they are called.
        read: files -> items. MissingDataError where a file is not there; ValueError where nothing in it is an item.
        averaged: counts towards the average of its language, as in the authors' tables.
        stands_in_for: the authors' benchmark whose place it takes in the average where that one is not evaluated.
    """

    name: str
    label: str
    language: Literal["ja", "en"]
    category: Category
    default_items: tuple[tuple[str, ...], ...]
    where: str
    read: Read
    forms: Mapping[Profile, Form]
    default_shots: tuple[str, ...] = ()
    averaged: bool = True
    stands_in_for: str | None = None
    notes: tuple[str, ...] = field(default=())
