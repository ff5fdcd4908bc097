"""Scores of benchmarks as tables: models as rows, tasks as columns, in the form of the Swallow authors' tables.

In: score rows (one per model, task, profile and metric). Out: `Table`s: the averages, for each profile and language the
scores and the differences from the base, the metrics that are no headline, ours beside published scores.

    score_tables(benchmark_rows(files.scores))[0].rows
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tasks.report import formats
from tasks.report.evaluation_files import Row, benchmark_rows, profiles
from tasks.report.published import Published
from tasks.report.tables import UNKNOWN, Cell, Column, Kind, Table, with_best

AVERAGE = "average"
TRAINED = "trained"
LANGUAGES = ("ja", "en")
CATEGORIES = ("MC", "NLI", "QA", "RC", "SUM", "MATH", "MT")
MAX_P = 0.05  # of the Holm-corrected p-values that are marked as sure
_KINDS: Mapping[str, Kind] = {"share": "score", "bits/byte": "bits"}
_MARK = "*"


def models_of(rows: Sequence[Row]) -> list[str]:
    """The models of these rows, in their order."""
    return list(dict.fromkeys(row["model"] for row in rows))


def headlines(rows: Sequence[Row], profile: str, language: str) -> list[Row]:
    """One row of each task's headline metric, by category, then as they come; averages left out."""
    tasks: dict[str, Row] = {}
    for row in rows:
        if (row["profile"], row["language"]) == (profile, language) and row.get("headline") and row["kind"] != AVERAGE:
            tasks.setdefault(row["task"], row)
    return sorted(tasks.values(), key=lambda row: _category(row["kind"]))


def averaged_tasks(rows: Sequence[Row]) -> set[str]:
    """The tasks that averages of whole languages are over, as their rows name them."""
    return {task for row in rows if row["kind"] == AVERAGE for task in row.get("tasks") or ()}


def average_headlines(rows: Sequence[Row]) -> list[str]:
    """A sentence per profile and language: `Japanese average (strict): 32.0 → 39.4 %, +7.4 points (6.4 to 8.4).`"""
    averages = [row for row in benchmark_rows(rows) if row["kind"] == AVERAGE]
    sentences = []
    for row in averages:
        if row["model"] == TRAINED and row.get("difference") is not None:
            base = row["value"] - row["difference"]
            bounds = formats.difference_interval(row)
            sentences.append(
                f"{formats.language(row['language'])} average ({row['profile']}): {100 * base:.1f} → "
                f"{formats.share(row['value'])}, {formats.difference(row)} against the base"
                f"{f' ({bounds})' if bounds else ''}."
            )
    return sentences


def average_table(rows: Sequence[Row]) -> Table | None:
    """Each model's averages: a column per profile and language; None where no average was written."""
    averages = [row for row in rows if row["kind"] == AVERAGE]
    found = {(row["model"], row["profile"], row["language"]): row for row in averages}
    keys = _in_order(rows, averages)
    columns = [
        Column(f"{profile}_{code}", formats.language(code), "score", profile, _num_tasks(averages, profile, code))
        for profile, code in keys
    ]
    lines = [(Cell(model), *(score_cell(found.get((model, *key))) for key in keys)) for model in models_of(averages)]
    note = "Means of the tasks' headline scores, in percent. Small: intervals. Shaded: the best of its column."
    table = Table("averages", "Averages", (Column("model", "model"), *columns), tuple(lines), note)
    return with_best(table) if lines else None


def category_table(rows: Sequence[Row]) -> Table | None:
    """Averages of each category of tasks: a row per model, profile and language.

    Args:
        rows: all score rows; averages with a category are taken.
    """
    averages = [row for row in rows if row.get("kind") == AVERAGE and row.get("category") and row["value"] is not None]
    found = {(row["model"], row["profile"], row["language"], row["category"]): row for row in averages}
    names = [name for name in CATEGORIES if any(row["category"] == name for row in averages)]
    lines = [
        (Cell(model), Cell(profile), Cell(formats.language(code)),
         *(score_cell(found.get((model, profile, code, name))) for name in names))
        for profile, code in _in_order(averages, averages) for model in models_of(averages)
    ]  # fmt: skip
    columns = (Column("model", "model"), Column("profile", "profile"), Column("language", "language"))
    scores = (Column(name, name, "score") for name in names)
    note = (
        "Means of the tasks of a category, in percent: MC multiple choice, NLI inference, QA question answering, RC "
        "reading comprehension, SUM summarisation, MATH, MT translation."
    )
    return Table("categories", "By category", (*columns, *scores), tuple(lines), note) if lines else None


