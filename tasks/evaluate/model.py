"""Log-likelihoods of token sequences under a Hugging Face causal language model.

In: a model folder (config.json, safetensors; never pickle, never its code) and token ids; out: natural
log-likelihoods. Sequences go through in batches of like length, padded on the right: under a causal mask a
real token never sees padding, so a value does not depend on its batch (in float32, to rounding). The
log-softmax is float32 whatever the model's dtype, sums are float64. Choices that continue one prefix share
it: its keys and values are computed once and expanded to the choices (transformers' DynamicCache).

    model = LanguageModel.load(Path("runs/export/demo-0123"), dtype="fp32")
    model.log_likelihoods([(ids, 1)], batch_size=4)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from transformers import AutoModelForCausalLM, DynamicCache

OnTokens = Callable[[int], None]
Span = tuple[Sequence[int], int]
Choices = tuple[Sequence[int], Sequence[Sequence[int]]]


class LanguageModel:
    """A causal model that answers with log-likelihoods; token ids are ints below its vocabulary size."""

    def __init__(self, module: torch.nn.Module) -> None:
        self._module = module.eval()
        self._device = next(module.parameters()).device

    @classmethod
    def load(cls, folder: Path, *, dtype: Literal["fp32", "bf16"] = "fp32", device: str | None = None) -> LanguageModel:
        """Load a Hugging Face folder onto `device`, by default CUDA where there is one.

        bf16 weights become float32 without loss. On a CPU without bf16 arithmetic that is also the faster way:
        350 against 61 to 84 tokens/s (SmolLM2-135M, windows of 512, two cores).
        """
        module: torch.nn.Module = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype={"fp32": torch.float32, "bf16": torch.bfloat16}[dtype],
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
        )
        return cls(module.to(device or ("cuda" if torch.cuda.is_available() else "cpu")))

    @property
    def device(self) -> str:
        return self._device.type

    @torch.inference_mode()
    def log_likelihoods(
        self, spans: Sequence[Span], *, batch_size: int, on_tokens: OnTokens | None = None
    ) -> list[NDArray[np.float64]]:
        """For each (ids, first): the log-likelihood of every id from index `first` on, given those before.

        Args:
            spans: `first` is at least 1, for nothing can be said of an id that nothing precedes.
            on_tokens: called after each batch with the number of ids it held.
        """
        results: list[NDArray[np.float64]] = [np.empty(0)] * len(spans)
        for batch in _batches([(len(ids),) for ids, _ in spans], batch_size):
            inputs = self._padded([spans[index][0][:-1] for index in batch])
            kept = min(spans[index][1] for index in batch) - 1
            logits = self._module(
                input_ids=inputs,
                use_cache=False,
                logits_to_keep=torch.arange(kept, inputs.shape[1], device=self._device),
            ).logits
            for row, index in enumerate(batch):
                ids, first = spans[index]
                results[index] = self._score(logits[row, first - 1 - kept :], ids[first:])
            if on_tokens:
                on_tokens(sum(len(spans[index][0]) for index in batch))
        return results

    @torch.inference_mode()
    def choice_log_likelihoods(
        self, items: Sequence[Choices], *, batch_size: int, on_tokens: OnTokens | None = None
    ) -> list[list[float]]:
        """For each (prefix, continuations): the log-likelihood of each whole continuation after the prefix.

        The prefix's last id is left out of the shared pass and goes first in every continuation: so the
        logits that score a continuation's first id come out of the same call as those of its other ids.

        Args:
            items: prefix and continuations hold at least one id each.
            on_tokens: called after each batch with the number of ids it held.
        """
        results: list[list[float]] = [[] for _ in items]
        # Four continuations go through the output head for each prefix: padding them costs most.
        sizes = [(max(map(len, rest)), len(prefix)) for prefix, rest in items]
        for batch in _batches(sizes, batch_size):
            chosen = [items[index] for index in batch]
            scored = self._choice_batch(chosen)
            for index, values in zip(batch, scored, strict=True):
                results[index] = values
            if on_tokens:
                on_tokens(sum(len(prefix) + sum(map(len, rest)) for prefix, rest in chosen))
        return results

    def _choice_batch(self, items: Sequence[Choices]) -> list[list[float]]:
        lengths = torch.tensor([len(prefix) - 1 for prefix, _ in items], device=self._device)
        owners = torch.tensor([i for i, (_, rest) in enumerate(items) for _ in rest], device=self._device)
        continuations = [(prefix[-1], ids) for prefix, rest in items for ids in rest]
        inputs = self._padded([[last, *ids[:-1]] for last, ids in continuations])
        shared = int(lengths.max())
        cache = DynamicCache()
        if shared:
            prefixes = self._padded([prefix[:-1] for prefix, _ in items])
            self._module(input_ids=prefixes, past_key_values=cache, use_cache=True, logits_to_keep=1)
            cache.batch_select_indices(owners)
        own = lengths[owners].unsqueeze(1)  # (rows, 1): ids of the prefix that are in the cache
        seen = torch.arange(shared, device=self._device).unsqueeze(0) < own
        logits = self._module(
            input_ids=inputs,
            attention_mask=torch.cat([seen, torch.ones_like(inputs, dtype=torch.bool)], dim=1).long(),
            position_ids=own + torch.arange(inputs.shape[1], device=self._device),
            past_key_values=cache,
            use_cache=True,
        ).logits
        totals = [float(self._score(logits[row], ids).sum()) for row, (_, ids) in enumerate(continuations)]
        taken = iter(totals)
        return [[next(taken) for _ in rest] for _, rest in items]

    def _score(self, logits: torch.Tensor, targets: Sequence[int]) -> NDArray[np.float64]:
        """Log-likelihoods of `targets` (n,) under the first n rows of `logits` (at least n, vocabulary)."""
        wanted = torch.tensor(targets, dtype=torch.long, device=self._device)
        losses = F.cross_entropy(logits[: len(targets)].float(), wanted, reduction="none")
        return -losses.double().cpu().numpy()

    def _padded(self, rows: Sequence[Sequence[int]]) -> torch.Tensor:
        """(rows, longest): padded on the right, where no real token attends to it."""
        padded = torch.zeros((len(rows), max(map(len, rows))), dtype=torch.long)
        for row, ids in zip(padded, rows, strict=True):
            row[: len(ids)] = torch.tensor(ids, dtype=torch.long)
        return padded.to(self._device)


def _batches(sizes: Sequence[tuple[int, ...]], batch_size: int) -> list[list[int]]:
    """Indices in batches of like size, largest first: what does not fit in memory fails at once."""
    order = sorted(range(len(sizes)), key=lambda index: sizes[index], reverse=True)
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
