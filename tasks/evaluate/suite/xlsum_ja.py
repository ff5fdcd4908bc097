"""XL-Sum in Japanese: one-sentence summaries of BBC news (Hasan et al., 2021).

In: the authors' JSON lines, or the hub's rows: `id`, `title`, `summary`, `text`. The Swallow authors used the filtered
set of mkshing/xlsum_ja: test articles that share 15-grams with other splits are left out, as for PaLM 2. ROUGE-2 is
counted over words (MeCab) and over the evaluated model's own subwords; published Swallow scores look like the latter.

`swallow-2023` reads the sentence that begins its prompt from `<prompts>/xlsum_ja.json`: {"instruction": "..."}.

    items = BENCHMARK.read(Files(items=("xlsum_ja/test.jsonl",)))
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from storage.uri import exists, join, read_bytes
from tasks.evaluate.benchmark import Benchmark, Files, Form, Item, Items, Judgement, MissingDataError, Shots
from tasks.evaluate.metric import mean
from tasks.evaluate.metrics.rouge import mecab_tokens, rouge_2, subword_tokens
from tasks.evaluate.requests import Context, Generate, Request, Result
from tasks.evaluate.sentence_budget import SUMMARY
from tasks.evaluate.suite.answers import generated
from tasks.evaluate.suite.harness_form import (
    DRAWN,
    MAX_TOKENS,
    NO_BOS,
    NOT_THE_TRAINING_SPLIT,
    SEPARATOR,
    TOKEN_LIMIT,
)
from tasks.evaluate.suite.harness_shots import from_training, training_or_evaluated
from tasks.evaluate.suite.reading import Place, read_items, records, text
from tasks.evaluate.suite.strict_form import Asked, strict_line_form

if TYPE_CHECKING:
    from tokenizer.encoder import Encoder

NUM_SHOTS = 1
ARTICLE = "ニュース記事:"
PROMPT = "xlsum_ja.json"
WHERE = (
    "XL-Sum is published by BUET under CC BY-NC-SA 4.0 (github.com/csebuetnlp/xl-sum: of japanese_XLSum_v2.0.tar.bz2 "
    "save japanese_test.jsonl as xlsum_ja/test.jsonl), and on the Hugging Face hub; the Swallow authors used the 766 "
    "items of hf:mkshing/xlsum_ja@test, from which what shares 15-grams with other splits is left out, with shots from "
    "its split train (xlsum_ja/train.jsonl)"
)
WHERE_PROMPT = (
    f'expected {{"instruction": "..."}} in {PROMPT} in the folder of evaluate.prompts; the sentence is the DESCRIPTION '
    "of class XLSumJa in lm-evaluation-harness-jp/lm_eval/tasks/ja/xlsum_ja.py of "
    "github.com/swallow-llm/swallow-evaluation"
)
WORDS = mean("rouge_2", "rouge_2")
SUBWORDS = mean("rouge_2_subword", "rouge_2_subword")


def read(files: Files) -> Items:
    """The items of the files."""
    return read_items(files.items, WHERE, records, _item)


def _item(place: Place, row: Mapping[str, Any]) -> Item:
    article, summary = text(row, "text"), text(row, "summary")
    return Item(str(row.get("id") or place.id), {"text": article}, summary, f"{article} {summary}")


def read_instruction(folder: str | None) -> str:
    """The sentence that begins the prompt of `swallow-2023`.

    Raises:
        MissingDataError: its file is not there.
        ValueError: it holds something else.
    """
    uri = join(folder, PROMPT) if folder else None
    if uri is None or not exists(uri):
        raise MissingDataError(f"swallow-2023 asks with a sentence that is not ours: {WHERE_PROMPT}")
    try:
        content = json.loads(read_bytes(uri))
    except ValueError as error:
        raise ValueError(f"{uri}: no JSON ({error}); {WHERE_PROMPT}") from error
    instruction = content.get("instruction") if isinstance(content, dict) else None
    if not isinstance(instruction, str) or not instruction.strip():
        raise ValueError(f"{uri}: no text in `instruction`; {WHERE_PROMPT}")
    return instruction.rstrip("\n")


_draw = from_training(read, NUM_SHOTS)


def _swallow_shots(items: Items, files: Files, chosen: Sequence[Item] | None) -> Shots:
    """Of each item the instruction, then its shots."""
    instruction = read_instruction(files.prompts)
    return {identity: (instruction, *shots) for identity, shots in _draw(items, files, chosen).items()}


def _ask_swallow(item: Item, shots: Sequence[Any]) -> tuple[Request, ...]:
    instruction, *examples = shots
    context = Context(
        head=f"{instruction}{SEPARATOR}",
        shots=tuple(f"{ARTICLE}{shot.parts['text']}\n{SUMMARY}{shot.gold}{SEPARATOR}" for shot in examples),
        before=ARTICLE,
        passage=item.parts["text"],
        after=f"\n{SUMMARY}",
        overlong="sentences",
        start=False,
        reference=item.gold,
    )
    return (Generate(context, stops=("\n",), max_tokens=MAX_TOKENS),)


def _asked_strict(parts: Mapping[str, Any]) -> Asked:
    return Asked(before="記事：", passage=parts["text"], after="\n要約：")


def _judge(item: Item, results: Sequence[Result], encoder: Encoder) -> Judgement:
    output, flags = generated(results[0])
    columns = {
        "rouge_2": rouge_2(mecab_tokens(output), mecab_tokens(item.gold)),
        "rouge_2_subword": rouge_2(subword_tokens(output, encoder), subword_tokens(item.gold, encoder)),
    }
    return Judgement(output, output.strip(), item.gold, columns, flags=flags)


BENCHMARK = Benchmark(
    name="xlsum_ja",
    label="XL-Sum",
    language="ja",
    category="SUM",
    default_items=(("xlsum_ja/test.jsonl",), ("xlsum_ja/japanese_test.jsonl",)),
    default_shots=("xlsum_ja/train.jsonl", "xlsum_ja/japanese_train.jsonl"),
    where=WHERE,
    read=read,
    forms={
        "strict": strict_line_form(
            "xlsum_ja", asked=_asked_strict, judge=_judge, metrics=(WORDS, SUBWORDS), max_characters=200
        ),
        "swallow-2023": Form(
            version=1,
            num_shots=NUM_SHOTS,
            shots=_swallow_shots,
            shots_from=training_or_evaluated,
            ask=_ask_swallow,
            judge=_judge,
            metrics=(SUBWORDS, WORDS),
            quirks=(
                "ROUGE-2 is counted over the pieces of the evaluated model's own tokenizer, not over words: the task "
                "sets MeCab, and the harness then sets the model's tokenizer in its place. Scores of models with "
                "different vocabularies are not comparable; `rouge_2` is counted over MeCab's words.",
                "The harness reports the median of bootstrapped means; here it is the mean itself.",
                "Where the prompt, the reference and ten tokens more do not fit, every article gets the same share of "
                "the tokens and is cut at the end of a sentence: how much is cut depends on the reference.",
                "Generating takes 256 tokens, for which a prompt cut in that way loses tokens at its left once more: "
                "first the instruction.",
                "The answer ends at the first line break.",
                TOKEN_LIMIT,
                DRAWN,
                NOT_THE_TRAINING_SPLIT,
                NO_BOS,
            ),
        ),
    },
    notes=(
        "The Swallow authors' 766 items are the filtered set of mkshing/xlsum_ja; scores on the publishers' whole test "
        "split are not comparable with theirs.",
    ),
)