def score_tables(rows: Sequence[Row]) -> list[Table]:
    """For each profile and language the headline scores and their average; tasks beside the average in a table each."""
    tables = []
    averaged = averaged_tasks(rows)
    for profile in profiles(rows):
        for code in LANGUAGES:
            tasks = headlines(rows, profile, code)
            main = [row for row in tasks if row["task"] in averaged or not averaged]
            rest = [row for row in tasks if row not in main]
            if main:
                tables.append(_scores(rows, profile, code, main, f"scores-{profile}-{code}", with_average=True))
            if rest:
                tables.append(_scores(rows, profile, code, rest, f"further-{profile}-{code}", with_average=False))
    return tables


def difference_tables(rows: Sequence[Row], *, against: str = "the base") -> list[Table]:
    """For each profile and language, each model minus the base in points, with Holm-corrected marks.

    Tasks that do not count towards the average stand behind it.

    Args:
        against: what the differences are from.
    """
    tables = []
    averaged = averaged_tasks(rows)
    for profile in profiles(rows):
        for code in LANGUAGES:
            found = {(row["model"], row["task"]): row for row in _of(rows, profile, code)
                     if _is_shown(row) and row.get("difference") is not None}  # fmt: skip
            if not found:
                continue
            tasks = headlines(rows, profile, code)
            main = [row for row in tasks if row["task"] in averaged or not averaged]
            columns = {row["task"]: _column(row, "points") for row in main}
            if any(task == AVERAGE for _, task in found):
                columns[AVERAGE] = Column(AVERAGE, "average", "points")
            columns |= {row["task"]: _column(row, "points") for row in tasks if row not in main}
            models = [model for model in models_of(rows) if any((model, task) in found for task in columns)]
            lines = tuple((Cell(m), *(difference_cell(found.get((m, name))) for name in columns)) for m in models)
            title = f"{formats.language(code)} against {against}, profile {profile}"
            note = (
                "In points, paired on the same items, with intervals. Green and red: the interval excludes zero. "
                f"* p below {MAX_P} after Holm's correction for the number of benchmarks."
            )
            names = (Column("model", "model"), *columns.values())
            tables.append(Table(f"differences-{profile}-{code}", title, names, lines, note))
    return tables


def other_metrics_table(rows: Sequence[Row]) -> Table | None:
    """The metrics beside the headline ones: a row per task, profile and metric."""
    others: dict[tuple[str, str, str], dict[str, Row]] = {}
    for row in rows:
        if not row.get("headline") and row["kind"] != AVERAGE:
            others.setdefault((row["profile"], row["task"], row["metric"]), {})[row["model"]] = row
    if not others:
        return None
    models = models_of(rows)
    lines = []
    for (profile, task, metric), found in others.items():
        label = next(iter(found.values())).get("label") or task
        named = (Cell(label), Cell(profile), Cell(formats.words(metric)))
        lines.append((*named, *(score_cell(found.get(model)) for model in models)))
    columns = (Column("task", "task"), Column("profile", "profile"), Column("metric", "metric"))
    note = "In percent, with intervals."
    return Table("other-metrics", "Further metrics", (*columns, *_model_columns(models)), tuple(lines), note)


def published_table(rows: Sequence[Row], published: Published, *, size: str = "7B") -> Table | None:
    """Ours beside what the authors published, for the profile that imitates their harness; None without such a profile.

    Args:
        size: of the published models shown; all of them are in docs/evaluation.md.
    """
    found = [(profile, harness) for profile in profiles(rows) if (harness := published.harness_of(profile))]
    if not found:
        return None
    profile, harness = found[0]
    theirs = [name for name, model in published.models.items() if model.size == size]
    own = {(row["task"], row["language"], row["model"]): row for row in rows
           if row["profile"] == profile and _is_shown(row)}  # fmt: skip
    models = models_of(rows)
    lines = []
    for code in LANGUAGES:
        for row in headlines(rows, profile, code):
            scores = published.scores(harness, row["task"])
            if scores:
                ours = (score_cell(own.get((row["task"], code, model))) for model in models)
                label = Cell(row.get("label") or row["task"])
                lines.append((label, *ours, *(Cell(scores.get(name)) for name in theirs)))
    if not lines:
        return None
    columns = [
        Column("task", "task"),
        *(Column(column.name, column.label, "score", "ours") for column in _model_columns(models)),
        *(Column(f"published_{name}", name, "score", published.harnesses[harness].label) for name in theirs),
    ]
    note = (
        f"In percent. Ours: profile {profile}. Published: other models, by {published.harnesses[harness].says}. "
        "The same weights differ by up to 12 points between two of the authors' own harnesses."
    )
    return Table("published", "Beside published scores", tuple(columns), tuple(lines), note)


