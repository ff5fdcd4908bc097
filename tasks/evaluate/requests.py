"""What a model is asked, and what it answers: the three methods that every benchmark here is made of.

A benchmark asks in text. `LogLikelihood`: how likely is a continuation after a context; `Rolling`: how likely is a
text from its first token on; `Generate`: what follows a context, greedily, up to a stop. The same three as in
lm-evaluation-harness, so tasks and backends of the one can be used with the other.

`Context` keeps the parts of a prompt apart, because one that does not fit into the model is shortened where it hurts
least: whole shots go first, then the end of the passage; the question itself stays.

    Generate(Context(head="質問に答えてください。", after="質問：日本の首都は？ 回答："), max_characters=40)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol


@dataclass(frozen=True)
class Context:
    """A prompt: head, then shots, then the question in three parts, joined as they are.

    Attributes:
        head: preamble and instruction, with the separator after them.
        shots: worked examples, each with the separator after it.
        before, passage, after: of the item itself. `passage` may be shortened at its end; `after` ends where the
            answer begins.
        overlong: what is done where the prompt does not fit: "shots" drops whole shots from the first on, then the end
            of the passage, and only then ids from the left; "left" drops ids from the left, as the harnesses do;
            "sentences" cuts articles at sentences first, as one of them does (`sentence_budget`).
        start: the tokenizer's document prefix (BOS) precedes, where it has one.
        reference: for "sentences": the true answer, whose length decides there how much is cut.
    """

    after: str
    head: str = ""
    shots: tuple[str, ...] = ()
    before: str = ""
    passage: str = ""
    overlong: Literal["shots", "left", "sentences"] = "shots"
    start: bool = True
    reference: str = ""

    @property
    def text(self) -> str:
        return f"{self.head}{''.join(self.shots)}{self.before}{self.passage}{self.after}"


@dataclass(frozen=True)
class LogLikelihood:
    """How likely `continuation` is after `context`."""

    context: Context
    continuation: str


@dataclass(frozen=True)
class Rolling:
    """How likely `text` is from its first token on."""

    text: str


@dataclass(frozen=True)
class Generate:
    """What follows `context`, greedily, until one of `stops` appears (it is cut off), the model ends the text, or a
    limit is reached.

    Attributes:
        max_tokens: in ids of the model's own tokenizer; None: as many as `max_characters` can need.
        max_characters: the text is cut there; None: no such limit.
        stop_loops: the text is cut where it only repeats itself (`tasks.evaluate.loops`).
    """

    context: Context
    stops: tuple[str, ...] = ()
    max_tokens: int | None = None
    max_characters: int | None = None
    stop_loops: bool = False


Request = LogLikelihood | Rolling | Generate


@dataclass(frozen=True)
class Scored:
    """Of a `LogLikelihood` or a `Rolling`.

    Attributes:
        log_likelihood: natural, of all scored ids together.
        is_greedy: every id was the most likely one.
        num_tokens: ids scored.
    """

    log_likelihood: float
    is_greedy: bool
    num_tokens: int


@dataclass(frozen=True)
class Generated:
    """Of a `Generate`: the text before the stop, and why it ends there.

    `characters`, `tokens`: a limit was reached.
    """

    text: str
    num_tokens: int
    ended_by: Literal["stop", "end_of_text", "tokens", "characters", "loop"]


Result = Scored | Generated


@dataclass(frozen=True)
class Fitted:
    """A request as ids of one model's tokenizer, cut to what the model can read.

    Attributes:
        context: ids before the first scored or generated one; never empty.
        continuation: ids scored; empty for a `Generate`.
        shots_dropped, characters_cut, ids_cut: what had to go: whole shots, the end of the passage, ids at the left.
    """

    request: Request
    context: Sequence[int]
    continuation: Sequence[int] = ()
    shots_dropped: int = 0
    characters_cut: int = 0
    ids_cut: int = 0

    @property
    def num_tokens(self) -> int:
        return len(self.context) + len(self.continuation)


class Backend(Protocol):
    """A model that answers; each call is one batch, its results in the order of the batch.

    `prefix` holds the ids that all contexts of the batch begin with (the common shots of a benchmark): a backend may
    compute them once and keep them for the next batch with the same prefix.
    """

    @property
    def name(self) -> str:
        """As results name it: `transformers-fp32`."""
        ...

    @property
    def device(self) -> str:
        """`cpu`, `cuda`."""
        ...

    @property
    def max_length(self) -> int:
        """Ids the model can read, those of the answer included."""
        ...

    def loglikelihood(self, batch: Sequence[Fitted], prefix: Sequence[int] = ()) -> list[Scored]: ...

    def loglikelihood_rolling(self, batch: Sequence[Fitted]) -> list[Scored]: ...

    def generate_until(self, batch: Sequence[Fitted], prefix: Sequence[int] = ()) -> list[Generated]: ...
