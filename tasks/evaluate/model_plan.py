"""What one model is asked, as token ids of its own tokenizer, after a look at whether its folder is whole.

plan = plan_model("trained", Path("runs/export/demo-0123"), documents, questions, suite, config)
plan.num_tokens
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.evaluate.answering import estimated_tokens
from tasks.evaluate.bits_per_byte import DocumentPlan, HeldOut, plan_documents, start_ids
from tasks.evaluate.config import EvaluateConfig
from tasks.evaluate.encoding import fit_all
from tasks.evaluate.probe import Question, QuestionPlan, plan_questions
from tasks.evaluate.requests import LogLikelihood, Request, Rolling
from tasks.evaluate.suite_plan import AskedTask
from tokenizer.encoder import Encoder, load_encoder

_MAX_LENGTH = 2048  # tokens that a model is given which does not say how many it can read
_LONGEST = 4  # items of a benchmark that are fitted before anything is asked


@dataclass(frozen=True)
class ModelPlan:
    """What one model is asked.

    Attributes:
        start: ids that precede a text.
        max_length: tokens of a prompt and its answer.
        suite: the benchmarks it is asked.
        tokens_per_request: about how many a request of each takes, by `AskedTask.key`; for the progress.
    """

    name: str
    folder: Path
    encoder: Encoder
    max_length: int
    documents: Sequence[DocumentPlan]
    questions: Sequence[QuestionPlan]
    suite: Sequence[AskedTask]
    tokens_per_request: Mapping[str, int]

    @property
    def start(self) -> list[int]:
        return start_ids(self.encoder)

    @property
    def own_tokens(self) -> int:
        """Tokens of bits per byte and the probe."""
        windows = sum(len(ids) for plan in self.documents for ids, _ in plan.spans)
        return windows + sum(plan.num_tokens for plan in self.questions)

    def tokens_of(self, asked: AskedTask) -> int:
        """About how many a benchmark takes."""
        return len(asked.flat) * self.tokens_per_request[asked.key]

    @property
    def num_tokens(self) -> int:
        """Of all that the model is asked; of benchmarks an estimate."""
        return self.own_tokens + sum(map(self.tokens_of, self.suite))


def plan_model(
    name: str,
    folder: Path,
    documents: Sequence[HeldOut],
    questions: Sequence[Question],
    suite: Sequence[AskedTask],
    config: EvaluateConfig,
) -> ModelPlan:
    """Tokenise what a model is asked; of benchmarks a sample, for they may be far more than fits into memory.

    Raises:
        ValueError: a folder without model or tokenizer, files of different models in one folder, a window longer than
            the model's positions, or a question that does not fit; the message says which and what to do.
    """
    settings = _settings(name, folder)
    try:
        encoder = load_encoder(folder)
    except ValueError as error:
        raise ValueError(f"model {name}: {error}; copy the tokenizer files into the model's folder") from error
    if encoder.vocab_size > settings["vocab_size"]:
        raise ValueError(
            f"model {name}: its tokenizer has {encoder.vocab_size} ids but config.json a vocab_size of "
            f"{settings['vocab_size']}; {folder} mixes the files of two models"
        )
    positions = settings.get("max_position_embeddings")
    if documents and positions is not None and config.window > positions:
        raise ValueError(
            f"model {name}: evaluate.window is {config.window} tokens but the model has {positions} "
            f"positions; set evaluate.window to at most {positions} and evaluate.stride below it"
        )
    max_length = min(length for length in (config.max_length or positions or _MAX_LENGTH, positions) if length)
    own = [] if name in config.skip_benchmarks else suite
    for asked in own:
        _fit_longest(name, asked, encoder, max_length)
    return ModelPlan(
        name,
        folder,
        encoder,
        max_length,
        plan_documents(encoder, documents, window=config.window, stride=config.stride),
        [] if name in config.skip_probe else plan_questions(encoder, questions),
        own,
        {asked.key: estimated_tokens(asked, encoder, max_length) for asked in own},
    )


def _fit_longest(name: str, asked: AskedTask, encoder: Encoder, max_length: int) -> None:
    """Find out before the first model is loaded what cannot be asked, not after the hours of the benchmarks before it.

    What cannot be cut is the question and the answer, so the items with the most bytes of these are tried. Bytes are
    not tokens: a question a little shorter may still fail when its benchmark begins.

    Raises:
        ValueError: one of them does not fit.
    """

    def size(requests: Sequence[Request]) -> int:
        texts = (
            request.context.after + (request.continuation if isinstance(request, LogLikelihood) else "")
            for request in requests
            if not isinstance(request, Rolling)
        )
        return max((len(text.encode()) for text in texts), default=0)

    try:
        for requests in heapq.nlargest(_LONGEST, asked.requests, key=size):
            fit_all(encoder, requests, max_length)
    except ValueError as error:
        raise ValueError(f"model {name}: {asked.label}: {error}") from error


def _settings(name: str, folder: Path) -> dict[str, Any]:
    try:
        return json.loads((folder / "config.json").read_bytes())
    except FileNotFoundError:
        raise ValueError(f"model {name}: no config.json in {folder}; expected a Hugging Face model folder") from None
