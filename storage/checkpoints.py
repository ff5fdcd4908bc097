"""The folders that checkpoints lie in: names, manifests, what is kept, copies elsewhere; no torch.

Training keeps checkpoints in `checkpoints/step-00000050/` below its artifact, each whole as soon as it has a
`manifest.json`: size and sha256 of every file, and where training stood (`trainer.checkpoint` writes it). A mirror is
the same folders below another URI. A root that is no local folder gets only the last one; the others lie where the
trainer works.

    saved_steps("runs/train/demo-0123456789ab/checkpoints")  # [50, 100]
    verify("runs/train/demo-0123456789ab/checkpoints/step-00000050")  # []: whole
    prune("s3://bucket/demo/checkpoints", newest=2, every=1000)
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from storage.artifact import FileEntry
from storage.uri import join, listing, open_atomic, open_stream, read_bytes, remove, sha256, size

FOLDER = "checkpoints"
JOB = "job.json"  # beside it: what the trainer was told
MANIFEST = "manifest.json"
SCHEMA_VERSION = 1
_FILE = re.compile(r"step-(\d{8,})/(.+)")


def checkpoint_uri(folder: str, step: int) -> str:
    """Where the checkpoint of `step` lies, or would lie."""
    return join(folder, f"step-{step:08}")


def saved_steps(folder: str) -> list[int]:
    """Steps of which a checkpoint is there and whole, in order; none where there is no such folder."""
    return sorted(step for step, names in _found(folder).items() if MANIFEST in names)


def saved_checkpoint(uri: str) -> str:
    """`uri`, where a whole checkpoint is there.

    Raises:
        ValueError: there is none; with the steps that are saved beside it.
    """
    folder, _, name = uri.rpartition("/")
    step, saved = int(name.removeprefix("step-")), saved_steps(folder)
    if step not in saved:
        have = ", ".join(map(str, saved)) or "none"
        raise ValueError(
            f"no checkpoint of step {step} in {folder}; saved are {have}. One is saved every train.save_every steps, "
            f"and only the newest train.keep_checkpoints and multiples of train.keep_every stay: what is deleted "
            f"cannot be scored any more"
        )
    return uri


def read_manifest(path: str | Path) -> dict[str, Any]:
    """A checkpoint's manifest.

    Raises:
        ValueError: there is none, or it is of another schema version.
    """
    try:
        manifest = json.loads(read_bytes(join(str(path), MANIFEST)))
    except (FileNotFoundError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} has no readable {MANIFEST}: {error}") from error
    if manifest.get("schema_version") != SCHEMA_VERSION:
        raise ValueError(f"{path}: schema {manifest.get('schema_version')}, expected {SCHEMA_VERSION}")
    return manifest


def files(manifest: dict[str, Any]) -> list[FileEntry]:
    """A checkpoint's files, in order of path."""
    return [FileEntry(**entry) for entry in manifest["files"]]


def verify(path: str | Path) -> list[str]:
    """What is wrong with a checkpoint; empty when every file has the size and sha256 that its manifest says."""
    try:
        return wrong_files(path, files(read_manifest(path)))
    except ValueError as error:
        return [str(error)]


def wrong_files(path: str | Path, entries: Iterable[FileEntry]) -> list[str]:
    """What is wrong with some of a checkpoint's files; each is read once."""
    found = []
    for expected in entries:
        uri = join(str(path), expected.path)
        if (there := size(uri)) is None:
            found.append(f"{expected.path} is missing")
        elif there != expected.size:
            found.append(f"{expected.path} has {there} bytes, expected {expected.size}")
        elif sha256(uri) != expected.sha256:
            found.append(f"{expected.path} differs from its sha256")
    return found


def copy_files(source: str, target: str, entries: Iterable[FileEntry]) -> None:
    """Copy some of a checkpoint's files, each atomically; its manifest, which makes the copy whole, is not among them.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file has other bytes than its entry says.
    """
    for entry in entries:
        with open_stream(join(source, entry.path)) as reader, open_atomic(join(target, entry.path)) as writer:
            shutil.copyfileobj(reader, writer, 1 << 20)
        if FileEntry.of(entry.path, writer) != entry:
            raise ValueError(f"{join(source, entry.path)} was read with other bytes than its manifest says")


def unfinished(final: Path) -> Path:
    """Where a checkpoint is written that will be `final`."""
    return final.with_name(f".{final.name}.tmp")


def begin_checkpoint(final: Path) -> None:
    """Make the empty folder that it is written in; what earlier ones have left unfinished is removed."""
    remove_unfinished(final.parent)
    unfinished(final).mkdir(parents=True)


def publish_checkpoint(final: Path, manifest: Mapping[str, Any]) -> None:
    """Write the manifest of what lies in `unfinished(final)`, and give the folder its name."""
    folder = unfinished(final)
    with open(folder / MANIFEST, "w", encoding="utf-8") as file:
        file.write(json.dumps(manifest, indent=1, sort_keys=True) + "\n")
        file.flush()
        os.fsync(file.fileno())
    _sync_folder(folder)
    replaced = final.with_name(f".{final.name}.replaced.tmp")
    if final.exists():  # damaged, or saved a second time; without a name for no longer than two renames take
        os.replace(final, replaced)
    os.replace(folder, final)
    _sync_folder(final.parent)
    shutil.rmtree(replaced, ignore_errors=True)


def remove_unfinished(folder: Path) -> None:
    """Remove what unfinished saves have left, this one's or those of a killed trainer: it takes room."""
    for leftover in folder.glob(".step-*.tmp"):
        shutil.rmtree(leftover, ignore_errors=True)


def kept_steps(steps: Iterable[int], newest: int, every: int | None) -> set[int]:
    """Which of the saved steps stay: the `newest` last ones, and for good the multiples of `every`."""
    ordered = sorted(steps)
    return set(ordered[-newest:]) | {step for step in ordered if every is not None and step % every == 0}


def prune(folder: str, newest: int, every: int | None) -> None:
    """Remove checkpoints that are not kept, and what unfinished copies have left. Nobody may be writing there."""
    found = _found(folder)
    kept = kept_steps((step for step, names in found.items() if MANIFEST in names), newest, every)
    for step in sorted(found.keys() - kept):
        uri = checkpoint_uri(folder, step)
        remove(join(uri, MANIFEST))  # first: cut off in the middle, what is left is no checkpoint
        remove(uri)


def _found(folder: str) -> dict[int, set[str]]:
    """Step -> names of the files that are there."""
    found: dict[int, set[str]] = {}
    for path in listing(folder):
        if match := _FILE.fullmatch(path):
            found.setdefault(int(match[1]), set()).add(match[2])
    return found


def _sync_folder(folder: Path) -> None:
    """Make names in a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
