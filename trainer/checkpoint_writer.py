"""Saves checkpoints while training goes on.

In: the training state, and the optimizer's shards. Out: a checkpoint's folder (`trainer.checkpoint`), and its copy in a
mirror. Training waits for a copy of the shards in host memory (12 bytes for each parameter of the rank's shard); a
thread writes that copy while training goes on. The threads talk over a process group of their own, and each of their
steps ends with all ranks knowing whether any of them failed, so they all end alike. What went wrong is raised by every
rank together, at the next `check`, `save` or `wait`, none of which can wait for a rank that has given up.

    with CheckpointWriter(folder, mesh, config, mixture.digest, mirror="s3://bucket/run/checkpoints") as writer:
        writer.save(state, optimizer)
        ...; writer.check()
"""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Mapping
from dataclasses import asdict, replace
from itertools import chain
from pathlib import Path
from threading import Thread

import torch
from torch import Tensor
from torch.distributed.checkpoint import CheckpointException

from storage.artifact import FileEntry, file_entries
from storage.checkpoints import (
    MANIFEST,
    SCHEMA_VERSION,
    begin_checkpoint,
    checkpoint_uri,
    copy_files,
    prune,
    publish_checkpoint,
    remove_unfinished,
    unfinished,
)
from storage.space import no_space
from storage.uri import join, remove, remove_temporaries, write_bytes
from trainer.checkpoint import TrainState, content_digest, rng_state
from trainer.collectives import agreed
from trainer.config import TrainConfig
from trainer.dcp import save_shards
from trainer.mesh import Mesh
from trainer.optimizer import ShardedOptimizer
from trainer.sharding import FlatShard

logger = logging.getLogger(__name__)

FINISH_S = 60.0  # what a checkpoint under way gets when training has failed


