"""Training the language model: from texts the user names to the weights of n-grams.

In: files of Japanese texts and files of texts in any other language (JSON lines or Parquet with `text`, or plain
`.txt`). Out: an `NgramModel`.

Samples are what a page's main text can look like. Pieces of 20 to 2,560 characters, cut at any place, so that short
texts are judged as well as long ones. And mixtures, a Japanese piece beside one in another language, from an eighth of
its letters to eight times as many: their label is what the decision is to be, Japanese where kana and kanji of the
Japanese piece are at least half of all letters. A piece of a Japanese file is held to the same, because its files have
lists, code and untranslated paragraphs in them.

The model is a logistic regression with an L2 penalty on the features that scoring uses, counts of n-grams divided by
√(3 · characters). It is fitted on the n-grams of at least `min_samples` samples, then again on the `num_ngrams` of them
whose weights did most, then rounded to whole numbers. The loss is convex, the optimiser (L-BFGS) starts from zero and
nothing is drawn at random, so the same texts give the same model. One sample in ten is kept apart and measured.

    model, report = train_language(["ja.jsonl.gz"], ["en.jsonl.gz", "zh.jsonl.gz"])
    write_model(Path("ja-ngram.json"), model)
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import cycle

import numpy as np

from storage.sources import read_source
from storage.uri import expand_glob, read_bytes
from tasks.curate.characters import JAPANESE, LETTER, classify
from tasks.curate.extract import tidy
from tasks.curate.logistic import Samples, fit
from tasks.curate.ngram_model import NgramModel, slices, unpack_ngrams

logger = logging.getLogger(__name__)

PIECE_LENGTHS = (20, 40, 80, 160, 320, 640, 1280, 2560)  # characters
MAX_RATIO = 8.0  # letters of the other piece of a mixture / letters of the Japanese one, and the inverse
HELD_OUT = 10  # one sample in so many
_GOLDEN = 0.6180339887498949  # its multiples modulo 1 are spread evenly over any stretch of samples
_WEIGHT_RANGE = 2000  # the largest weight in steps
_BLOCK = 2000  # samples whose n-grams are counted at a time


@dataclass(frozen=True)
class TrainingConfig:
    """How a model is trained.

    Attributes:
        max_characters: of either side, read in equal parts from the beginning of its files.
        num_mixtures: mixed samples for every Japanese piece.
        min_samples: samples that an n-gram has to be in.
        num_ngrams: of the finished model.
        l2: penalty / 2 · Σ w², beside the mean loss of the samples.
        max_steps: of the optimiser.
    """

    max_characters: int = 8_000_000
    num_mixtures: int = 2
    min_samples: int = 12
    num_ngrams: int = 40_000
    l2: float = 1e-6
    max_steps: int = 100


@dataclass(frozen=True)
class TrainingReport:
    """What training saw, and how the finished model does on the samples kept apart."""

    num_samples: int
    num_japanese: int
    num_candidates: int
    num_ngrams: int
    held_out: int
    held_out_precision: float
    held_out_recall: float


def train_language(
    japanese: Sequence[str],
    other: Sequence[str],
    config: TrainingConfig | None = None,
    say: Callable[[str], None] = logger.info,
) -> tuple[NgramModel, TrainingReport]:
    """Train a model.

    Args:
        japanese: paths, globs or URIs of Japanese texts.
        other: of texts in whatever languages are not Japanese.
        say: told how far it is.

    Raises:
        FileNotFoundError: a path that matches nothing.
        ValueError: a file that cannot be read, or too little text to learn from.
    """
    config = config or TrainingConfig()
    (ja_texts, ja_files), (other_texts, other_files) = (
        _read_files([file for uri in uris for file in expand_glob(uri)], config.max_characters)
        for uris in (japanese, other)
    )
    texts, labels = _make_samples(ja_texts, other_texts, config.num_mixtures)
    num_japanese = int(np.count_nonzero(labels))
    say(f"{len(texts):,} samples, {num_japanese:,} of them Japanese")
    if min(num_japanese, len(labels) - num_japanese) < HELD_OUT:
        raise ValueError(
            f"{num_japanese} Japanese samples and {len(labels) - num_japanese} others: too little text to learn from; "
            "name more files with --japanese and --other"
        )
    candidates = _frequent(texts, config.min_samples)
    say(f"{len(candidates):,} n-grams are in at least {config.min_samples} samples; fitting all")
    seen = np.arange(len(texts)) % HELD_OUT != HELD_OUT - 1
    training = _features(texts, labels, candidates, seen)
    weights = fit(training, len(candidates), config.l2, config.max_steps, say)
    influence = np.abs(weights) * np.bincount(training.columns, training.values, len(candidates))
    chosen = candidates[np.sort(np.argsort(-influence, kind="stable")[: config.num_ngrams])]
    say(f"fitting the {len(chosen):,} that matter")
    weights = fit(_features(texts, labels, chosen, seen), len(chosen), config.l2, config.max_steps, say)
    training_note = {"japanese": ja_files, "other": other_files, **asdict(config)}
    model = _round(unpack_ngrams(chosen), weights, training_note)
    return model, _measure(model, texts, labels, ~seen, len(candidates))


def _round(ngrams: list[str], weights: np.ndarray, training: dict[str, object]) -> NgramModel:
    step = float(np.abs(weights).max()) / _WEIGHT_RANGE
    rounded = np.rint(weights / step).astype(int).tolist()
    return NgramModel({ngram: w for ngram, w in zip(ngrams, rounded, strict=True) if w}, step, training)


def _read_files(files: list[str], max_characters: int) -> tuple[list[str], list[dict[str, str | int]]]:
    """The texts from the beginning of each file, and what a model's header says of the files."""
    texts: list[str] = []
    told: list[dict[str, str | int]] = []
    for file in files:
        num_texts, num_characters = len(texts), 0
        for text in _texts(file):
            texts.append(text)
            num_characters += len(text)
            if num_characters >= max_characters / len(files):
                break
        digest = hashlib.sha256(read_bytes(file)).hexdigest()
        name = file.rsplit("/", 1)[-1]
        told.append({"file": name, "sha256": digest, "texts": len(texts) - num_texts, "characters": num_characters})
    return texts, told


