"""A stand-in of `vllm` with the parts of its offline engine that the backend uses, computed by transformers.

After vLLM's `LLM`, `SamplingParams`, `RequestOutput`, `CompletionOutput` and `Logprob` (0.18 and later): the order and
kind of arguments, what is refused, what comes back, and that one id is always written after a prompt.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from tokenizer.encoder import load_encoder


@dataclass
class SamplingParams:
    """Refuses what vLLM refuses."""

    temperature: float = 1.0
    stop: str | list[str] | None = None
    stop_token_ids: list[int] | None = None
    max_tokens: int | None = 16
    prompt_logprobs: int | None = None
    detokenize: bool = True

    def __post_init__(self) -> None:
        self.stop = [self.stop] if isinstance(self.stop, str) else self.stop or []
        if self.max_tokens is not None and self.max_tokens < 1:
            raise ValueError(f"max_tokens must be at least 1, got {self.max_tokens}.")
        if any(not stop for stop in self.stop):
            raise ValueError("stop cannot contain an empty string.")
        if self.stop and not self.detokenize:
            raise ValueError("stop strings are only supported when detokenize is True.")
        if self.temperature:
            raise NotImplementedError("the stand-in is greedy")


@dataclass
class Logprob:
    logprob: float
    rank: int | None = None
    decoded_token: str | None = None


@dataclass
class CompletionOutput:
    index: int
    text: str
    token_ids: Sequence[int]
    cumulative_logprob: float | None = None
    logprobs: Any = None
    finish_reason: str | None = None
    stop_reason: int | str | None = None


@dataclass
class RequestOutput:
    request_id: str
    prompt: str | None
    prompt_token_ids: list[int]
    prompt_logprobs: list[dict[int, Logprob] | None] | None
    outputs: list[CompletionOutput]
    finished: bool = True


@dataclass
class _ModelConfig:
    max_model_len: int


class _Engine:
    def __init__(self, max_model_len: int) -> None:
        self.model_config = _ModelConfig(max_model_len)


class LLM:
    """One prompt after the other, by transformers."""

    last_options: Mapping[str, Any] = {}

    def __init__(self, model: str, *, dtype: str = "auto", max_model_len: int | None = None, **options: Any) -> None:
        LLM.last_options = {"dtype": dtype, "max_model_len": max_model_len, **options}
        self._module = AutoModelForCausalLM.from_pretrained(model, dtype=getattr(torch, dtype)).eval()
        self._encoder = load_encoder(Path(model))
        positions = self._module.config.max_position_embeddings
        if max_model_len is not None and max_model_len > positions:
            raise ValueError(f"max_model_len ({max_model_len}) is greater than the derived max_model_len ({positions})")
        self.llm_engine = _Engine(max_model_len or positions)

    @torch.inference_mode()
    def generate(
        self,
        prompts: Sequence[Mapping[str, list[int]]],
        sampling_params: SamplingParams | Sequence[SamplingParams],
        *,
        use_tqdm: bool = True,
    ) -> list[RequestOutput]:
        if isinstance(sampling_params, SamplingParams):
            sampling_params = [sampling_params] * len(prompts)
        if len(sampling_params) != len(prompts):
            raise ValueError("The lengths of prompts and params must be the same.")
        return [self._answer(prompt["prompt_token_ids"], each) for prompt, each in zip(prompts, sampling_params)]  # noqa: B905

    def _answer(self, ids: list[int], params: SamplingParams) -> RequestOutput:
        longest = self.llm_engine.model_config.max_model_len
        if len(ids) >= longest:
            raise ValueError(f"The decoder prompt (length {len(ids)}) does not leave room to generate in {longest}")
        logprobs = None if params.prompt_logprobs is None else self._prompt_logprobs(ids, params.prompt_logprobs)
        return RequestOutput("0", None, ids, logprobs, [self._complete(ids, params, longest)])

    def _prompt_logprobs(self, ids: list[int], top: int) -> list[dict[int, Logprob] | None]:
        """Of each id of the prompt its own, and of the `top` likeliest ids there; the first has none."""
        values = torch.log_softmax(self._module(torch.tensor([ids])).logits[0].float(), dim=-1)
        found: list[dict[int, Logprob] | None] = [None]
        for token, row in zip(ids[1:], values[:-1], strict=True):
            likeliest = row.topk(top).indices.tolist()
            found.append({each: Logprob(float(row[each])) for each in (token, *likeliest)})
        return found

    def _complete(self, ids: list[int], params: SamplingParams, longest: int) -> CompletionOutput:
        written: list[int] = []
        limit = min(params.max_tokens or longest, longest - len(ids))
        while len(written) < limit:
            token = int(self._module(torch.tensor([[*ids, *written]])).logits[0, -1].argmax())
            if token in (params.stop_token_ids or []):
                return CompletionOutput(0, self._text(ids, written), [*written, token], None, None, "stop", token)
            written.append(token)
            text = self._text(ids, written)
            for stop in params.stop or []:
                if stop in text:
                    return CompletionOutput(0, text[: text.find(stop)], written, None, None, "stop", stop)
        text = self._text(ids, written) if params.detokenize else ""
        return CompletionOutput(0, text, written, finish_reason="length")

    def _text(self, ids: list[int], written: list[int]) -> str:
        """Decoded behind the prompt, as vLLM's incremental detokenizer does."""
        return self._encoder.decode([ids[-1], *written])[len(self._encoder.decode([ids[-1]])) :]
