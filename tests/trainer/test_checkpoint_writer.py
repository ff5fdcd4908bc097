"""Checkpoints are written while training goes on, hold the step they were made at, and fail on all ranks together."""

from __future__ import annotations

import errno
import logging
import os
import signal
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from storage.checkpoints import saved_steps
from tests.trainer.ranks import run_ranks, tiny_config
from trainer import checkpoint_writer
from trainer.checkpoint import TrainState, content_digest, load, newest, read_manifest, verify
from trainer.checkpoint_writer import CheckpointWriter
from trainer.config import ParallelConfig, TrainConfig
from trainer.mesh import Mesh
from trainer.sharding import FlatShard

ROWS, COLUMNS = 6, 4
DIGEST = "d" * 64


class Numbers:
    """Stands for an optimizer: half of a matrix on each rank, and a vector that both hold and the first stores."""

    def __init__(self, mesh: Mesh) -> None:
        world, rows = mesh.parallel.world_size, ROWS // mesh.parallel.world_size
        self.matrix = torch.zeros(rows * COLUMNS)
        self.copied = torch.zeros(COLUMNS)
        self.updates = 0
        self._matrix = FlatShard((ROWS, COLUMNS), (0, 0), (ROWS, COLUMNS), mesh.rank * self.matrix.numel(), self.matrix)
        self._copied = FlatShard((COLUMNS,), (0,), (COLUMNS,), 0, self.copied, stored=mesh.rank == 0)
        assert world in (1, 2, 3)

    def train(self) -> None:
        self.matrix += torch.arange(1, self.matrix.numel() + 1)
        self.copied += 1

    def shards(self) -> dict[str, FlatShard]:
        return {
            "matrix": self._matrix,
            "exp_avg.matrix": replace(self._matrix, data=self.matrix * 2),
            "v": self._copied,
        }

    def set_updates(self, updates: int) -> None:
        self.updates = updates

    def publish(self) -> None:
        pass


def configured(**changes: Any) -> TrainConfig:
    return tiny_config(**{"keep_checkpoints": 2} | changes)


def held_back(step: int) -> threading.Event:
    """Until the event is set, the thread that writes `step` waits before its first byte."""
    go, write = threading.Event(), checkpoint_writer.save_shards

    def wait(folder: Path, *args: Any) -> None:
        if f"step-{step:08}" in str(folder):
            assert go.wait(60)
        write(folder, *args)

    checkpoint_writer.save_shards = wait  # type: ignore[assignment]  # in this process alone
    return go


def _train_on_while_it_is_written(mesh: Mesh, folder: Path) -> list[int]:
    numbers, go = Numbers(mesh), held_back(2)
    with CheckpointWriter(folder, mesh, configured(), DIGEST) as writer:
        for step in (1, 2):
            numbers.train()
            writer.save(TrainState(step, 8 * step), numbers)
        for _ in range(5):
            numbers.train()
            writer.check()
        before = saved_steps(str(folder))
        mesh.barrier()
        go.set()
        numbers.train()
        writer.save(TrainState(8, 64), numbers)  # into the same memory, so not before the one under way is written
    return before


def _save_synchronously(mesh: Mesh, folder: Path) -> None:
    numbers = Numbers(mesh)
    with CheckpointWriter(folder, mesh, configured(async_checkpoints=False), DIGEST) as writer:
        for step in range(1, 9):
            numbers.train()
            if step in (1, 2, 8):
                writer.save(TrainState(step, 8 * step), numbers)
                assert saved_steps(str(folder))[-1] == step


@pytest.mark.parametrize("world", [1, 2])
def test_a_checkpoint_holds_its_step_although_training_goes_on(tmp_path: Path, world: int) -> None:
    for before in run_ranks(world, _train_on_while_it_is_written, tmp_path / "meanwhile"):
        assert before == [1], "what is being written is no checkpoint yet"
    run_ranks(world, _save_synchronously, tmp_path / "waiting")
    for step in (2, 8):
        name = f"step-{step:08}"
        assert content_digest(tmp_path / "meanwhile" / name) == content_digest(tmp_path / "waiting" / name)
        assert verify(tmp_path / "meanwhile" / name) == []


def _save_and_load(mesh: Mesh, folder: Path, state: TrainState) -> tuple[TrainState, int, bool]:
    numbers = Numbers(mesh)
    numbers.train()
    torch.manual_seed(mesh.rank)
    with CheckpointWriter(folder, mesh, configured(), DIGEST) as writer:
        writer.save(state, numbers, last=True)
    drawn, other, path = torch.rand(3), Numbers(mesh), newest(folder, mesh)
    assert path is not None
    found = load(path, other, mesh, DIGEST)
    same = torch.equal(torch.rand(3), drawn) and all(
        torch.equal(shard.data, other.shards()[key].data) for key, shard in numbers.shards().items() if "." not in key
    )
    return found, other.updates, same