def _scores(
    rows: Sequence[Row], profile: str, code: str, tasks: Sequence[Row], name: str, *, with_average: bool
) -> Table:
    found = {(row["model"], row["task"]): row for row in _of(rows, profile, code) if _is_shown(row)}
    has_average = with_average and any(task == AVERAGE for _, task in found)
    columns = [Column("model", "model"), *(_column(row) for row in tasks)]
    columns += [Column(AVERAGE, "average", "score")] if has_average else []
    names = [row["task"] for row in tasks] + ([AVERAGE] if has_average else [])
    models = [model for model in models_of(rows) if any((model, task) in found for task in names)]
    lines = tuple((Cell(model), *(score_cell(found.get((model, task))) for task in names)) for model in models)
    title = f"{formats.language(code)}, profile {profile}"
    if not with_average:
        title += ", beside the average"
    note = "In percent. Small: intervals over items. Shaded: the best of its column."
    return with_best(Table(name, title, tuple(columns), lines, note))


def _column(row: Row, kind: Kind | None = None) -> Column:
    return Column(
        row["task"],
        row.get("label") or row["task"],
        kind or _KINDS.get(row["unit"], "size"),
        row["kind"],
        formats.words(row["metric"]),
        bool(row.get("lower_is_better")),
    )


def score_cell(row: Row | None) -> Cell:
    """A score row's value with its interval."""
    return UNKNOWN if row is None else Cell(row["value"], row.get("ci_low"), row.get("ci_high"))


def difference_cell(row: Row | None) -> Cell:
    """A row's difference with its interval: a verdict where that excludes zero, a mark where Holm's p is small."""
    if row is None or row.get("difference") is None:
        return UNKNOWN
    low, high = row.get("difference_low"), row.get("difference_high")
    verdict = ""
    if low is not None and high is not None and not low <= 0 <= high:
        verdict = "better" if (low > 0) != bool(row.get("lower_is_better")) else "worse"
    p = row.get("p_holm")
    return Cell(row["difference"], low, high, mark=_MARK if p is not None and p < MAX_P else "", verdict=verdict)


def _of(rows: Sequence[Row], profile: str, language: str) -> list[Row]:
    return [row for row in rows if (row["profile"], row["language"]) == (profile, language)]


def _is_shown(row: Row) -> bool:
    return bool(row.get("headline")) or row["kind"] == AVERAGE


def _in_order(rows: Sequence[Row], averages: Sequence[Row]) -> list[tuple[str, str]]:
    """(profile, language) of these averages."""
    there = {(row["profile"], row["language"]) for row in averages}
    return [(profile, code) for profile in profiles(rows) for code in LANGUAGES if (profile, code) in there]


def _num_tasks(averages: Sequence[Row], profile: str, language: str) -> str:
    row = next(row for row in averages if (row["profile"], row["language"]) == (profile, language))
    own, whole = authors_tasks(row)
    others = f", {row['n'] - own} others" if row["n"] > own else ""
    return f"{own} of {whole} tasks{others}" if whole > own else f"{whole} tasks"


def authors_tasks(average: Row) -> tuple[int, int]:
    """How many of the authors' tasks an average is over, those that others stand in for left out, and how many are."""
    own = average["n"] - len(average.get("stand_ins") or ())
    return own, own + len(average.get("missing") or ())


def _model_columns(models: Sequence[str]) -> list[Column]:
    return [Column(model, model, "score") for model in models]


def _category(kind: str) -> int:
    return CATEGORIES.index(kind) if kind in CATEGORIES else len(CATEGORIES)
