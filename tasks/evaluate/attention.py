"""Attention over sequences of different length laid end to end, with no padding.

A pass takes all its sequences as one row of ids; every layer but attention treats ids one by one, so nothing is
computed for padding. Attention is called with the plan of the pass and takes sequence by sequence. A sequence may
come after ids whose keys and values are kept from an earlier pass (the common shots of a benchmark), and may branch:
choices that continue one context stand one after another behind it, each blind to the others.

`exchange_attention` puts it into any model of transformers whose attention can be exchanged. Called without a plan, it
is transformers' own `sdpa`.

    logits = module(ids, position_ids=..., attention_mask=NO_MASK, packed=Pass(sequences, keys_values=None)).logits
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
import torch.nn.functional as F  # noqa: N812

NAME = "packed"
_BLOCK = 256  # queries
NO_MASK = torch.zeros(1, 1, 1, 1)  # of four dimensions: transformers then makes no mask of its own


class Plan(Protocol):
    """What attention does in one pass."""

    def attend(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float
    ) -> torch.Tensor:
        """(1, heads, ids, dim) of queries, (1, kv heads, ids, dim) of keys and values to (1, heads, ids, dim)."""
        ...


def exchange_attention(module: Any) -> None:
    """Let a model of transformers attend as the plan of a pass says."""
    from tasks.evaluate.lean_transformers import AttentionInterface, AttentionMaskInterface, sdpa_mask  # seconds

    AttentionInterface.register(NAME, _attention)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    module.set_attn_implementation(NAME)


def _attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    packed: Plan | None = None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """In the signature of transformers' attention functions."""
    if packed is None:
        from tasks.evaluate.lean_transformers import sdpa_attention_forward

        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    unknown = [name for name in ("softcap", "s_aux", "position_bias") if options.get(name) is not None]
    if unknown:
        raise ValueError(
            f"{type(module).__name__} attends with {', '.join(unknown)}, which the transformers backend of the "
            "evaluation does not compute; use the vLLM backend for this model"
        )
    out = packed.attend(module.layer_idx, query, key, value, options["scaling"])  # type: ignore[arg-type]
    return out.transpose(1, 2).contiguous(), None


