"""The worked examples of profile `swallow-2023` where lm-evaluation-harness v0.3.0 drew them, example for example.

The harness (and its Japanese fork, both vendored in swallow-llm/swallow-evaluation at 89c4e71) shuffles the evaluated
documents with `random.Random(42)` and then, document by document in that order, samples the shots from the same
generator: from the training split where the benchmark has one, else one more than needed from the evaluated documents,
of which those equal to the document itself are left out. Here the whole draw is made over all items, whichever are
asked, so that neither a limit nor a resumed run changes a shot. It is the harness' own draw as far as the items stand
in the order of the dataset that the harness loaded.

    shots = draw_shots(items.items, 8, training=training.items)["17"]
"""

from __future__ import annotations

import logging
import random
from collections.abc import Sequence

from storage.source_layout import file_name
from tasks.evaluate.benchmark import Files, Item, Items, Read, Shots, ShotsOf

logger = logging.getLogger(__name__)

SEED = 42
EVALUATED = "the evaluated items"


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


def from_training(read: Read, num_shots: int) -> ShotsOf:
    """`Form.shots` that draws from the training split, where the user has a file of it; else from the items."""

    def shots(items: Items, files: Files, chosen: Sequence[Item] | None) -> Shots:
        if not files.shots:
            return _of_chosen(chosen, draw_shots(items.items, num_shots))
        training = read(Files(items=(files.shots,)))
        if training.malformed:
            logger.warning(
                "%s: %d rows are no examples, so the draw of shots is not the harness'; the first at %s",
                files.shots, len(training.malformed), training.malformed[0],
            )  # fmt: skip
        return _of_chosen(chosen, draw_shots(items.items, num_shots, training.items))

    return shots


def from_evaluated(num_shots: int) -> ShotsOf:
    """`Form.shots` of benchmarks for which the harness knows no training split."""

    def shots(items: Items, files: Files, chosen: Sequence[Item] | None) -> Shots:
        return _of_chosen(chosen, draw_shots(items.items, num_shots))

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


def _of_chosen(chosen: Sequence[Item] | None, shots: Shots) -> Shots:
    return shots if chosen is None else {item.id: shots[item.id] for item in chosen}
