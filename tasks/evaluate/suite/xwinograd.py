"""XWinograd: who or what a pronoun stands for (Tikhonov and Ryabinin, 2021; Winograd schemas in six languages).

In: the authors' tab-separated rows (language, source, original, sentence, tokens, pronoun with the tokens it spans, two
candidates), or the hub's rows (`sentence` with `_` in the pronoun's place, `option1`, `option2`, `answer`). The
pronoun's place in a raw row is found by following its tokens through the sentence, with or without spaces between them.

A sentence is scored for either candidate in the pronoun's place: in part, that is by the words after it (Trinh and Le,
2018), or, as the Japanese fork of the harness does, as a whole.

    items = XWINOGRAD_JA.read(Files(items=("xwinograd_ja/jp.tsv",)))
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from tasks.evaluate.benchmark import Benchmark, Files, Form, Item, Items, Judgement
from tasks.evaluate.requests import Context, LogLikelihood, Request, Result
from tasks.evaluate.suite.choices import ACCURACY, judge_continuations, log_likelihood
from tasks.evaluate.suite.harness_form import NO_BOS, harness_context, harness_form
from tasks.evaluate.suite.harness_shots import no_shots
from tasks.evaluate.suite.reading import (
    Malformed,
    NoItemError,
    Place,
    Record,
    Rows,
    read_items,
    records,
    text,
    tsv_rows,
)
from tasks.evaluate.suite.strict_form import Asked, strict_context, strict_form

if TYPE_CHECKING:
    from tokenizer.encoder import Encoder

GAP = "_"
NUM_CANDIDATES = 2
_COLUMNS = ("language", "source", "original", "sentence", "tokens", "pronoun", "candidates")
_QUOTES = {"``": '"', "''": '"'}  # as the tokens of the English rows write quotation marks
_WHERE = (
    "XWinograd is published by Yandex Research under the Apache licence 2.0 in "
    "github.com/yandex-research/crosslingual_winograd (dataset.tsv: save its rows of language {code} as {path}), and "
    "on the Hugging Face hub as hf:Muennighoff/xwinograd:{code}@test"
)
WHERE_EN = _WHERE.format(code="en", path="xwinograd_en/en.tsv")
WHERE_JA = _WHERE.format(code="jp", path="xwinograd_ja/jp.tsv")


def read_en(files: Files) -> Items:
    """The English items of the files."""
    return read_items(files.items, WHERE_EN, _rows("en"), _item)


def read_ja(files: Files) -> Items:
    """The Japanese items of the files."""
    return read_items(files.items, WHERE_JA, _rows("jp"), _item)


def _rows(code: str) -> Rows[Record]:
    """Raw rows of one language, those of others passed over; or the hub's."""

    def rows(uri: str, malformed: Malformed) -> Iterator[tuple[Place, Record]]:
        if ".tsv" not in uri:
            yield from records(uri, malformed)
            return
        for place, cells in tsv_rows(uri, malformed):
            if len(cells) != len(_COLUMNS):
                malformed.append(f"{place}: expected {len(_COLUMNS)} columns, got {len(cells)}")
            elif cells[0] == code:
                yield place, dict(zip(_COLUMNS, cells, strict=True))

    return rows


def _item(place: Place, row: Mapping[str, Any]) -> Item:
    sentence = text(row, "sentence")
    if "candidates" in row:
        (start, end), options, gold = _parts_of_raw(row, sentence)
    else:
        start = sentence.find(GAP)
        if start < 0:
            raise NoItemError(f"expected `{GAP}` where the pronoun stood, got {sentence[:60]}")
        end, options = start + len(GAP), [text(row, "option1"), text(row, "option2")]
        answer = str(row.get("answer"))
        if answer not in ("1", "2"):
            raise NoItemError(f"expected answer 1 or 2, got {answer}")
        gold = int(answer) - 1
    before, after = sentence[:start], sentence[end:]
    parts = {"before": before, "after": after, "options": options}
    return Item(place.id, parts, gold, f"{before}{options[gold]}{after}")


def _parts_of_raw(row: Mapping[str, Any], sentence: str) -> tuple[tuple[int, int], list[str], int]:
    """Of a raw row: the characters that the pronoun takes, the candidates, the index of the right one."""
    try:
        tokens = json.loads(row["tokens"])
        _, (first, behind), _ = json.loads(row["pronoun"])
        candidates = json.loads(row["candidates"])
        options = [str(candidate[0]) for candidate in candidates]
        right = [index for index, candidate in enumerate(candidates) if candidate[-1] is True]
        spans = token_spans(tokens, sentence)
        place = spans[first][0], spans[behind - 1][1]
    except (ValueError, TypeError, IndexError, KeyError) as error:
        raise NoItemError(f"expected tokens, pronoun and candidates in JSON ({error})") from error
    if len(options) != NUM_CANDIDATES or len(right) != 1:
        raise NoItemError(f"expected two candidates, one of them right, got {len(options)} and {len(right)}")
    return place, options, right[0]