class CheckpointWriter:
    """Writes checkpoints below a folder; every rank makes the same calls in the same order.

    Leaving its block waits for the checkpoint under way. After an error that wait is short: connections to ranks that
    have died can hang.
    """

    def __init__(
        self, folder: Path, mesh: Mesh, config: TrainConfig, mixture_digest: str, mirror: str | None = None
    ) -> None:
        """Nothing is written yet.

        Args:
            folder: local, or shared by all machines.
            mirror: URI of a folder that gets a copy of every finished checkpoint, pruned by the same policy.
        """
        self.folder, self.mesh, self.config = folder, mesh, config
        self.mixture_digest, self.mirror = mixture_digest, mirror
        self._buffers: dict[str, Tensor] = {}
        self._saved: TrainState | None = None
        self._thread: Thread | None = None
        self._failure: Exception | None = None

    def save(self, state: TrainState, optimizer: ShardedOptimizer, last: bool = False) -> None:
        """Save `state` and the optimizer's shards as they are now, and prune; waits for the checkpoint before it.

        Returns as soon as the shards are copied, except with `async_checkpoints: false`. A checkpoint that must be
        there when the process ends needs a `wait` after it, or the end of the writer's block. What has just been saved
        is not saved again.

        Args:
            last: nothing comes after it: it is waited for, and its content digest is recorded (which reads it once).

        Raises:
            OSError: there was no room; what had been written is removed, and the checkpoints before it are there.
            RuntimeError: another failure, of the checkpoint before this one or of this one.
        """
        self.wait()
        if state == self._saved and not last:
            return
        self._saved = state
        shards = {**optimizer.shards(), **rng_state(self.mesh)}
        if last or not self.config.async_checkpoints:
            self._attempt(state, shards, None, last)
            self.wait()
        else:
            shards, copied = self._staged(shards)
            self._thread = Thread(target=self._attempt, args=(state, shards, copied, last), daemon=True)
            self._thread.start()

    def check(self) -> None:
        """Once the checkpoint under way has ended on all ranks, raise what went wrong with it.

        All-reduce of one byte, and none where nothing is under way. Threads end alike, so no rank raises alone.
        """
        if self._thread is not None and not self.mesh.any(self._thread.is_alive()):
            self.wait()

    def wait(self) -> None:
        """Until the checkpoint under way is whole and, where there is a mirror, there too; raises as `save` does."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        failure, self._failure = self._failure, None
        if failure is not None:
            self._saved = None
            raise failure

    def __enter__(self) -> CheckpointWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if kind is None:
            self.wait()
        elif self._thread is not None:
            self._thread.join(FINISH_S)

    def _staged(self, shards: Mapping[str, FlatShard]) -> tuple[dict[str, FlatShard], torch.cuda.Event | None]:
        """Copies of the shards that are stored, in host memory that every save uses again; an event when they are done.

        Whatever the device is given to do later finds the shards read already: the copies are queued before it.
        """
        copies = {}
        on_cuda = self.mesh.device.type == "cuda"
        for key, shard in shards.items():
            if shard.stored:
                if key not in self._buffers:
                    self._buffers[key] = torch.empty_like(shard.data, device="cpu", pin_memory=on_cuda)
                copies[key] = replace(shard, data=self._buffers[key].copy_(shard.data, non_blocking=True))
        copied = torch.cuda.Event() if on_cuda else None
        if copied is not None:
            copied.record()
        return copies, copied

    def _attempt(
        self, state: TrainState, shards: Mapping[str, FlatShard], copied: torch.cuda.Event | None, last: bool
    ) -> None:
        """Write, and keep what goes wrong for the training loop."""
        try:
            if copied is not None:
                copied.synchronize()
            final = Path(checkpoint_uri(str(self.folder), state.step))
            own = self._write(final, state, shards, last)
            if self.mirror is not None:
                self._copy(final, checkpoint_uri(self.mirror, state.step), self.mirror, own)
        except (Exception, CheckpointException) as error:  # DCP's is no Exception
            if self.mesh.is_first:
                remove_unfinished(self.folder)
            self._failure = self._explained(state.step, error)
            self._failure.__cause__ = error

    def _explained(self, step: int, error: BaseException) -> Exception:
        if full := no_space(error, str(self.folder)):
            return OSError(
                errno.ENOSPC,
                f"{os.strerror(errno.ENOSPC)}: step {step} could not be saved, {full}; checkpoints saved before "
                f"it stay, and training goes on from the last of them once there is room",
            )
        return RuntimeError(
            f"step {step} could not be saved in {self.folder}{f' and {self.mirror}' if self.mirror else ''}: {error}; "
            f"checkpoints saved before it stay, and training that is started again goes on from the newest whole one"
        )

    def _write(self, final: Path, state: TrainState, shards: Mapping[str, FlatShard], last: bool) -> list[FileEntry]:
        """Files, manifest, name, pruning; the files that this rank wrote. DCP's metadata are the first's."""
        mesh, group, temporary = self.mesh, self.mesh.saving, unfinished(final)
        agreed(lambda: begin_checkpoint(final) if mesh.is_first else None, group)
        save_shards(temporary, shards, group)

        def written() -> list[FileEntry]:
            names = [path.name for path in temporary.glob(f"__{mesh.rank}_*")]
            return file_entries(str(temporary), [*names, ".metadata"] if mesh.is_first else names)

        entries = agreed(written, group)

        def publish() -> None:
            manifest = {
                "schema_version": SCHEMA_VERSION,
                **asdict(state),
                "mixture_digest": self.mixture_digest,
                "parallel": mesh.parallel.model_dump(),
                "files": [asdict(entry) for entry in sorted(chain(*entries), key=lambda entry: entry.path)],
                "content_digest": content_digest(temporary) if last else None,
            }
            publish_checkpoint(final, manifest)
            prune(str(self.folder), self.config.keep_checkpoints, self.config.keep_every)
            logger.info("saved %s", final)

        agreed(lambda: publish() if mesh.is_first else None, group)
        return entries[mesh.rank]

    def _copy(self, final: Path, target: str, mirror: str, own: list[FileEntry]) -> None:
        """Each rank its own files to the mirror; the manifest when all are there; pruning."""
        mesh, group = self.mesh, self.mesh.saving

        def begin() -> None:
            remove_temporaries(mirror)
            remove(target)  # what an earlier attempt has left

        def finish() -> None:
            write_bytes(join(target, MANIFEST), (final / MANIFEST).read_bytes())
            prune(mirror, self.config.keep_checkpoints, self.config.keep_every)
            logger.info("copied %s to %s", final, target)

        agreed(lambda: begin() if mesh.is_first else None, group)
        agreed(lambda: copy_files(str(final), target, own), group)
        agreed(lambda: finish() if mesh.is_first else None, group)