class KeysValues:
    """Keys and values of every layer, (rows, kv heads, capacity, dim) each, with room at their end.

    Bytes: 2 x layers x rows x kv heads x capacity x dim x bytes of the dtype: 46 KB an id for SmolLM2-135M in fp32.

    Attributes:
        length: ids that all rows hold.
    """

    def __init__(self, rows: int = 1, capacity: int = 0) -> None:
        self.length = 0
        self.rows = rows
        self.capacity = capacity
        self._keys: dict[int, torch.Tensor] = {}
        self._values: dict[int, torch.Tensor] = {}

    def reserve(self, capacity: int) -> None:
        """Make room for so many ids in each row; grows by half at least, so that this is rarely a copy."""
        if capacity <= self.capacity:
            return
        self.capacity = max(capacity, self.capacity * 3 // 2)
        for stored in (self._keys, self._values):
            for layer, old in stored.items():
                stored[layer] = self._new(old)
                stored[layer][:, :, : old.shape[2]] = old

    def of(self, layer: int, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values of a layer; made where they are not there, in the heads and dtype of `like`."""
        if layer not in self._keys:
            self._keys[layer], self._values[layer] = self._new(like), self._new(like)
        return self._keys[layer], self._values[layer]

    def move(self, source: int, target: int) -> None:
        """Row `source` takes the place of row `target`."""
        for stored in (self._keys, self._values):
            for tensor in stored.values():
                tensor[target] = tensor[source]

    def _new(self, like: torch.Tensor) -> torch.Tensor:
        # Zeros: what no id was put into yet is multiplied by a share of 0, which must not make it NaN.
        return like.new_zeros((self.rows, like.shape[1], self.capacity, like.shape[3]))


@dataclass(frozen=True)
class Branching:
    """A sequence of a pass: ids that follow one another, then branches that each continue them.

    Attributes:
        trunk: ids before the branches.
        branches: ids of each branch.
    """

    trunk: int
    branches: tuple[int, ...] = ()

    @property
    def length(self) -> int:
        return self.trunk + sum(self.branches)

    def positions(self) -> list[int]:
        """Of each id, from 0."""
        own = list(range(self.trunk))
        for branch in self.branches:
            own.extend(range(self.trunk, self.trunk + branch))
        return own

    def mask(self, before: int, like: torch.Tensor) -> torch.Tensor | None:
        """(1, 1, length, before + length): 0 where an id sees another, -inf where not; None for plain causality."""
        if not before and len(self.branches) <= 1:
            return None
        owner = [0] * self.trunk
        for number, branch in enumerate(self.branches, start=1):
            owner.extend([number] * branch)
        owners = torch.tensor(owner, device=like.device)
        places = torch.arange(self.length, device=like.device)
        sees = (places[None] <= places[:, None]) & ((owners[None] == 0) | (owners[None] == owners[:, None]))
        own = torch.zeros((self.length, before + self.length), dtype=like.dtype, device=like.device)
        own[:, before:].masked_fill_(~sees, float("-inf"))
        return own[None, None]


class Pass:
    """Sequences end to end, each after the same kept ids.

    Args:
        sequences: in the order of the pass.
        kept: keys and values of the ids before all of them (one row); its room at the end is used as scratch.
        rows: where given, the own keys and values of sequence i are put into its row `first_row + i`.
        shared: for each sequence, how many ids it goes on after that the row before its own begins with: their keys
            and values are copied from there, in this pass or an earlier one.
    """

    def __init__(
        self,
        sequences: Sequence[Branching],
        kept: KeysValues | None = None,
        rows: KeysValues | None = None,
        first_row: int = 0,
        shared: Sequence[int] = (),
    ) -> None:
        self._sequences = sequences
        self._kept = kept
        self._rows = rows
        self._first_row = first_row
        self._shared = shared or [0] * len(sequences)
        self._masks: list[torch.Tensor | None] | None = None
        if kept is not None:
            own = (past + sequence.length for past, sequence in zip(self._shared, sequences, strict=True))
            kept.reserve(kept.length + max(own))

    def attend(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float
    ) -> torch.Tensor:
        """See `Plan`: sequence by sequence, each over the kept ids, what it shares with the row before, and its own."""
        before = self._kept.length if self._kept else 0
        if self._masks is None:  # the same in every layer
            pairs = zip(self._sequences, self._shared, strict=True)
            self._masks = [sequence.mask(before + past, query) for sequence, past in pairs]
        out = torch.empty_like(query)
        begin = 0
        for number, (sequence, mask) in enumerate(zip(self._sequences, self._masks, strict=True)):
            end = begin + sequence.length
            own_key, own_value = key[:, :, begin:end], value[:, :, begin:end]
            if self._rows is not None:
                own_key, own_value = self._put(self._rows, layer, number, own_key, own_value)
            if self._kept is not None:
                keys, values = self._kept.of(layer, key)
                seen = before + own_key.shape[2]
                keys[:, :, before:seen] = own_key
                values[:, :, before:seen] = own_value
                own_key, own_value = keys[:, :, :seen], values[:, :, :seen]
            out[:, :, begin:end] = _attend(query[:, :, begin:end], own_key, own_value, mask, scaling)
            begin = end
        out[:, :, begin:] = 0  # ids that are there for nothing
        return out

    def _put(
        self, rows: KeysValues, layer: int, number: int, key: torch.Tensor, value: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values of a sequence into its row, behind what it shares; both together."""
        row, past = self._first_row + number, self._shared[number]
        end = past + key.shape[2]
        found = []
        for stored, own in zip(rows.of(layer, key), (key, value), strict=True):
            stored[row, :, :past] = stored[row - 1, :, :past]
            stored[row, :, past:end] = own[0]
            found.append(stored[row : row + 1, :, :end])
        return found[0], found[1]


def _attend(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None, scaling: float
) -> torch.Tensor:
    """Attention of the last ids of a sequence over all of it, for (1, heads, ids, dim); None: of all, causally.

    With a mask nothing is skipped, so queries go in blocks over the keys up to their own: at 1,500 ids that takes as
    long as the causal kernel, and half of what one call with a mask does.
    """
    grouped = query.shape[1] != key.shape[1]
    if mask is None:
        return F.scaled_dot_product_attention(query, key, value, is_causal=True, scale=scaling, enable_gqa=grouped)
    if grouped and query.is_cuda:  # its kernels take a mask or grouped heads, not both
        groups = query.shape[1] // key.shape[1]
        key, value, grouped = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1), False
    before = key.shape[2] - query.shape[2]
    blocks = []
    for first in range(0, query.shape[2], _BLOCK):
        end = min(first + _BLOCK, query.shape[2])
        blocks.append(
            F.scaled_dot_product_attention(
                query[:, :, first:end],
                key[:, :, : before + end],
                value[:, :, : before + end],
                attn_mask=mask[:, :, first:end, : before + end],
                scale=scaling,
                enable_gqa=grouped,
            )
        )
    return torch.cat(blocks, dim=2) if len(blocks) > 1 else blocks[0]