def test_all_of_the_state_comes_back(tmp_path: Path) -> None:
    """Updates left out are not counted by Adam; what guards remember is in the manifest; random numbers go on."""
    state = TrainState(7, 40, skipped_steps=2, guards={"spikes": {"losses": [1.5, 2.0]}})
    found = run_ranks(2, _save_and_load, tmp_path, state)
    assert found == [(state, 5, True)] * 2
    assert [loaded.guards for loaded, _, _ in found] == [state.guards] * 2
    manifest = read_manifest(tmp_path / "step-00000007")
    assert manifest["guards"] == {"spikes": {"losses": [1.5, 2.0]}}
    assert manifest["content_digest"] == content_digest(tmp_path / "step-00000007")


def test_a_manifest_without_guards_is_read(tmp_path: Path) -> None:
    run_ranks(1, _save_and_load, tmp_path, TrainState(3, 24))
    path = tmp_path / "step-00000003/manifest.json"
    text = path.read_text()
    assert '"skipped_steps": 0' in text
    path.write_text(text.replace('"skipped_steps": 0,', "").replace('"guards": {},', ""))
    assert run_ranks(1, _load_newest, tmp_path) == [TrainState(3, 24)]


def _load_newest(mesh: Mesh, folder: Path) -> TrainState:
    path = newest(folder, mesh)
    assert path is not None
    return load(path, Numbers(mesh), mesh, DIGEST)


def _save_steps(mesh: Mesh, folder: Path, config: TrainConfig, steps: list[int], mirror: str | None = None) -> None:
    numbers = Numbers(mesh)
    with CheckpointWriter(folder, mesh, config, DIGEST, mirror) as writer:
        for step in steps:
            numbers.train()
            writer.save(TrainState(step, 8 * step), numbers)


def test_multiples_are_kept_for_good(tmp_path: Path) -> None:
    (tmp_path / ".step-00000099.tmp").mkdir()
    run_ranks(1, _save_steps, tmp_path, configured(keep_every=4), list(range(2, 15, 2)))
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"step-{step:08}" for step in (4, 8, 12, 14)]


def _killed_while_writing(mesh: Mesh, folder: Path) -> None:
    numbers = Numbers(mesh)
    writer = CheckpointWriter(folder, mesh, configured(), DIGEST)
    writer.save(TrainState(1, 8), numbers)
    writer.wait()
    begun, write = threading.Event(), checkpoint_writer.save_shards

    def stopped(folder: Path, *args: Any) -> None:
        write(folder, *args)
        begun.set()
        threading.Event().wait()

    checkpoint_writer.save_shards = stopped  # type: ignore[assignment]
    writer.save(TrainState(2, 16), numbers)
    begun.wait(60)
    os.kill(os.getpid(), signal.SIGKILL)


def test_killed_while_the_thread_writes_the_checkpoint_before_is_whole(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="died without a word"):
        run_ranks(1, _killed_while_writing, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"step-00000001", ".step-00000002.tmp"}
    assert list((tmp_path / ".step-00000002.tmp").glob("*.distcp")), "it was killed in the middle"
    assert run_ranks(1, _load_newest, tmp_path) == [TrainState(1, 8)]
    run_ranks(1, _save_steps, tmp_path, configured(), [2])
    assert {path.name for path in tmp_path.iterdir()} == {"step-00000001", "step-00000002"}


def _fails_in_the_thread(mesh: Mesh, folder: Path, where: str, error: Exception) -> tuple[str, int]:
    """What each rank raises, and after how many steps it comes up."""
    numbers, write = Numbers(mesh), getattr(checkpoint_writer, where)

    def fail(*args: Any) -> Any:
        if mesh.rank == mesh.parallel.world_size - 1 and "step-00000002" in str(args[0]):
            raise error
        return write(*args)

    setattr(checkpoint_writer, where, fail)
    writer = CheckpointWriter(folder, mesh, configured(), DIGEST)
    for step in (1, 2):
        numbers.train()
        writer.save(TrainState(step, 8 * step), numbers)
    for step in range(3, 60_000):
        threading.Event().wait(0.001)
        try:
            writer.check()
        except Exception as raised:
            writer.wait()  # is not raised again
            return str(raised), step
    raise AssertionError("nothing was raised")


@pytest.mark.parametrize(
    ("where", "error", "said"),
    [
        (
            "file_entries",
            OSError(errno.ENOSPC, "No space left on device"),
            "step 2 could not be saved, the disk is full",
        ),
        ("save_shards", ValueError("torn"), "step 2 could not be saved"),
    ],
)
def test_a_failure_in_the_thread_is_raised_by_all_ranks_at_the_same_check(
    tmp_path: Path, where: str, error: Exception, said: str
) -> None:
    if where == "save_shards":  # before DCP's own exchange: every rank's part fails
        found = run_ranks(1, _fails_in_the_thread, tmp_path, where, error)
    else:
        found = run_ranks(2, _fails_in_the_thread, tmp_path, where, error)
        assert len({step for _, step in found}) == 1
    assert all(said in message for message, _ in found), found
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]


