"""Tokenizers beside one another on the same texts: fertility, vocabulary use, what new pieces save, round trip.

In: tokenizers (folders, or lone `tokenizer.model` files) and documents as an iterable of strings. Out: what the
documents come to under each tokenizer. Documents are read once, batch by batch; beside a batch, memory holds one count
per id and tokenizer, whatever the number of documents.

Intervals are over documents, of a ratio of two sums (tokens over characters; tokens of one tokenizer over tokens of
another on the same documents, which pairs them). With r = sum(y) / sum(x) over n documents its variance is
n / (n - 1) * sum((y - r x)^2) / sum(x)^2 (Cochran, Sampling Techniques, 1977, section 6.4), so five sums are all that
is kept. They are whole numbers: neither order nor batches change a figure.

Renyi efficiency is the Renyi entropy of order 2.5 of the distribution of tokens over the logarithm of the number of
pieces used (Zouhar et al. 2023, Tokenization and the Noiseless Channel, and the authors' tokenization-scorer).

    base, expanded = (open_tokenizer(name, path) for name, path in paths.items())
    measured = measure_text([base, expanded], texts, reference=0)
    measured.tokenizers[1].against_reference.ratio    # 0.62: of the base's tokens
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from storage.uri import exists, join, read_bytes
from tokenizer.encoder import Encoder, load_encoder
from tokenizer.expansion import EXPANSION, Expansion, NewPiece
from tokenizer.vocabulary import Vocabulary, read_vocabulary

RENYI_ORDER = 2.5
CONFIDENCE = 0.95
MIN_DOCUMENTS = 4  # fewer say too little of the spread
_BATCH_CHARACTERS = 1_000_000


@dataclass(frozen=True)
class OpenTokenizer:
    """A tokenizer to compare; `base` and `expansion` are known of those that Hibari expanded."""

    name: str
    path: str
    encoder: Encoder
    vocabulary: Vocabulary
    base: Encoder | None
    expansion: Expansion | None

    @property
    def first_new(self) -> int:
        """The lowest id of a new piece; the vocabulary's size where there is none."""
        return self.expansion.base_vocab if self.expansion else self.encoder.vocab_size

    @property
    def new_pieces(self) -> Sequence[NewPiece]:
        return self.expansion.new_pieces if self.expansion else ()


@dataclass(frozen=True)
class Ratio:
    """A ratio of two sums and its 95 % interval over documents; no bounds below `MIN_DOCUMENTS`."""

    ratio: float
    low: float | None
    high: float | None


@dataclass
class RatioSums:
    """The sums that a ratio y / x over documents and its interval need; all exact."""

    documents: int = 0
    y: int = 0
    x: int = 0
    yy: int = 0
    xy: int = 0
    xx: int = 0

    def add(self, y: np.ndarray, x: np.ndarray) -> None:
        """Documents with these counts: two (documents,) int64, each below 2**24."""
        self.documents += len(y)
        self.y += int(y.sum())
        self.x += int(x.sum())
        self.yy += int(y @ y)
        self.xy += int(y @ x)
        self.xx += int(x @ x)

    def ratio(self) -> Ratio | None:
        """The ratio with its interval; None where x is nothing."""
        if self.x == 0:
            return None
        ratio = self.y / self.x
        if self.documents < MIN_DOCUMENTS:
            return Ratio(ratio, None, None)
        # sum((y - r x)^2) * x^2 in whole numbers, so that no digits cancel.
        spread = self.yy * self.x**2 - 2 * self.y * self.x * self.xy + self.y**2 * self.xx
        error = math.sqrt(self.documents / (self.documents - 1) * spread / self.x**4)
        half = student_quantile((1 + CONFIDENCE) / 2, self.documents - 1) * error
        return Ratio(ratio, ratio - half, ratio + half)


@dataclass
class TokenizerMeasures:
    """What documents come to under one tokenizer.

    Attributes:
        used: (vocab_size,) int64, how often each id is used.
        per_character, per_byte, against_reference: sums of tokens over characters, over UTF-8 bytes, and over the
            reference's tokens.
        lossy_documents: decode to another text than was encoded (SentencePiece takes `▁` for a space).
        round_trip_failures: of those, the ones that decode to something else than with the tokenizer's base.
    """

    used: np.ndarray
    per_character: RatioSums = field(default_factory=RatioSums)
    per_byte: RatioSums = field(default_factory=RatioSums)
    against_reference: RatioSums = field(default_factory=RatioSums)
    lossy_documents: int = 0
    round_trip_failures: int = 0

    @property
    def tokens(self) -> int:
        return self.per_character.y


@dataclass(frozen=True)
class TextMeasures:
    """Documents of one kind, and what they come to under each tokenizer, in the order given."""

    documents: int
    characters: int
    bytes: int
    tokenizers: list[TokenizerMeasures]


@dataclass(frozen=True)
class PieceUse:
    """A piece and what it is worth on the texts: `base_tokens` is how many tokens the base makes of it."""

    id: int
    text: str
    count: int
    base_tokens: int

    @property
    def tokens_saved(self) -> int:
        return self.count * (self.base_tokens - 1)


