from __future__ import annotations

from typing import Any

from tasks.report.rows_csv import in_words, rows_csv


def test_every_field_of_any_row_has_a_column_and_some_come_first() -> None:
    rows = [{"n": 3, "model": "base"}, {"model": "雲雀", "value": 0.1 + 0.2}]

    assert rows_csv(rows, first=("model", "gone")) == "model,n,value\nbase,3,\n雲雀,,0.30000000000000004\n"


def test_what_is_not_known_is_empty_and_zero_is_not() -> None:
    assert rows_csv([{"a": None, "b": 0, "c": False}]) == "a,b,c\n,0,False\n"


def test_values_within_values() -> None:
    rows: list[dict[str, Any]] = [{"tasks": ["jsquad", "niilc"], "flags": {"looping": 1}}]

    assert rows_csv(rows) == 'tasks,flags\n"[""jsquad"", ""niilc""]","{""looping"": 1}"\n'
    assert rows_csv([{"tasks": ["jsquad", "niilc"]}], nested=in_words) == "tasks\njsquad niilc\n"


def test_no_rows_are_no_columns() -> None:
    assert rows_csv([]) == "\n"