def _fails_and_saves_again(mesh: Mesh, folder: Path) -> list[str]:
    numbers, raised = Numbers(mesh), []
    writer = CheckpointWriter(folder, mesh, configured(), DIGEST)
    begin = checkpoint_writer.begin_checkpoint

    def fail(final: Path) -> None:
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    checkpoint_writer.begin_checkpoint = fail
    writer.save(TrainState(1, 8), numbers)
    try:
        writer.save(TrainState(2, 16), numbers)
    except OSError as error:
        raised.append(str(error))
    checkpoint_writer.begin_checkpoint = begin
    writer.save(TrainState(3, 24), numbers)
    writer.wait()
    return raised


def test_the_next_save_raises_what_went_wrong_on_any_rank(tmp_path: Path) -> None:
    for raised in run_ranks(2, _fails_and_saves_again, tmp_path):
        assert len(raised) == 1
        assert "step 1 could not be saved, the disk quota is used up" in raised[0]
    assert saved_steps(str(tmp_path)) == [3]


def _newest(mesh: Mesh, folder: Path, mirror: str) -> str | None:
    path = newest(folder, mesh, mirror)
    return path.name if path else None


def test_a_mirror_holds_the_same_checkpoints_and_gives_back_what_is_lost(tmp_path: Path) -> None:
    folder, mirror = tmp_path / "here", tmp_path / "there"
    unfinished = mirror / "step-00000001"
    unfinished.mkdir(parents=True)
    (unfinished / "__0_0.distcp").write_bytes(b"cut off")
    run_ranks(2, _save_steps, folder, configured(keep_every=3), [1, 2, 3, 4, 5], str(mirror))
    assert saved_steps(str(mirror)) == saved_steps(str(folder)) == [3, 4, 5]
    assert not unfinished.exists()
    for step in (3, 4, 5):
        names = [sorted(p.name for p in (at / f"step-{step:08}").iterdir()) for at in (folder, mirror)]
        assert names[0] == names[1]
        assert ".metadata" in names[0]
        assert verify(mirror / f"step-{step:08}") == []
    lost = tmp_path / "elsewhere"
    lost.mkdir()
    assert run_ranks(2, _newest, lost, str(mirror)) == ["step-00000005"] * 2
    assert [path.name for path in lost.iterdir()] == ["step-00000005"]
    assert verify(lost / "step-00000005") == []
    assert run_ranks(3, _newest, folder, str(mirror)) == ["step-00000005"] * 3, "what is here is not fetched"


def damage(path: Path) -> None:
    data = path / "__0_0.distcp"
    content = bytearray(data.read_bytes())
    content[len(content) // 2] ^= 1
    data.write_bytes(content)


def test_of_damaged_ones_here_and_there_the_newest_whole_is_taken(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder, mirror = tmp_path / "here", f"{tmp_path}/there"
    run_ranks(1, _save_steps, folder, configured(), [1, 2], mirror)
    damage(folder / "step-00000002")
    with caplog.at_level(logging.WARNING):
        assert _newest(alone(), folder, mirror) == "step-00000002", "the mirror's is whole"
    assert "here/step-00000002 is damaged" in caplog.text
    assert verify(folder / "step-00000002") == []
    for at in (folder, Path(mirror)):
        damage(at / "step-00000002")
    assert _newest(alone(), folder, mirror) == "step-00000001"
    assert "there/step-00000002 is damaged" in caplog.text
    assert "read with other bytes" in caplog.text


def alone() -> Mesh:
    """The mesh of a single process without process groups."""
    from trainer.layout import Coordinates

    return Mesh(ParallelConfig(), 0, Coordinates(0, 0, 0), torch.device("cpu"))


def test_a_mirror_may_be_any_uri(tmp_path: Path) -> None:
    _save_steps(alone(), tmp_path / "here", configured(), [1, 2, 3], "memory://mirror/checkpoints")
    assert saved_steps("memory://mirror/checkpoints") == [2, 3]
    (tmp_path / "new").mkdir()
    assert _newest(alone(), tmp_path / "new", "memory://mirror/checkpoints") == "step-00000003"
    assert verify(tmp_path / "new/step-00000003") == []


def _mirror_that_fails(mesh: Mesh, folder: Path, mirror: str) -> str:
    copy = checkpoint_writer.copy_files

    def fail(*args: Any) -> None:
        if mesh.rank == 1:
            raise ConnectionError("the store does not answer")
        copy(*args)

    checkpoint_writer.copy_files = fail
    writer = CheckpointWriter(folder, mesh, configured(), DIGEST, mirror)
    writer.save(TrainState(1, 8), Numbers(mesh))
    with pytest.raises(RuntimeError) as raised:
        writer.wait()
    return str(raised.value)


def test_a_mirror_that_fails_stops_all_ranks_and_the_local_checkpoint_is_whole(tmp_path: Path) -> None:
    said = run_ranks(2, _mirror_that_fails, tmp_path / "here", f"{tmp_path}/there")
    assert all("the store does not answer" in message for message in said)
    assert saved_steps(f"{tmp_path}/there") == []
    assert verify(tmp_path / "here/step-00000001") == []
