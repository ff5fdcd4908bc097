"""Runs on a disk that fills up: `unshare -m python -m tests.flows.small_disk RUN_FILE DISK CHECKPOINT_BYTES`.

DISK becomes a tmpfs that only this process and its children see. A run meets it full in the first stage, is given room,
meets it full again between two checkpoints, is given room again and ends. Printed, as JSON: what each of the commands
said, what was visible after each failure, and the content digest of the training.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from flows.config import load_run
from flows.plan import make_plan
from storage.artifact import read_manifest
from tests.flows.conftest import ROOT

MEGABYTE = 1 << 20


def mount(disk: Path, size: int, *options: str) -> None:
    command = ["mount", "-t", "tmpfs", "-o", ",".join([f"size={size}", *options]), "tmpfs", str(disk)]
    subprocess.run(command, check=True)


def hibari(run_file: Path, root: Path, until: str) -> dict[str, Any]:
    """`hibari run`, and the files it left visible."""
    command = [sys.executable, "-m", "flows.cli", "run", str(run_file), "--root", str(root), "--until", until]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "200"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    files = sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())
    return {"status": done.returncode, "said": done.stdout + done.stderr, "files": files}


def main(run_file: Path, disk: Path, checkpoint_bytes: int) -> dict[str, Any]:
    root = disk / "runs"
    said = {}
    mount(disk, 96 << 10)
    said["full in curate"] = hibari(run_file, root, "curate")
    mount(disk, 64 * MEGABYTE, "remount")
    said["with room"] = hibari(run_file, root, "mix")
    # Room for one checkpoint and half of the next.
    ballast = shutil.disk_usage(disk).free - checkpoint_bytes * 3 // 2
    with open(disk / "ballast", "wb") as file:
        os.posix_fallocate(file.fileno(), 0, ballast)
    said["full in train"] = hibari(run_file, root, "train")
    (disk / "ballast").unlink()
    said["with room again"] = hibari(run_file, root, "train")
    manifest = read_manifest(make_plan(load_run(run_file, root=str(root))).train.uri)
    return said | {"digest": manifest.content_digest if manifest else None}


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))))
