"""Which part of which tensor a rank holds, under any layout; no torch computation, no process group.

In: the model's shape, the layout, a rank's place. Out: a `Block` for each of its parameters, under the parameter's
name. Tensor parallelism is Megatron-LM's (Shoeybi et al. 2019): query, key, value, gate and up projections are split
by rows (their outputs), o_proj and down_proj by columns (their inputs), embedding and head by rows of the vocabulary.
Norms lie whole on every rank. Fewer key-value heads than ranks: neighbouring ranks hold copies of one head. A
vocabulary that does not divide leaves the last ranks rows that exist here only. On a pipeline, a tied matrix lies on
the first stage as the embedding and on the last as the head.

Of all copies of an element exactly one is `counted`: in the gradient norm, and as the one that checkpoints hold.

    blocks = rank_blocks(model, parallel, coordinates(rank, parallel))
    blocks["model.layers.3.self_attn.k_proj.weight"].size
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from trainer.config import ParallelConfig
from trainer.layout import Coordinates
from trainer.llama_config import LlamaConfig
from trainer.stages import Stage, split_stages

if TYPE_CHECKING:
    from torch import Tensor

EMBEDDING = "model.embed_tokens.weight"
NORM = "model.norm.weight"
HEAD = "lm_head.weight"

# Over which ranks a parameter's gradient is a sum: none beside the data-parallel ones; the tensor-parallel group; the
# ranks that hold copies of the same key-value heads; the first and the last pipeline stage.
SummedOver = Literal["none", "tp", "kv_copies", "embedding"]


@dataclass(frozen=True)
class Block:
    """A rank's rectangle of a tensor.

    Attributes:
        name: the tensor's Hugging Face name, under which checkpoints hold it.
        shape: of the whole tensor, without padding.
        offset: of the rectangle's first element in the tensor.
        size: of the rectangle; 0 rows where the rank holds padding only.
        local: shape of the parameter here: `size`, or more rows where the vocabulary is padded.
        counted: whether this copy is the one that the gradient norm and checkpoints take.
        summed_over: which ranks' gradients are to be summed, beside the data-parallel ones.
    """

    name: str
    shape: tuple[int, ...]
    offset: tuple[int, ...]
    size: tuple[int, ...]
    local: tuple[int, ...]
    counted: bool = True
    summed_over: SummedOver = "none"


@dataclass(frozen=True)
class FlatShard:
    """A row-major range of a rank's rectangle of a tensor: what a rank writes to and reads from checkpoints.

    Attributes:
        shape: of the whole tensor.
        offset: of the rank's rectangle in it.
        size: of the rectangle.
        start: first element of the range within the rectangle, row-major.
        data: the range's elements, 1-D; reading a checkpoint fills it.
        stored: whether this rank writes it; copies are only read.
    """

    shape: tuple[int, ...]
    offset: tuple[int, ...]
    size: tuple[int, ...]
    start: int
    data: Tensor
    stored: bool = True


def padded_rows(vocab_size: int, tp: int) -> int:
    """Rows of embedding and head on each tensor-parallel rank."""
    return -(-vocab_size // tp)


def kv_copies(num_kv_heads: int, tp: int) -> int:
    """Tensor-parallel ranks that hold the same key-value heads."""
    return max(1, tp // num_kv_heads)


def rank_blocks(model: LlamaConfig, parallel: ParallelConfig, place: Coordinates) -> dict[str, Block]:
    """Parameter name -> block, for every parameter of a rank's stages."""
    found: dict[str, Block] = {}
    for stage in split_stages(model, parallel):
        if stage.pp_rank == place.pp:
            found |= stage_blocks(model, parallel, place, stage)
    return found


def stage_blocks(model: LlamaConfig, parallel: ParallelConfig, place: Coordinates, stage: Stage) -> dict[str, Block]:
    """Parameter name -> block, for the parameters of one stage."""
    whole = _Whole(model, parallel, place)
    found: dict[str, Block] = {}
    tied_apart = model.tied and parallel.pp > 1
    if stage.has_embedding:
        found[EMBEDDING] = whole.vocabulary(EMBEDDING, "embedding" if tied_apart else "none", counted=True)
    for layer in stage.layers:
        found |= whole.layer(layer)
    if stage.has_head:
        found[NORM] = whole.norm(NORM)
        if tied_apart:
            found[HEAD] = whole.vocabulary(EMBEDDING, "embedding", counted=False)
        elif not model.tied:
            found[HEAD] = whole.vocabulary(HEAD, "none", counted=True)
    return found


@dataclass(frozen=True)
class _Whole:
    """Makes blocks for one rank."""

    model: LlamaConfig
    parallel: ParallelConfig
    place: Coordinates

    def vocabulary(self, name: str, summed_over: SummedOver, *, counted: bool) -> Block:
        vocab, hidden = self.model.vocab_size, self.model.hidden_size
        rows = padded_rows(vocab, self.parallel.tp)
        first = min(vocab, rows * self.place.tp)
        size = min(vocab, first + rows) - first
        return Block(name, (vocab, hidden), (first, 0), (size, hidden), (rows, hidden), counted, summed_over)

    def norm(self, name: str) -> Block:
        size = (self.model.hidden_size,)
        summed_over: SummedOver = "tp" if self.parallel.splits_sequence else "none"
        return Block(name, size, (0,), size, size, self.place.tp == 0, summed_over)

    def rows(self, name: str, rows: int, columns: int) -> Block:
        own = rows // self.parallel.tp
        return Block(name, (rows, columns), (own * self.place.tp, 0), (own, columns), (own, columns))

    def columns(self, name: str, rows: int, columns: int) -> Block:
        own = columns // self.parallel.tp
        return Block(name, (rows, columns), (0, own * self.place.tp), (rows, own), (rows, own))

    def key_value(self, name: str) -> Block:
        heads, dim, hidden = self.model.num_kv_heads, self.model.head_dim, self.model.hidden_size
        copies = kv_copies(heads, self.parallel.tp)
        own = max(1, heads // self.parallel.tp) * dim
        first = self.place.tp // copies * own
        summed_over: SummedOver = "kv_copies" if copies > 1 else "none"
        counted = self.place.tp % copies == 0
        return Block(name, (heads * dim, hidden), (first, 0), (own, hidden), (own, hidden), counted, summed_over)

    def layer(self, number: int) -> Mapping[str, Block]:
        model, prefix = self.model, f"model.layers.{number}."
        query, hidden, inner = model.num_heads * model.head_dim, model.hidden_size, model.intermediate_size
        return {
            block.name: block
            for block in (
                self.rows(f"{prefix}self_attn.q_proj.weight", query, hidden),
                self.key_value(f"{prefix}self_attn.k_proj.weight"),
                self.key_value(f"{prefix}self_attn.v_proj.weight"),
                self.columns(f"{prefix}self_attn.o_proj.weight", hidden, query),
                self.rows(f"{prefix}mlp.gate_proj.weight", inner, hidden),
                self.rows(f"{prefix}mlp.up_proj.weight", inner, hidden),
                self.columns(f"{prefix}mlp.down_proj.weight", hidden, inner),
                self.norm(f"{prefix}input_layernorm.weight"),
                self.norm(f"{prefix}post_attention_layernorm.weight"),
            )
        }
