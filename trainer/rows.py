"""Files that grow by a JSON object a line while training runs; each row has the `step` it was written after.

They are read while they grow, here or from a bucket, and cut when a run resumes from an earlier step. Nothing here
imports torch.

    rows = read_rows("runs/train/demo-0123456789ab/metrics.jsonl")
    cut_after(out / METRICS, step=50)
"""

from __future__ import annotations

import json
from pathlib import Path

from storage.rows import read_rows as read_rows
from storage.uri import write_bytes

METRICS = "metrics.jsonl"
VALIDATION = "validation.jsonl"
SKIPPED = "skipped.jsonl"


def cut_after(path: Path, step: int) -> None:
    """Remove the rows after `step`, which a resumed run will write again."""
    if path.is_file():
        kept = [row for row in read_rows(path) if row["step"] <= step]
        write_bytes(str(path), "".join(json.dumps(row) + "\n" for row in kept).encode())