def open_tokenizer(name: str, path: str) -> OpenTokenizer:
    """Read a tokenizer; what it was expanded from, where its folder says so.

    Raises:
        ValueError: there is no tokenizer at `path`, or one of a kind that is not supported.
    """
    encoder = load_encoder(path)
    about = join(path, EXPANSION)
    expansion = Expansion.from_json(read_bytes(about)) if exists(about) else None
    expanded = expansion is not None and bool(expansion.new_pieces)
    base = load_encoder(join(path, "base")) if expanded else None
    return OpenTokenizer(name, path, encoder, read_vocabulary(path), base, expansion)


def measure_text(tokenizers: Sequence[OpenTokenizer], documents: Iterable[str], *, reference: int) -> TextMeasures:
    """Encode every document with every tokenizer and add up; see the module's docstring.

    Args:
        reference: index of the tokenizer that the others are paired with.
    """
    measures = [TokenizerMeasures(np.zeros(tokenizer.encoder.vocab_size, np.int64)) for tokenizer in tokenizers]
    total_documents = total_characters = total_bytes = 0
    for texts in _batches(documents):
        characters = np.array([len(text) for text in texts], np.int64)
        sizes = np.array([len(text.encode()) for text in texts], np.int64)
        counts = [_add_batch(*pair, texts) for pair in zip(tokenizers, measures, strict=True)]
        for measured, tokens in zip(measures, counts, strict=True):
            measured.per_character.add(tokens, characters)
            measured.per_byte.add(tokens, sizes)
            measured.against_reference.add(tokens, counts[reference])
        total_documents += len(texts)
        total_characters += int(characters.sum())
        total_bytes += int(sizes.sum())
    return TextMeasures(total_documents, total_characters, total_bytes, measures)


def _add_batch(tokenizer: OpenTokenizer, measured: TokenizerMeasures, texts: Sequence[str]) -> np.ndarray:
    """Count ids and round trips of a batch; tokens of each document, (documents,) int64."""
    encoded = tokenizer.encoder.encode_texts(texts)
    measured.used += np.bincount(encoded.ids, minlength=len(measured.used))
    for number, text in enumerate(texts):
        ids = encoded.ids[encoded.bounds[number] : encoded.bounds[number + 1]].tolist()
        decoded = tokenizer.encoder.decode(ids)
        if decoded != text:
            measured.lossy_documents += 1
            base = tokenizer.base
            measured.round_trip_failures += base is not None and decoded != base.decode(base.encode(text))
    return np.diff(encoded.bounds)


def _batches(documents: Iterable[str]) -> Iterator[list[str]]:
    """Documents that together have about `_BATCH_CHARACTERS` characters."""
    batch: list[str] = []
    characters = 0
    for text in documents:
        batch.append(text)
        characters += len(text)
        if characters >= _BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


def entropy(used: np.ndarray) -> float:
    """Shannon entropy of the tokens, in bits."""
    shares = _shares(used)
    return float(-(shares * np.log2(shares)).sum()) if len(shares) > 1 else 0.0


def renyi_efficiency(used: np.ndarray, order: float = RENYI_ORDER) -> float | None:
    """Renyi entropy over the most that as many pieces could have; None where fewer than two pieces are used."""
    shares = _shares(used)
    if len(shares) < 2:
        return None
    return float(np.log2((shares**order).sum()) / (1 - order) / np.log2(len(shares)))


def _shares(used: np.ndarray) -> np.ndarray:
    counts = used[used > 0]
    return counts / max(1, counts.sum())


def part_of_character_tokens(tokenizer: OpenTokenizer, used: np.ndarray) -> int:
    """Tokens that are only part of a character: byte fallback."""
    return int(used[tokenizer.vocabulary.parts].sum())


def most_useful(tokenizer: OpenTokenizer, used: np.ndarray, number: int) -> list[PieceUse]:
    """The new pieces that save most tokens on the texts, the best first."""
    found = [_piece_use(tokenizer, piece, used) for piece in tokenizer.new_pieces if used[piece.id]]
    return sorted((use for use in found if use.tokens_saved), key=lambda use: (-use.tokens_saved, use.id))[:number]


def longest_used(tokenizer: OpenTokenizer, used: np.ndarray, number: int) -> list[PieceUse]:
    """The longest new pieces that the texts use; of all pieces, where none is known to be new. Rulers are left out."""
    texts = tokenizer.vocabulary.texts
    first = tokenizer.first_new if tokenizer.new_pieces else 0
    ids = [first + int(offset) for offset in np.flatnonzero(used[first:])]
    named = [(index, text) for index in ids if (text := texts[index]) is not None and any(map(str.isalpha, text))]
    named.sort(key=lambda entry: (-len(entry[1]), -int(used[entry[0]]), entry[0]))
    new = {piece.id: piece for piece in tokenizer.new_pieces}
    return [
        _piece_use(tokenizer, new[index], used) if index in new else PieceUse(index, text, int(used[index]), 1)
        for index, text in named[:number]
    ]


def never_used(tokenizer: OpenTokenizer, used: np.ndarray) -> list[NewPiece]:
    """New pieces that the texts never use, from the highest rank to the lowest."""
    return [piece for piece in tokenizer.new_pieces if not used[piece.id]]


def _piece_use(tokenizer: OpenTokenizer, piece: NewPiece, used: np.ndarray) -> PieceUse:
    return PieceUse(piece.id, piece.text or piece.data.hex(" "), int(used[piece.id]), len(piece.base_ids))


def student_quantile(share: float, degrees: int) -> float:
    """Quantile of Student's t with so many degrees of freedom."""
    from scipy.special import stdtrit  # a second of imports that no other use of this module needs

    return float(stdtrit(degrees, share))
