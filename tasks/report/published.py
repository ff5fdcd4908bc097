"""Scores that others published, beside which ours are shown: read, checked, and written as Markdown.

In: `published_scores.yaml` beside this file: each value with its document, table and harness. Out: `Published`, whose
tables the evaluation page plots and docs/evaluation.md repeats. A table is refused where a row lacks a task's value or
where its mean is not the average that was printed beside it.

    load_published().scores("swallow-2023", "jsquad")    # {"Llama-2-7b": 0.7917, "Swallow-7b": 0.8573, ...}
    python -m tasks.report.published                     # the tables of docs/evaluation.md
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

PATH = Path(__file__).with_name("published_scores.yaml")


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Source(_Entry):
    """A document with published figures."""

    title: str
    where: str
    publisher: str


class Harness(_Entry):
    """With what the figures were measured; `profile`: ours that imitates it."""

    label: str
    profile: str | None
    says: str


class PublishedTask(_Entry):
    """What the authors asked in one column of their tables."""

    label: str
    language: Literal["ja", "en"]
    category: str
    examples: int = Field(gt=0)
    shots: int = Field(ge=0)
    metric: str


class PublishedModel(_Entry):
    """A model of the tables; `tokens` of continual pre-training, where a number is published."""

    size: str
    base: str | None = None
    tokens: int | None = Field(None, ge=0)


class Average(_Entry):
    """Where the averages of a table are printed, and with how many decimals."""

    source: str
    table: str
    decimals: int = Field(ge=1)


class Row(_Entry):
    """One model's scores, as shares of one, in the order of the table's columns."""

    scores: tuple[float, ...]
    others: tuple[float, ...] = ()
    average: float | None = None

    @property
    def mean(self) -> float:
        """Of all tasks that the printed average covers."""
        return sum(self.scores + self.others) / len(self.scores + self.others)


class PublishedTable(_Entry):
    """A published table: rows are models, columns are tasks of ours, `others` those that we do not have."""

    harness: str
    language: Literal["ja", "en"]
    source: str
    table: str
    average: Average
    columns: tuple[str, ...] = Field(min_length=1)
    others: tuple[str, ...] = ()
    rows: dict[str, Row] = Field(min_length=1)

    @model_validator(mode="after")
    def _whole(self) -> Self:
        for model, row in self.rows.items():
            where = f"{self.source}, {self.table}, {model}"
            if (len(row.scores), len(row.others)) != (len(self.columns), len(self.others)):
                raise ValueError(
                    f"{where}: {len(row.scores)} + {len(row.others)} values for {len(self.columns)} + "
                    f"{len(self.others)} columns; every column needs one"
                )
            if outside := [value for value in row.scores + row.others if not 0 <= value <= 1]:
                raise ValueError(f"{where}: {outside} are no shares of one")
            # Both were rounded before they were printed: the scores to four decimals, the average to its own.
            tolerance = 0.5 * 10**-self.average.decimals + 0.5e-4
            if row.average is not None and abs(row.mean - row.average) > tolerance + 1e-9:
                raise ValueError(f"{where}: the scores' mean is {row.mean:.5f}, the printed average {row.average}")
        return self


class Published(_Entry):
    """All that `published_scores.yaml` holds."""

    sources: dict[str, Source]
    harnesses: dict[str, Harness]
    tasks: dict[str, PublishedTask]
    models: dict[str, PublishedModel]
    tables: tuple[PublishedTable, ...]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for table in self.tables:
            named = (
                ("source", {table.source, table.average.source}, self.sources),
                ("harness", {table.harness}, self.harnesses),
                ("task", set(table.columns), self.tasks),
                ("model", set(table.rows), self.models),
            )
            for what, names, known in named:
                if unknown := sorted(names - known.keys()):
                    raise ValueError(f"{table.source}, {table.table}: no {what} is described as {', '.join(unknown)}")
        return self

    def of(self, harness: str, language: str) -> Iterator[PublishedTable]:
        """The tables of this harness and language."""
        return (table for table in self.tables if (table.harness, table.language) == (harness, language))

    def scores(self, harness: str, task: str) -> dict[str, float]:
        """Model -> score of a task; empty where none is published."""
        return {
            model: row.scores[table.columns.index(task)]
            for table in self.tables
            if table.harness == harness and task in table.columns
            for model, row in table.rows.items()
        }

    def averages(self, harness: str, language: str) -> dict[str, float]:
        """Model -> mean over the tasks that are ours: the printed average where it covers just those, else computed."""
        return {
            model: row.average if row.average is not None and not table.others else sum(row.scores) / len(row.scores)
            for table in self.of(harness, language)
            for model, row in table.rows.items()
        }

    def harness_of(self, profile: str) -> str | None:
        """The harness that a profile of ours imitates."""
        return next((name for name, harness in self.harnesses.items() if harness.profile == profile), None)


@cache
def load_published(path: Path = PATH) -> Published:
    """Read and check the published scores.

    Raises:
        ValueError: a name without description, a missing value, or a mean that is not the printed average.
    """
    return Published.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))


def markdown(published: Published) -> str:
    """The tables as docs/evaluation.md holds them: what was asked, the scores per harness and language, the sources."""
    lines = ["| task | category | examples | shots | metric |", "| --- | --- | ---: | ---: | --- |"]
    for task in published.tasks.values():
        lines.append(f"| {task.label} | {task.category} | {task.examples:,} | {task.shots} | {task.metric} |")
    for name, harness in published.harnesses.items():
        for language, title in (("ja", "Japanese"), ("en", "English")):
            if tables := list(published.of(name, language)):
                lines += ["", f"**{harness.label}, {title}** ({harness.says}):", "", *_table(published, tables)]
    lines += ["", "Sources:", ""]
    lines += [f"- {key}: {source.title}, <{source.where}>" for key, source in published.sources.items()]
    return "\n".join(lines) + "\n"


def _table(published: Published, tables: Sequence[PublishedTable]) -> list[str]:
    """Tables of the same columns as one, each row with its source and the printed average."""
    columns = [published.tasks[name].label for name in tables[0].columns]
    others = list(tables[0].others)
    lines = [" | ".join(("| model", *columns, *others, "average", "source |"))]
    lines.append("| --- |" + " ---: |" * (len(columns) + len(others) + 1) + " --- |")
    for table in tables:
        assert (table.columns, table.others) == (tables[0].columns, tables[0].others), "one table, one set of columns"
        for model, row in table.rows.items():
            values = [f"{value:.4f}" for value in row.scores + row.others]
            printed = "–" if row.average is None else f"{row.average:.{table.average.decimals}f}"
            where = f"{table.source}, {table.table}"
            if row.average is not None and table.average.source != table.source:
                where += f"; average {table.average.source}, {table.average.table}"
            lines.append(" | ".join((f"| {model}", *values, printed, f"{where} |")))
    return lines


if __name__ == "__main__":
    sys.stdout.write(markdown(load_published()))
