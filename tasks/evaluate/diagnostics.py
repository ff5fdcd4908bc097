"""What a low score may come from: answers of one class, empty or looping outputs, prompts that did not fit.

In: the example rows of a model, task and profile, with the flags of `tasks.evaluate.example_flags`; out: a row of
counts, shares and warnings, as `diagnostics.json` holds them. The Swallow authors left natural language inference out
of their tables because one class took 95 % of the predictions and more on three sets, with scores moving by 40 points
along the learning curve (paper on vocabulary expansion and parallel corpora, appendix C): a collapse is named here, and
balanced accuracy stands beside the accuracy.

    for row in diagnostic_rows({"base": {"jnli-strict": rows}}, config):
        print(row["label"], row["warnings"])
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from tasks.evaluate.benchmark import Benchmark
from tasks.evaluate.config import EvaluateConfig
from tasks.evaluate.example_flags import FLAGS
from tasks.evaluate.scored_tasks import ExampleRows, ScoredTask, right_choice, scored_task

MAX_CLASS_SHARE = 0.95
MIN_EXAMPLES = 20  # fewer may all be answered alike by chance
_MAX_CHOICES = 10  # more different predictions are no classes
_MAX_POSITION_EXCESS = 0.15

# flag -> (share of examples above which it is a warning, the sentence)
WARNINGS: Mapping[str, tuple[float, str]] = {
    "empty_output": (0.05, "{share} of the outputs are empty"),
    "unparsable": (0.1, "of {share} of the outputs no answer could be read"),
    "loop": (0.1, "{share} of the outputs repeat themselves"),
    "wrong_language": (0.1, "{share} of the outputs are not in the language of the answer"),
    "copied_shot": (0.1, "{share} of the outputs are the wrong answer of a worked example"),
    "copied_prompt": (0.1, "{share} of the outputs repeat the prompt"),
    "token_limit": (0.5, "{share} of the outputs end at the limit of tokens, not at a stop"),
    "character_limit": (0.5, "{share} of the outputs end at the limit of characters, not at a stop"),
    "shots_dropped": (0.0, "{share} of the prompts did not fit: worked examples were left out"),
    "passage_cut": (0.0, "{share} of the prompts did not fit: the end of the passage was left out"),
    "prompt_cut": (0.0, "{share} of the prompts did not fit: their beginning was left out"),
}


def diagnostic_rows(
    examples: Mapping[str, Mapping[str, ExampleRows]],
    config: EvaluateConfig,
    *,
    benchmarks: Mapping[str, Benchmark] | None = None,
) -> list[dict[str, Any]]:
    """A row for each model and benchmark in each profile; `examples` as of `tasks.evaluate.scores.score_rows`."""
    found = []
    for model, tasks in examples.items():
        for key, rows in tasks.items():
            task = scored_task(key, config.profile, benchmarks)
            if task.is_benchmark and rows:
                found.append({"model": model, **diagnose(task, rows)})
    return found


def diagnose(task: ScoredTask, rows: ExampleRows) -> dict[str, Any]:
    """Counts, shares and warnings of one model's examples of a task.

    Returns:
        `task`, `profile`, `label`, `n`; `counts` and `shares` by flag; `predicted` and `gold`, the examples of each
        class or choice, and `agreement`, the share that the two distributions have in common (both None where there
        are no classes); `collapsed` and `constant`, what took nearly all predictions or outputs; `warnings`, sentences.
    """
    counts = Counter(flag for row in rows for flag in row["flags"])
    counts = Counter({flag: counts[flag] for flag in [*FLAGS, *sorted(set(counts) - set(FLAGS))] if counts[flag]})
    predicted, gold = _distributions(task, rows)
    one_class, one_output = collapsed(rows, task.classes), _constant(task, rows)
    found: dict[str, Any] = {
        "task": task.name,
        "profile": task.profile,
        "label": task.label,
        "n": len(rows),
        "counts": dict(counts),
        "shares": {flag: _share(count, len(rows)) for flag, count in counts.items()},
        "predicted": predicted,
        "gold": gold,
        "agreement": _agreement(predicted, gold),
        "collapsed": one_class,
        "constant": one_output,
    }
    warnings = [
        text.format(share=_percent(count / len(rows)))
        for flag, count in counts.items()
        for most, text in [WARNINGS.get(flag, (1.0, ""))]
        if count / len(rows) > most
    ]
    if one_class:
        right = _percent((gold or {}).get(one_class["class"], 0) / len(rows))
        warnings.append(
            f"{_percent(one_class['share'])} of the predictions are {one_class['class']}, the right answer of {right}"
        )
    elif (bias := _position_bias(predicted, gold)) is not None:
        warnings.append(bias)
    if one_output and not one_class:
        warnings.append(f"{_percent(one_output['share'])} of the outputs are the same: {one_output['output'][:40]!r}")
    return found | {"warnings": warnings}


def collapsed(rows: ExampleRows, classes: Sequence[str] = ()) -> dict[str, Any] | None:
    """The class or choice that took 95 % of the predictions or more, with its share; None where none did.

    Args:
        classes: of the form; where it names none, whatever was predicted counts.
    """
    found = Counter(str(row["predicted"]) for row in rows if row.get("predicted") is not None)
    if len(rows) < MIN_EXAMPLES or not found:
        return None
    name, count = max(found.items(), key=lambda entry: (entry[1], entry[0]))
    if count / len(rows) < MAX_CLASS_SHARE or (classes and name not in classes):
        return None
    return {"class": name, "share": _share(count, len(rows))}


def _constant(task: ScoredTask, rows: ExampleRows) -> dict[str, Any] | None:
    """The output that 95 % of the examples or more have in common, where they should not."""
    if len(rows) < MIN_EXAMPLES or task.classes:
        return None
    output, count = Counter(row["normalised_output"] for row in rows).most_common(1)[0]
    if count / len(rows) < MAX_CLASS_SHARE or not output:
        return None
    return {"output": output, "share": _share(count, len(rows))}


def _distributions(task: ScoredTask, rows: ExampleRows) -> tuple[dict[str, int] | None, dict[str, int] | None]:
    """Examples by predicted and by right class or choice, in the order of the classes; None where there are none."""
    predicted = Counter(str(row["predicted"]) for row in rows if row["predicted"] is not None)
    gold = Counter(str(right_choice(row)) for row in rows)
    names = list(task.classes) or sorted({*predicted, *gold})
    if not predicted or len(names) > _MAX_CHOICES or not set(gold) <= set(names):
        return None, None
    return {name: predicted[name] for name in names}, {name: gold[name] for name in names}


def _agreement(predicted: Mapping[str, int] | None, gold: Mapping[str, int] | None) -> float | None:
    """1 where classes are predicted as often as they are right (of whichever examples), 0 where none of them is."""
    if predicted is None or gold is None:
        return None
    total = sum(gold.values())  # unparsable answers are in no class, and agree with none
    return round(sum(min(predicted[name], gold[name]) for name in gold) / total, 6)


def _position_bias(predicted: Mapping[str, int] | None, gold: Mapping[str, int] | None) -> str | None:
    """A sentence where one place among the choices is chosen far more often than it is right."""
    if predicted is None or gold is None or sum(gold.values()) < MIN_EXAMPLES:
        return None
    total = sum(gold.values())
    name = max(gold, key=lambda name: (predicted[name] - gold[name], name))
    excess, share = (predicted[name] - gold[name]) / total, gold[name] / total
    noise = (share * (1 - share) / total) ** 0.5
    if excess <= max(_MAX_POSITION_EXCESS, 3 * noise):
        return None
    taken = _percent(predicted[name] / total)
    return f"choice {name} takes {taken} of the predictions, and is right in {_percent(share)}"


def _share(count: int, total: int) -> float:
    return round(count / total, 6)


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.01 or not share else f"{100 * share:.1f} %"