def _texts(file: str) -> Iterator[str]:
    if file.endswith(".txt"):
        try:
            return iter([read_bytes(file).decode()])
        except UnicodeDecodeError as error:
            raise ValueError(f"{file}: not text in UTF-8 ({error})") from error
    return (text for _, text in read_source([file], "language"))


def _make_samples(japanese: list[str], other: list[str], num_mixtures: int) -> tuple[list[str], np.ndarray]:
    """Pieces of both sides and mixtures of them, with their labels."""
    ja_pieces, other_pieces = list(_pieces(japanese)), list(_pieces(other))
    samples = [(piece, _is_half_japanese(piece)) for piece in ja_pieces] + [(piece, False) for piece in other_pieces]
    beside = cycle(other_pieces)
    for round in range(num_mixtures if other_pieces else 0):
        for number, piece in enumerate(ja_pieces):
            ratio = MAX_RATIO ** (2 * ((number + round / num_mixtures) * _GOLDEN % 1) - 1)
            samples.append(_mixture(piece, next(beside), ratio, other_first=number % 2 == 0))
    return [text for text, _ in samples], np.array([label for _, label in samples], bool)


def _pieces(texts: list[str]) -> Iterator[str]:
    """Texts, tidied as main texts are, in pieces whose lengths take turns; the last one of a text is what is left."""
    lengths = cycle(PIECE_LENGTHS)
    for text in map(tidy, texts):
        start = 0
        while start < len(text):
            length = next(lengths)
            if piece := text[start : start + length].strip():
                yield piece
            start += length


def _mixture(japanese: str, other: str, ratio: float, *, other_first: bool) -> tuple[str, bool]:
    """Two pieces one after the other, the longer cut so that letters of `other` are `ratio` times the Japanese."""
    num_japanese, num_other = _num_letters(japanese), _num_letters(other)
    if num_other > ratio * num_japanese:
        other = other[: max(1, int(len(other) * ratio * num_japanese / num_other))]
    elif num_other:
        japanese = japanese[: max(1, int(len(japanese) * num_other / (ratio * num_japanese or 1)))]
    text = f"{other}\n{japanese}" if other_first else f"{japanese}\n{other}"
    num_kana_and_kanji = int(np.count_nonzero(classify(japanese) & JAPANESE))
    return text, num_kana_and_kanji > 0 and 2 * num_kana_and_kanji >= _num_letters(text)


def _is_half_japanese(text: str) -> bool:
    num_japanese = int(np.count_nonzero(classify(text) & JAPANESE))
    return num_japanese > 0 and 2 * num_japanese >= _num_letters(text)


def _num_letters(text: str) -> int:
    return int(np.count_nonzero(classify(text) & (LETTER | JAPANESE)))


def _frequent(texts: list[str], min_samples: int) -> np.ndarray:
    """The n-grams of at least `min_samples` samples, packed and sorted."""
    ngrams, counts = np.zeros(0, np.uint64), np.zeros(0, np.int64)
    for start in range(0, len(texts), _BLOCK):
        distinct = [np.unique(slices(text)) for text in texts[start : start + _BLOCK]]
        ngrams, place = np.unique(np.concatenate([ngrams, *distinct]), return_inverse=True)
        added = np.ones(len(place) - len(counts), np.int64)
        counts = np.bincount(place, np.concatenate([counts, added])).astype(np.int64)
    return ngrams[counts >= min_samples]


def _features(texts: list[str], labels: np.ndarray, ngrams: np.ndarray, chosen: np.ndarray) -> Samples:
    """The features of the chosen samples: counts of `ngrams` / √(slices). A sample without any gets one of value 0."""
    columns: list[np.ndarray] = []
    values: list[np.ndarray] = []
    for number in np.flatnonzero(chosen):
        keys = slices(texts[number])
        place = np.minimum(np.searchsorted(ngrams, keys), len(ngrams) - 1)
        found, counts = np.unique(place[ngrams[place] == keys], return_counts=True)
        columns.append(found.astype(np.int32) if len(found) else np.zeros(1, np.int32))
        values.append(((counts if len(found) else np.zeros(1)) / np.sqrt(len(keys))).astype(np.float32))
    starts = np.concatenate([[0], np.cumsum([len(row) for row in columns])])
    return Samples(labels[chosen], starts, np.concatenate(columns), np.concatenate(values))


def _measure(
    model: NgramModel, texts: list[str], labels: np.ndarray, held_out: np.ndarray, num_candidates: int
) -> TrainingReport:
    called = np.array([model.score(texts[number]) > 0 for number in np.flatnonzero(held_out)])
    true = labels[held_out]
    right = int(np.count_nonzero(called & true))
    return TrainingReport(
        num_samples=len(texts),
        num_japanese=int(np.count_nonzero(labels)),
        num_candidates=num_candidates,
        num_ngrams=len(model.ngrams),
        held_out=len(true),
        held_out_precision=right / max(1, int(np.count_nonzero(called))),
        held_out_recall=right / max(1, int(np.count_nonzero(true))),
    )
