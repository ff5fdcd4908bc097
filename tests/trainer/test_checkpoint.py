"""A checkpoint holds true shapes whatever the layout, continues bit for bit, and is loaded only when it is whole."""

from __future__ import annotations

import errno
import json
import logging
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.distributed.checkpoint import FileSystemWriter

from tests.trainer.ranks import FakeMixture, run_ranks, tiny_job, train_job
from tests.trainer.test_checkpoint_writer import alone
from trainer.checkpoint import content_digest, newest, read_manifest, verify
from trainer.config import TrainJob
from trainer.dcp import read_tensors, rectangles
from trainer.hf import parameter_shapes
from trainer.llama_config import read_llama_config
from trainer.mesh import Mesh
from trainer.rows import read_rows
from trainer.sharding import FlatShard


@pytest.mark.parametrize("shape", [(7,), (5, 4), (1, 9), (9, 1)])
@pytest.mark.parametrize("moved", [0, 2])
def test_rectangles_cover_any_range_once_and_in_order(shape: tuple[int, ...], moved: int) -> None:
    """Of a whole tensor, and of a block of it: a rank's columns of o_proj begin in the middle of a row."""
    numel = math.prod(shape)
    whole, offset = tuple(size + 2 * moved for size in shape), (moved,) * len(shape)
    places = torch.full(whole, -1)
    places[tuple(slice(moved, moved + size) for size in shape)] = torch.arange(numel).view(shape)
    for begin in range(numel + 1):
        for end in range(begin, numel + 1):
            found = rectangles(FlatShard(whole, offset, shape, begin, torch.empty(end - begin)))
            assert len(found) <= 3
            pieces = [
                places[tuple(slice(at, at + size) for at, size in zip(chunk.offsets, chunk.sizes, strict=True))]
                for chunk in found
            ]
            assert [int(i) for piece in pieces for i in piece.flatten()] == list(range(begin, end))


def _stable(rows: list[dict]) -> list[tuple]:
    return [(row["step"], row["loss"], row["language_loss"], row["grad_norm"], row["lr"]) for row in rows]


@pytest.mark.parametrize(("dp", "dtype"), [(1, "fp32"), (2, "fp32"), (2, "bf16")])
def test_resumed_equals_uninterrupted_bit_for_bit(tmp_path: Path, dp: int, dtype: str) -> None:
    whole = tiny_job(tmp_path, out=str(tmp_path / "whole"), dtype=dtype, parallel={"dp": dp})
    cut = whole.model_copy(update={"out": str(tmp_path / "cut")})
    run_ranks(dp, train_job, whole)
    run_ranks(dp, train_job, cut)
    # As if killed between steps 5 and 6: the newest checkpoint is of step 3, metrics go on to step 5 and a half.
    last = tmp_path / "cut/checkpoints/step-00000006"
    last.rename(tmp_path / "lost")
    lines = (tmp_path / "cut/metrics.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "cut/metrics.jsonl").write_text("".join(lines[:5]) + lines[5][:20])
    run_ranks(dp, train_job, cut)
    digests = {read_manifest(folder)["content_digest"] for folder in (last, tmp_path / "lost")}
    assert digests == {read_manifest(tmp_path / "whole/checkpoints/step-00000006")["content_digest"]}
    assert _stable(read_rows(tmp_path / "cut/metrics.jsonl")) == _stable(read_rows(tmp_path / "whole/metrics.jsonl"))


@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 3)])
def test_another_number_of_ranks_continues_with_the_same_values(tmp_path: Path, before: int, after: int) -> None:
    settings = {"dtype": "float64", "global_batch": 6, "micro_batch": 1}
    steady = tiny_job(tmp_path, out=str(tmp_path / "steady"), parallel={"dp": before}, **settings)
    run_ranks(before, train_job, steady)
    moved = steady.model_copy(update={"out": str(tmp_path / "moved")})
    run_ranks(before, train_job, moved)
    (tmp_path / "moved/checkpoints/step-00000006").rename(tmp_path / "gone")
    run_ranks(after, train_job, tiny_job(tmp_path, out=str(tmp_path / "moved"), parallel={"dp": after}, **settings))
    expected = dict(read_tensors(tmp_path / "steady/checkpoints/step-00000006", only_weights=False))
    found = dict(read_tensors(tmp_path / "moved/checkpoints/step-00000006", only_weights=False))
    assert expected.keys() == found.keys()
    for key, tensor in expected.items():
        assert (tensor - found[key]).abs().max() < 1e-12, key


