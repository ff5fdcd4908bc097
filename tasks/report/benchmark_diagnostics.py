"""How far scores can be trusted: how many items, what difference could be seen, what went wrong with the outputs.

In: score rows, and what `benchmarks.json` and `diagnostics.json` say. Out: tables (what was asked, clean and dirty
items, flags, tokens of answers, times) and warnings in words.

    warnings_of(rows, files)    # ["trained, JNLI (strict): 97 % of the predictions are entailment, ..."]
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from tasks.report import formats
from tasks.report.benchmark_tables import AVERAGE, authors_tasks
from tasks.report.evaluation_files import EvaluationFiles, Row
from tasks.report.published import load_published
from tasks.report.tables import UNKNOWN, Cell, Column, Table

MAX_LINE = 300  # characters shown of a line that was no item


def task_keys(rows: Sequence[Row]) -> list[tuple[str, str]]:
    """(task, profile) of every benchmark among these rows, in their order."""
    return list(dict.fromkeys((row["task"], row["profile"]) for row in rows if row["kind"] != AVERAGE))


def task_table(rows: Sequence[Row], files: EvaluationFiles) -> Table:
    """What was asked of all models alike, and the smallest difference that would be seen."""
    lines = []
    for task, profile in task_keys(rows):
        own = [row for row in rows if (row["task"], row["profile"]) == (task, profile) and row.get("headline")]
        about = files.about(task, profile)
        lines.append((
            Cell(_label(rows, task)),
            Cell(profile),
            Cell(formats.words(own[0]["metric"]) if own else None),
            Cell(about.get("num_shots")),
            Cell(own[0].get("n") if own else None),
            Cell(about.get("n_all")),
            Cell(about.get("num_malformed")),
            Cell(about.get("left_out")),
            _largest(own, "mde"),
            _largest(own, "mde_unpaired"),
        ))  # fmt: skip
    columns = (
        Column("task", "task"),
        Column("profile", "profile"),
        Column("metric", "metric"),
        Column("shots", "shots", "count"),
        Column("items", "items", "count"),
        Column("items_all", "of", "count"),
        Column("malformed", "malformed lines", "count"),
        Column("left_out", "left out", "count"),
        Column("detectable", "paired", "score", "detectable"),
        Column("detectable_unpaired", "unpaired", "score", "detectable"),
    )
    note = (
        "Detectable: the smallest difference, in points, that a two-sided test at 5 % would find with 80 % power: "
        "between a model and the base on the same items, and between two such models measured apart. Where models "
        "differ, the largest. Left out: items of the file that the benchmark does not ask, such as questions without "
        "an answer."
    )
    return Table("tasks", "What was asked", columns, tuple(lines), note)


def subset_table(files: EvaluationFiles) -> Table | None:
    """Headline scores on items that are not in the training corpus, and on those that are."""
    found: dict[tuple[str, str, str], dict[str, Row]] = {}
    for row in files.subsets:
        if row.get("headline") and row.get("category") is None:
            found.setdefault((row["profile"], row["task"], row["model"]), {})[row["subset"]] = row
    if not any("dirty" in subsets for subsets in found.values()):
        return None
    lines = []
    for (profile, task, model), subsets in found.items():
        clean, dirty = (subsets.get(name, {}) for name in ("clean", "dirty"))
        label = _label(list(subsets.values()), task)
        named = (Cell(label), Cell(profile), Cell(model))
        lines.append((*named, Cell(clean.get("n")), _score(clean), Cell(dirty.get("n")), _score(dirty)))
    columns = (
        Column("task", "task"),
        Column("profile", "profile"),
        Column("model", "model"),
        Column("clean_items", "items", "count", "clean"),
        Column("clean", "score", "score", "clean"),
        Column("dirty_items", "items", "count", "dirty"),
        Column("dirty", "score", "score", "dirty"),
    )
    note = "Dirty: most of the item's character n-grams stand in one document of the training corpus. In percent."
    return Table("contamination", "Clean and dirty items", columns, tuple(lines), note)


def flag_table(files: EvaluationFiles) -> Table | None:
    """What was counted of each model's outputs and prompts: a row per model, task and profile with any to count."""
    found = [row for row in files.diagnostics if row.get("counts")]
    if not found:
        return None
    names = list(dict.fromkeys(name for row in found for name in row["counts"]))
    lines = []
    for row in found:
        named = (Cell(row["label"]), Cell(row["profile"]), Cell(row["model"]), Cell(row["n"]))
        lines.append((*named, *(Cell(row["counts"][name]) if name in row["counts"] else UNKNOWN for name in names)))
    columns = (
        Column("task", "task"),
        Column("profile", "profile"),
        Column("model", "model"),
        Column("items", "items", "count"),
        *(Column(name, formats.words(name), "count") for name in names),
    )
    return Table("diagnostics", "Outputs and prompts", columns, tuple(lines), "Items of which each was found.")


