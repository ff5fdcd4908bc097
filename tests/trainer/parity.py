"""Parity: any layout's training beside plain training in one process.

One harness for all layouts. In: a `Case`. The parallel side runs the real pieces on forked ranks: `build_chunks`,
`build_optimizer`, `Engine`, `micro_batches`. The reference is independent of them: the plain model on one device,
whole batches, whole logits, torch's own clipping and AdamW. Both give a `Run`: losses, gradient norms, every gradient
of every step, and at the end weights and moments, in true shapes. The parallel side's are put together from the ranks'
`FlatShard`s, which must tile every tensor exactly once; copies must be equal to the bit.

    found, expected = parallel_run(case, folder, config), reference_run(folder, config, mixture)
    found.difference(expected)      # {"loss": 3e-15, "gradient": 4e-15, ...}
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional

from tests.trainer.parity_cases import Case, RecordingMixture
from tests.trainer.ranks import FakeMixture, run_ranks
from trainer.batch_ramp import samples_before
from trainer.checkpoint import TrainState, load, newest
from trainer.config import ParallelConfig, TrainConfig
from trainer.data import micro_batches
from trainer.engine import Engine
from trainer.hf import load_model
from trainer.layout import coordinates
from trainer.llama_config import read_llama_config
from trainer.loss import LossSums
from trainer.mesh import Mesh
from trainer.optimizer import build_optimizer
from trainer.parallelize import build_chunks
from trainer.precision import compute_dtype
from trainer.schedule import learning_rate
from trainer.sharding import Block, FlatShard, kv_copies, rank_blocks

STEPS = 5
Tensors = dict[str, np.ndarray]


@dataclass
class Run:
    """What training came to.

    Attributes:
        losses: of each step, then of an evaluation with the final weights; mean nats per token.
        language_losses: the same per language.
        norms: of the gradient before clipping, of each step.
        gradients: of each step, before clipping, in true shapes.
        weights: master weights after the last step.
        exp_avg: Adam's first moment.
        exp_avg_sq: Adam's second moment.
        samples: that each step took, over all data-parallel ranks.
    """

    losses: list[float] = field(default_factory=list)
    language_losses: list[dict[str, float]] = field(default_factory=list)
    norms: list[float] = field(default_factory=list)
    gradients: list[Tensors] = field(default_factory=list)
    weights: Tensors = field(default_factory=dict)
    exp_avg: Tensors = field(default_factory=dict)
    exp_avg_sq: Tensors = field(default_factory=dict)
    samples: list[list[int]] = field(default_factory=list)

    def difference(self, other: Run) -> dict[str, float]:
        """The largest relative difference of each kind; tensors by their L2 norm."""
        languages = [
            abs(mine[name] / theirs[name] - 1)
            for mine, theirs in zip(self.language_losses, other.language_losses, strict=True)
            for name in mine.keys() | theirs.keys()
        ]
        return {
            "loss": max(_relative(self.losses, other.losses)),
            "language loss": max(languages),
            "norm": max(_relative(self.norms, other.norms)),
            "gradient": max(
                relative_l2(mine, theirs) for mine, theirs in zip(self.gradients, other.gradients, strict=True)
            ),
            "weights": relative_l2(self.weights, other.weights),
            "exp_avg": relative_l2(self.exp_avg, other.exp_avg),
            "exp_avg_sq": relative_l2(self.exp_avg_sq, other.exp_avg_sq),
        }

    def unequal(self, other: Run) -> list[str]:
        """What is not equal to the bit."""
        return [
            place.name for place in fields(self) if not _equal(getattr(self, place.name), getattr(other, place.name))
        ]


def _relative(found: list[float], expected: list[float]) -> Iterator[float]:
    return (abs(mine - theirs) / abs(theirs) for mine, theirs in zip(found, expected, strict=True))


def relative_l2(found: Tensors, expected: Tensors) -> float:
    """The largest over the tensors of |found - expected| / |expected|."""
    assert found.keys() == expected.keys(), sorted(found.keys() ^ expected.keys())
    return max(
        float(np.linalg.norm(found[name] - expected[name]) / np.linalg.norm(expected[name])) for name in expected
    )


def _equal(mine: Any, theirs: Any) -> bool:
    if isinstance(mine, dict):
        return mine.keys() == theirs.keys() and all(_equal(mine[name], theirs[name]) for name in mine)
    if isinstance(mine, list):
        return len(mine) == len(theirs) and all(map(_equal, mine, theirs))
    return bool(np.array_equal(mine, theirs))


def sample_range(step: int, config: TrainConfig) -> tuple[int, int]:
    """The first sample of optimizer step `step`, counted from 1, and the first of the next."""
    return (
        samples_before(step, config.batch_ramp, config.global_batch),
        samples_before(step + 1, config.batch_ramp, config.global_batch),
    )


# The parallel side -----------------------------------------------------------------------------------------------


@dataclass
class Piece:
    """A `FlatShard` that can be sent to the test's process."""

    shape: tuple[int, ...]
    offset: tuple[int, ...]
    size: tuple[int, ...]
    start: int
    data: np.ndarray
    stored: bool