def token_spans(tokens: Sequence[str], sentence: str) -> list[tuple[int, int]]:
    """Where each token stands in the sentence: (first character, the one behind it).

    >>> token_spans(["彼", "は行く", "。"], "彼は行く。")
    [(0, 1), (1, 4), (4, 5)]

    Raises:
        ValueError: the tokens are not those of the sentence.
    """
    spans, at = [], 0
    for token in tokens:
        while sentence[at : at + 1].isspace():
            at += 1
        found = next((form for form in (token, _QUOTES.get(token)) if form and sentence.startswith(form, at)), None)
        if found is None:
            raise ValueError(f"token {token!r} does not stand at character {at} of the sentence")
        spans.append((at, at + len(found)))
        at += len(found)
    return spans


def _with_option(item: Item, index: int) -> str:
    """The sentence up to and with a candidate in the pronoun's place."""
    return f"{item.parts['before']}{item.parts['options'][index]}"


def _harness_rest(item: Item) -> str:
    """The rest of the sentence as the harness scores it: a space before it, whatever stands there."""
    return f" {item.parts['after'].strip()}"


def _ask_swallow_en(item: Item, shots: Sequence[Item]) -> tuple[Request, ...]:
    examples = [_with_option(shot, shot.gold) + _harness_rest(shot) for shot in shots]
    return tuple(
        LogLikelihood(harness_context(examples, after=_with_option(item, index)), _harness_rest(item))
        for index in range(NUM_CANDIDATES)
    )


def _ask_swallow_ja(item: Item, shots: Sequence[Item]) -> tuple[Request, ...]:
    nothing = Context(after="", overlong="left", start=False)
    return tuple(
        LogLikelihood(nothing, _with_option(item, index) + item.parts["after"]) for index in range(NUM_CANDIDATES)
    )


def _judge_swallow_ja(item: Item, results: Sequence[Result], encoder: Encoder) -> Judgement:
    judgement = _judge(item, results, encoder)
    first, second = (log_likelihood(result) for result in results)
    tied = first == second
    columns = {"accuracy": 0.0 if tied else judgement.columns["accuracy"]}
    return replace(judgement, columns=columns, flags=("tied",) if tied else ())


def _ask_strict(name: str, item: Item, shots: Sequence[Mapping[str, Any]]) -> tuple[Request, ...]:
    examples = [shot["sentence"] for shot in shots]
    return tuple(
        LogLikelihood(strict_context(name, examples, Asked(after=_with_option(item, index))), item.parts["after"])
        for index in range(NUM_CANDIDATES)
    )


def _judge(item: Item, results: Sequence[Result], encoder: Encoder) -> Judgement:
    # The same words are scored after either candidate: per byte would choose the same.
    same = [item.parts["after"]] * NUM_CANDIDATES
    return judge_continuations(item, results, same, item.parts["options"])


XWINOGRAD_EN = Benchmark(
    name="xwinograd_en",
    label="XWinograd",
    language="en",
    category="MC",
    default_items=(("xwinograd_en/en.tsv",),),
    where=WHERE_EN,
    read=read_en,
    forms={
        "strict": strict_form(
            "xwinograd_en", ask=partial(_ask_strict, "xwinograd_en"), judge=_judge, metrics=(ACCURACY,)
        ),
        "swallow-2023": harness_form(
            ask=_ask_swallow_en,
            judge=_judge,
            metrics=(ACCURACY,),
            generates=False,
            quirks=(
                "The words after the pronoun are scored with a space before them, also where the sentence has none "
                "there, as before an apostrophe or a full stop.",
                "The shots are other test items with their right candidate, often the other half of the same pair.",
            ),
        ),
    },
    notes=("Each sentence is scored by the words after the pronoun's place, the same for both candidates.",),
)
XWINOGRAD_JA = Benchmark(
    name="xwinograd_ja",
    label="XWinograd Ja",
    language="ja",
    category="MC",
    default_items=(("xwinograd_ja/jp.tsv",),),
    where=WHERE_JA,
    read=read_ja,
    forms={
        "strict": strict_form(
            "xwinograd_ja", ask=partial(_ask_strict, "xwinograd_ja"), judge=_judge, metrics=(ACCURACY,)
        ),
        "swallow-2023": Form(
            version=1,
            num_shots=0,
            shots=no_shots,
            ask=_ask_swallow_ja,
            judge=_judge_swallow_ja,
            metrics=(ACCURACY,),
            quirks=(
                "Whole sentences are compared, after the id that ends texts: what a candidate itself is likely to be "
                "counts as much as what follows it.",
                "Two sentences that are equally likely count as wrong.",
                NO_BOS,
            ),
        ),
    },
    averaged=False,
    notes=(
        "Not among the Swallow authors' benchmarks; swallow-2023 asks it as their harness does, without shots.",
        "strict scores each sentence by the words after the pronoun's place, the same for both candidates.",
    ),
)
