"""What was left out can be read back, and reads after a restart as if there had been none."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from trainer.rows import SKIPPED, cut_after
from trainer.skipped import SkippedSamples, append_skipped, read_skipped

ROW = SkippedSamples(
    step=12, first_sample=88, last_sample=95, num_steps=1, action="skip", reason="loss 9 is above 3", loss=9.0,
    grad_norm=1.5, usual={"loss": 2.0, "grad_norm": 0.5},
)  # fmt: skip


def test_rows_are_read_as_they_were_written(tmp_path: Path) -> None:
    assert read_skipped(str(tmp_path)) == []
    rows = [ROW, replace(ROW, step=40, action="rewind", first_sample=240, last_sample=319, num_steps=10)]
    for row in rows:
        append_skipped(tmp_path, row)
    assert read_skipped(str(tmp_path)) == rows


def test_what_is_not_finite_stays_json(tmp_path: Path) -> None:
    append_skipped(tmp_path, replace(ROW, loss=math.nan, grad_norm=math.inf))
    row = json.loads((tmp_path / SKIPPED).read_text(), parse_constant=lambda name: 1 / 0)
    assert row["loss"] is row["grad_norm"] is None


def test_rows_after_the_step_that_is_resumed_from_are_cut(tmp_path: Path) -> None:
    cut_after(tmp_path / SKIPPED, 0)
    assert not (tmp_path / SKIPPED).exists()
    rows = [replace(ROW, step=step) for step in (3, 12, 13)]
    for row in rows:
        append_skipped(tmp_path, row)
    with open(tmp_path / SKIPPED, "a") as file:
        file.write('{"step": 14, "first_sa')  # killed while writing
    cut_after(tmp_path / SKIPPED, 12)
    assert read_skipped(str(tmp_path)) == rows[:2]
    append_skipped(tmp_path, rows[2])
    assert read_skipped(str(tmp_path)) == rows


def test_reading_needs_no_torch() -> None:
    code = "import sys, trainer.skipped; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
