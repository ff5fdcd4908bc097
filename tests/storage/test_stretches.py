"""A large file read in stretches is the file: the same documents, ids and rows, each once and in order."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from storage.sources import SourceLayout, read_batches
from storage.stretches import Stretch, stretches

AUTO = SourceLayout()


def text(number: int) -> str:
    return f"{number}番目の麦畑で雲雀が鳴く。" * (number % 5)


def lines(ids: bool) -> bytes:
    """Lines of a few bytes and of many, some of them empty; half of all characters are broken by a cut at any byte."""
    written = []
    for number in range(60):
        row: dict[str, object] = {"text": text(number)}
        if ids:
            row["id"] = number
        written += [json.dumps(row, ensure_ascii=False)] + [""] * (number % 4 == 3)
    return "\n".join(written).encode()


def read(uri: str, layout: SourceLayout, parts: list[Stretch | None]) -> pa.Table:
    return pa.Table.from_batches([b for part in parts for b in read_batches(uri, "web", layout, stretch=part)])


@pytest.mark.parametrize("stretch_bytes", [1, 40, 333, 5000])
@pytest.mark.parametrize("block", [7, 1 << 20])
@pytest.mark.parametrize("ids", [True, False])
@pytest.mark.parametrize("end", [b"", b"\n\n"])
def test_lines_in_stretches_are_the_lines(
    stretch_bytes: int, block: int, ids: bool, end: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(lines(ids) + end)
    uri = str(path)
    whole = read(uri, AUTO, [None])
    monkeypatch.setattr("storage.stretches.STRETCH_BYTES", stretch_bytes)
    monkeypatch.setattr("storage.stretches._BLOCK", block)
    parts = stretches(uri, AUTO)
    assert all(part and part.end - part.first >= stretch_bytes for part in parts[:-1])
    assert (len(parts) > 3) == (stretch_bytes < 1000)
    assert read(uri, AUTO, parts).equals(whole)
    assert whole.column("text").to_pylist() == [text(number) for number in range(60)]


@pytest.mark.parametrize("stretch_bytes", [1, 2000])
def test_row_groups_in_stretches_are_the_file(
    stretch_bytes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = str(tmp_path / "a.parquet")
    pq.write_table(pa.table({"text": [text(number) for number in range(100)]}), uri, row_group_size=9)
    whole = read(uri, AUTO, [None])
    monkeypatch.setattr("storage.stretches.STRETCH_BYTES", stretch_bytes)
    parts = stretches(uri, AUTO)
    assert len(parts) == 12 if stretch_bytes == 1 else 1 < len(parts) < 12
    assert read(uri, AUTO, parts).equals(whole)
    assert whole.column("row").to_pylist() == list(range(100))


def test_what_cannot_be_cut_is_one_stretch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compressed lines; pairs, which may be joined across a cut; files of which a share may be unreadable."""
    plain, packed = tmp_path / "a.jsonl", tmp_path / "a.jsonl.gz"
    plain.write_bytes(lines(ids=True))
    packed.write_bytes(gzip.compress(lines(ids=True)))
    assert stretches(str(plain), AUTO) == [None], "small enough"
    monkeypatch.setattr("storage.stretches.STRETCH_BYTES", 50)
    assert len(stretches(str(plain), AUTO)) > 1
    assert stretches(str(packed), AUTO) == [None]
    assert stretches(str(plain), SourceLayout(layout="parallel")) == [None]
    assert stretches(str(plain), SourceLayout(max_bad_record_ratio=0.1)) == [None]


def test_a_broken_line_is_named_by_its_place_in_the_whole_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(lines(ids=True) + b"\n{broken")
    monkeypatch.setattr("storage.stretches.STRETCH_BYTES", 200)
    last = stretches(str(path), AUTO)[-1]
    assert last is not None
    assert last.row > 0
    with pytest.raises(ValueError, match=r"a\.jsonl, line 76: not JSON"):
        read(str(path), AUTO, [last])