def test_keys_and_shapes_are_those_of_the_hugging_face_folder(tmp_path: Path) -> None:
    job = tiny_job(tmp_path, parallel={"dp": 2})
    run_ranks(2, train_job, job)
    path = tmp_path / "out/checkpoints/step-00000006"
    shapes = {name: list(tensor.shape) for name, tensor in read_tensors(path, only_weights=True)}
    assert shapes == parameter_shapes(read_llama_config(job.model))
    assert {tensor.dtype for _, tensor in read_tensors(path, only_weights=False)} == {torch.float32}
    manifest = read_manifest(path)
    assert manifest["content_digest"] == content_digest(path)
    assert (manifest["step"], manifest["consumed_samples"], manifest["parallel"]["dp"]) == (6, 48, 2)


def _damage_cut(path: Path) -> None:
    data = path / "__0_0.distcp"
    data.write_bytes(data.read_bytes()[:-100])


def _damage_flip(path: Path) -> None:
    data = path / "__0_0.distcp"
    content = bytearray(data.read_bytes())
    content[len(content) // 2] ^= 1
    data.write_bytes(content)


def _damage_missing(path: Path) -> None:
    (path / ".metadata").unlink()


def _damage_no_manifest(path: Path) -> None:
    (path / "manifest.json").unlink()


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (_damage_cut, "bytes, expected"),
        (_damage_flip, "sha256"),
        (_damage_missing, "missing"),
        (_damage_no_manifest, "no readable"),
    ],
)
def test_a_damaged_newest_checkpoint_is_reported_and_the_older_one_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage, said: str
) -> None:
    run_ranks(1, train_job, tiny_job(tmp_path))
    folder = tmp_path / "out/checkpoints"
    damage(folder / "step-00000006")
    with caplog.at_level(logging.WARNING):
        assert newest(folder, alone()) == folder / "step-00000003"
    assert "step-00000006" in caplog.text
    assert said in caplog.text


def test_training_recovers_from_a_damaged_checkpoint(tmp_path: Path) -> None:
    run_ranks(1, train_job, tiny_job(tmp_path))
    path = tmp_path / "out/checkpoints/step-00000006"
    expected = read_manifest(path)["content_digest"]
    _damage_flip(path)
    run_ranks(1, train_job, tiny_job(tmp_path))
    assert verify(path) == []
    assert read_manifest(path)["content_digest"] == expected


def test_another_mixture_is_refused(tmp_path: Path) -> None:
    run_ranks(1, train_job, tiny_job(tmp_path))
    with pytest.raises(AssertionError, match="was trained on mixture dddddddddddd, this run's is eeeeeeeeeeee"):
        run_ranks(1, train_job, tiny_job(tmp_path, num_steps=7), FakeMixture(digest="e" * 64))


def test_old_checkpoints_and_leftovers_are_pruned(tmp_path: Path) -> None:
    leftover = tmp_path / "out/checkpoints/.step-00000099.tmp"
    leftover.mkdir(parents=True)
    run_ranks(1, train_job, tiny_job(tmp_path, save_every=1, keep_checkpoints=3))
    names = sorted(path.name for path in (tmp_path / "out/checkpoints").iterdir())
    assert names == ["step-00000004", "step-00000005", "step-00000006"]


def test_a_manifest_of_another_schema_is_refused(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text(json.dumps({"schema_version": 99}))
    with pytest.raises(ValueError, match="schema 99, expected 1"):
        read_manifest(tmp_path)


def _train_on_a_disk_that_fills_up(mesh: Mesh, job: TrainJob) -> str:
    """The last rank finds no room for its part of step 6; what each rank raises."""
    write = FileSystemWriter.write_data

    def full(writer: FileSystemWriter, *args: Any) -> Any:
        if mesh.rank == mesh.parallel.world_size - 1 and "step-00000006" in str(writer.path):
            Path(writer.path, f"__{mesh.rank}_0.distcp").write_bytes(b"the beginning")
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(writer, *args)

    FileSystemWriter.write_data = full  # in this process alone
    with pytest.raises(OSError, match="No space left on device: step 6 could not be saved, the disk is full") as caught:
        train_job(mesh, job)
    return str(caught.value)


@pytest.mark.parametrize("dp", [1, 2])
def test_a_full_disk_leaves_the_checkpoint_before_and_training_goes_on_once_there_is_room(
    tmp_path: Path, dp: int
) -> None:
    whole = tiny_job(tmp_path, out=str(tmp_path / "whole"), parallel={"dp": dp})
    cut = whole.model_copy(update={"out": str(tmp_path / "cut")})
    run_ranks(dp, train_job, whole)
    checkpoints = tmp_path / "cut/checkpoints"
    for said in run_ranks(dp, _train_on_a_disk_that_fills_up, cut):
        assert f"{checkpoints} has " in said
    assert [path.name for path in checkpoints.iterdir()] == ["step-00000003"], "nothing half-written is left"
    run_ranks(dp, train_job, cut)
    digests = {
        read_manifest(tmp_path / run / "checkpoints/step-00000006")["content_digest"] for run in ("whole", "cut")
    }
    assert len(digests) == 1
