"""The worked examples of profile `swallow-2023` where lm-evaluation-harness v0.3.0 drew them, example for example.

The harness (and its Japanese fork, both vendored in swallow-llm/swallow-evaluation at 89c4e71) shuffles the evaluated
documents with `random.Random(42)` and then, document by document in that order, samples the shots from the same
generator: from the training split where the benchmark has one, else one more than needed from the evaluated documents,
of which those equal to the document itself are left out. Here the whole draw is made over all items, whichever are
asked, so that neither a limit nor a resumed run changes a shot. It is the harness' own draw as far as the items stand
in the order of the dataset that the harness loaded.

    shots = draw_shots(items.items, 8, training=training.items)
    context = harness_context([question(shot) + answer(shot) for shot in shots["17"]], after=question(item))
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Sequence

from storage.source_layout import file_name
from tasks.evaluate.benchmark import Files, Item, Items, Shots
from tasks.evaluate.requests import Context

logger = logging.getLogger(__name__)

SEED = 42
EVALUATED = "the evaluated items"
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
NO_BOS = "No BOS precedes the prompt, even of models trained with one."
CUT_LEFT = "A prompt that is too long loses tokens at its left, whatever stands there: instruction or half a shot."
COMMON_QUIRKS = (NO_BOS, CUT_LEFT)
TOKEN_LIMIT = (
    f"An answer has at most {MAX_TOKENS} tokens of the model's own tokenizer, so a larger vocabulary may write more "
    "characters."
)


def draw_shots(items: Sequence[Item], num_shots: int, training: Sequence[Item] | None = None) -> dict[str, list[Item]]:
    """The shots of every item, by its id.

    Args:
        items: all evaluated items, in the order of their dataset.
        training: where shots are drawn from; None: the evaluated items.

    A set smaller than the draw gives what it has.
    """
    generator = random.Random(SEED)
    order = list(items)
    generator.shuffle(order)
    shots = {}
    for item in order:
        if training is not None:
            shots[item.id] = generator.sample(training, min(num_shots, len(training)))
        else:
            drawn = generator.sample(items, min(num_shots + 1, len(items)))
            shots[item.id] = [other for other in drawn if not _same(item, other)][:num_shots]
    return shots


def _same(item: Item, other: Item) -> bool:
    """Whether two are equal as documents; the harness compares what they hold, not where they stand."""
    return (item.parts, item.gold) == (other.parts, other.gold)


def from_training(
    read: Callable[[Files], Items], num_shots: int
) -> Callable[[Items, Files, Sequence[Item] | None], Shots]:
    """`Form.shots` that draws from the training split, where the user has a file of it; else from the items."""

    def shots(items: Items, files: Files, chosen: Sequence[Item] | None) -> Shots:
        if not files.shots:
            return _of(chosen, draw_shots(items.items, num_shots))
        training = read(Files(items=(files.shots,)))
        if training.malformed:
            logger.warning(
                "%s: %d rows are no examples, so the draw of shots is not the harness'; the first at %s",
                files.shots, len(training.malformed), training.malformed[0],
            )  # fmt: skip
        return _of(chosen, draw_shots(items.items, num_shots, training.items))

    return shots


def from_evaluated(num_shots: int) -> Callable[[Items, Files, Sequence[Item] | None], Shots]:
    """`Form.shots` of benchmarks for which the harness knows no training split."""

    def shots(items: Items, files: Files, chosen: Sequence[Item] | None) -> Shots:
        return _of(chosen, draw_shots(items.items, num_shots))

    return shots


def training_or_evaluated(files: Files) -> str:
    """`Form.shots_from` of `from_training`."""
    return file_name(files.shots) if files.shots else EVALUATED


def evaluated(files: Files) -> str:
    """`Form.shots_from` of `from_evaluated`."""
    return EVALUATED


def no_shots(items: Items, files: Files, chosen: Sequence[Item] | None) -> Shots:
    """`Form.shots` of what is asked without any."""
    return {item.id: () for item in (items.items if chosen is None else chosen)}


def harness_context(
    shots: Sequence[str], *, head: str = "", before: str = "", passage: str = "", after: str
) -> Context:
    """A prompt as the harness makes it: description, shots, question an empty line apart, no BOS, cut at the left."""
    parts = tuple(f"{shot}{SEPARATOR}" for shot in shots)
    return Context(head=head, shots=parts, before=before, passage=passage, after=after, overlong="left", start=False)


def _of(chosen: Sequence[Item] | None, shots: Shots) -> Shots:
    return shots if chosen is None else {item.id: shots[item.id] for item in chosen}
