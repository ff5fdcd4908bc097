"""The probe set: four-choice questions in Japanese and English that small models can already answer in part.

In: `hibari_probe.jsonl`, written for this project (one question a line: id, language, category, form,
question, choices, answer) and a model with its tokenizer; out: one row per question. Each choice is scored
by the log-likelihood of its text after the prompt, nothing is generated. Accuracy asks whether the right
choice has the highest sum; accuracy per byte, whether it has the highest log-likelihood per UTF-8 byte, so
that short choices have no advantage; the margin is the right choice's bits per byte below the best wrong
one's: it moves long before a rank changes. Guessing gives an accuracy of 0.25. In form `cloze` a choice
ends the sentence that the question begins; in form `question` it follows a line that asks for the answer.

    questions = load_probe()
    rows = score_questions(model, plan_questions(encoder, questions), batch_size=4)
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tasks.evaluate.bits_per_byte import start_ids
from tokenizer.encoder import Encoder

if TYPE_CHECKING:
    from tasks.evaluate.model import LanguageModel, OnTokens

PROBE = Path(__file__).with_name("hibari_probe.jsonl")


class Question(BaseModel):
    """One line of the probe set; `answer` is the index of the right choice."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(min_length=1)
    language: Literal["ja", "en"]
    category: str = Field(min_length=1)
    form: Literal["cloze", "question"]
    question: str = Field(min_length=1)
    choices: tuple[str, str, str, str]
    answer: int = Field(ge=0, le=3)


@dataclass(frozen=True)
class QuestionPlan:
    """A question as token ids: what all choices share, then the rest of each."""

    question: Question
    prompt: str
    continuations: list[str]
    prefix: list[int]
    rest: list[list[int]]

    @property
    def num_tokens(self) -> int:
        return len(self.prefix) + sum(map(len, self.rest))


def load_probe(path: Path = PROBE) -> list[Question]:
    """The questions, in the order of the file.

    Raises:
        ValueError: a line is not a question; the message names it.
    """
    questions = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            questions.append(Question.model_validate_json(line))
        except ValidationError as error:
            raise ValueError(f"{path.name}, line {number}: {error}") from error
    if len({question.id for question in questions}) != len(questions):
        raise ValueError(f"{path.name}: an id is used twice")
    return questions


def probe_digest(path: Path = PROBE) -> str:
    """sha256 of the probe set: scores of different digests must not be compared."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def render(question: Question) -> tuple[str, list[str]]:
    """The prompt, and the text of each choice as it continues it: with a space before it in English."""
    between = " " if question.language == "en" else ""
    if question.form == "cloze":
        prompt = question.question
    elif question.language == "ja":
        prompt = f"質問：{question.question}\n答え："
    else:
        prompt = f"Question: {question.question}\nAnswer:"
    return prompt, [between + choice for choice in question.choices]


def plan_questions(encoder: Encoder, questions: Sequence[Question]) -> list[QuestionPlan]:
    """Tokenise questions, with the boundary of prompt and choice where the tokenizer itself puts it.

    Prompt and choice are encoded as one text. A token may then span the boundary, so the shared prefix is
    the longest that the prompt and all four texts begin with: every choice is scored for the same part of
    the prompt.
    """
    start = start_ids(encoder)
    plans = []
    for question in questions:
        prompt, continuations = render(question)
        encoded = encoder.encode_batch([prompt, *(prompt + text for text in continuations)])
        shared = _common_length(encoded)
        rest = [ids[shared:] for ids in encoded[1:]]
        if not all(rest):
            raise ValueError(f"probe question {question.id}: the tokenizer gives a choice no token of its own")
        plans.append(QuestionPlan(question, prompt, continuations, [*start, *encoded[0][:shared]], rest))
    return plans


def _common_length(sequences: Sequence[Sequence[int]]) -> int:
    length = 0
    for ids in zip(*sequences, strict=False):
        if len(set(ids)) > 1:
            break
        length += 1
    return length


def score_questions(
    model: LanguageModel,
    plans: Sequence[QuestionPlan],
    *,
    batch_size: int,
    on_tokens: OnTokens | None = None,
) -> list[dict[str, Any]]:
    """One row per question, in the order of `plans`.

    Raises:
        ValueError: the model's output is not finite.
    """
    items = [(plan.prefix, plan.rest) for plan in plans]
    scored = model.choice_log_likelihoods(items, batch_size=batch_size, on_tokens=on_tokens)
    return [_row(plan, np.array(values)) for plan, values in zip(plans, scored, strict=True)]


def _row(plan: QuestionPlan, log_likelihoods: np.ndarray) -> dict[str, Any]:
    question = plan.question
    if not np.isfinite(log_likelihoods).all():
        raise ValueError(f"probe question {question.id}: log-likelihoods {log_likelihoods.tolist()} are not all finite")
    num_bytes = [len(text.encode()) for text in plan.continuations]
    per_byte = log_likelihoods / math.log(2) / num_bytes
    predicted, predicted_per_byte = int(log_likelihoods.argmax()), int(per_byte.argmax())
    margin = per_byte[question.answer] - np.delete(per_byte, question.answer).max()
    return {
        "id": question.id,
        "language": question.language,
        "category": question.category,
        "form": question.form,
        "prompt": plan.prompt,
        "prompt_hash": hashlib.sha256(plan.prompt.encode()).hexdigest()[:16],
        "log_likelihoods": [round(value, 6) for value in log_likelihoods.tolist()],
        "bytes": num_bytes,
        "tokens": [len(ids) for ids in plan.rest],
        "answer": question.answer,
        "predicted": predicted,
        "predicted_per_byte": predicted_per_byte,
        "output": plan.continuations[predicted],
        "normalised_output": question.choices[predicted],
        "score": int(predicted == question.answer),
        "score_per_byte": int(predicted_per_byte == question.answer),
        "margin": round(float(margin), 6),
    }
