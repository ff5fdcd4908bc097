"""Rows of scores as CSV: a column for every field that any of them has.

In: rows as mappings. Out: text, a line a row, values unrounded, nothing where a row lacks a field or has no value.

    rows_csv(files.scores, first=("model", "task", "value"))
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any


def in_json(value: list[Any] | dict[str, Any]) -> str:
    """Values within a value as JSON."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


def in_words(value: list[Any] | dict[str, Any]) -> str:
    """Values within a value with spaces between: names of tasks or categories, which have none."""
    return " ".join(map(str, value))


def rows_csv(
    rows: Sequence[Mapping[str, Any]],
    first: Sequence[str] = (),
    nested: Callable[[list[Any] | dict[str, Any]], str] = in_json,
) -> str:
    """The lines, below one of the fields' names.

    Args:
        first: fields that stand before the others, in this order, where a row has them; the rest as they come.
        nested: how a value is written that is a list or a mapping.
    """
    found = dict.fromkeys(name for row in rows for name in row)
    names = [*(name for name in first if name in found), *(name for name in found if name not in first)]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    for row in rows:
        values = (row.get(name) for name in names)
        writer.writerow(["" if v is None else nested(v) if isinstance(v, list | dict) else v for v in values])
    return text.getvalue()
