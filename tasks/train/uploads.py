"""What training leaves in an artifact that is not local: its logs with each checkpoint, at the end the rest.

The trainer works in a folder of this machine's cache and copies every checkpoint itself (`TrainJob.mirror`). With the
logs up to that checkpoint, which lie beside it, another machine can go on.

    fetch_logs(out, folder); ...; upload_logs(out, folder); ...; upload(out, folder, entries, job.mirror)
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from storage.artifact import FileEntry
from storage.checkpoints import FOLDER, JOB
from storage.uri import exists, is_local, join, open_atomic, read_bytes, size, write_bytes
from tasks.train.logs import START_CHECKS
from trainer.rows import METRICS, SKIPPED, VALIDATION

LOGS = (JOB, METRICS, VALIDATION, SKIPPED, START_CHECKS)


def fetch_logs(out: str, folder: Path) -> None:
    """Logs of what another machine has trained so far, where this one has nothing."""
    if is_local(out) or (folder / JOB).is_file():
        return
    for name in LOGS:
        if exists(join(out, name)):
            write_bytes(str(folder / name), read_bytes(join(out, name)))


def upload_logs(out: str, folder: Path) -> None:
    """The logs as they are now."""
    if not is_local(out):
        for name in LOGS:
            if (folder / name).is_file():
                _upload(out, folder, name)


def upload(out: str, folder: Path, files: Iterable[FileEntry], mirror: str | None) -> None:
    """The artifact's files, without those of a checkpoint that the trainer has copied already."""
    if not is_local(out):
        for entry in files:
            if not _copied(entry, mirror):
                _upload(out, folder, entry.path)


def _copied(entry: FileEntry, mirror: str | None) -> bool:
    if mirror is None or not entry.path.startswith(f"{FOLDER}/"):
        return False
    return size(join(mirror, entry.path.removeprefix(f"{FOLDER}/"))) == entry.size


def _upload(out: str, folder: Path, name: str) -> None:
    with open(folder / name, "rb") as source, open_atomic(join(out, name)) as sink:
        shutil.copyfileobj(source, sink, 1 << 20)
