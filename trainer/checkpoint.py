"""Checkpoints: torch DCP keyed by Hugging Face names in true shapes, seen only when whole, loaded only when verified.

In and out: a folder `checkpoints/step-00000050/` of DCP files and `manifest.json` (`storage.checkpoints`). Each rank
writes its own part of the fp32 master weights (key: the parameter's name) and of both Adam moments (`exp_avg.<name>`,
`exp_avg_sq.<name>`) without gathering anything (`trainer.dcp`), so any other layout can load them. The folder is
written under a temporary name; the manifest (training state, mixture digest, layout, size and sha256 of every file)
comes last, then the folder gets its name. A folder that does not match its manifest is reported and the one before it
is used. DCP's own metadata is a pickle and is read only after the manifest has vouched for it.

    writer.save(state, optimizer)  # trainer.checkpoint_writer
    if path := newest(folder, mesh, mirror):
        state = load(path, optimizer, mesh, mixture.digest)
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from storage.checkpoints import (
    begin_checkpoint,
    checkpoint_uri,
    copy_files,
    files,
    publish_checkpoint,
    read_manifest,
    saved_steps,
    unfinished,
    verify,
    wrong_files,
)
from trainer.collectives import agreed
from trainer.dcp import load_shards, read_tensors
from trainer.hf import tensors_digest
from trainer.mesh import Mesh
from trainer.optimizer import ShardedOptimizer
from trainer.sharding import FlatShard

__all__ = ["TrainState", "content_digest", "load", "newest", "read_manifest", "rng_state", "verify"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainState:
    """Where training stands.

    Attributes:
        step: optimizer steps taken, those that were left out included.
        consumed_samples: samples of the mixture they used up.
        skipped_steps: steps whose updates are not in the weights.
        guards: what the guards against spikes and forgetting remember, small, JSON; no part of where training stands.
    """

    step: int = 0
    consumed_samples: int = 0
    skipped_steps: int = 0
    guards: dict[str, Any] = field(default_factory=dict, compare=False)

    @property
    def updates(self) -> int:
        """Updates that are in the weights: Adam's count, for its bias correction."""
        return self.step - self.skipped_steps


def newest(folder: Path, mesh: Mesh, mirror: str | None = None) -> Path | None:
    """The newest checkpoint that is whole, verified by all ranks together, each a part of the files.

    One that only the mirror has is fetched into the folder. Damaged ones are reported and passed over.
    """

    def candidates() -> list[tuple[int, str]]:
        here = [(int(path.name.removeprefix("step-")), str(folder)) for path in folder.glob("step-*")]
        there = [(step, mirror) for step in saved_steps(mirror)] if mirror is not None else []
        return sorted(here + there, key=lambda found: (found[0], found[1] != mirror), reverse=True)

    found = agreed(lambda: candidates() if mesh.is_first else [], mesh.control)[0]
    for step, source in found:
        path, uri = Path(checkpoint_uri(str(folder), step)), checkpoint_uri(source, step)
        wrong = _fetched(uri, path, mesh) if source == mirror else _wrong(path, mesh)
        if not wrong:
            return path
        if mesh.is_first:
            logger.warning("checkpoint %s is damaged and is not used: %s", uri, "; ".join(wrong))
    return None


def load(path: Path, optimizer: ShardedOptimizer, mesh: Mesh, mixture_digest: str) -> TrainState:
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
    rng = rng_state(mesh) if _world_size(manifest) == mesh.parallel.world_size else {}
    load_shards(path, {**optimizer.shards(), **rng}, mesh.control)
    _restore_rng(rng)
    state = TrainState(**{name: manifest[name] for name in TrainState.__dataclass_fields__ if name in manifest})
    optimizer.set_updates(state.updates)
    optimizer.publish()
    return state


def content_digest(path: Path) -> str:
    """sha256 over sorted (key, dtype, shape, bytes) of weights and moments, whatever ranks wrote them."""
    return tensors_digest(read_tensors(path, only_weights=False))


def _wrong(path: Path, mesh: Mesh) -> list[str]:
    """What is wrong with a checkpoint; each rank looks at some of the files."""

    def share() -> list[str]:
        try:
            entries = files(read_manifest(path))
        except ValueError as error:
            return [str(error)] if mesh.is_first else []
        return wrong_files(path, entries[mesh.rank :: mesh.parallel.world_size])

    return [problem for own in agreed(share, mesh.control) for problem in own]


def _fetched(source: str, final: Path, mesh: Mesh) -> list[str]:
    """Bring a checkpoint here, each rank some of its files; what is wrong with it, empty where it is whole."""

    def begin() -> dict[str, Any]:
        begin_checkpoint(final)
        return read_manifest(source)

    def share() -> list[str]:
        try:
            copy_files(source, str(unfinished(final)), files(manifest)[mesh.rank :: mesh.parallel.world_size])
        except (FileNotFoundError, ValueError) as error:  # others say nothing about the files
            return [str(error)]
        return []

    manifest = agreed(lambda: begin() if mesh.is_first else {}, mesh.control)[0]
    wrong = [problem for own in agreed(share, mesh.control) for problem in own]
    if not wrong:
        agreed(lambda: publish_checkpoint(final, manifest) if mesh.is_first else None, mesh.control)
        logger.info("fetched %s from %s", final, source)
    return wrong


def rng_state(mesh: Mesh) -> dict[str, FlatShard]:
    """Every rank's random number generators: one row each of a (ranks, bytes) matrix per kind of device."""
    states = {"rng.cpu": torch.get_rng_state()}
    if mesh.device.type == "cuda":
        states["rng.cuda"] = torch.cuda.get_rng_state(mesh.device)
    world = mesh.parallel.world_size
    return {
        key: FlatShard((world, state.numel()), (mesh.rank, 0), (1, state.numel()), 0, state)
        for key, state in states.items()
    }


def _restore_rng(states: dict[str, FlatShard]) -> None:
    if "rng.cpu" in states:
        torch.set_rng_state(states["rng.cpu"].data)
    if "rng.cuda" in states:
        torch.cuda.set_rng_state(states["rng.cuda"].data)


def _world_size(manifest: dict[str, Any]) -> int:
    return math.prod(manifest["parallel"][axis] for axis in ("dp", "tp", "pp"))