@dataclass
class RankRun:
    """What one rank saw."""

    run: Run
    gradients: list[dict[str, Piece]] = field(default_factory=list)
    state: dict[str, Piece] = field(default_factory=dict)
    padding: float = 0.0


def parallel_run(case: Case, folder: Path, config: TrainConfig) -> Run:
    """Five steps and an evaluation on the case's ranks; what all ranks must agree on is asserted."""
    model = case.write_model(folder)
    copies = kv_copies(case.kv_heads, case.tp)
    ranks = run_ranks(config.parallel, _train_rank, model, config, case.mixture(), kv_copies=copies)
    return put_together(ranks, config.parallel)


def put_together(ranks: list[RankRun], parallel: ParallelConfig) -> Run:
    """One `Run` of all ranks'."""
    run = ranks[0].run
    for other in ranks:
        assert other.run.losses == run.losses
        assert other.run.language_losses == run.language_losses
        assert other.run.norms == run.norms
        assert other.padding == 0, "rows beyond the vocabulary must stay 0"
    steps = range(len(ranks[0].gradients))
    run.gradients = [whole_tensors([rank.gradients[step] for rank in ranks]) for step in steps]
    state = whole_tensors([rank.state for rank in ranks])
    for kind, prefix in (("exp_avg", "exp_avg."), ("exp_avg_sq", "exp_avg_sq.")):
        setattr(run, kind, {name.removeprefix(prefix): state.pop(name) for name in list(state) if prefix in name})
    run.weights = state
    run.samples = [sorted(_asked(ranks, parallel, step)) for step in range(len(run.samples))]
    return run


def whole_tensors(ranks: Sequence[dict[str, Piece]]) -> Tensors:
    """Put tensors together from stored pieces, which must cover each element once; copies must say the same."""
    found: Tensors = {}
    times: dict[str, np.ndarray] = {}
    pieces = [(name, piece) for rank in ranks for name, piece in rank.items()]
    for name, piece in pieces:
        if piece.stored:
            tensor = found.setdefault(name, np.zeros(piece.shape, piece.data.dtype))
            assert tensor.shape == piece.shape, name
            tensor.reshape(-1)[_elements(piece)] = piece.data
            times.setdefault(name, np.zeros(tensor.size, np.int64))[_elements(piece)] += 1
    for name, count in times.items():
        assert (count == 1).all(), f"{name}: elements are stored {sorted(set(count.tolist()))} times"
    for name, piece in pieces:
        copy_differs = not np.array_equal(found[name].reshape(-1)[_elements(piece)], piece.data)
        assert piece.stored or not copy_differs, f"{name}: a copy differs"
    return found


def _elements(piece: Piece) -> np.ndarray:
    """Which elements of the flat tensor a piece holds."""
    rectangle = tuple(slice(at, at + length) for at, length in zip(piece.offset, piece.size, strict=True))
    numbers = np.arange(np.prod(piece.shape)).reshape(piece.shape)[rectangle].reshape(-1)
    assert piece.start + piece.data.size <= numbers.size, "a range leaves its rectangle"
    return numbers[piece.start : piece.start + piece.data.size]


def _asked(ranks: list[RankRun], parallel: ParallelConfig, step: int) -> Iterator[int]:
    """The samples of a step; ranks at one place of dp read the same ones, if they read any."""

    by_place: dict[int, list[int]] = {}
    for number, rank in enumerate(ranks):
        if asked := rank.run.samples[step]:
            assert by_place.setdefault(coordinates(number, parallel).dp, asked) == asked
    for samples in by_place.values():
        yield from samples


