"""The benchmarks' requests on vLLM, for models and numbers of requests that need its speed.

In: requests as token ids; out: log-likelihoods from `prompt_logprobs`, and greedy texts. vLLM batches by itself and
keeps what prompts begin with in its cache, so the ids of the common prefix are not needed here; a large `batch_size`
lets it fill the GPU. A prompt whose log-likelihoods are wanted is read whole: vLLM does not take those from the cache.
It writes one id after every prompt, so it reads one id less than the model could: of a prompt that long the first id
goes.

Its values depend on what is computed together (the kernels split sums differently), in bf16 by some 1e-2: compare
models within this backend, and check it against `transformers` with a few items before mixing the two. vLLM's own
VLLM_BATCH_INVARIANT=1 makes them independent, where the GPU can.

Needs the extra `vllm` (0.18 or later) and a GPU. Written after vLLM's offline `LLM` class; it was tested with
a stand-in of that class, not with vLLM itself.

    backend = VllmBackend.load(Path("runs/export/demo-0123"), dtype="bf16", tensor_parallel_size=2)
    backend.generate_until(batch)
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

from tasks.evaluate.loops import before_loop
from tasks.evaluate.requests import Fitted, Generate, Generated, Scored
from tasks.evaluate.rolling import rolling
from tokenizer.encoder import Encoder, load_encoder

try:
    from vllm import LLM, SamplingParams
except ImportError as error:
    raise ImportError("vLLM is not installed, or finds no GPU: pip install 'hibari[vllm]'") from error

BYTES_OF_A_CHARACTER = 4  # at most, in UTF-8; an id is a byte at least


class VllmBackend:
    """vLLM's offline engine as a backend.

    Args:
        llm: as `load` makes it.
        end_id: ends a document, beside what the model's generation settings say.
    """

    device = "cuda"

    def __init__(self, llm: LLM, name: str, end_id: int) -> None:
        self._llm = llm
        self._end_id = end_id
        self.name = name
        self.max_length = llm.llm_engine.model_config.max_model_len - 1

    @classmethod
    def load(
        cls,
        folder: Path,
        *,
        dtype: Literal["fp32", "bf16"] = "bf16",
        max_length: int | None = None,
        encoder: Encoder | None = None,
        **options: Any,
    ) -> Self:
        """Start the engine on a Hugging Face folder.

        Args:
            max_length: ids the model may read, where that is to be less than it can.
            options: of `vllm.LLM`: tensor_parallel_size, gpu_memory_utilization and so on.
        """
        llm = LLM(
            model=str(folder),
            dtype={"fp32": "float32", "bf16": "bfloat16"}[dtype],
            max_model_len=_max_model_len(folder, max_length),
            enable_prefix_caching=True,
            trust_remote_code=False,
            seed=0,
            **options,
        )
        return cls(llm, f"vllm-{dtype}", (encoder or load_encoder(folder)).eos_id)

    def loglikelihood(self, batch: Sequence[Fitted], prefix: Sequence[int] = ()) -> list[Scored]:
        """Scores in the order of the batch.

        Raises:
            ValueError: the model's output is not finite.
        """
        # The most likely id beside the prompt's own, to see whether that is it; one id is the least vLLM can write.
        wanted = SamplingParams(temperature=0.0, max_tokens=1, prompt_logprobs=1, detokenize=False)
        prompts = [_prompt([*each.context, *each.continuation][-self.max_length :]) for each in batch]
        outputs = self._llm.generate(prompts, wanted, use_tqdm=False)
        return [
            _scored(each, output.prompt_logprobs[-len(each.continuation) :])
            for each, output in zip(batch, outputs, strict=True)
        ]

    def loglikelihood_rolling(self, batch: Sequence[Fitted]) -> list[Scored]:
        return rolling(self.loglikelihood, batch, self.max_length - 1)

    def generate_until(self, batch: Sequence[Fitted], prefix: Sequence[int] = ()) -> list[Generated]:
        """Answers in the order of the batch."""
        outputs = self._llm.generate(
            [_prompt(each.context) for each in batch], [self._sampling(each) for each in batch], use_tqdm=False
        )
        return [_generated(each, output.outputs[0]) for each, output in zip(batch, outputs, strict=True)]

    def _sampling(self, fitted: Fitted) -> SamplingParams:
        """Greedy up to the stops and limits; characters are counted afterwards."""
        request = fitted.request
        assert isinstance(request, Generate)
        limits = [self.max_length + 1 - len(fitted.context)]
        if request.max_tokens is not None:
            limits.append(request.max_tokens)
        if request.max_characters is not None:
            limits.append(BYTES_OF_A_CHARACTER * request.max_characters)
        stops = [stop for stop in request.stops if stop]
        return SamplingParams(temperature=0.0, max_tokens=min(limits), stop=stops, stop_token_ids=[self._end_id])


def _max_model_len(folder: Path, max_length: int | None) -> int | None:
    """With the id that is written after `max_length` of them, but no more than the model has positions for."""
    positions = json.loads((folder / "config.json").read_bytes()).get("max_position_embeddings")
    lengths = [length for length in (positions, None if max_length is None else max_length + 1) if length is not None]
    return min(lengths, default=None)


def _prompt(ids: Sequence[int]) -> dict[str, list[int]]:
    """As `vllm.TokensPrompt`, which is a mapping."""
    return {"prompt_token_ids": [int(each) for each in ids]}


def _scored(fitted: Fitted, logprobs: Sequence[Mapping[int, Any]]) -> Scored:
    """From what vLLM says at each scored id: that id and the most likely one, each with its `logprob`."""
    own = [found[token].logprob for token, found in zip(fitted.continuation, logprobs, strict=True)]
    total = math.fsum(own)
    if not math.isfinite(total):
        raise ValueError(
            f"the model gives a log-likelihood of {total}: its weights or activations are not finite; check the "
            "checkpoint, or evaluate in fp32"
        )
    best = [max(each.logprob for each in found.values()) for found in logprobs]
    return Scored(total, own == best, len(own))


def _generated(fitted: Fitted, completion: Any) -> Generated:
    """`completion`: a `CompletionOutput`; its `stop_reason` is the stop, the end's id, or None for the model's own."""
    request = fitted.request
    assert isinstance(request, Generate)
    text, num_tokens = completion.text, len(completion.token_ids)
    if (cut := before_loop(text, request)) is not None:
        return Generated(cut, num_tokens, "loop")
    if request.max_characters is not None and len(text) > request.max_characters:
        return Generated(text[: request.max_characters], num_tokens, "characters")
    if completion.finish_reason == "length":
        return Generated(text, num_tokens, "tokens")
    return Generated(text, num_tokens, "stop" if isinstance(completion.stop_reason, str) else "end_of_text")
