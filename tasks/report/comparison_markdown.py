"""The comparison's tables as Markdown, for a terminal, a pull request or the Prefect UI.

text = markdown(facts)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tasks.report import formats
from tasks.report.tables import as_markdown, from_json


def markdown(facts: Mapping[str, Any]) -> str:
    """Scores, differences from the first variant, what differs, and what was shared."""
    columns = facts["columns"]
    parts = [f"# {facts['name']}: variants of {facts['run']}"]
    parts += [f"- **{failure['variant']} failed**: {first_line(failure['message'])}" for failure in facts["failures"]]
    parts += ["", "## Scores", "", "The best of a column is bold.", ""]
    lines = [line for line in facts["lines"] if line["model"] != "initialized"]
    rows = [[*_name_and_tokens(line), *(_score(line, column) for column in columns)] for line in lines]
    parts += _table(["variant", "tokens", *map(column_name, columns)], rows)
    if facts["differences"]:
        own = [column for column in columns if column["language"] is not None]
        parts += ["", f"## Against {facts['first']}, paired on the same examples", ""]
        rows = [[*_name_and_tokens(line), *(_difference(line, c) for c in own)] for line in facts["differences"]]
        parts += _table(["variant", "tokens", *map(column_name, own)], rows)
    for table in map(from_json, facts["benchmarks"]["tables"]):
        parts += ["", f"## {table.title}", "", *as_markdown(table).splitlines()]
    names = [variant["name"] for variant in facts["variants"]]
    if facts["changed"]:
        parts += ["", "## What differs", ""]
        rows = [[f"`{row['field']}`", *(setting(row["values"][name]) for name in names)] for row in facts["changed"]]
        parts += _table(["field", *names], rows)
    parts += ["", "## Stages", "", "Seconds to make, or the variant whose artifact it is.", ""]
    rows = [[row["stage"], *(_cell(row["cells"][name]) for name in names)] for row in facts["stages"]]
    parts += _table(["stage", *names], rows)
    return "\n".join(parts) + "\n"


def line_name(line: Mapping[str, Any]) -> str:
    """`base model`, `16k, step 100`."""
    return f"{line['label']}, step {line['step']:,}" if line["step"] else line["label"]


def column_name(column: Mapping[str, Any]) -> str:
    """`ja bits per byte`, `probe, mean`."""
    return f"{column['label']}, mean" if column["language"] is None else f"{column['language']} {column['label']}"


def setting(value: Any) -> str:
    """A value of a run file in a few characters."""
    if value is None:
        return formats.UNKNOWN
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return formats.scientific(value) if value < 1e-3 else f"{value:g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def first_line(message: str) -> str:
    """What a failure says before it goes into detail."""
    return message.splitlines()[0] if message else ""


def _name_and_tokens(line: Mapping[str, Any]) -> list[str]:
    return [line_name(line), formats.count(line["tokens"])]


def _score(line: Mapping[str, Any], column: Mapping[str, Any]) -> str:
    score = line["scores"].get(column["key"])
    if score is None:
        return formats.UNKNOWN
    return f"**{formats.cell(score)}**" if score["best"] else formats.cell(score)


def _difference(line: Mapping[str, Any], column: Mapping[str, Any]) -> str:
    score = line["scores"].get(column["key"])
    if score is None:
        return formats.UNKNOWN
    interval = formats.difference_interval(score)
    return formats.difference(score) + (f" ({interval})" if interval else "")


def _cell(cell: Mapping[str, Any]) -> str:
    return f"= {cell['shared']}" if cell["shared"] else formats.duration(cell["seconds"])


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [headings, ["---"] + ["---:"] * (len(headings) - 1), *rows]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]
