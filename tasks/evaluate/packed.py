"""One pass of a model over sequences laid end to end, and the ids that many passes begin with.

In: ids, where each stands in its sequence, what attention does (`attention`), and the places whose next id is asked
for; out: logits of those places only, for the output head is as large as a third of a small model. The keys and values
of one prefix (the instruction and common shots of a benchmark) are kept from call to call until another is asked
for.

    model = PackedModel(module)
    logits = model.logits(ids, positions, Pass([Branching(len(ids))]), [len(ids) - 1])
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import torch

from storage.environment import num_cores
from tasks.evaluate.attention import NAME, NO_MASK, Branching, KeysValues, Pass, Plan, exchange_attention
from tasks.evaluate.plain_llama import PlainLlama

_ATTENTIONS = {"full_attention", "sliding_attention"}  # the latter within its window: LanguageModel.max_length
# Ids of a pass: with more, SmolLM2-135M is no faster on a CPU; a GPU's cores want more at once.
_PASS_IDS = {"cpu": 1_024, "cuda": 16_384}
# With fewer rows a matrix product takes another way and gives other last bits (MKL: below 4 on one core, 12 on two).
MIN_ROWS = 16
_CPU_CACHE_BYTES = 4 << 30


class PackedModel:
    """A causal language model whose attention can be exchanged: a plain Llama, or one of transformers.

    Attributes:
        pass_ids: that should go through the model at once, where memory matters.
        cache_bytes: of an id's keys and values in all layers.
    """

    def __init__(self, module: torch.nn.Module) -> None:
        self._module = module
        self._missing = "" if isinstance(module, PlainLlama) else _what_cannot_be_packed(module)
        if not self._missing and not isinstance(module, PlainLlama):
            exchange_attention(module)
        self.device = next(module.parameters()).device
        self.dtype = next(module.parameters()).dtype
        self.vocab_size: int = module.config.vocab_size  # type: ignore[union-attr, assignment]
        self.pass_ids = _PASS_IDS.get(self.device.type, _PASS_IDS["cpu"])
        self.cache_bytes = 0 if self._missing else _cache_bytes(module.config, self.dtype)
        self._prefix: tuple[int, ...] = ()
        self._kept: KeysValues | None = None

    def logits(
        self, ids: Sequence[int], positions: Sequence[int], plan: Plan, wanted: Sequence[int], *, least: int = MIN_ROWS
    ) -> torch.Tensor:
        """(wanted, vocabulary), float32: what follows the ids at these places of the pass.

        Args:
            least: with fewer ids, or fewer wanted, some are computed for nothing, to have that many rows.

        Raises:
            ValueError: the model cannot compute several sequences in one row of ids.
        """
        if self._missing:
            raise ValueError(
                f"{type(self._module).__name__} {self._missing}, so the transformers backend of the evaluation cannot "
                "run benchmarks on it; use the vLLM backend"
            )
        unused = [0] * (least - len(ids))
        found = self._module(
            input_ids=torch.tensor([[*ids, *unused]], device=self.device),
            position_ids=torch.tensor([[*positions, *unused]], device=self.device),
            attention_mask=NO_MASK,
            use_cache=False,
            logits_to_keep=torch.tensor([*wanted, *[0] * (least - len(wanted))], device=self.device),
            packed=plan,
        )
        return found.logits[0, : len(wanted)].float()

    @property
    def cache_room(self) -> int:
        """Bytes that keys and values of a batch may take: on a GPU half of what is free.

        On a CPU at most 4 GiB, and two fifths of this process' share of the memory, taken as its share of the cores.
        """
        if self.device.type == "cuda":
            return torch.cuda.mem_get_info(self.device)[0] // 2
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        return min(_CPU_CACHE_BYTES, memory * 2 // 5 * torch.get_num_threads() // num_cores())

    def kept(self, prefix: Sequence[int]) -> KeysValues | None:
        """Keys and values of these ids, computed if they are not those of the call before; None for no ids."""
        if not prefix:
            return None
        if self._kept is None or self._prefix != tuple(prefix):
            self._kept = None  # its memory is free before the next is made
            kept = KeysValues(capacity=len(prefix))
            sequence = Branching(len(prefix))
            self.logits(prefix, sequence.positions(), Pass([sequence], rows=kept), [len(prefix) - 1])
            kept.length = len(prefix)
            self._prefix, self._kept = tuple(prefix), kept
        return self._kept


def _what_cannot_be_packed(module: Any) -> str:
    """Why sequences laid end to end would see one another, or nothing can be put in the place of attention; else ''."""
    if getattr(module, "_is_stateful", False) or set(getattr(module.config, "layer_types", None) or ()) - _ATTENTIONS:
        return "has layers that are no softmax attention over all ids before"
    if module.config._attn_implementation not in ("sdpa", NAME):  # what transformers chose, as softcap needs "eager"
        return f"attends by {module.config._attn_implementation!r}, in whose place no other attention can be put"
    if not module._can_set_attn_implementation():
        return "has an attention in whose place no other can be put"
    return ""


def _cache_bytes(config: Any, dtype: torch.dtype) -> int:
    kv_heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return int(2 * config.num_hidden_layers * kv_heads * head_dim * dtype.itemsize)
