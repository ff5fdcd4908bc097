"""A linear language model over character 1-, 2- and 3-grams: is this text Japanese?

In: a text. Out: score = Σ w / √(3 · characters), the form of the released swallow-corpus code (`nanigo.py`): at every
character its 1-, 2- and 3-gram are looked up, those that the model lacks weigh 0, and at the end of the text the
slices are shorter, so its last characters count again. A text is Japanese when its score is above 0. The text is taken
as it is: no lower case, no normalisation.

The weights are whole numbers (`step` times which they are the real ones), so a score is one exact sum, the same on
every machine. On disk a model is one JSON object: `format`, `version`, `step`, `training` (what it was trained on and
how) and `ngrams` (n-gram -> whole number). `tasks/curate/train_language.py` makes one; `builtin` names the one that
comes with Hibari, of which `data/ja-ngram.md` tells the origin.

All of a text's n-grams are looked up at once. A 1-gram indexes a table by code point. A 2- or 3-gram is packed into 64
bits and lies in one of two slots of a cuckoo hash table, so a look-up is two gathers and two comparisons.

    load_model("builtin").score("雲雀は空高く舞い上がる。") > 0
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from storage.uri import read_bytes
from tasks.code_points import code_points

FORMAT = "hibari-ngram"
VERSION = 1
MAX_WEIGHT = 32767
BUILTIN = "builtin"
SHIPPED = Path(__file__).with_name("data") / "ja-ngram.json"

_POINT_BITS = 21  # of a code point; three of them fit 64 bits
_NUM_POINTS = 0x110000
_MULTIPLIERS = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F))  # odd, bits well mixed
_MAX_ROUNDS = 100


@dataclass(frozen=True)
class NgramModel:
    """Weights of n-grams, and where they come from.

    Attributes:
        ngrams: n-gram of 1 to 3 characters -> its weight as a whole number of `step`.
        step: what a weight of 1 adds to the sum.
        training: of the model file's header.

    Raises:
        ValueError: an n-gram or a weight that no model has.
    """

    ngrams: Mapping[str, int]
    step: float
    training: Mapping[str, Any] = field(default_factory=dict)
    _lookup: _Lookup = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_lookup", _Lookup(self.ngrams))

    def score(self, text: str) -> float:
        """Σ w / √(3 · characters); 0 for an empty text."""
        if not text:
            return 0.0
        return self.step * self._lookup.sum(code_points(text)) / (3 * len(text)) ** 0.5

    def as_dict(self) -> dict[str, float]:
        """n-gram -> weight, what the released code reads as its model."""
        return {ngram: self.step * weight for ngram, weight in self.ngrams.items()}


class _Lookup:
    """The n-grams as tables."""

    def __init__(self, ngrams: Mapping[str, int]) -> None:
        texts = list(ngrams)
        values = list(ngrams.values())
        if not all(type(value) is int for value in values):
            raise ValueError("whole numbers expected as weights")
        weights = np.array(values, np.int64)
        if wrong := [text for text in texts if not 1 <= len(text) <= 3 or "\0" in text]:
            raise ValueError(f"n-grams of 1 to 3 characters without U+0000 expected, got {wrong[0]!r}")
        if len(weights) and np.abs(weights).max() > MAX_WEIGHT:
            raise ValueError(f"weights of at most {MAX_WEIGHT} expected, got {weights[np.abs(weights).argmax()]}")
        lengths = np.array([len(text) for text in texts])
        keys = pack_ngrams(texts)
        self.of_points = np.zeros(_NUM_POINTS)  # float64 holds these sums exactly, and numpy adds it fastest
        self.of_points[keys[lengths == 1]] = weights[lengths == 1]
        self.hashed = _CuckooTable(keys[lengths > 1], weights[lengths > 1].astype(np.float64))

    def sum(self, points: np.ndarray) -> int:
        """Sum of the weights of all slices."""
        single = self.of_points.take(points).sum() + 2 * self.of_points[points[-1]]
        return int(single + self.hashed.sum(_long_slices(points)))


class _CuckooTable:
    """64-bit keys -> float64, each key in its slot of one half of the table or of the other; key 0 is an empty slot."""

    def __init__(self, keys: np.ndarray, values: np.ndarray) -> None:
        bits = max(1, int(2 * len(keys)).bit_length())  # a load of at most a quarter, where every key finds a place
        self.shift = np.uint64(64 - bits)
        self.keys = np.zeros((2, 1 << bits), np.uint64)
        self.values = np.zeros((2, 1 << bits))
        self._place(keys, values)

    def sum(self, keys: np.ndarray) -> float:
        """Sum of the values of `keys`; 0 for what is not in the table."""
        total = 0.0
        for half in range(2):
            slots = self._slots(keys, half)
            found = np.flatnonzero(self.keys[half].take(slots, mode="clip") == keys)  # clip: no check of the bounds
            total += self.values[half].take(slots.take(found, mode="clip"), mode="clip").sum()
        return total

    def _slots(self, keys: np.ndarray, half: int) -> np.ndarray:
        slots = keys * _MULTIPLIERS[half]
        slots >>= self.shift
        return slots.view(np.int64)

    def _place(self, keys: np.ndarray, values: np.ndarray) -> None:
        """All keys at once: whoever comes to a taken slot puts out its holder, who tries the other half."""
        for round in range(_MAX_ROUNDS):
            if not len(keys):
                return
            half = round % 2
            slots, first = np.unique(self._slots(keys, half), return_index=True)
            placed = np.zeros(len(keys), bool)
            placed[first] = True
            put_out_keys, put_out_values = self.keys[half][slots], self.values[half][slots]
            self.keys[half][slots], self.values[half][slots] = keys[first], values[first]
            taken = put_out_keys != 0
            keys = np.concatenate([keys[~placed], put_out_keys[taken]])
            values = np.concatenate([values[~placed], put_out_values[taken]])
        raise AssertionError(f"{len(keys)} keys found no slot")


def pack_ngrams(ngrams: list[str]) -> np.ndarray:
    """(n-grams,) uint64: the code points side by side, the first lowest; shorter n-grams end in zeros."""
    padded = code_points("".join(ngram.ljust(3, "\0") for ngram in ngrams)).reshape(-1, 3).astype(np.uint64)
    return padded[:, 0] | padded[:, 1] << np.uint64(_POINT_BITS) | padded[:, 2] << np.uint64(2 * _POINT_BITS)


def unpack_ngrams(keys: np.ndarray) -> list[str]:
    """The n-grams of packed keys."""
    mask = np.uint64((1 << _POINT_BITS) - 1)
    points = [(keys >> np.uint64(shift)) & mask for shift in (0, _POINT_BITS, 2 * _POINT_BITS)]
    return ["".join(chr(point) for point in row if point) for row in np.stack(points, axis=1).tolist()]


def slices(text: str) -> np.ndarray:
    """(3 · characters,) uint64: every slice of a text that counts, packed."""
    points = code_points(text)
    return np.concatenate([points, points[-1:], points[-1:], _long_slices(points)], dtype=np.uint64)


def _long_slices(points: np.ndarray) -> np.ndarray:
    """The slices of two and three characters; the last two characters are a slice of either length."""
    wide = points.astype(np.uint64)
    keys = np.empty(max(0, 2 * len(points) - 2), np.uint64)
    if len(keys):
        pairs, triples = keys[: len(points) - 1], keys[len(points) - 1 : -1]
        np.left_shift(wide[1:], np.uint64(_POINT_BITS), out=pairs)
        pairs |= wide[:-1]
        np.left_shift(wide[2:], np.uint64(2 * _POINT_BITS), out=triples)
        triples |= pairs[:-1]
        keys[-1] = pairs[-1]
    return keys


def write_model(path: Path, model: NgramModel) -> None:
    """Write a model; the same model gives the same bytes."""
    head = {"format": FORMAT, "version": VERSION, "step": model.step, "training": dict(model.training)}
    entries = ",\n".join(
        f"{json.dumps(ngram, ensure_ascii=False)}:{model.ngrams[ngram]}" for ngram in sorted(model.ngrams)
    )
    text = f'{json.dumps(head, ensure_ascii=False, indent=1)[:-2]},\n "ngrams": {{\n{entries}\n}}\n}}\n'
    path.write_text(text, encoding="utf-8", newline="\n")


def model_file(model: str) -> str:
    """Where a model lies; `builtin` names the one that comes with Hibari."""
    return str(SHIPPED) if model == BUILTIN else model


@cache
def load_model(model: str) -> NgramModel:
    """Read a model file, or `builtin`; once in a process.

    Raises:
        ValueError: not there, not a model file, or one of another version; names the file and what is wrong.
    """
    try:
        return _parse(read_bytes(model_file(model)))
    except FileNotFoundError as error:
        raise ValueError(f"no language model at {model}; `hibari language train` makes one") from error
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        raise ValueError(
            f"{model}: not a language model of Hibari ({type(error).__name__}: {error}); "
            "make one with `hibari language train`"
        ) from error


def _parse(data: bytes) -> NgramModel:
    head = json.loads(data)
    if not isinstance(head, dict) or head.get("format") != FORMAT:
        raise ValueError(f"expected an object with format {FORMAT}")
    if head.get("version") != VERSION:
        raise ValueError(f"format version {head.get('version')}, this Hibari reads {VERSION}")
    if not isinstance(head["ngrams"], dict):
        raise ValueError(f"expected ngrams to be an object, got {type(head['ngrams']).__name__}")
    return NgramModel(head["ngrams"], float(head["step"]), head["training"])
