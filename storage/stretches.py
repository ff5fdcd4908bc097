"""Large files of outside sources in stretches, so that a file is not one worker's whole work.

In: a file and how it is read. Out: stretches of about `STRETCH_BYTES` of text that begin where a record begins, read
apart and put together the same documents as the whole file. Parquet is cut between row groups, by its footer; plain
JSON lines on a disk between lines, for which the lines are counted once, since rows, and ids that are made of rows,
count from the beginning of the file (2 GB/s). What is compressed, or is no line or row a document (parallel text, XML),
is not cut; nor where a share of a file's records may be unreadable, which only its whole tells.

    for stretch in stretches("en.jsonl", layout):
        batches = read_batches("en.jsonl", "web-en", layout, stretch=stretch)
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from storage.compressed import compression
from storage.source_layout import SourceLayout, file_format, file_name
from storage.uri import filesystem, is_local, is_web, local_path, size

STRETCH_BYTES = 256 << 20  # ten to thirty seconds of tokenising
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Stretch:
    """Bytes of JSON lines, or row groups of Parquet, from `first` to before `end`; its first record is at `row`."""

    first: int
    end: int
    row: int


def stretches(uri: str, layout: SourceLayout) -> list[Stretch | None]:
    """The stretches of a file in their order; one None, which stands for all of it, where it is small or uncuttable.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: of a format that is not known.
    """
    kind = file_format(uri, layout.layout)
    cuttable = not is_web(uri) and layout.layout != "parallel" and not layout.max_bad_record_ratio
    if cuttable and (size(uri) or 0) > STRETCH_BYTES:
        if kind == "parquet":
            return list(_of_row_groups(uri))
        if kind == "jsonl" and is_local(uri) and not compression(file_name(uri)):
            return list(_of_lines(local_path(uri)))
    return [None]


def _of_lines(path: Path) -> list[Stretch]:
    cuts, rows = [0], [0]
    position = row = 0
    with open(path, "rb") as file:
        while block := file.read(_BLOCK):
            wanted = max(cuts[-1] + STRETCH_BYTES - 1 - position, 0)  # the last byte of a stretch of the full size
            while (line_end := block.find(b"\n", wanted)) >= 0:
                cuts.append(position + line_end + 1)
                rows.append(row + block.count(b"\n", 0, line_end + 1))
                wanted = line_end + STRETCH_BYTES
            position += len(block)
            row += block.count(b"\n")
    if cuts[-1] < position:
        cuts.append(position)
    return [Stretch(first, end, row) for first, end, row in zip(cuts, cuts[1:], rows, strict=False)]


def _of_row_groups(uri: str) -> list[Stretch]:
    fs, path = filesystem(uri)
    with fs.open(path, "rb") as file:
        metadata = pq.ParquetFile(file).metadata
    found = []
    first = num_bytes = row = first_row = 0
    for group in range(metadata.num_row_groups):
        described = metadata.row_group(group)
        num_bytes += described.total_byte_size
        row += described.num_rows
        if num_bytes >= STRETCH_BYTES or group + 1 == metadata.num_row_groups:
            found.append(Stretch(first, group + 1, first_row))
            first, num_bytes, first_row = group + 1, 0, row
    return found
