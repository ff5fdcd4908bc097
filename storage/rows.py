"""Files of one JSON object a line, which may be read while they grow, here or from a bucket.

What is appended may be cut short by a kill: a reader takes whole lines only, and who goes on appending cuts the rest
off first.

    rows = read_rows("runs/train/demo-0123456789ab/metrics.jsonl")
    entry = write_rows(out, "scores.jsonl", rows)
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from storage.artifact import FileEntry, new_file
from storage.uri import exists, read_bytes

logger = logging.getLogger(__name__)


def read_rows(uri: str | Path) -> list[dict[str, Any]]:
    """The whole rows of a file, none where it is not there: its last line may be under way, or cut short by a kill."""
    if not exists(str(uri)):
        return []
    return [json.loads(line) for line in read_bytes(str(uri)).split(b"\n")[:-1]]


def write_rows(artifact: str, path: str, rows: Iterable[Mapping[str, Any]]) -> FileEntry:
    """Write one file of an artifact, whole or not at all."""
    with new_file(artifact, path) as file:
        for row in rows:
            file.write(json_line(row))
    return FileEntry.of(path, file)


def json_line(row: Mapping[str, Any]) -> bytes:
    """A row as it stands in a file.

    Raises:
        ValueError: it holds a number that JSON has not: infinity, or none at all.
    """
    return json.dumps(row, ensure_ascii=False, allow_nan=False).encode() + b"\n"


def mend_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a local file that is appended to, after cutting off all from the first line that is no row on.

    A kill leaves part of a line; a machine that loses power may leave zeros instead of lines.
    """
    if not path.is_file():
        return []
    data = path.read_bytes()
    rows: list[dict[str, Any]] = []
    kept = 0
    for line in data.split(b"\n")[:-1]:
        try:
            row = json.loads(line)
        except ValueError:
            break
        if not isinstance(row, dict):
            break
        rows.append(row)
        kept += len(line) + 1
    if kept < len(data):
        logger.info("%s: %d bytes after row %d are no whole row, and are cut off", path, len(data) - kept, len(rows))
        os.truncate(path, kept)
    return rows
