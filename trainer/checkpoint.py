"""Checkpoints: torch DCP keyed by Hugging Face names in true shapes, seen only when whole, loaded only when verified.

In and out: a folder `checkpoints/step-00000050/` of DCP files and `manifest.json`. Each rank writes its own part of the
fp32 master weights (key: the parameter's name) and of both Adam moments (`exp_avg.<name>`, `exp_avg_sq.<name>`)
without gathering anything: a flat range of a matrix is at most three rectangles, and rectangles are what DCP stores,
so any other layout can load them. The folder is written under a temporary name; the manifest (step, consumed samples,
mixture digest, layout, size and sha256 of every file) comes last, then the folder gets its name. A folder
that does not match its manifest is reported and the one before it is used. DCP's own metadata is a pickle and is read
only after the manifest has vouched for it.

    save(folder, state, optimizer, mesh, keep=2)
    if path := newest_verified(folder):
        state = load(path, optimizer, mesh, mixture.digest)
"""

from __future__ import annotations

import errno
import json
import logging
import math
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch.distributed.checkpoint import CheckpointException

from storage.artifact import FileEntry, file_entries
from storage.space import no_space
from trainer.dcp import load_shards, read_tensors, save_shards
from trainer.hf import tensors_digest
from trainer.mesh import Mesh
from trainer.optimizer import FlatShard, ZeroOptimizer

logger = logging.getLogger(__name__)

MANIFEST = "manifest.json"
SCHEMA_VERSION = 1


@dataclass(frozen=True)
class TrainState:
    """Where training stands: optimizer steps taken, and samples of the mixture they used up."""

    step: int = 0
    consumed_samples: int = 0


def save(
    folder: Path,
    state: TrainState,
    optimizer: ZeroOptimizer,
    mesh: Mesh,
    *,
    mixture_digest: str,
    keep: int,
    digest: bool,
) -> Path:
    """Write a checkpoint of `state` below `folder` and prune older ones; every rank takes part.

    Args:
        keep: newest checkpoints that stay.
        digest: record the content digest too; reads the whole checkpoint back once.

    Raises:
        OSError: there is no room for it; what had been written of it is removed.
    """
    final = folder / f"step-{state.step:08}"
    temporary = folder / f".{final.name}.tmp"
    try:
        if mesh.is_first:
            _remove_temporaries(folder)
            temporary.mkdir(parents=True)
        mesh.barrier()
        save_shards(temporary, {**optimizer.shards(), **_rng_state(mesh)}, mesh.control)
        written = [path.name for path in temporary.glob(f"__{mesh.rank}_*")]
        own = mesh.gathered(file_entries(str(temporary), written))
        if mesh.is_first:
            _publish(temporary, final, own, state, mesh, mixture_digest, digest)
            _prune(folder, keep)
        mesh.barrier()
    except (Exception, CheckpointException) as error:  # DCP's is no Exception
        full = no_space(error, str(folder))
        if mesh.is_first:
            _remove_temporaries(folder)
        if full:
            raise OSError(
                errno.ENOSPC,
                f"{os.strerror(errno.ENOSPC)}: step {state.step} could not be saved, {full}; checkpoints saved before "
                f"it stay, and training goes on from the last of them once there is room",
            ) from error
        raise
    return final


def newest_verified(folder: Path) -> Path | None:
    """The newest checkpoint whose files are what its manifest says; damaged ones are reported and passed over."""
    for path in sorted(folder.glob("step-*"), reverse=True):
        found = verify(path)
        if not found:
            return path
        logger.warning("checkpoint %s is damaged and is not used: %s", path, "; ".join(found))
    return None


def verify(path: Path) -> list[str]:
    """What is wrong with a checkpoint; empty when every file has the size and sha256 that its manifest says."""
    try:
        manifest = read_manifest(path)
    except ValueError as error:
        return [str(error)]
    found = []
    for entry in manifest["files"]:
        expected = FileEntry(**entry)
        file = path / expected.path
        if not file.is_file():
            found.append(f"{expected.path} is missing")
        elif file.stat().st_size != expected.size:
            found.append(f"{expected.path} has {file.stat().st_size} bytes, expected {expected.size}")
        elif file_entries(str(path), [expected.path])[0] != expected:
            found.append(f"{expected.path} differs from its sha256")
    return found