def _train_rank(mesh: Mesh, folder: Path, config: TrainConfig, mixture: RecordingMixture) -> RankRun:
    trainer = RankTrainer(mesh, folder, config, mixture)
    for _ in range(STEPS):
        trainer.step()
    trainer.evaluate()
    trainer.found.state = pieces(trainer.optimizer.shards())
    trainer.found.padding = trainer.padding()
    return trainer.found


class RankTrainer:
    """The pieces of a training on one rank, and the steps of the training loop."""

    def __init__(self, mesh: Mesh, folder: Path, config: TrainConfig, mixture: RecordingMixture) -> None:

        torch.manual_seed(mesh.rank)
        self.mesh, self.config, self.mixture = mesh, config, mixture
        shape = read_llama_config(folder)
        self.blocks = rank_blocks(shape, config.parallel, mesh.place)
        self.chunks = build_chunks(shape, config, mesh)
        self.optimizer = build_optimizer(self.chunks, self.blocks, config, mesh)
        self.optimizer.load_weights(block_reader(folder))
        self.engine = Engine(shape, self.chunks, self.optimizer, config, mesh)
        self.found = RankRun(Run())
        self.steps = 0

    def step(self) -> None:
        """One optimizer step, as the training loop makes it, with every gradient kept."""

        self.steps += 1
        first, last = sample_range(self.steps, self.config)
        num_passes = (last - first) // (self.config.micro_batch * self.config.parallel.dp)
        losses = LossSums(self.mixture.languages, self.mesh.device)
        self.mixture.asked.clear()
        num_targets = self.mixture.num_targets(first, last)
        assert self.engine.train(self._batches(first, last), num_passes, num_targets, losses)
        self.found.run.samples.append(list(self.mixture.asked))
        self._add_losses(losses)
        self.found.run.norms.append(self.optimizer.reduce_gradients().item())
        self.found.gradients.append(pieces(self.optimizer.gradient_shards()))
        self.optimizer.step(learning_rate(self.steps, self.config, STEPS))

    def evaluate(self) -> None:
        """The loss of the next global batch."""

        losses = LossSums(self.mixture.languages, self.mesh.device)
        self.engine.evaluate(self._batches(*sample_range(self.steps + 1, self.config)), losses)
        self._add_losses(losses)

    def padding(self) -> float:
        """The largest number in rows of a parameter that lie beyond the tensor; 0 where parameters are sharded."""
        if self.config.parallel.data_parallel == "fsdp":
            return 0.0
        named = ((name, value) for chunk in self.chunks for name, value in chunk.named_parameters())
        beyond = [value[self.blocks[name].size[0] :].abs().sum().item() for name, value in named]
        return max(beyond)

    def _batches(self, first: int, last: int) -> Any:

        return micro_batches(self.mixture, first, self.config, self.mesh.place.dp, self.mesh.device, last - first)

    def _add_losses(self, losses: LossSums) -> None:
        loss, per_language = losses.reduce(self.mesh)
        self.found.run.losses.append(loss)
        self.found.run.language_losses.append(per_language)


def block_reader(folder: Path) -> Callable[[Block], Tensor]:
    """Reads a block of a tensor of a Hugging Face folder, by slicing the whole tensor."""

    tensors = load_file(folder / "model.safetensors")

    def read(block: Block) -> Tensor:
        return tensors[block.name][
            tuple(slice(at, at + length) for at, length in zip(block.offset, block.size, strict=True))
        ]

    return read


def pieces(shards: dict[str, FlatShard]) -> dict[str, Piece]:
    """Shards as they can be sent; copied."""
    return {
        name: Piece(
            tuple(shard.shape),
            tuple(shard.offset),
            tuple(shard.size),
            shard.start,
            shard.data.detach().clone().numpy(),
            shard.stored,
        )
        for name, shard in shards.items()
    }


def cut_logits(mesh: Mesh, folder: Path, config: TrainConfig, tokens: Tensor) -> list[Tensor]:
    """Logits (batch, seq, vocab rows of a rank) of all ranks that have the head; stages hand on through the host."""
    shape = read_llama_config(folder)
    chunks = build_chunks(shape, config, mesh)
    optimizer = build_optimizer(chunks, rank_blocks(shape, config.parallel, mesh.place), config, mesh)
    optimizer.load_weights(block_reader(folder))
    own = {chunk.stage.index: chunk for chunk in chunks}
    handed: list[Any] = [tokens] * mesh.parallel.world_size
    for stage in range(config.parallel.num_stages):
        senders = [place for place in range(len(handed)) if coordinates(place, config.parallel).tp == mesh.place.tp]
        x = next(handed[place] for place in senders if handed[place] is not None)
        with torch.no_grad():
            made = own[stage](x) if stage in own else None
        handed = mesh.gathered([made])
    return [made for made in handed if made is not None]


