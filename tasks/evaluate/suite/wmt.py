"""News translation between English and Japanese: WMT20, and WMT21 and WMT22 in its stead.

In: two text files, source and reference, line by line the same sentences, named as here (`en-ja.src.en`,
`en-ja.ref.ja`) or as sacrebleu keeps them; or rows of a `translation` (`en`, `ja`), as on the hub. The Swallow authors
used WMT20 as sacrebleu downloads it.

    items = WMT20_EN_JA.read(Files(items=("wmt20/en-ja.src.en", "wmt20/en-ja.ref.ja")))
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from tasks.evaluate.benchmark import Benchmark, Files, Form, Item, Items, Judgement, Read
from tasks.evaluate.metrics.bleu import BLEU, Tokenize, bleu_columns
from tasks.evaluate.metrics.chrf import SENTENCE_CHRF, sentence_chrf
from tasks.evaluate.requests import Generate, Request, Result
from tasks.evaluate.suite.answers import generated
from tasks.evaluate.suite.harness_form import MAX_TOKENS, harness_context, harness_form
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
from tasks.evaluate.suite.strict_form import Asked, strict_line_form

if TYPE_CHECKING:
    from tokenizer.encoder import Encoder

NUM_SHOTS = 4
AUTHORS_YEAR = 20  # of the test set of the Swallow authors; the others stand in for it
LANGUAGES = {"en": "English", "ja": "Japanese"}
Language = Literal["en", "ja"]
_WHERE_20 = (
    "WMT20's news test set belongs to the WMT organisers (statmt.org/wmt20, for research): "
    "`sacrebleu -t wmt20 -l {pair} --echo src > wmt20/{pair}.src.{source}`, and `--echo ref > "
    "wmt20/{pair}.ref.{target}`, below the data folder"
)
_WHERE_LATER = (
    "WMT{year}'s {what} test set is in github.com/wmt-conference/wmt{year}-news-systems (txt/sources and "
    "txt/references, ref A; no licence is stated): save source and reference as wmt{year}/{pair}.src.{source} and "
    "wmt{year}/{pair}.ref.{target}"
)


@dataclass(frozen=True)
class _Direction:
    """From which language into which, and what is made of that."""

    source: Language
    target: Language
    swallow_words: Tokenize  # that BLEU counts
    strict_words: Tokenize
    max_characters: int  # above the longest reference of WMT21 and WMT22, 242 and 657

    @property
    def pair(self) -> str:
        return f"{self.source}-{self.target}"

    @property
    def name(self) -> str:
        """Of its strict prompt."""
        return f"wmt_{self.source}_{self.target}"

    def where(self, year: int) -> str:
        """Who publishes the test set of a year."""
        told = {"pair": self.pair, "source": self.source, "target": self.target}
        if year == AUTHORS_YEAR:
            return _WHERE_20.format(**told)
        return _WHERE_LATER.format(**told, year=year, what="news" if year == 21 else "general")


EN_JA = _Direction("en", "ja", "nagisa-13a", "ja-mecab", 300)
JA_EN = _Direction("ja", "en", "13a", "13a", 800)


def _reader(direction: _Direction, where: str) -> Read:
    """`Benchmark.read`: of two text files, or of one file of rows that hold both languages."""

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
    """The rows of one file as sources and references; a row may hold its languages in `translation`, as on the hub."""
    for place, row in records(uri, malformed):
        pair = row.get("translation", row)
        yield place, {"source": pair.get(direction.source), "reference": pair.get(direction.target)}


def _item(place: Place, row: Mapping[str, Any]) -> Item:
    source, reference = text(row, "source"), text(row, "reference")
    return Item(place.id, {"source": source}, reference, f"{source} {reference}")


def _swallow(direction: _Direction) -> Form:
    """The form of profile swallow-2023."""
    source, target = LANGUAGES[direction.source], LANGUAGES[direction.target]

    def question(item: Item) -> str:
        return f"{source} phrase: {item.parts['source']}\n{target} phrase:"

    def ask(item: Item, shots: Sequence[Item]) -> tuple[Request, ...]:
        context = harness_context([f"{question(shot)} {shot.gold}" for shot in shots], after=question(item))
        return (Generate(context, stops=("\n",), max_tokens=MAX_TOKENS),)

    def judge(item: Item, results: Sequence[Result], encoder: Encoder) -> Judgement:
        return _judgement(item, results, direction.swallow_words)

    words_quirk = (
        "Output and reference are cut into words by nagisa, then BLEU's tokenizer for European languages (13a) splits "
        "those; neither MeCab nor `ja-mecab` is used."
        if direction.target == "ja"
        else "BLEU's words are those of tokenizer 13a."
    )
    return harness_form(
        num_shots=NUM_SHOTS,
        ask=ask,
        judge=judge,
        metrics=(BLEU,),
        generates=True,
        quirks=(
            words_quirk,
            "The shots are other sentences of the test set, with their references; some stand in the same article as "
            "the sentence asked.",
        ),
    )


def _strict(direction: _Direction) -> Form:
    """The form of profile strict; chrF beside BLEU, for it is a value of each sentence."""
    source, target = LANGUAGES[direction.source], LANGUAGES[direction.target]

    def asked(parts: Mapping[str, Any]) -> Asked:
        return Asked(after=f"{source}: {parts['source']}\n{target}:")

    def judge(item: Item, results: Sequence[Result], encoder: Encoder) -> Judgement:
        judgement = _judgement(item, results, direction.strict_words)
        chrf = sentence_chrf(judgement.normalised, judgement.gold)
        return replace(judgement, columns={**judgement.columns, "chrf": chrf})

    return strict_line_form(
        direction.name,
        asked=asked,
        between=" ",
        judge=judge,
        metrics=(BLEU, SENTENCE_CHRF),
        max_characters=direction.max_characters,
    )


def _judgement(item: Item, results: Sequence[Result], words: Tokenize) -> Judgement:
    output, flags = generated(results[0])
    hypothesis = output.strip()
    return Judgement(output, hypothesis, item.gold, bleu_columns(hypothesis, item.gold, words), flags=flags)


def _benchmark(year: int, direction: _Direction) -> Benchmark:
    """The test set of a year; all but the authors' stand in for theirs."""
    folder = f"wmt{year}"
    pair, source, target = direction.pair, direction.source, direction.target
    where = direction.where(year)
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
        stands_in_for=None if year == AUTHORS_YEAR else f"wmt{AUTHORS_YEAR}_{source}_{target}",
        notes=() if year == AUTHORS_YEAR else ("Not the test set of the Swallow authors, which is WMT20's.",),
    )


WMT20_EN_JA, WMT20_JA_EN = _benchmark(20, EN_JA), _benchmark(20, JA_EN)
WMT21_EN_JA, WMT21_JA_EN = _benchmark(21, EN_JA), _benchmark(21, JA_EN)
WMT22_EN_JA, WMT22_JA_EN = _benchmark(22, EN_JA), _benchmark(22, JA_EN)
