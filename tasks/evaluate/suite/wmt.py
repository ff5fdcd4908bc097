"""News translation between English and Japanese: WMT20, and WMT21 and WMT22 in its stead.

In: two text files, source and reference, line by line the same sentences, named as here (`en-ja.src.en`,
`en-ja.ref.ja`) or as sacrebleu keeps them; or rows of a `translation` (`en`, `ja`), as on the hub. The Swallow authors
used WMT20 as sacrebleu downloads it.

    items = WMT20_EN_JA.read(Files(items=("wmt20/en-ja.src.en", "wmt20/en-ja.ref.ja")))
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from tasks.evaluate.benchmark import Benchmark, Files, Form, Item, Items, Judgement
from tasks.evaluate.metric import mean
from tasks.evaluate.metrics.bleu import BLEU, Tokenize, bleu_columns
from tasks.evaluate.metrics.normalise import encodable
from tasks.evaluate.requests import Generate, Request, Result
from tasks.evaluate.suite.answers import generated
from tasks.evaluate.suite.harness_shots import (
    COMMON_QUIRKS,
    DRAWN_FROM_EVALUATED,
    MAX_TOKENS,
    TOKEN_LIMIT,
    evaluated,
    from_evaluated,
    harness_context,
)
from tasks.evaluate.suite.reading import (
    Malformed,
    Place,
    Record,
    read_items,
    records,
    require,
    text,
    text_lines,
)
from tasks.evaluate.suite.strict_form import Asked, strict_form

if TYPE_CHECKING:
    from tokenizer.encoder import Encoder

NUM_SHOTS = 4
LANGUAGES = {"en": "English", "ja": "Japanese"}
Language = Literal["en", "ja"]
_WHERE = {
    20: (
        "WMT20's news test set belongs to the WMT organisers (statmt.org/wmt20, for research): "
        "`sacrebleu -t wmt20 -l {pair} --echo src > wmt20/{pair}.src.{source}`, and `--echo ref > "
        "wmt20/{pair}.ref.{target}`, below the data folder"
    ),
    21: (
        "WMT21's news test set is in github.com/wmt-conference/wmt21-news-systems (txt/sources and txt/references, ref "
        "A; no licence is stated): save source and reference as wmt21/{pair}.src.{source} and wmt21/{pair}.ref.{target}"
    ),
    22: (
        "WMT22's general test set is in github.com/wmt-conference/wmt22-news-systems (txt/sources and txt/references, "
        "ref A; no licence is stated): save source and reference as wmt22/{pair}.src.{source} and "
        "wmt22/{pair}.ref.{target}"
    ),
}


@dataclass(frozen=True)
class _Direction:
    """From which language into which, and what is made of that."""

    source: Language
    target: Language
    swallow: Tokenize  # words of BLEU
    strict: Tokenize
    max_characters: int  # above the longest reference of WMT21 and WMT22, 242 and 657

    @property
    def pair(self) -> str:
        return f"{self.source}-{self.target}"

    @property
    def name(self) -> str:
        """Of its strict prompt."""
        return f"wmt_{self.source}_{self.target}"

    @property
    def where(self) -> dict[str, str]:
        return {"pair": self.pair, "source": self.source, "target": self.target}


EN_JA = _Direction("en", "ja", "nagisa-13a", "ja-mecab", 300)
JA_EN = _Direction("ja", "en", "13a", "13a", 800)


def _reader(direction: _Direction, where: str) -> Callable[[Files], Items]:
    def read(files: Files) -> Items:
        def rows(uri: str, malformed: Malformed) -> Iterator[tuple[Place, Record]]:
            if len(files.items) == 1:
                yield from _translations(uri, direction, malformed)
            else:
                require(files.items[1], where)
                yield from _pairs(uri, files.items[1], malformed)

        if len(files.items) > 2:
            raise ValueError(f"expected two files, source and reference, got {len(files.items)}")
        return read_items(files.items[:1], where, rows, _item)

    return read


def _pairs(source: str, reference: str, malformed: Malformed) -> Iterator[tuple[Place, Record]]:
    """Line by line what two files hold.

    Raises:
        ValueError: one has more lines than the other: which belong together is not known.
    """
    (sources, num_sources), (references, num_references) = (_numbered(uri, malformed) for uri in (source, reference))
    if num_sources != num_references:
        raise ValueError(
            f"{source} has {num_sources} lines, {reference} has {num_references}; they must hold the same sentences, "
            "line by line"
        )
    for number in sorted(sources.keys() & references.keys()):
        place, line = sources[number]
        yield place, {"source": line.rstrip(), "reference": references[number][1].rstrip()}


def _numbered(uri: str, malformed: Malformed) -> tuple[dict[int, tuple[Place, str]], int]:
    """The lines of a file by their numbers, and how many there are, with those that cannot be read."""
    before = len(malformed)
    lines = {place.number: (place, line) for place, line in text_lines(uri, malformed)}
    return lines, len(lines) + len(malformed) - before


def _translations(uri: str, direction: _Direction, malformed: Malformed) -> Iterator[tuple[Place, Record]]:
    for place, row in records(uri, malformed):
        pair = row.get("translation", row)
        yield place, {"source": pair.get(direction.source), "reference": pair.get(direction.target)}


def _item(place: Place, row: Mapping[str, Any]) -> Item:
    source, reference = text(row, "source"), text(row, "reference")
    return Item(place.id, {"source": source}, reference, f"{source} {reference}")


def _swallow(direction: _Direction) -> Form:
    source, target = LANGUAGES[direction.source], LANGUAGES[direction.target]

    def question(item: Item) -> str:
        return f"{source} phrase: {item.parts['source']}\n{target} phrase:"

    def ask(item: Item, shots: Sequence[Item]) -> tuple[Request, ...]:
        context = harness_context([f"{question(shot)} {shot.gold}" for shot in shots], after=question(item))
        return (Generate(context, stops=("\n",), max_tokens=MAX_TOKENS),)

    def judge(item: Item, results: Sequence[Result], encoder: Encoder) -> Judgement:
        return _judgement(item, results, direction.swallow)

    words = (
        "Output and reference are cut into words by nagisa, then BLEU's tokenizer for European languages (13a) splits "
        "those; neither MeCab nor `ja-mecab` is used."
        if direction.target == "ja"
        else "BLEU's words are those of tokenizer 13a."
    )
    return Form(
        version=1,
        num_shots=NUM_SHOTS,
        shots=from_evaluated(NUM_SHOTS),
        shots_from=evaluated,
        ask=ask,
        judge=judge,
        metrics=(BLEU,),
        quirks=(
            words,
            "The shots are other sentences of the test set, with their references; some stand in the same article as "
            "the sentence asked.",
            DRAWN_FROM_EVALUATED,
            TOKEN_LIMIT,
            *COMMON_QUIRKS,
        ),
    )


def _strict(direction: _Direction) -> Form:
    source, target = LANGUAGES[direction.source], LANGUAGES[direction.target]

    def asked(parts: Mapping[str, Any]) -> Asked:
        return Asked(after=f"{source}: {parts['source']}\n{target}:")

    def judge(item: Item, results: Sequence[Result], encoder: Encoder) -> Judgement:
        judgement = _judgement(item, results, direction.strict)
        chrf = sentence_chrf(judgement.normalised, judgement.gold)
        return replace(judgement, columns={**judgement.columns, "chrf": chrf})

    return strict_form(
        direction.name,
        asked=asked,
        between=" ",
        judge=judge,
        metrics=(BLEU, mean("sentence_chrf", "chrf")),
        max_characters=direction.max_characters,
    )


def _judgement(item: Item, results: Sequence[Result], words: Tokenize) -> Judgement:
    output, flags = generated(results[0])
    hypothesis = output.strip()
    return Judgement(output, hypothesis, item.gold, bleu_columns(hypothesis, item.gold, words), flags=flags)


def sentence_chrf(hypothesis: str, reference: str) -> float:
    """chrF of one sentence (Popović, 2015; sacrebleu's, character n-grams up to 6, beta 2), 0 to 1.

    Unlike corpus BLEU it is a value of each sentence, so two models can be compared sentence by sentence.
    """
    score: float = _chrf().sentence_score(encodable(hypothesis), [encodable(reference)]).score
    return score / 100


@cache
def _chrf() -> Any:
    from sacrebleu.metrics import CHRF

    return CHRF()


def _benchmark(year: int, direction: _Direction) -> Benchmark:
    folder = f"wmt{year}"
    pair, source, target = direction.pair, direction.source, direction.target
    where = _WHERE[year].format(**direction.where)
    return Benchmark(
        name=f"{folder}_{source}_{target}",
        label=f"WMT{year} {source.capitalize()}-{target.capitalize()}",
        language="ja",
        category="MT",
        default_items=(
            (f"{folder}/{pair}.src.{source}", f"{folder}/{pair}.ref.{target}"),
            (f"{folder}/{folder}.{pair}.src", f"{folder}/{folder}.{pair}.ref"),  # as sacrebleu 2 keeps them
            (f"{folder}/{pair}.{source}", f"{folder}/{pair}.{target}"),  # as sacrebleu 1 did
        ),
        where=where,
        read=_reader(direction, where),
        forms={"strict": _strict(direction), "swallow-2023": _swallow(direction)},
        stands_in_for=None if year == 20 else f"wmt20_{source}_{target}",
        notes=() if year == 20 else ("Not the test set of the Swallow authors, which is WMT20's.",),
    )


WMT20_EN_JA, WMT20_JA_EN = _benchmark(20, EN_JA), _benchmark(20, JA_EN)
WMT21_EN_JA, WMT21_JA_EN = _benchmark(21, EN_JA), _benchmark(21, JA_EN)
WMT22_EN_JA, WMT22_JA_EN = _benchmark(22, EN_JA), _benchmark(22, JA_EN)
