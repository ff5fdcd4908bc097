"""Breaks when a malformed record crashes, hangs or swells a shard, or costs more or fewer ledger rows than one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
MAX_PEAK_KIB = (600 - 64) << 10  # beside a child that may have 64 MiB


def fuzz(folder: Path, seed: int, num_records: int, timeout_s: float) -> dict[str, Any]:
    """What the harness found; it runs in a process of its own, which cannot take this one along."""
    command = [sys.executable, "-m", "tests.tasks.curate.fuzz", str(folder), str(seed), str(num_records)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=timeout_s, check=False
    )
    assert ended.returncode == 0, f"{ended.returncode}: {ended.stdout[-500:]}{ended.stderr[-3000:]}"
    return dict(json.loads(ended.stdout.splitlines()[-1]))


def test_a_few_hundred_mutated_records_are_each_accounted_for(tmp_path: Path) -> None:
    found = fuzz(tmp_path, seed=1, num_records=300, timeout_s=300)
    assert {"kept", "torn_member", "bad_status", "no_japanese_bytes"} <= set(found["rules"])
    assert found["peak_kib"] < MAX_PEAK_KIB


@pytest.mark.slow
def test_twenty_thousand_mutated_records_are_each_accounted_for(tmp_path: Path) -> None:
    found = fuzz(tmp_path, seed=2, num_records=20_000, timeout_s=1800)
    assert {"extraction_timeout", "extraction_memory", "page_too_large", "mojibake"} <= set(found["rules"])
    assert found["peak_kib"] < MAX_PEAK_KIB
