"""Labels of classification tasks: as files give them, and as models write them.

label = read_label(row, "label", ("entailment", "contradiction", "neutral"))
written_label("「含意」。", {"entailment": "含意", ...}) == "entailment"
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tasks.evaluate.benchmark import Item, Judgement
from tasks.evaluate.metric import Metric, mean
from tasks.evaluate.metrics.classes import balanced_accuracy, class_columns
from tasks.evaluate.requests import Result
from tasks.evaluate.suite.reading import NoItemError, whole_number
from tasks.evaluate.suite.strict_form import output_line

if TYPE_CHECKING:
    from tokenizer.encoder import Encoder

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


def label_metrics(classes: tuple[str, ...]) -> tuple[Metric, ...]:
    """Balanced accuracy first: the classes of these tasks are skewed."""
    return (balanced_accuracy(classes), mean("accuracy", "accuracy"))


def judge_label(written: Mapping[str, str], item: Item, results: Sequence[Result], encoder: Encoder) -> Judgement:
    """Whether the output is the label of the item."""
    output, line = output_line(results)
    predicted = written_label(line, written)
    flags = () if predicted else ("unparsable",) if line else ("empty_output", "unparsable")
    columns = class_columns(item.gold, predicted, tuple(written))
    return Judgement(output, line, item.gold, columns, predicted, flags)