def token_table(rows: Sequence[Row], files: EvaluationFiles) -> Table | None:
    """Tokens of the answers, scored or generated, per item: what a wider vocabulary saves, and what a cap cuts."""
    models = list(dict.fromkeys(row["model"] for row in rows))
    lines = []
    for task, profile in task_keys(rows):
        means = [_mean_tokens(files.examples(model, task, profile)) for model in models]
        if any(cell.value is not None for cell in means):
            lines.append((Cell(_label(rows, task)), Cell(profile), *means))
    if not lines:
        return None
    columns = (Column("task", "task"), Column("profile", "profile"))
    numbers = (Column(model, model, "size") for model in models)
    note = "Tokens of each model's own tokenizer, of a choice scored or an answer generated, in the mean over items."
    return Table("tokens", "Tokens of an answer", (*columns, *numbers), tuple(lines), note)


def time_table(rows: Sequence[Row], files: EvaluationFiles) -> Table | None:
    """How long each model took for each benchmark; None where nobody kept it."""
    models = list(dict.fromkeys(row["model"] for row in rows))
    lines = []
    for task, profile in task_keys(rows):
        times = [files.time(model, task, profile) for model in models]
        if any("seconds" in time for time in times):
            cells = (Cell(time.get("seconds"), mark="*" if time.get("resumed") else "") for time in times)
            lines.append((Cell(_label(rows, task)), Cell(profile), Cell(files.about(task, profile).get("n")), *cells))
    if not lines:
        return None
    columns = (Column("task", "task"), Column("profile", "profile"), Column("items", "items", "count"))
    durations = (Column(model, model, "duration") for model in models)
    note = (
        "Wall time from the first prompt's tokenisation to the last judgement; with several processes benchmarks "
        "overlap. * went on where it had stopped: the time of the last process alone."
    )
    return Table("times", "Time per benchmark", (*columns, *durations), tuple(lines), note)


def warnings_of(rows: Sequence[Row], files: EvaluationFiles) -> list[str]:
    """What a reader should know before believing a score."""
    return list(dict.fromkeys([*_output_warnings(files), *_data_warnings(rows, files), *_average_warnings(rows)]))


def _output_warnings(files: EvaluationFiles) -> Iterator[str]:
    """The same said of several models or profiles stands once."""
    said: dict[tuple[str, str], list[str]] = {}
    for row in files.diagnostics:
        for text in row.get("warnings") or ():
            said.setdefault((row["label"], text), []).append(f"{row['model']}, {row['profile']}")
    for (label, text), where in said.items():
        yield f"{label}: {text} ({'; '.join(where)})."


def _data_warnings(rows: Sequence[Row], files: EvaluationFiles) -> Iterator[str]:
    if files.not_scored:
        skipped = ", ".join(row["label"] for row in files.not_scored)
        yield f"Not scored, for want of a prompt or shot file: {skipped}."
    limited: dict[str, None] = {}
    for task, profile in task_keys(rows):
        about = files.about(task, profile)
        label = _label(rows, task)
        if about.get("num_malformed"):
            left_out = about["num_malformed"]
            yield f"{label}: {left_out:,} {'line' if left_out == 1 else 'lines'} of the file left out as malformed."
        if about.get("n") and about.get("n_all") and about["n"] < about["n_all"]:
            limited[f"{label} {about['n']:,} of {about['n_all']:,}"] = None
    if limited:
        yield f"Not all items were asked, but some drawn by the hash of their ids: {', '.join(limited)}."


def _average_warnings(rows: Sequence[Row]) -> Iterator[str]:
    labels = {name: task.label for name, task in load_published().tasks.items()}
    for row in rows:
        if row["kind"] == AVERAGE and row.get("missing"):
            others = row.get("stand_ins") or {}
            missing = [
                labels.get(name, name) + (f" ({_label(rows, others[name])} in its place)" if name in others else "")
                for name in row["missing"]
            ]
            own, whole = authors_tasks(row)
            yield (
                f"The {formats.language(row['language'])} average ({row['profile']}) is over {own} of the authors' "
                f"{whole} tasks, and not to be set beside theirs: without {', '.join(missing)}."
            )


def benchmark_notes(rows: Sequence[Row], files: EvaluationFiles) -> list[dict[str, Any]]:
    """What is peculiar to each benchmark: quirks of the profile, where its files are from, malformed lines."""
    notes = []
    for task, profile in task_keys(rows):
        about = files.about(task, profile)
        if about:
            notes.append({
                "label": about.get("label") or task,
                "profile": profile,
                "quirks": list(about.get("quirks") or ()),
                "notes": list(about.get("notes") or ()),
                "where": about.get("where"),
                "shots_from": about.get("shots_from"),
                "version": about.get("version"),
                "malformed": [str(line)[:MAX_LINE] for line in about.get("malformed") or ()],
            })  # fmt: skip
    return notes


def _label(rows: Sequence[Row], task: str) -> str:
    return next((row["label"] for row in rows if row["task"] == task and row.get("label")), task)


def _largest(rows: Sequence[Row], name: str) -> Cell:
    values = [row[name] for row in rows if row.get(name) is not None]
    return Cell(max(values)) if values else UNKNOWN


def _mean_tokens(examples: Sequence[Row]) -> Cell:
    tokens = [row["tokens"] for row in examples if row.get("tokens") is not None]
    return Cell(sum(tokens) / len(tokens)) if tokens else UNKNOWN


def _score(row: Row) -> Cell:
    return Cell(row.get("value"), row.get("ci_low"), row.get("ci_high"))
