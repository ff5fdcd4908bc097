"""Profile swallow-2023 of the Japanese tasks: prompts, limits and comparison of llm-jp-eval 1.1.1.

In: for each task a prompt file `<prompts>/<task>.json` that the user has, for the sentences are other people's:
`instruction`, `output_length` (new tokens), `metrics`, `few_shots` (`input` and `output` each, of which the first four
are taken) and, optionally, `preamble`; else `<prompts>/preamble.txt` holds the line that precedes every instruction.
Out: a `Form` with the prompt to the character:

    {preamble}
    ### 指示
    {instruction}
                            an empty line, then each of the four shots and the question:
    ### 入力：
    {input}
    ### 回答：
    {output}

Outputs are compared after NFKC up to the first newline, leading spaces included; "char_f1" is the fuzzy ratio.
Stopping at the newline gives what cutting there afterwards gives: no character but the newline itself becomes one under
NFKC or the clean-up of spaces, and neither joins anything across it.

Source: swallow-llm/swallow-evaluation at 89c4e71, llm-jp-eval/ (`utils.get_evaluation_prompt`,
`scripts/evaluate_llm.py`), with transformers 4.34.0 and langchain 0.0.300 as its lock file pins them.

    FORM = llm_jp_form("jemhopqa", asked=lambda parts: Asked(after=f"質問：{parts['question']}"),
                       gold=lambda item: item.gold, metric="char_f1")
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from storage.uri import exists, join, read_bytes
from tasks.evaluate.benchmark import Files, Form, Item, Items, Judgement, MissingDataError, Shots
from tasks.evaluate.metric import mean
from tasks.evaluate.metrics.classes import balanced_accuracy, class_columns
from tasks.evaluate.metrics.exact import EXACT_MATCH, harness_exact_match
from tasks.evaluate.metrics.fuzzy import fuzzy_ratio
from tasks.evaluate.metrics.normalise import first_line, nfkc
from tasks.evaluate.requests import Context, Generate, Generated, Request, Result
from tasks.evaluate.suite.strict_form import Asked

if TYPE_CHECKING:
    from tokenizer.encoder import Encoder

logger = logging.getLogger(__name__)

WHERE = (
    "The prompt files are the user's: JSON with `instruction`, `output_length`, `metrics` and `few_shots` (`input` and "
    "`output`, four of them), as llm-jp-eval writes them when it prepares its data "
    "(https://github.com/swallow-llm/swallow-evaluation, llm-jp-eval/, Apache-2.0; the shots are CC BY-SA 4.0); name "
    "their folder in evaluate.prompts or --prompts"
)
NUM_SHOTS = 4
PREAMBLE = "preamble.txt"
FUZZY_RATIO = mean("fuzzy_ratio", "fuzzy_ratio")
HarnessMetric = Literal["exact_match", "char_f1"]

# What transformers 4.34 took out of every decoded text, in this order (clean_up_tokenization_spaces).
_CLEAN_UP = (
    (" .", "."),
    (" ?", "?"),
    (" !", "!"),
    (" ,", ","),
    (" ' ", "'"),
    (" n't", "n't"),
    (" 'm", "'m"),
    (" 's", "'s"),
    (" 've", "'ve"),
    (" 're", "'re"),
)

QUIRKS = (
    "The harness is the copy of llm-jp-eval in swallow-evaluation, version 1.1.1; the papers say 1.0.0. Scores of 1.3, "
    "which draws other shots, are not comparable.",
    "The answer is limited in tokens of the model's own tokenizer (`output_length` of the prompt file), so a larger "
    "vocabulary may write more characters.",
    "No BOS precedes the prompt, because the text-generation pipeline of transformers 4.34 tokenised without special "
    "tokens.",
    "The authors set a temperature of 0.1 but not `do_sample`: whether they sampled depended on the generation_config "
    "of each model. Here decoding is greedy.",
    "The harness shortened no prompt; one that does not fit loses whole shots here, then the end of its passage.",
    "A space before the answer is compared too; only width and composition (NFKC) and what follows a newline do not "
    "count.",
    "The line before the instruction stands there only where the prompt file has `preamble` or the folder "
    f"{PREAMBLE}; the authors had one.",
)
FUZZY_QUIRK = (
    "The metric that the authors' tables call character F1 is no F1 but fuzzywuzzy's token_sort_ratio: similarity by "
    "insertions and deletions, in whole per cent, of the lower-cased texts without punctuation and without U+0080 to "
    "U+00FF, their words sorted."
)


@dataclass(frozen=True)
class PromptFile:
    """The prompt of one task.

    Attributes:
        output_length: new tokens of an answer, at most.
        shots: four of (input, output).
        preamble: the line before the instruction, without its newline; None where the user has none.
    """

    instruction: str
    output_length: int
    shots: tuple[tuple[str, str], ...]
    preamble: str | None


def read_prompt_file(name: str, folder: str | None, metric: HarnessMetric, labels: Sequence[str] = ()) -> PromptFile:
    """The prompt file of a task.

    Args:
        metric: that the file must name, where it has `metrics`.
        labels: of which every shot's output must be one, if there are any.

    Raises:
        MissingDataError: no folder is given, or the file is not in it.
        ValueError: the file holds something else; the message says what.
    """
    if folder is None:
        raise MissingDataError(f"profile swallow-2023 asks {name} with a prompt file, and no folder is given. {WHERE}")
    uri = join(folder, f"{name}.json")
    if not exists(uri):
        raise MissingDataError(f"expected the prompt file {uri}, there is none. {WHERE}")
    try:
        content = json.loads(read_bytes(uri))
    except ValueError as error:
        raise ValueError(f"{uri}: expected a JSON object ({error}). {WHERE}") from error
    problem = _problem(content, metric, labels)
    if problem:
        raise ValueError(f"{uri}: {problem}. {WHERE}")
    shots = tuple((shot["input"], shot["output"]) for shot in content["few_shots"][:NUM_SHOTS])
    preamble = content.get("preamble")
    if preamble is None and exists(join(folder, PREAMBLE)):
        preamble = read_bytes(join(folder, PREAMBLE)).decode("utf-8-sig")
    if preamble is None:
        logger.warning(
            "%s: no `preamble`, and no %s beside it: the prompt begins with the instruction. The authors' line is in "
            "llm-jp-eval/src/llm_jp_eval/utils.py of swallow-evaluation",
            uri,
            PREAMBLE,
        )
    line = None if preamble is None else preamble.rstrip("\r\n")
    return PromptFile(content["instruction"], content["output_length"], shots, line)


def _problem(content: Any, metric: HarnessMetric, labels: Sequence[str]) -> str | None:
    """What is wrong with a prompt file."""
    if not isinstance(content, dict):
        return f"expected a JSON object, got {type(content).__name__}"
    if not isinstance(content.get("instruction"), str) or not content["instruction"]:
        return f"expected text in `instruction`, got {content.get('instruction')!r}"
    length = content.get("output_length")
    if not isinstance(length, int) or isinstance(length, bool) or length < 1:
        return f"expected a number of tokens from 1 on in `output_length`, got {length!r}"
    if not isinstance(content.get("preamble"), str | None):
        return f"expected text in `preamble`, got {content['preamble']!r}"
    metrics = content.get("metrics", [metric])
    if not isinstance(metrics, list) or metric not in metrics:
        return f"expected {metric} in `metrics`, got {metrics!r}: is it the file of another task?"
    shots = content.get("few_shots")
    if not isinstance(shots, list) or len(shots) < NUM_SHOTS:
        return f"expected {NUM_SHOTS} shots in `few_shots`, got {len(shots) if isinstance(shots, list) else shots!r}"
    for shot in shots[:NUM_SHOTS]:
        if not isinstance(shot, dict) or not all(isinstance(shot.get(key), str) for key in ("input", "output")):
            return f"expected `input` and `output` in every shot, got {shot!r}"
        if labels and shot["output"] not in labels:
            return f"expected one of {', '.join(labels)} as a shot's output, got {shot['output']!r}"
    return None


def llm_jp_context(prompt: PromptFile, asked: Asked) -> Context:
    """The prompt of one input, as `get_evaluation_prompt` of the harness lays it out."""
    preamble = "" if prompt.preamble is None else f"{prompt.preamble}\n"
    return Context(
        head=f"{preamble}### 指示\n{prompt.instruction}\n",
        shots=tuple(f"\n### 入力：\n{given}\n### 回答：\n{answer}\n" for given, answer in prompt.shots),
        before=f"\n### 入力：\n{asked.before}",
        passage=asked.passage,
        after=f"{asked.after}\n### 回答：\n",
        start=False,
    )


def llm_jp_form(
    name: str,
    *,
    asked: Callable[[Mapping[str, Any]], Asked],
    gold: Callable[[Item], str],
    metric: HarnessMetric,
    labels: tuple[str, ...] = (),
    balanced: bool = False,
    quirks: tuple[str, ...] = (),
) -> Form:
    """The form of one task.

    Args:
        asked: (an item's parts) -> what stands below `### 入力：`.
        gold: the answer that the output is compared with.
        labels: answers that are possible, where they are few.
        balanced: balanced accuracy over the labels is given too.
    """
    if metric == "exact_match":
        metrics = (EXACT_MATCH, balanced_accuracy(labels)) if balanced else (EXACT_MATCH,)
    else:
        metrics, quirks = (FUZZY_RATIO,), (FUZZY_QUIRK, *quirks)
    return Form(
        version=1,
        num_shots=NUM_SHOTS,
        shots=partial(_shots, name, metric, labels),
        ask=partial(_ask, asked),
        judge=partial(_judge, gold, metric, labels, balanced),
        metrics=metrics,
        classes=labels,
        quirks=(*QUIRKS, *quirks),
    )


def _shots(
    name: str,
    metric: HarnessMetric,
    labels: tuple[str, ...],
    items: Items,
    files: Files,
    chosen: Sequence[Item] | None,
) -> Shots:
    """The one prompt file, for every item: it holds the instruction too."""
    prompt = (read_prompt_file(name, files.prompts, metric, labels),)
    return {item.id: prompt for item in (items.items if chosen is None else chosen)}


def _ask(asked: Callable[[Mapping[str, Any]], Asked], item: Item, shots: Sequence[Any]) -> tuple[Request, ...]:
    (prompt,) = shots
    context = llm_jp_context(prompt, asked(item.parts))
    return (Generate(context, stops=("\n",), max_tokens=prompt.output_length),)


def _judge(
    gold_of: Callable[[Item], str],
    metric: HarnessMetric,
    labels: tuple[str, ...],
    balanced: bool,
    item: Item,
    results: Sequence[Result],
    encoder: Encoder,
) -> Judgement:
    (result,) = results
    assert isinstance(result, Generated)
    normalised, gold = harness_output(result.text), nfkc(gold_of(item))
    predicted = normalised if normalised in labels else None
    flags = [] if normalised.strip() else ["empty_output"]
    columns: dict[str, float] = {}
    if metric == "char_f1":
        columns["fuzzy_ratio"] = fuzzy_ratio(normalised, gold)
    else:
        columns["exact_match"] = harness_exact_match(normalised, gold)
    if labels and predicted is None:
        flags.append("unparsable")
    if balanced:
        columns |= class_columns(gold, predicted, labels)
    return Judgement(result.text, normalised, gold, columns, predicted, tuple(flags))


def harness_output(text: str) -> str:
    """An output as the harness compared it."""
    for spaced, closed in _CLEAN_UP:
        text = text.replace(spaced, closed)
    return first_line(nfkc(text))
