from __future__ import annotations

from pathlib import Path

import pytest

from storage.artifact import file_entries
from storage.rows import mend_rows, read_rows, write_rows


def test_rows_that_are_written_are_read_again(tmp_path: Path) -> None:
    rows = [{"text": "雲雀", "value": 0.1 + 0.2}, {"text": "改行\nあり", "value": None}]
    entry = write_rows(str(tmp_path), "scores/rows.jsonl", rows)
    assert read_rows(tmp_path / "scores/rows.jsonl") == rows
    assert file_entries(str(tmp_path), [entry.path]) == [entry]
    assert read_rows(tmp_path / "other.jsonl") == []


def test_a_number_that_json_has_not_is_refused_and_nothing_is_left(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_rows(str(tmp_path), "rows.jsonl", [{"value": 1.0}, {"value": float("nan")}])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "torn", [b'{"n": 3', b'{"n": 3}', b"\0\0\0\0\n", b'{"n": 3\n{"n": 4}\n', b"3\n", b"\xe9\x9b\n"], ids=repr
)
def test_what_is_no_whole_row_is_cut_off(tmp_path: Path, torn: bytes) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"n": 1}\n{"n": 2}\n' + torn)
    assert mend_rows(path) == [{"n": 1}, {"n": 2}]
    assert path.read_bytes() == b'{"n": 1}\n{"n": 2}\n'


def test_a_row_under_way_is_not_read_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"n": 1}\n{"n": 2')
    assert read_rows(path) == [{"n": 1}]
    assert path.read_bytes().endswith(b'{"n": 2')


def test_a_file_that_is_not_there_has_no_rows(tmp_path: Path) -> None:
    assert mend_rows(tmp_path / "rows.jsonl") == []
    assert not (tmp_path / "rows.jsonl").exists()
