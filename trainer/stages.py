"""Which layers each pipeline stage holds.

In: the model's shape and the layout. Out: `pp x virtual_stages` stages in the model's order; stage `s` lies on pipeline
rank `s mod pp` (interleaved 1F1B, Narayanan et al. 2021). The embedding is on the first stage, the final norm and head
on the last. Nothing here imports torch.

    for stage in split_stages(model, parallel): ...
"""

from __future__ import annotations

from dataclasses import dataclass

from trainer.config import ParallelConfig
from trainer.llama_config import LlamaConfig


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
    """The stages, in the model's order."""
    num_stages = parallel.num_stages
    counts = parallel.layers_per_stage or [
        model.num_layers * (i + 1) // num_stages - model.num_layers * i // num_stages for i in range(num_stages)
    ]
    stages, first = [], 0
    for index, count in enumerate(counts):
        stages.append(Stage(index, num_stages, index % parallel.pp, range(first, first + count)))
        first += count
    return stages
