"""Layers split over the tensor-parallel ranks, after Megatron-LM; each says what it exchanges forward and backward.

In: a `Llama` on the meta device, cut to its stage. Out: the same with its layers replaced; names stay. Query, key,
value, gate and up projections are column-parallel: each rank computes some of the outputs. o_proj and down_proj are
row-parallel: each rank multiplies what it has, and the results are summed. Embedding and head hold rows of the
vocabulary. So attention and MLP need one exchange each before and one after (Shoeybi et al. 2019, section 3).

With sequence parallelism (Korthikanti et al. 2022, section 4.2.2) hidden states between layers hold a part of the
sequence on each rank: norms and sums are computed once and not t times, the exchange before a layer is an all-gather
and the one after it a reduce-scatter, which together move as much as the all-reduce they replace.

    shard_layers(chunk, blocks, mesh)
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainer import collectives
from trainer.collectives import Group
from trainer.functions import projections
from trainer.loss import VocabularyRows, head_losses
from trainer.mesh import Mesh
from trainer.model import Head, Linear, Llama
from trainer.precision import linear
from trainer.sharding import EMBEDDING, HEAD, Block


def shard_layers(chunk: Llama, blocks: Mapping[str, Block], mesh: Mesh) -> None:
    """Put tensor-parallel layers in; a chunk stays as it is where one rank holds a layer.

    Args:
        blocks: this rank's parts of the chunk's parameters.
    """
    group, sequence = mesh.tp_group, mesh.parallel.splits_sequence
    if group is None:
        return
    chunk.sequence_parts = group.size() if sequence else 1
    body = chunk.model
    for layer in body.present_layers():
        layer.self_attn.project = layer.mlp.project = ColumnParallel(group, sequence)
        layer.self_attn.o_proj = RowParallel(layer.self_attn.o_proj, group, sequence)
        layer.mlp.down_proj = RowParallel(layer.mlp.down_proj, group, sequence)
    if body.embed_tokens is not None:
        block = blocks[EMBEDDING]
        rows = VocabularyRows(block.offset[0], block.size[0], group)
        body.embed_tokens = VocabParallelEmbedding(body.embed_tokens, rows, sequence)
    if chunk.lm_head is not None:
        block = blocks[HEAD] if HEAD in blocks else blocks[EMBEDDING]
        rows = VocabularyRows(block.offset[0], block.size[0], group)
        chunk.lm_head = VocabParallelHead(chunk.lm_head, rows, sequence)


class ColumnParallel:
    """Projections that share an input, of whose outputs each rank computes some; exchanges as `projections` says.

    Forward: all-gather of the sequence; none without sequence parallelism. Backward: all-gather of the sequence again
    and reduce-scatter of the input gradient, or its all-reduce without sequence parallelism, both under products.
    """

    def __init__(self, group: Group, sequence: bool) -> None:
        self.group = group
        self.sequence = sequence

    @torch.compiler.disable
    def __call__(self, x: Tensor, weights: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Outputs (batch, seq, rows of the weight) of x (batch, seq, hidden), or its part (batch, seq / t, hidden)."""
        return projections(x, weights, self.group, self.sequence)


class RowParallel(Linear):
    """A projection of which each rank has some of the inputs.

    Forward: reduce-scatter of the partial outputs over the sequence, or their all-reduce without sequence parallelism.
    Backward: all-gather of the output gradient; none without sequence parallelism.
    """

    def __init__(self, layer: Linear, group: Group, sequence: bool) -> None:
        super().__init__(layer.in_features, layer.out_features, bias=False, device="meta")
        self.weight = layer.weight
        self.group = group
        self.sequence = sequence

    @torch.compiler.disable
    def forward(self, x: Tensor) -> Tensor:
        """(batch, seq, columns of the weight) to (batch, seq, hidden), or a part (batch, seq / t, hidden)."""
        return _from_ranks(linear(x, self.weight), self.group, self.sequence)


class VocabParallelEmbedding(nn.Embedding):
    """An embedding of which each rank has some rows; ids of other ranks' rows are looked up as zeros and summed.

    Forward: reduce-scatter of the partial outputs over the sequence, or their all-reduce without sequence parallelism.
    Backward: all-gather of the output gradient; none without sequence parallelism.
    """

    def __init__(self, layer: nn.Embedding, rows: VocabularyRows, sequence: bool) -> None:
        super().__init__(layer.num_embeddings, layer.embedding_dim, device="meta")
        self.weight = layer.weight
        self.rows = rows
        self.sequence = sequence

    def forward(self, tokens: Tensor) -> Tensor:
        """Ids (batch, seq) to (batch, seq, hidden), or to a part (batch, seq / t, hidden)."""
        local, here = self.rows.local(tokens)
        found = functional.embedding(local, self.weight).masked_fill(~here.unsqueeze(-1), 0)
        return _from_ranks(found, self.rows.group, self.sequence)


class VocabParallelHead(Head):
    """The output projection of which each rank has some rows, and the losses of its logits.

    Forward: all-gather of the sequence, and with targets two numbers a token (`trainer.loss`). Backward: reduce-scatter
    of the input gradient over the sequence, or its all-reduce without sequence parallelism.
    """

    def __init__(self, layer: Head, rows: VocabularyRows, sequence: bool) -> None:
        super().__init__(layer.in_features, layer.out_features, bias=False, device="meta")
        self.weight = layer.weight
        self.loss_chunk = layer.loss_chunk
        self.rows = rows
        self.sequence = sequence

    def forward(self, x: Tensor, targets: Tensor | None = None) -> Tensor:
        """Logits (batch, seq, vocab rows here without padding), or the losses (batch, seq) of targets, on all ranks."""
        group = self.rows.group
        x = collectives.gather_sequence(x, group) if self.sequence else collectives.copy_to_ranks(x, group)
        if targets is None:
            return linear(x, self.weight[: self.rows.size])
        return head_losses(x, self.weight, targets, self.loss_chunk, self.rows)


def _from_ranks(partial: Tensor, group: Group, sequence: bool) -> Tensor:
    return collectives.scatter_sequence(partial, group) if sequence else collectives.reduce_from_ranks(partial, group)
