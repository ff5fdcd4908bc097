"""Log-likelihoods of token sequences under a Hugging Face causal language model.

In: a model folder (config.json, safetensors; never pickle, never its code) and token ids; out: natural
log-likelihoods. Sequences go through in batches of like length, padded on the right: under a causal mask a
real token never sees padding, so a value does not depend on its batch (in float32, to rounding). The
log-softmax is float32 whatever the model's dtype, sums are float64. Choices that continue one prefix share it.
transformers loads the model, but for a Llama in float32 on a CPU, which starts in half the time without it
(`plain_llama`).

    model = LanguageModel.load(Path("runs/export/demo-0123"), dtype="fp32")
    model.log_likelihoods([(ids, 1)], batch_size=4)

It is also the transformers backend of the benchmarks (`tasks.evaluate.requests.Backend`): `scoring` and `generation`
over `packed` passes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray

from tasks.evaluate.generation import Generator
from tasks.evaluate.packed import PackedModel
from tasks.evaluate.plain_llama import load_plain_llama
from tasks.evaluate.requests import Context, Fitted, Generated, LogLikelihood, Scored
from tasks.evaluate.scoring import Scorer
from tokenizer.encoder import Encoder, load_encoder

OnTokens = Callable[[int], None]
_DTYPES = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}
_UNSAID = LogLikelihood(Context(after=""), "")  # of choices that came as ids
Span = tuple[Sequence[int], int]
Choices = tuple[Sequence[int], Sequence[Sequence[int]]]


class LanguageModel:
    """A causal model that answers with log-likelihoods; token ids are ints below its vocabulary size."""

    def __init__(
        self,
        module: torch.nn.Module,
        encoder: Encoder | None = None,
        *,
        folder: Path | None = None,
        max_length: int | None = None,
    ) -> None:
        self._module = module.eval()
        self._device = next(module.parameters()).device
        self._encoder = encoder
        self._folder = folder
        self._packed = PackedModel(module)
        self._scorer = Scorer(self._packed)
        self.max_length = _max_length(module.config, max_length)
        self.name = f"transformers-{_DTYPES[self._packed.dtype]}"

    @classmethod
    def load(
        cls,
        folder: Path,
        *,
        dtype: Literal["fp32", "bf16"] = "fp32",
        device: str | None = None,
        max_length: int | None = None,
        encoder: Encoder | None = None,
    ) -> LanguageModel:
        """Load a Hugging Face folder onto `device`, by default CUDA where there is one.

        Args:
            max_length: ids the model may read, where that is to be less than it can.
            encoder: of this folder, where it is loaded already; else it is loaded when something is generated.

        bf16 weights become float32 without loss. On a CPU without bf16 arithmetic that is also the faster way:
        350 against 61 to 84 tokens/s (SmolLM2-135M, windows of 512, two cores).
        """
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        plain = load_plain_llama(folder) if dtype == "fp32" and device == "cpu" else None
        module = plain or _load_by_transformers(folder, dtype).to(device)
        return cls(module, encoder, folder=folder, max_length=max_length)

    @property
    def device(self) -> str:
        return self._device.type

    @property
    def recomputed(self) -> int:
        """Requests and ids computed again by themselves because something nearly tied."""
        return self._scorer.recomputed + (self._generator.recomputed if "_generator" in vars(self) else 0)

    @cached_property
    def _generator(self) -> Generator:
        encoder = self._encoder
        if encoder is None:
            if self._folder is None:
                raise ValueError("to generate text the model needs its tokenizer: give LanguageModel an encoder")
            encoder = load_encoder(self._folder)
        return Generator(self._packed, encoder, {encoder.eos_id, *_end_ids(self._module)}, self.max_length)

    def loglikelihood(self, batch: Sequence[Fitted], prefix: Sequence[int] = ()) -> list[Scored]:
        """See `scoring.Scorer.loglikelihood`."""
        return self._scorer.loglikelihood(batch, prefix)

    def loglikelihood_rolling(self, batch: Sequence[Fitted]) -> list[Scored]:
        """See `scoring.Scorer.rolling`."""
        return self._scorer.rolling(batch, self.max_length)

    def generate_until(self, batch: Sequence[Fitted], prefix: Sequence[int] = ()) -> list[Generated]:
        """See `generation.Generator.generate_until`."""
        return self._generator.generate_until(batch, prefix)

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

        Args:
            items: prefix and continuations hold at least one id each.
            on_tokens: called after each batch with the number of ids it held.
        """
        results: list[list[float]] = [[] for _ in items]
        for batch in _batches([(len(prefix), max(map(len, rest))) for prefix, rest in items], batch_size):
            asked = [Fitted(_UNSAID, prefix, ids) for prefix, rest in (items[index] for index in batch) for ids in rest]
            scored = iter(self._scorer.loglikelihood(asked))
            for index in batch:
                results[index] = [next(scored).log_likelihood for _ in items[index][1]]
            if on_tokens:
                on_tokens(sum(len(items[index][0]) + sum(map(len, items[index][1])) for index in batch))
        return results

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


def _load_by_transformers(folder: Path, dtype: Literal["fp32", "bf16"]) -> torch.nn.Module:
    from tasks.evaluate.lean_transformers import AutoModelForCausalLM  # seconds

    module: torch.nn.Module = AutoModelForCausalLM.from_pretrained(
        folder,
        dtype={"fp32": torch.float32, "bf16": torch.bfloat16}[dtype],
        local_files_only=True,
        use_safetensors=True,
        trust_remote_code=False,
    )
    return module


def _batches(sizes: Sequence[tuple[int, ...]], batch_size: int) -> list[list[int]]:
    """Indices in batches of like size, largest first: what does not fit in memory fails at once."""
    order = sorted(range(len(sizes)), key=lambda index: sizes[index], reverse=True)
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]


def _max_length(config: Any, wanted: int | None) -> int:
    """Ids the model can read: its positions, or the window of its attention where that is smaller."""
    limits = [getattr(config, name, None) for name in ("max_position_embeddings", "sliding_window")]
    if getattr(config, "use_sliding_window", True) is False:
        limits.pop()
    return min((limit for limit in (*limits, wanted) if limit is not None), default=2048)


def _end_ids(module: Any) -> set[int]:
    """Ids that the model's own files say end a text."""
    ends: set[int] = set()
    for config in (module.config, getattr(module, "generation_config", None)):
        named = getattr(config, "eos_token_id", None)
        ends.update([named] if isinstance(named, int) else named or [])
    return ends
