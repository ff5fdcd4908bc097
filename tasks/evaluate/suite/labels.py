"""Labels of classification tasks: as files give them, as models write them, and the strict form that asks for one.

label = read_label(row, "label", ("entailment", "contradiction", "neutral"))
written_label("「含意」。", {"entailment": "含意", ...}) == "entailment"
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from tasks.evaluate.benchmark import Form, Item, Judgement
from tasks.evaluate.metrics.classes import balanced_accuracy, class_columns
from tasks.evaluate.requests import Result
from tasks.evaluate.suite.answers import output_line
from tasks.evaluate.suite.choices import ACCURACY
from tasks.evaluate.suite.reading import NoItemError, whole_number
from tasks.evaluate.suite.strict_form import Asked, strict_line_form

if TYPE_CHECKING:
    from tokenizer.encoder import Encoder

MAX_CHARACTERS = 16  # a label, and what may stand around it
_AROUND = " 　、。，．,.:;!?「」『』（）()[]【】\"'`*"  # may stand around a label


def read_label(row: Mapping[str, Any], field: str, names: Sequence[str]) -> str:
    """The label of a row: its name, or its index as datasets of the hub store it.

    Raises:
        NoItemError: it is neither.
    """
    value = row.get(field)
    if value in names:
        return str(value)
    try:
        return names[whole_number(row, field, below=len(names))]
    except NoItemError as error:
        raise NoItemError(f"expected one of {', '.join(names)} in `{field}`, got {value!r}") from error


def bare(line: str) -> str:
    """An answer without punctuation and brackets around it, in lower case."""
    return line.strip(_AROUND).lower()


def written_label(line: str, written: Mapping[str, str]) -> str | None:
    """The label that an output is, as the prompt writes it or by its own name; None where it is none.

    The whole line must be the label: a sentence that mentions one, or two labels, is none.
    """
    for name, japanese in written.items():
        if bare(line) in (name, japanese):
            return name
    return None


def strict_label_form(name: str, *, asked: Callable[[Mapping[str, Any]], Asked], written: Mapping[str, str]) -> Form:
    """The strict form of a classification; balanced accuracy first, for the classes of these tasks are skewed.

    Args:
        asked: (parts of an item or a shot) -> what is asked.
        written: label -> as the shots write it in Japanese.
    """
    classes = tuple(written)
    return strict_line_form(
        name,
        asked=asked,
        judge=partial(_judge, written),
        metrics=(balanced_accuracy(classes), ACCURACY),
        max_characters=MAX_CHARACTERS,
        classes=classes,
        quirks=("The label counts in Japanese, as the shots write it, and by its English name.",),
    )


def _judge(written: Mapping[str, str], item: Item, results: Sequence[Result], encoder: Encoder) -> Judgement:
    """Whether the output is the label of the item."""
    output, line = output_line(results)
    predicted = written_label(line, written)
    flags = () if predicted else ("unparsable",) if line else ("empty_output", "unparsable")
    columns = class_columns(item.gold, predicted, tuple(written))
    return Judgement(output, line, item.gold, columns, predicted, flags)
