"""Which layers each pipeline stage holds.

In: the model's shape and the layout. Out: `pp x virtual_stages` stages in the model's order; stage `s` lies on pipeline
rank `s mod pp` (interleaved 1F1B, Narayanan et al. 2021). The embedding is on the first stage, the final norm and head
on the last. Nothing here imports torch.

A pipeline is as fast as its slowest rank, so the split minimises the work of the rank with the most, head and embedding
counted. All layers are equal; giving them out one at a time, each to the rank that has least to do, is then optimal
(resource allocation with convex costs). The layers of a rank go to its own stages in the same way. Work is counted in
layers by parameters in matrix products: a token costs 6 FLOPs in each, whatever the layout. Attention scores are left
out, since the split must not change with the sequence length (checkpoints hold no stages, but `trainer.sharding` asks
without one): at 4,096 tokens they would make Llama 2 7B's layers 8 % dearer, so its head is 0.60 layers and not 0.65.

    for stage in split_stages(model, parallel): ...
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from trainer.config import ParallelConfig
from trainer.llama_config import LlamaConfig

# Of the head's work. A lookup reads single rows, but its gradient is added up over the whole matrix: 0.02 of the
# head's time on a CPU core (32,000 x 512, 2,048 tokens, fp32).
EMBEDDING_SHARE = 0.02


@dataclass(frozen=True)
class Stage:
    """One stage: layers `layers`, of `num_stages` stages the `index`-th."""

    index: int
    num_stages: int
    pp_rank: int
    layers: range

    @property
    def has_embedding(self) -> bool:
        return self.index == 0

    @property
    def has_head(self) -> bool:
        return self.index == self.num_stages - 1


def split_stages(model: LlamaConfig, parallel: ParallelConfig) -> list[Stage]:
    """The stages, in the model's order: as `layers_per_stage` says, else balanced."""
    counts = parallel.layers_per_stage or _balanced(model, parallel)
    stages, first = [], 0
    for index, count in enumerate(counts):
        stages.append(Stage(index, parallel.num_stages, index % parallel.pp, range(first, first + count)))
        first += count
    return stages


def head_layers(model: LlamaConfig) -> float:
    """Work of the output projection, in layers."""
    attention = model.hidden_size * model.head_dim * 2 * (model.num_heads + model.num_kv_heads)
    layer = attention + 3 * model.hidden_size * model.intermediate_size
    return model.vocab_size * model.hidden_size / layer


def _balanced(model: LlamaConfig, parallel: ParallelConfig) -> list[int]:
    """Layers of each stage. Only first and last may have none, as they hold embedding and head."""
    pp, num_stages = parallel.pp, parallel.num_stages
    work, least = [0.0] * num_stages, [1] * num_stages
    work[0] += EMBEDDING_SHARE * head_layers(model)
    work[-1] += head_layers(model)
    least[0] = least[-1] = 0
    of_ranks = _share_out(
        model.num_layers, [sum(work[rank::pp]) for rank in range(pp)], [sum(least[rank::pp]) for rank in range(pp)]
    )
    counts = [0] * num_stages
    for rank, count in enumerate(of_ranks):
        counts[rank::pp] = _share_out(count, work[rank::pp], least[rank::pp])
    return counts


def _share_out(count: int, work: Sequence[float], least: Sequence[int]) -> list[int]:
    """How many of `count` layers each gets beside its `work`, at least `least`, so that the most work is minimal.

    Where several have least, the last of them is next: later stages hold activations of fewer micro-batches.
    """
    counts = list(least)
    for _ in range(count - sum(least)):
        total = [layers + other for layers, other in zip(counts, work, strict=True)]
        counts[max(range(len(total)), key=lambda i: (-total[i], i))] += 1
    return counts
