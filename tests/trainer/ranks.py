"""Ranks for tests: processes forked from a clean server that has imported torch and computed nothing.

A forked child of pytest itself would inherit OpenMP threads that do not exist any more. The functions must be
importable (module level), their arguments and results picklable.

    losses = run_ranks(2, train_some_steps, config, folder)   # data parallel; one result per rank
    losses = run_ranks(config.parallel, train_some_steps, config, folder)   # any layout of up to eight
"""

from __future__ import annotations

import multiprocessing
import pickle
import tempfile
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from trainer.config import ParallelConfig, TrainConfig, TrainJob

if TYPE_CHECKING:
    from trainer.data import SampleOrder

_context = multiprocessing.get_context("forkserver")
# Imports of a second and more, made once in the server instead of in every rank; torch.optim imports torch._dynamo at
# its first use, torch.distributed.pipelining and fsdp pull in much of torch.fx and DTensor.
_context.set_forkserver_preload(
    [
        "torch._dynamo",
        "torch.distributed.pipelining",
        "torch.distributed.fsdp",
        "torch.utils.tensorboard",
        "trainer.loop",
    ]
)
MAX_RANKS = 8


def run_ranks(layout: int | ParallelConfig, function: Callable[..., Any], *args: Any, kv_copies: int = 1) -> list[Any]:
    """`function(mesh, *args)` on every rank of a mesh over gloo, one thread each; results in order of rank.

    Args:
        layout: the rank grid, or how many data-parallel ranks.
        kv_copies: `trainer.sharding.kv_copies(model.num_kv_heads, parallel.tp)`.

    Raises:
        AssertionError: a rank raised; with the tracebacks of all that did.
    """
    parallel = ParallelConfig(dp=layout) if isinstance(layout, int) else layout
    world = parallel.world_size
    assert world <= MAX_RANKS, f"{world} ranks"
    with tempfile.TemporaryDirectory() as folder:
        processes, pipes = [], []
        for rank in range(world):
            ours, theirs = _context.Pipe()
            place = (theirs, f"{folder}/store", rank, parallel, kv_copies)
            process = _context.Process(target=_rank, args=(*place, function, args))
            process.start()
            theirs.close()
            processes.append(process)
            pipes.append(ours)
        results = [_receive(pipe) for pipe in pipes]
        for process in processes:
            process.join()
    errors = [f"rank {rank}: {result[1]}" for rank, result in enumerate(results) if not result[0]]
    assert not errors, "\n".join(errors)
    return [result[1] for result in results]


def _receive(pipe: Connection) -> tuple[bool, Any]:
    try:
        return pickle.loads(pipe.recv_bytes())
    except EOFError:
        return False, "died without a word"


def _rank(
    pipe: Connection,
    store: str,
    rank: int,
    parallel: ParallelConfig,
    kv_copies: int,
    function: Callable[..., Any],
    args: tuple[Any, ...],
) -> None:
    import torch
    import torch.distributed as dist

    from trainer.mesh import build_mesh

    torch.set_num_threads(1)
    world = parallel.world_size
    try:
        dist.init_process_group(
            "gloo", store=dist.FileStore(store, world), rank=rank, world_size=world, timeout=timedelta(seconds=60)
        )
        result = function(build_mesh(parallel, torch.device("cpu"), kv_copies), *args)
        dist.barrier()
        dist.destroy_process_group()
        answer = pickle.dumps((True, result))  # what `send` does leaves tensors in memory that ends with this process
    except BaseException:
        answer = pickle.dumps((False, traceback.format_exc()))
    pipe.send_bytes(answer)


@dataclass(frozen=True)
class FakeSample:
    tokens: np.ndarray
    source: int
    starts: np.ndarray = field(default_factory=lambda: np.zeros(1, np.int32))
    padding: int = 0


@dataclass
class FakeMixture:
    """Random tokens with the mixture's interface; every fifth sample is English."""

    seq_len: int = 16
    num_samples: int = 64
    vocab: int = 96
    digest: str = "d" * 64
    sources: list[str] = field(default_factory=lambda: ["corpus", "web-en"])
    languages: list[str] = field(default_factory=lambda: ["ja", "en"])
    attention: Literal["across", "within"] = "across"
    first_sample: int = 0
    continues: str | None = None

    def num_targets(self, first: int, last: int) -> int:
        return (last - first) * self.seq_len

    def __getitem__(self, index: int) -> FakeSample:
        assert 0 <= index < self.num_samples
        tokens = np.random.default_rng(index).integers(0, self.vocab, self.seq_len + 1)
        return FakeSample(tokens.astype(np.int64), int(index % 5 == 0))


@dataclass
class PackedMixture(FakeMixture):
    """The same tokens as whole documents, one or two a sample, some followed by up to four tokens of padding."""

    attention: Literal["across", "within"] = "within"

    def num_targets(self, first: int, last: int) -> int:
        return sum(self.seq_len - index % 5 for index in range(first, last))

    def __getitem__(self, index: int) -> FakeSample:
        sample = super().__getitem__(index)
        starts = np.array([0, 5] if index % 2 else [0], np.int32)
        return FakeSample(sample.tokens, sample.source, starts, padding=index % 5)


TINY = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": 96,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-5,
    "hidden_act": "silu",
    "tie_word_embeddings": True,
    "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def write_tiny_model(folder: Path, seed: int = 0, dtype: str = "float32", **changes: Any) -> Path:
    """A Hugging Face folder of a random Llama; `changes` go into its config.json."""
    import json

    import torch

    from trainer.hf import parameter_shapes, write_weights
    from trainer.llama_config import llama_config

    fields = TINY | {"dtype": dtype} | changes
    generator = torch.Generator().manual_seed(seed)
    weights = {
        name: (torch.randn(shape, generator=generator) * 0.08 + (len(shape) == 1)).to(getattr(torch, dtype))
        for name, shape in parameter_shapes(llama_config(fields)).items()
    }
    write_weights(folder, weights)
    (folder / "config.json").write_text(json.dumps(fields), encoding="utf-8")
    return folder


def tiny_config(**changes: Any) -> TrainConfig:
    """A configuration in which clipping works at every step, as the tiny model's gradients are large."""
    settings: dict[str, Any] = {
        "seq_len": 16,
        "global_batch": 8,
        "micro_batch": 2,
        "lr": 3e-3,
        "min_lr": 1e-4,
        "warmup_steps": 2,
        "dtype": "fp32",
        "save_every": 3,
        "clip_norm": 0.5,
    }
    return TrainConfig(**settings | changes)


def tiny_job(tmp_path: Path, **changes: Any) -> TrainJob:
    """Six steps of the tiny model on random tokens; fields of the job or of its `train` section may be changed."""
    train = {name: changes.pop(name) for name in list(changes) if name in TrainConfig.model_fields}
    folder = tmp_path / "model"
    if not folder.exists():
        write_tiny_model(folder)
    settings: dict[str, Any] = {
        "model": str(folder),
        "base_model": str(folder),
        "mixture": "unused",
        "out": str(tmp_path / "out"),
        "seed": 1,
        "num_steps": 6,
    }
    return TrainJob(train=tiny_config(**train), **settings | changes)


def train_job(mesh: Any, job: TrainJob, mixture: SampleOrder | None = None) -> Any:
    """The training loop, as `python -m trainer` runs it."""
    from trainer.loop import StopSignal, train

    return train(job, mesh, mixture or FakeMixture(), StopSignal())
