"""Shifting the logits of new pieces: the direction that does it, and how far each piece goes.

In: a base model, some of the corpus's text, the new pieces' rows for the output head. Out: those rows, shifted.

Text (`calibration_sequences`): of at most 32 shards, evenly spaced over the corpus, in turn the next document that is
not held out, its first 256 tokens by the base tokenizer, until there are `calibration_tokens`. No more is read.

Direction: with h the base's final hidden states on that text, v = argmin mean((v·h − 1)²) + λ|v|², λ a tenth of the
mean squared coordinate of h (ridge regression of a constant). v·h then is 1 ± 0.05 on held-out Japanese; along the mean
hidden state alone (v = h̄/|h̄|²) it is 1 ± 0.27 (SmolLM2-135M). Adding s·v to a row adds about s to its logits.

How far (`Shift`):

    a number   every new piece by as many nats
    share      by log(piece's count / count of all new pieces with its first token): with rows `first`,
               p(piece | context) ≈ p(first token | context) · P(rest | first token)
    frequency  so that the piece's mean probability over the text is `frequency_share` of how often it stands there:
               s = log(target) − log mean exp(w·h − log Z), Z the softmax's denominator over the base vocabulary.
               target = frequency_share · (new ids / base tokens in the text) · (piece's count / all pieces' counts)

`frequency` is the first step of maximum likelihood for one bias a piece. Whole steps overshoot, because the new logits
also compete among themselves and are not yet sharp; half of them do not (docs/tokenizer.md has the measurements).

    shifter = calibrate(folder, files, head, expansion, sequences, new_share, options)
    shifted = shifter(rows, start)   # rows of the pieces from the `start`-th on
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tokenizer.base_model import source_of
from tokenizer.encoder import Encoder
from tokenizer.expansion import Expansion
from tokenizer.new_rows import RowOptions, shares_of_first
from tokenizer.safetensors_stream import SafetensorsFile

logger = logging.getLogger(__name__)

SEQUENCE_TOKENS = 256
_CHARACTERS = 1024  # of a document; a book is not encoded for its first page
_SHARDS = 32
_RIDGE = 0.1

Texts = Callable[[], Iterator[str]]


@dataclass(frozen=True)
class CalibrationText:
    """Text for the base model: `sequences` of its token ids, and how many ids of the new vocabulary it would take.

    `new_share` is the number of new pieces in the text's expanded encoding per base token of its base encoding.
    """

    sequences: list[list[int]]
    new_share: float

    @property
    def tokens(self) -> int:
        return sum(map(len, self.sequences))


@dataclass
class Shifter:
    """Adds `shift(piece) * direction` to output rows, and remembers how far they went.

    Attributes:
        direction: v, float32 `(hidden,)`.
        constant: nats per piece, float64 `(pieces,)`; for `frequency` the logarithm of the target probability.
        states: float32 `(positions, hidden)`, and `partition`, log Z at each; None where the constant says it all.
    """

    direction: np.ndarray
    constant: np.ndarray
    states: np.ndarray | None = None
    partition: np.ndarray | None = None
    shifts: list[np.ndarray] = field(default_factory=list)

    def __call__(self, rows: np.ndarray, start: int) -> np.ndarray:
        """Shift rows `(n, hidden)` of the pieces from the `start`-th on."""
        shift = self.constant[start : start + len(rows)]
        if self.states is not None and self.partition is not None:
            shift = shift - log_mean_probability(rows, self.states, self.partition)
        self.shifts.append(shift)
        return rows + shift[:, None].astype(np.float32) * self.direction


def calibration_sequences(shards: Sequence[Texts], base: Encoder, expanded: Encoder, tokens: int) -> CalibrationText:
    """Read calibration text from the shards in turn, by the rule in the module's docstring.

    Args:
        shards: each gives its texts, held-out documents left out.
        expanded: the expanded tokenizer, which says how often new pieces stand in that text.

    Raises:
        ValueError: there is no text.
    """
    sequences: list[list[int]] = []
    collected = base_tokens = new_ids = 0
    every = max(1, len(shards) // _SHARDS)
    waiting = [shard() for shard in shards[::every][:_SHARDS]]
    while waiting and collected < tokens:
        for texts in list(waiting):
            if collected >= tokens:
                break
            text = next(texts, None)
            if text is None:
                waiting.remove(texts)
                continue
            text = text[:_CHARACTERS]
            sequence = base.document(text)[: min(SEQUENCE_TOKENS, tokens - collected)]
            if len(sequence) < 2:
                continue
            sequences.append(sequence)
            collected += len(sequence)
            base_tokens += len(base.encode(text))
            new_ids += sum(index >= base.vocab_size for index in expanded.encode(text))
    if not sequences:
        raise ValueError(
            "initialize.output_shift needs some of the corpus's text, and all of it is held out, or there is none; set "
            "it to none, or see what the stages before dropped"
        )
    return CalibrationText(sequences, new_ids / max(base_tokens, 1))


def calibrate(
    folder: Path,
    files: Mapping[str, SafetensorsFile],
    head: str,
    expansion: Expansion,
    text: CalibrationText,
    options: RowOptions,
) -> Shifter:
    """Run the base over the text, once, and prepare the shift that the options ask for.

    Args:
        folder: the base model's, and `files` its weight files.
        head: name of the tensor whose rows make logits.
    """
    from tokenizer.hidden_states import final_hidden_states, log_partition  # torch: only where it is needed

    logger.info("calibration: the base model reads %d tokens of %d documents", text.tokens, len(text.sequences))
    states = final_hidden_states(folder, files, text.sequences)
    direction = shift_direction(states)
    pieces = expansion.new_pieces
    if options.output_shift == "share":
        return Shifter(direction, np.log(shares_of_first(pieces)))
    if options.output_shift != "frequency":
        assert not isinstance(options.output_shift, str)
        return Shifter(direction, np.full(len(pieces), float(options.output_shift)))
    source = source_of(files, head)
    partition = log_partition(states, source.rows(head), source[head].dtype, num_rows=expansion.base_vocab)
    counts = np.array([max(piece.count, 0.5) for piece in pieces])
    target = options.frequency_share * max(text.new_share, 1e-9) * counts / counts.sum()
    return Shifter(direction, np.log(target), states, partition)


def shift_direction(states: np.ndarray) -> np.ndarray:
    """v with v·h nearly 1 for these hidden states `(positions, hidden)`; float32 `(hidden,)`, computed in float64."""
    wide = states.astype(np.float64)
    second_moments = wide.T @ wide / len(wide)
    hidden = len(second_moments)
    penalty = _RIDGE * np.trace(second_moments) / hidden
    return np.linalg.solve(second_moments + penalty * np.eye(hidden), wide.mean(axis=0)).astype(np.float32)


def log_mean_probability(rows: np.ndarray, states: np.ndarray, partition: np.ndarray) -> np.ndarray:
    """log of the mean over positions of exp(row·h − log Z), float64 `(rows,)`: each piece's probability by itself."""
    logits = (states @ rows.T).astype(np.float64) - partition[:, None]
    highest = logits.max(axis=0)
    mean: np.ndarray = np.exp(logits - highest).mean(axis=0)
    return np.log(mean) + highest
