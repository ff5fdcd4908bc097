"""Training the quality classifier on texts that the user calls good and bad, or graded.

In: files of documents for each class, 0 the worst. Out: a fastText model, and figures on texts that were held out.

Texts are deduplicated, split by a hash of the text (so that a text is on the same side whatever else is there), put in
the order of that hash, and trained on in one thread: the same texts give the same model, byte for byte. Few texts are
gone through more often, else the weights stay near 0 and every score near 0.5.

    report = train_classifier({1: ["good.jsonl.gz"], 0: ["bad.jsonl.gz"]}, "quality.bin")
    report.auc
"""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from storage.sources import read_source
from storage.uri import expand_glob, open_atomic, write_bytes
from tasks.curate.classifier import LABEL, MAX_CHARACTERS, Classifier, as_characters
from tasks.curate.fit_fasttext import fit

MIN_TEXTS = 10  # of a class: with fewer neither the model nor the figures mean anything
_MIN_UPDATES = 20_000  # lines gone through in all: 300 texts come out as sure as 3,000
_OPTIONS: dict[str, Any] = {
    "lr": 0.2,
    "dim": 16,
    "wordNgrams": 3,
    "minCount": 1,
    "bucket": 1 << 18,
    "thread": 1,
    "verbose": 0,
}
_THRESHOLDS = (0.1, 0.25, 0.5, 0.75, 0.9)


@dataclass(frozen=True)
class Effect:
    """What a threshold keeps of the held-out texts: shares of the good and of the bad."""

    min_quality_score: float
    good_kept: float
    bad_kept: float


@dataclass(frozen=True)
class TrainingReport:
    """What was trained on and how well it does on texts it has not seen; good = the upper half of the classes.

    Attributes:
        texts: class -> texts trained on; `held_out` the same of those held out.
        duplicates: texts left out because they came before.
        precision, recall: of calling good what scores 0.5 or more.
        auc: the probability that a good text scores higher than a bad one.
    """

    texts: dict[int, int]
    held_out: dict[int, int]
    duplicates: int
    epochs: int
    precision: float
    recall: float
    auc: float
    effects: list[Effect]
    model_bytes: int
    model_sha256: str


def train_classifier(
    files: Mapping[int, Sequence[str]],
    out: str,
    *,
    held_out: float = 0.1,
    quantize: bool = False,
    seed: int = 1234,
) -> TrainingReport:
    """Train a classifier, write it to `out` and what is known of it to `out`.json.

    Args:
        files: class -> documents, as `storage.sources.read_source` reads them; classes are 0, 1, ... K.
        held_out: share of the texts that only the figures are from.
        quantize: a model an eighth of the size, of nearly the same scores (Joulin et al., 2016).

    Raises:
        FileNotFoundError, ValueError: files are missing or unreadable, or hold too few texts.
    """
    if sorted(files) != list(range(max(2, len(files)))):
        raise ValueError(
            f"expected texts for classes 0 and 1, or 0 to K, got classes {', '.join(map(str, sorted(files)))}"
        )
    texts, duplicates = _read(files)
    is_held_out = {digest: digest % 10_000 < held_out * 10_000 for digest in texts}
    trained = [pair for digest, pair in sorted(texts.items()) if not is_held_out[digest]]
    tested = [pair for digest, pair in sorted(texts.items()) if is_held_out[digest]]
    for number in files:
        if min(count := [sum(kind == number for kind, _ in part) for part in (trained, tested)]) < MIN_TEXTS:
            raise ValueError(
                f"class {number} has {count[0]} different texts to train on and {count[1]} held out; expected "
                f"{MIN_TEXTS} of each at least: name more files, or hold out another share than {held_out:g}"
            )
    with tempfile.TemporaryDirectory() as folder:
        epochs = _fit(trained, Path(folder), seed, quantize)
        with open_atomic(out) as file:
            file.write((Path(folder) / "model").read_bytes())
    scores = [Classifier(out).score(text) for _, text in tested]
    is_good = np.array([number * 2 > max(files) for number, _ in tested])
    report = TrainingReport(
        texts=dict(sorted(Counter(number for number, _ in trained).items())),
        held_out=dict(sorted(Counter(number for number, _ in tested).items())),
        duplicates=duplicates,
        epochs=epochs,
        **_figures(np.array(scores), is_good),
        model_bytes=file.size,
        model_sha256=file.sha256,
    )
    write_bytes(f"{out}.json", json.dumps(asdict(report), indent=2).encode())
    return report


def _read(files: Mapping[int, Sequence[str]]) -> tuple[dict[int, tuple[int, str]], int]:
    """Digest of a text -> (class, text), and how many texts came again.

    Raises:
        ValueError: a text is in two classes.
    """
    texts: dict[int, tuple[int, str]] = {}
    duplicates = 0
    for number, uris in sorted(files.items()):
        for text in (text for uri in uris for file in expand_glob(uri) for _, text in read_source([file], "")):
            digest = xxhash.xxh3_64_intdigest(as_characters(text).encode())
            if digest not in texts:
                texts[digest] = (number, text[: 2 * MAX_CHARACTERS])
            elif texts[digest][0] == number:
                duplicates += 1
            else:
                raise ValueError(
                    f"a text is in class {texts[digest][0]} and in class {number}: {text[:40]!r}; what is it?"
                )
    return texts, duplicates


def _fit(trained: Sequence[tuple[int, str]], folder: Path, seed: int, quantize: bool) -> int:
    """Write `model` into the folder; how many epochs it took."""
    lines = folder / "lines.txt"
    lines.write_text("".join(f"{LABEL}{number} {as_characters(text)}\n" for number, text in trained), "utf-8")
    epochs = max(5, -(-_MIN_UPDATES // len(trained)))
    fit(lines, folder / "model", {**_OPTIONS, "epoch": epochs, "seed": seed}, quantize=quantize)
    return epochs


def _figures(scores: np.ndarray, is_good: np.ndarray) -> dict[str, Any]:
    """Precision, recall, AUC and effects of thresholds.

    Args:
        scores: float (texts,); `is_good`: bool (texts,), of both kinds at least one.
    """
    called_good = scores >= 0.5
    order = np.argsort(scores, kind="stable")
    _, tie, sizes = np.unique(scores[order], return_inverse=True, return_counts=True)
    ranks = np.empty(len(scores))
    ranks[order] = (np.cumsum(sizes) - (sizes - 1) / 2)[tie]  # from 1; the mean of a tie
    num_good, num_bad = int(is_good.sum()), int((~is_good).sum())
    return {
        "precision": float((called_good & is_good).sum() / max(1, called_good.sum())),
        "recall": float((called_good & is_good).sum() / num_good),
        "auc": float((ranks[is_good].sum() - num_good * (num_good + 1) / 2) / (num_good * num_bad)),
        "effects": [
            Effect(bound, float((scores[is_good] >= bound).mean()), float((scores[~is_good] >= bound).mean()))
            for bound in _THRESHOLDS
        ],
    }
