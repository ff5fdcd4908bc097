"""`hibari evaluate compare`: gather, write the page with its exports, and show the tables in the terminal.

run_comparison(["runs/a.yaml", "runs/b.yaml"], console)
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from flows.score_comparison import gather_comparison, load_sources

_COLUMNS = ("", "metric", "n", "reference", "model", "difference", "p", "p, corrected", "detectable", "verdict")


def run_comparison(
    names: Sequence[str],
    console: Console,
    *,
    out: Path | None = None,
    overrides: Sequence[str] = (),
    root: str | None = None,
) -> dict[str, Any]:
    """Compare these runs and folders, write the page, show the tables.

    Args:
        out: where the page goes, else `comparisons/<labels>`.

    Returns:
        The facts, as `flows.score_comparison.gather_comparison` gives them.

    Raises:
        ConfigError: a name is neither a run file nor an evaluation, or nothing is scored there.
    """
    from tasks.report.score_comparison import write_score_comparison  # matplotlib

    sources = load_sources(names, overrides, root)
    facts = gather_comparison(sources)
    folder = out or Path("comparisons") / "+".join(
        re.sub(r"[^\w.-]+", "-", source.label).strip("-") for source in sources
    )
    written = write_score_comparison(facts, str(folder))
    for table in terminal_tables(facts["rows"]):
        console.print(table)
    for line in refusals(facts["refused"]):
        console.print(line, style="yellow", highlight=False, markup=False, soft_wrap=True)
    if not facts["rows"]:
        console.print("nothing could be compared", style="yellow")
    console.print(f"{len(written)} files in {folder}: {', '.join(written[:3])}", highlight=False, soft_wrap=True)
    return facts


def terminal_tables(rows: Sequence[Mapping[str, Any]]) -> list[Table]:
    """A table for each pair of models and profile: headline metrics, then averages of whole languages.

    Scores and differences are in percent, but for bits per byte. `detectable` is the difference that so many items
    would have shown with a power of 80 %.
    """
    shown = [row for row in rows if row["headline"] and row["category"] is None]
    tables = []
    for pair in dict.fromkeys((row["reference"], row["model"], row["profile"]) for row in shown):
        reference, model, profile = pair
        table = Table(title=f"{model} against {reference}, profile {profile}", title_justify="left")
        for name in _COLUMNS:
            left = name in ("", "metric", "verdict")
            table.add_column(name, justify="left" if left else "right", no_wrap=name == "")
        for row in shown:
            if (row["reference"], row["model"], row["profile"]) == pair:
                table.add_row(*_cells(row))
        tables.append(table)
    return tables


def refusals(refused: Iterable[Mapping[str, Any]]) -> list[str]:
    """A line for each reason, with the tasks that it keeps from being compared."""
    tasks: dict[tuple[str, str, str], list[str]] = {}
    for row in refused:
        name = f"{row['label']} ({row['profile']})"
        tasks.setdefault((row["model"], row["reference"], row["why"]), []).append(name)
    return [
        f"not compared, {model} with {reference}: {', '.join(names)}: {why}"
        for (model, reference, why), names in tasks.items()
    ]


def _cells(row: Mapping[str, Any]) -> list[str]:
    scale, digits = (1, 3) if row["unit"] == "bits/byte" else (100, 1)

    def number(name: str, form: str = "") -> str:
        value = row[name]
        return "" if value is None else f"{scale * value:{form}.{digits}f}"

    bounds = [number("difference_low", "+"), number("difference_high", "+")]
    interval = f" [{', '.join(bounds)}]" if all(bounds) else ""
    p = row["p_bootstrap"] if row["p_mcnemar"] is None else row["p_mcnemar"]
    label = row["label"] if row["kind"] not in ("bits", "probe") else f"{row['label']}, {row['language']}"
    return [
        label,
        _tasks(row) if row["kind"] == "average" else row["metric"].replace("_", " "),
        "" if row["kind"] == "average" else f"{row['n']:,}",
        number("reference_value"),
        number("value"),
        number("difference", "+") + interval,
        _probability(p),
        _probability(row["p_holm"]),
        number("mde"),
        row["verdict"],
    ]


def _tasks(row: Mapping[str, Any]) -> str:
    number = len(row["tasks"])
    return f"{number} task{'' if number == 1 else 's'}"


def _probability(p: float | None) -> str:
    return "" if p is None else "<0.001" if p < 0.001 else f"{p:.3f}"
