"""Profile swallow-2023 of the tasks that lm-evaluation-harness asked: its prompt, its limits, its quirks.

Out: a `Form` with the prompt of v0.3.0 (and of its Japanese fork) to the character: shots and question an empty line
apart, no BOS, cut at the left where it is too long. Which examples are the shots, `harness_shots` draws.

Source: both harnesses as they are vendored in swallow-llm/swallow-evaluation at 89c4e71.

    FORM = harness_form(training=read, ask=ask, judge=judge, metrics=(EXACT_MATCH,), generates=True)
    context = harness_context([question(shot) + answer(shot) for shot in shots], after=question(item))
"""

from __future__ import annotations

from collections.abc import Sequence

from tasks.evaluate.benchmark import Ask, Form, Judge, Read
from tasks.evaluate.metric import Metric
from tasks.evaluate.requests import Context
from tasks.evaluate.suite.harness_shots import evaluated, from_evaluated, from_training, training_or_evaluated

NUM_SHOTS = 8  # of the English tasks
MAX_TOKENS = 256  # of every generation of the harness and its fork, unless a task says otherwise
SEPARATOR = "\n\n"

DRAWN = (
    "The shots differ from item to item: they are drawn by random.Random(42), which first shuffled the items, from the "
    "training split."
)
DRAWN_FROM_EVALUATED = (
    "The shots differ from item to item: they are drawn by random.Random(42), which first shuffled the items, from the "
    "evaluated items themselves, the item left out."
)
NOT_THE_TRAINING_SPLIT = (
    "Where no file of training examples is given, the shots are drawn from the evaluated items instead, as the harness "
    "does for benchmarks without a training split; a file with a part of that split gives other draws than all of it."
)
TOKEN_LIMIT = (
    f"An answer has at most {MAX_TOKENS} tokens of the model's own tokenizer, so a larger vocabulary may write more "
    "characters."
)
NO_BOS = "No BOS precedes the prompt, even of models trained with one."
CUT_LEFT = "A prompt that is too long loses tokens at its left, whatever stands there: instruction or half a shot."


def harness_form(
    *,
    ask: Ask,
    judge: Judge,
    metrics: tuple[Metric, ...],
    generates: bool,
    training: Read | None = None,
    num_shots: int = NUM_SHOTS,
    quirks: tuple[str, ...] = (),
) -> Form:
    """The form of one task.

    Args:
        generates: the answer is generated, of at most `MAX_TOKENS`; else choices are scored.
        training: reads the split that the harness drew the shots from; None: it drew them from the evaluated items.
        quirks: of the task; those of the harness follow.
    """
    return Form(
        version=1,
        num_shots=num_shots,
        shots=from_training(training, num_shots) if training else from_evaluated(num_shots),
        ask=ask,
        judge=judge,
        metrics=metrics,
        quirks=(
            *quirks,
            *((DRAWN, NOT_THE_TRAINING_SPLIT) if training else (DRAWN_FROM_EVALUATED,)),
            *((TOKEN_LIMIT,) if generates else ()),
            NO_BOS,
            CUT_LEFT,
        ),
        shots_from=training_or_evaluated if training else evaluated,
    )


def harness_context(shots: Sequence[str], *, before: str = "", passage: str = "", after: str) -> Context:
    """A prompt as the harness makes it: shots and question an empty line apart, no BOS, cut at the left."""
    parts = tuple(f"{shot}{SEPARATOR}" for shot in shots)
    return Context(shots=parts, before=before, passage=passage, after=after, overlong="left", start=False)
