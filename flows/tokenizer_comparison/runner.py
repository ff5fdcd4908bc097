"""`hibari tokenizer compare`: run the comparison, print its tables, say where the page is.

run_comparison(load_run("configs/mine.yaml"), Compared(), "configs/mine.yaml", Console(), html=None, json=None)
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from flows.config import RunConfig
from flows.runner import announced, connect, progress_shown
from flows.tokenizer_comparison.config import Compared
from storage.uri import join, write_bytes


def run_comparison(
    run: RunConfig | None,
    compared: Compared,
    run_file: str,
    console: Console,
    *,
    html: Path | None,
    json: Path | None,
) -> None:
    """Compare tokenizers: of a run in a flow, else given ones on given texts.

    Args:
        html, json: where the page and its figures go besides the run's own folder.

    Raises:
        ConfigError: something named is missing.
        StageError: a candidate could not be made.
    """
    from flows.tokenizer_comparison.compare import check, compare_given, comparison_uri

    check(run, compared)
    if run is None:
        with progress_shown():
            facts = compare_given(compared)
    else:
        connect(console)
        from flows.tokenizer_comparison.flow import tokenizer_comparison

        with progress_shown():
            facts = announced(tokenizer_comparison, console)(run, compared, run_file)
    from flows.tokenizer_comparison.facts import as_json
    from tasks.report.tokenizer_comparison import render

    for table in tables(facts):
        console.print(table)
    if run is not None:
        console.print(f"comparison: {join(comparison_uri(run), 'comparison.html')}", highlight=False, soft_wrap=True)
    for path, content in ((html, lambda: render(facts).encode()), (json, lambda: as_json(facts))):
        if path is not None:
            write_bytes(str(path), content())
            console.print(f"written: {path}", highlight=False, soft_wrap=True)


def tables(facts: Mapping[str, Any]) -> list[Table]:
    """Fertility, and what models compute: the first for each text, the others for the last, the mixture."""
    from tasks.report.tokenizer_comparison_markdown import COSTS, FERTILITY, cost_rows, fertility_rows

    against = f"against {facts['reference']}"
    found = [_table(f"{facts['name']}: fertility, {against}", FERTILITY, fertility_rows(facts), group="text")]
    if facts["models"]:
        rows = cost_rows(facts)
        first, last = rows[0]["model"], rows[-1]["text"]
        shown = [row for row in rows if row["model"] == first or row["text"] == last]
        found.append(_table(f"operations, {against} (every text: see the page)", COSTS, shown, group="model"))
    return found


def _table(title: str, columns: tuple[str, ...], rows: list[dict[str, str]], group: str) -> Table:
    """A table with a line between groups, whose name and text stand in their first row only."""
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column, justify="left" if column in ("model", "text", "tokenizer") else "right")
    before: dict[str, str] = {}
    for row in rows:
        if before and before[group] != row[group]:
            table.add_section()
        same_text = before and all(before.get(name) == row.get(name) for name in ("model", "text"))
        hidden = {name for name in ("model", "text") if same_text or (name == group and before.get(name) == row[name])}
        table.add_row(*("" if name in hidden else cell for name, cell in row.items()))
        before = row
    return table