def resumed_and_uninterrupted(
    mesh: Mesh, folder: Path, out: Path, config: TrainConfig, mixture: RecordingMixture
) -> tuple[RankRun, RankRun]:
    """Steps 4 to 23 of a training that begins with the checkpoint of step 3, and of the one that saved it."""
    from trainer.checkpoint_writer import CheckpointWriter

    first = RankTrainer(mesh, folder, config, mixture)
    for _ in range(3):
        first.step()
    writer = CheckpointWriter(out, mesh, config, mixture.digest)
    writer.save(TrainState(3, 3 * config.global_batch), first.optimizer)
    writer.wait()
    second = RankTrainer(mesh, folder, config, mixture)
    saved = newest(out, mesh)
    assert saved is not None
    second.steps = load(saved, second.optimizer, mesh, mixture.digest).step
    first.found = RankRun(Run())
    for trainer in (first, second):
        for _ in range(20):
            trainer.step()
        trainer.found.gradients = trainer.found.gradients[-1:]
        trainer.found.state = pieces(trainer.optimizer.shards())
    return second.found, first.found


# The reference ---------------------------------------------------------------------------------------------------


def reference_run(folder: Path, config: TrainConfig, mixture: FakeMixture | RecordingMixture) -> Run:
    """The same training in plain torch: one process, whole batches, whole logits, torch's clipping and AdamW."""

    model = load_model(folder, compute_dtype(config.dtype))
    named = dict(model.named_parameters())
    groups = [
        {"params": [p for p in named.values() if p.dim() == 2], "weight_decay": config.weight_decay},
        {"params": [p for p in named.values() if p.dim() == 1], "weight_decay": 0.0},
    ]
    adam = torch.optim.AdamW(groups, betas=(config.beta1, config.beta2), eps=config.eps, foreach=False)
    run = Run()
    for step in range(1, STEPS + 1):
        ids = list(range(*sample_range(step, config)))
        adam.zero_grad()
        _whole_batch_loss(model, mixture, ids, config, run).backward()
        run.samples.append(ids)
        run.gradients.append({name: p.grad.numpy().copy() for name, p in named.items()})  # type: ignore[union-attr]
        run.norms.append(torch.nn.utils.clip_grad_norm_(named.values(), config.clip_norm).item())
        for group in adam.param_groups:
            group["lr"] = learning_rate(step, config, STEPS)
        adam.step()
    with torch.no_grad():
        _whole_batch_loss(model, mixture, list(range(*sample_range(STEPS + 1, config))), config, run)
    run.weights = {name: p.detach().numpy() for name, p in named.items()}
    for kind in ("exp_avg", "exp_avg_sq"):
        setattr(run, kind, {name: adam.state[p][kind].numpy() for name, p in named.items()})
    return run


def _whole_batch_loss(model: Any, mixture: Any, ids: list[int], config: TrainConfig, run: Run) -> Tensor:
    """The mean loss of samples in one batch, logged in `run` with the mean of each language."""

    samples = [mixture[i] for i in ids]
    tokens = torch.from_numpy(np.stack([sample.tokens for sample in samples]))
    targets = tokens[:, 1:].clone()
    for row, sample in enumerate(samples):
        targets[row, config.seq_len - sample.padding :] = -100
    documents = None
    if mixture.attention == "within":
        positions = torch.arange(config.seq_len)
        documents = torch.stack([(positions[:, None] >= torch.from_numpy(s.starts)).sum(1) for s in samples])
    logits = model(tokens[:, :-1], documents)
    losses = functional.cross_entropy(logits.transpose(1, 2), targets, reduction="none")
    per_sample, counts = losses.detach().double().sum(1), (targets != -100).sum(1)
    languages = np.array([mixture.languages[sample.source] for sample in samples])
    run.losses.append((per_sample.sum() / counts.sum()).item())
    run.language_losses.append(
        {
            str(name): (per_sample[languages == name].sum() / counts[languages == name].sum()).item()
            for name in np.unique(languages)
        }
    )
    return losses.sum() / counts.sum()
