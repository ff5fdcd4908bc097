"""Planted near-duplicates: pairs of texts whose Jaccard similarity is known, and the S-curve they should follow.

A planted text is about 1,900 characters of Japanese sentences that chance puts together from 64 words of the text's own
and particles: it says nothing, but has the alphabet, the lengths and the repetitions of prose, and shares hardly a
shingle with another one. (Were the same phrases in all of them, the pairs would not be independent: a permutation that
happens to be lowest at such a phrase would agree in most pairs, and the S-curve be off for all of them alike.)
Text number i of a seed is always the same, whatever is made beside it: every choice is a hash (SplitMix64, Steele et
al. 2014) of seed, number and place. A near-duplicate has runs of characters replaced by those of another text: with S
shingles of which d change, the similarity is (S - d) / (S + d).

Two documents of similarity J share at least one of `bands` buckets of `rows` MinHash values with probability
1 - (1 - J^rows)^bands (Leskovec et al., Mining of Massive Datasets, section 3.4.2): the S-curve, which is measured here
with the signatures that deduplication itself uses.

Memory: about 40 bytes for each character of the texts made at a time, 100 x characters of PAIRS_AT_A_TIME originals for
pairs (50 MB).

    measured_s_curve(DeduplicateConfig(), pairs_per_bin=200)[3].observed
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa

from tasks.deduplicate.config import DeduplicateConfig

BIN_EDGES = (0.70, 0.73, 0.76, 0.79, 0.82, 0.85, 0.88, 0.91, 0.94, 0.97, 1.0)
PAIRS_AT_A_TIME = 256
_MAX_TRIES = 10  # pairs made for each that is wanted: a bin that a tenth of them does not fit into stays short
_RUN_LENGTH = 20  # characters, roughly: some words

_KANJI = (
    "雲雀野原春風朝霧歌声丘川辺麦畑青空巣羽旅人古道村鐘山海島橋門庭花草木林森泉岩石砂土水火光影月星日夜昼夕東西南北左右"
    "前後上下中外内町市国里港駅車船馬牛犬猫鳥魚虫米茶酒塩油紙筆墨本文字言語話音色形心身手足目耳口頭顔髪親子兄弟姉妹友客"
    "主師医兵王民祭神寺社城家屋根戸窓床柱壁階段席机箱袋糸布衣帽靴針金銀銅鉄玉鏡絵写真図画面像館室店場所地方"
)
_NOUN = None  # two kanji, of the text's own nouns
_SENTENCE: tuple[Sequence[str] | None, ...] = (
    _NOUN,
    ("の", "の", "は", "が", "も", "や", "では", "には"),
    _NOUN,
    ("を", "に", "で", "へ", "と", "から", "まで", "より"),
    _NOUN,
    ("を", "に", "へ", "と", "的に"),
    _NOUN,
    ("する。", "した。", "だ。", "です。", "した。\n", "だった。"),
)
_NOUNS_OF_TEXT = 64
_MIN_SENTENCES, _MAX_SENTENCES = 57, 195  # of 15 characters

_STEP = np.uint64(0x9E3779B97F4A7C15)  # SplitMix64's increment and multipliers
_MULTIPLIERS = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_DONORS = 1 << 32  # added to a seed: the texts that replacements come from
_EDITS = 2 << 32  # added to a seed: where texts are edited


@dataclass(frozen=True)
class Texts:
    """Texts as code points, uint32, one after another; `starts` int64 (texts + 1,) says where each begins and ends."""

    points: np.ndarray
    starts: np.ndarray

    def __len__(self) -> int:
        return len(self.starts) - 1

    def to_arrow(self) -> pa.StringArray:
        """The texts in UTF-8."""
        points = self.points
        # One byte, and one more from each of these code points on.
        sizes = 1 + sum((points >= first).astype(np.int64) for first in (0x80, 0x800, 0x10000))
        ends = np.concatenate([[0], np.cumsum(sizes)])[self.starts].astype(np.int32)
        data = points.astype("<u4").tobytes().decode("utf-32-le").encode()
        return pa.StringArray.from_buffers(len(self), pa.py_buffer(ends), pa.py_buffer(data))


@dataclass(frozen=True)
class PlantedPairs:
    """Near-duplicates: text i of `originals` and text i of `copies` have Jaccard similarity `jaccards[i]`, exactly."""

    originals: pa.StringArray
    copies: pa.StringArray
    jaccards: np.ndarray


@dataclass(frozen=True)
class CurveBin:
    """Planted pairs with similarity from `low` to below `high`: the share of them that share a bucket, and should.

    `theory` is the mean of the S-curve over the pairs, `standard_error` that of `observed` if the theory holds.
    """

    low: float
    high: float
    pairs: int
    mean_jaccard: float
    theory: float
    observed: float
    standard_error: float


def planted_texts(numbers: np.ndarray, seed: int = 0) -> Texts:
    """The texts with these numbers.

    Args:
        numbers: integers >= 0 (texts,).
    """
    keys = planted_hash(seed, numbers)
    sentences = (keys % np.uint64(_MAX_SENTENCES - _MIN_SENTENCES + 1)).astype(np.int64) + _MIN_SENTENCES
    of_text = np.repeat(keys, sentences)
    within = np.arange(sentences.sum()) - np.repeat(np.cumsum(sentences) - sentences, sentences)
    of_sentence = _mix(of_text + within.astype(np.uint64) * _STEP)
    steps = np.arange(1, len(_SENTENCE) + 1, dtype=np.uint64) * _STEP
    words = np.empty((len(of_text), len(_SENTENCE)), np.int64)
    for place, choices in enumerate(_SENTENCE):
        chance = _mix(of_sentence + steps[place])
        if choices is _NOUN:
            # The lesser of two: a text's first nouns come up more often than its last.
            noun = np.minimum(chance % np.uint64(_NOUNS_OF_TEXT), (chance >> np.uint64(32)) % np.uint64(_NOUNS_OF_TEXT))
            words[:, place] = _mix(~of_text + noun * _STEP) % np.uint64(len(_KANJI) ** 2)
        else:
            words[:, place] = _FIRST_WORD[place] + (chance % np.uint64(len(choices))).astype(np.int64)
    points, ends = _spelled(words.reshape(-1))
    return Texts(points, np.concatenate([[0], ends[np.cumsum(sentences) * len(_SENTENCE) - 1]]))


def edited(originals: Texts, jaccards: np.ndarray, ngram: int, keys: np.ndarray) -> Texts:
    """Copies of texts with runs of characters replaced, so that they have about these similarities to the originals.

    Args:
        jaccards: float64 (texts,), wanted; the exact value differs a little where shingles repeat.
        keys: uint64 (texts,): decide where the runs are and what replaces them.
    """
    lengths = np.diff(originals.starts)
    shingles = np.maximum(lengths - ngram + 1, 1)
    changed = np.maximum(np.rint(shingles * (1 - jaccards) / (1 + jaccards)).astype(np.int64), ngram)
    runs = np.maximum(changed // (_RUN_LENGTH + ngram - 1), 1)
    # One run in each of equal parts of a text, so far from the part's end that no shingle is in two runs.
    of_text = np.repeat(np.arange(len(lengths)), runs)
    number = np.arange(len(of_text)) - np.repeat(np.cumsum(runs) - runs, runs)
    part = lengths[of_text] // runs[of_text]
    shared = changed[of_text] // runs[of_text] + (number < (changed % runs)[of_text])
    length = np.clip(shared - ngram + 1, 1, part)
    room = np.maximum(part - length - ngram + 1, 0) + 1
    offset = (_mix(keys[of_text] + (number + 1).astype(np.uint64) * _STEP) % room.astype(np.uint64)).astype(np.int64)
    start = originals.starts[of_text] + number * part + offset

    places = np.repeat(start - (np.cumsum(length) - length), length) + np.arange(length.sum())
    donors = planted_texts(keys, _DONORS)
    text = np.repeat(of_text, length)
    within = (places - originals.starts[text]) % np.diff(donors.starts)[text]
    points = originals.points.copy()
    points[places] = donors.points[donors.starts[text] + within]
    return Texts(points, originals.starts)


def planted_pairs(low: float, high: float, count: int, *, ngram: int = 5, seed: int = 0) -> Iterator[PlantedPairs]:
    """`count` pairs with similarities from `low` to below `high`, PAIRS_AT_A_TIME or fewer at a time.

    Fewer in all, or none, where texts of this length cannot be so similar: one replaced character changes `ngram`
    shingles.
    """
    from tasks.deduplicate.jaccard import jaccards_of_texts  # compiles; the texts alone do not need it

    made = 0
    at_a_time = min(PAIRS_AT_A_TIME, count + count // 4 + 8)  # some will not fit
    for first in range(0, _MAX_TRIES * (count + at_a_time), at_a_time):
        if made == count:
            return
        numbers = np.arange(first, first + at_a_time)
        keys = planted_hash(seed + _EDITS, numbers)
        originals = planted_texts(numbers, seed)
        wanted = low + (high - low) * ((keys >> np.uint64(11)) * 2.0**-53)
        texts, copies = originals.to_arrow(), edited(originals, wanted, ngram, keys).to_arrow()
        jaccards = jaccards_of_texts(texts, copies, ngram)
        fitting = np.flatnonzero((jaccards >= low) & (jaccards < high))[: count - made]
        if len(fitting):
            made += len(fitting)
            yield PlantedPairs(texts.take(pa.array(fitting)), copies.take(pa.array(fitting)), jaccards[fitting])


def s_curve(bands: int, rows: int, jaccards: np.ndarray) -> np.ndarray:
    """Probability that two documents of these similarities share a bucket: 1 - (1 - J^rows)^bands."""
    return 1 - (1 - np.asarray(jaccards, dtype=np.float64) ** rows) ** bands


def measured_s_curve(
    config: DeduplicateConfig, pairs_per_bin: int, *, seed: int = 0, edges: Sequence[float] = BIN_EDGES
) -> list[CurveBin]:
    """Sign planted pairs as deduplication does and count those that share a bucket; bins without pairs are left out.

    Args:
        edges: of the bins of similarity, ascending.
    """
    from tasks.deduplicate.signatures import Signer

    signer = Signer(ngram=config.ngram, bands=config.bands, rows=config.rows, kind=config.signatures)
    curve = []
    for number, (low, high) in enumerate(pairwise(edges)):
        jaccards: list[np.ndarray] = []
        shared: list[np.ndarray] = []
        for pairs in planted_pairs(low, high, pairs_per_bin, ngram=config.ngram, seed=len(edges) * seed + number):
            left, right = signer.sign(pairs.originals).bands, signer.sign(pairs.copies).bands
            jaccards.append(pairs.jaccards)
            shared.append((left == right).any(axis=1))
        if jaccards:
            curve.append(curve_bin(low, high, np.concatenate(jaccards), np.concatenate(shared), config))
    return curve


def curve_bin(low: float, high: float, jaccards: np.ndarray, shared: np.ndarray, config: DeduplicateConfig) -> CurveBin:
    """What pairs of these similarities, float64 (pairs,), that share a bucket or not, bool (pairs,), say of a bin."""
    theory = s_curve(config.bands, config.rows, jaccards)
    return CurveBin(
        low=low,
        high=high,
        pairs=len(jaccards),
        mean_jaccard=float(jaccards.mean()),
        theory=float(theory.mean()),
        observed=float(shared.mean()),
        standard_error=float(np.sqrt((theory * (1 - theory)).sum()) / len(jaccards)),
    )


def planted_hash(seed: int, numbers: np.ndarray) -> np.ndarray:
    """uint64, of the shape of `numbers`: as good as random, and the same everywhere."""
    start = _mix(np.array([seed], np.uint64) * _STEP + _STEP)
    return _mix(start + np.asarray(numbers).astype(np.uint64) * _STEP)


def _mix(values: np.ndarray) -> np.ndarray:
    """SplitMix64's finalizer."""
    values = (values ^ (values >> np.uint64(30))) * _MULTIPLIERS[0]
    values = (values ^ (values >> np.uint64(27))) * _MULTIPLIERS[1]
    return values ^ (values >> np.uint64(31))


def _spelled(words: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Code points of words, one after another, and where each word ends, int64 (words,)."""
    lengths = _WORD_LENGTH[words]
    ends = np.cumsum(lengths)
    places = np.repeat(_WORD_START[words] - (ends - lengths), lengths) + np.arange(ends[-1] if len(ends) else 0)
    return _WORD_POINTS[places], ends


_WORDS = [one + other for one in _KANJI for other in _KANJI]  # a noun's number is its place
_FIRST_WORD = []
for _choices in _SENTENCE:
    _FIRST_WORD.append(len(_WORDS))
    _WORDS += _choices or ()
_WORD_LENGTH = np.array([len(word) for word in _WORDS], np.int64)
_WORD_START = np.cumsum(_WORD_LENGTH) - _WORD_LENGTH
_WORD_POINTS = np.frombuffer("".join(_WORDS).encode("utf-32-le"), "<u4")