def read_manifest(path: Path) -> dict[str, Any]:
    """A checkpoint's manifest.

    Raises:
        ValueError: there is none, or it is of another schema version.
    """
    try:
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} has no readable {MANIFEST}: {error}") from error
    if manifest.get("schema_version") != SCHEMA_VERSION:
        raise ValueError(f"{path}: schema {manifest.get('schema_version')}, expected {SCHEMA_VERSION}")
    return manifest


def load(path: Path, optimizer: ZeroOptimizer, mesh: Mesh, mixture_digest: str) -> TrainState:
    """Read a verified checkpoint into the optimizer and the parameters; every rank takes part.

    The same layout continues bit for bit; another layout gets the same values. Random number generators are restored
    where the number of ranks is the same.

    Args:
        mixture_digest: of the mixture that the checkpoint must have been trained on.

    Raises:
        ValueError: the checkpoint was trained on another mixture.
    """
    manifest = read_manifest(path)
    if manifest["mixture_digest"] != mixture_digest:
        raise ValueError(
            f"{path} was trained on mixture {manifest['mixture_digest'][:12]}, this run's is {mixture_digest[:12]}: "
            f"its order of samples differs, so some would repeat and some be skipped; train into another folder, or "
            f"restore the mixture's sources, weights, budget and seed"
        )
    rng = _rng_state(mesh) if _world_size(manifest) == mesh.parallel.world_size else {}
    load_shards(path, {**optimizer.shards(), **rng}, mesh.control)
    _restore_rng(rng)
    optimizer.set_step(manifest["step"])
    optimizer.publish()
    return TrainState(manifest["step"], manifest["consumed_samples"])


def content_digest(path: Path) -> str:
    """sha256 over sorted (key, dtype, shape, bytes) of weights and moments, whatever ranks wrote them."""
    return tensors_digest(read_tensors(path, only_weights=False))


def _rng_state(mesh: Mesh) -> dict[str, FlatShard]:
    """Every rank's random number generators: one row each of a (ranks, bytes) matrix per kind of device."""
    states = {"rng.cpu": torch.get_rng_state()}
    if mesh.device.type == "cuda":
        states["rng.cuda"] = torch.cuda.get_rng_state(mesh.device)
    world = mesh.parallel.world_size
    return {
        key: FlatShard(torch.Size((world, state.numel())), mesh.rank * state.numel(), state)
        for key, state in states.items()
    }


def _restore_rng(states: dict[str, FlatShard]) -> None:
    if "rng.cpu" in states:
        torch.set_rng_state(states["rng.cpu"].data)
    if "rng.cuda" in states:
        torch.cuda.set_rng_state(states["rng.cuda"].data)


def _world_size(manifest: dict[str, Any]) -> int:
    return math.prod(manifest["parallel"][axis] for axis in ("dp", "tp", "pp"))


def _publish(
    temporary: Path,
    final: Path,
    files: list[FileEntry],
    state: TrainState,
    mesh: Mesh,
    mixture_digest: str,
    digest: bool,
) -> None:
    """Write the manifest and give the folder its name."""
    files += file_entries(str(temporary), [".metadata"])
    manifest = {
        "schema_version": SCHEMA_VERSION,
        **asdict(state),
        "mixture_digest": mixture_digest,
        "parallel": mesh.parallel.model_dump(),
        "files": sorted((asdict(entry) for entry in files), key=lambda entry: entry["path"]),
        "content_digest": content_digest(temporary) if digest else None,
    }
    _write_synced(temporary / MANIFEST, json.dumps(manifest, indent=1, sort_keys=True) + "\n")
    shutil.rmtree(final, ignore_errors=True)
    os.replace(temporary, final)
    _sync_folder(final.parent)
    logger.info("saved %s", final)


def _prune(folder: Path, keep: int) -> None:
    for path in sorted(folder.glob("step-*"))[:-keep]:
        shutil.rmtree(path)


def _remove_temporaries(folder: Path) -> None:
    """Remove what unfinished saves have left, this one's or those of a killed trainer: it takes room."""
    for leftover in folder.glob(".step-*.tmp"):
        shutil.rmtree(leftover, ignore_errors=True)


def _write_synced(path: Path, text: str) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    """Make renames in a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
