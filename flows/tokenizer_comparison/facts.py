"""Measure tokenizers on texts and count what models compute for them: every figure of the comparison, JSON-like.

facts = gather("swallow-mini", paths, kinds, shapes, max_characters=10_000_000)
write(facts, "runs/tokenizers/swallow-mini")     # comparison.html, comparison.json, comparison.md
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import islice
from typing import Any

import numpy as np

from flows.config import ConfigError
from flows.tokenizer_comparison.config import NONE
from flows.tokenizer_comparison.costs import ModelShape, TextTokens, model_costs
from flows.tokenizer_comparison.texts import TextKind, choose
from storage.uri import join, write_bytes
from tasks.progress import report_progress
from tasks.report.tokenizer_comparison import render
from tasks.report.tokenizer_comparison_markdown import markdown
from tasks.report.vocabulary import cut_sentence, first_sentence
from tokenizer.compare import (
    OpenTokenizer,
    Ratio,
    TextMeasures,
    TokenizerMeasures,
    entropy,
    longest_used,
    measure_text,
    most_useful,
    never_used,
    open_tokenizer,
    part_of_character_tokens,
    renyi_efficiency,
)

STAGE = "compare tokenizers"
_PIECES = 12
_SENTENCES = {"ja": 2}  # of a text in another language one
_NO_SENTENCES = {"code"}


def gather(
    name: str,
    paths: Mapping[str, str],
    kinds: Sequence[TextKind],
    shapes: Sequence[ModelShape],
    *,
    max_characters: int,
) -> dict[str, Any]:
    """Every figure of the comparison.

    Args:
        paths: tokenizer -> its folder or `tokenizer.model`.

    Raises:
        ConfigError: there is nothing to compare, a path holds no tokenizer, or a text cannot be read.
    """
    tokenizers = _opened(paths)
    reference = reference_of(list(paths))
    rows, used, sentences = [], [np.zeros(len(each.vocabulary), np.int64) for each in tokenizers], []
    for number, kind in enumerate(kinds):
        report_progress(STAGE, number, len(kinds), "texts", kind.name)
        try:
            chosen = choose(kind.documents(), max_characters)
        except (OSError, ValueError) as error:
            raise ConfigError([f"{kind.name}: {error}"]) from error
        measured = measure_text(tokenizers, chosen, reference=reference)
        for total, each in zip(used, measured.tokenizers, strict=True):
            total += each.used
        rows.append(_text(kind, tokenizers, measured))
        sentences += _sentences(kind, chosen, tokenizers)
    report_progress(STAGE, len(kinds), len(kinds), "texts")
    found = [row for row in rows if row["documents"]]
    if not found:
        raise ConfigError(["no text to compare on: the run holds no document out (raise binarize.validation_ratio), "
                           "and none was given (--texts LANGUAGE=FILES, --code FILES)"])  # fmt: skip
    names = [each.name for each in tokenizers]
    weights = {row["name"]: row["weight"] for row in rows if row["weight"] is not None}
    if not set(weights) <= {row["name"] for row in found}:
        weights = {}  # a source of which nothing is held out: the mixture's text is not known
    tokens = {row["name"]: _tokens(row) for row in found}
    vocab = {each.name: each.encoder.vocab_size for each in tokenizers}
    return {
        "name": name,
        "reference": names[reference],
        "max_characters": max_characters,
        "tokenizers": [_tokenizer(*pair) for pair in zip(tokenizers, used, strict=True)],
        "texts": found,
        "without_documents": [row["name"] for row in rows if not row["documents"]],
        "models": [model_costs(shape, vocab, tokens, weights, names[reference]) for shape in shapes],
        "sentences": sentences,
    }


def write(facts: Mapping[str, Any], folder: str) -> None:
    """The page, its figures and its tables in Markdown, below `folder`."""
    write_bytes(join(folder, "comparison.html"), render(facts).encode())
    write_bytes(join(folder, "comparison.json"), as_json(facts))
    write_bytes(join(folder, "comparison.md"), markdown(facts).encode())


def as_json(facts: Mapping[str, Any]) -> bytes:
    """The figures as a file holds them."""
    return json.dumps(facts, ensure_ascii=False, indent=1, allow_nan=False).encode() + b"\n"


def reference_of(names: Sequence[str]) -> int:
    """Index of the tokenizer that the others are compared with: the base as it is, else the first."""
    return names.index(NONE) if NONE in names else 0


def _opened(paths: Mapping[str, str]) -> list[OpenTokenizer]:
    opened, problems = [], []
    for name, path in paths.items():
        try:
            opened.append(open_tokenizer(name, path))
        except (OSError, ValueError) as error:
            problems.append(f"tokenizer {name}: {error}")
    if problems:
        raise ConfigError(problems)
    if not opened:
        raise ConfigError(["nothing to compare: name a run file, or tokenizers with --tokenizer NAME=PATH"])
    return opened


def _tokenizer(tokenizer: OpenTokenizer, used: np.ndarray) -> dict[str, Any]:
    """A tokenizer, and what all texts together use of it."""
    unused = never_used(tokenizer, used)
    return {
        "name": tokenizer.name,
        "kind": tokenizer.encoder.kind,
        "vocab": tokenizer.encoder.vocab_size,
        "new_pieces": len(tokenizer.new_pieces),
        "pieces_used": int((used > 0).sum()),
        "new_pieces_used": int((used[tokenizer.first_new :] > 0).sum()),
        "new_pieces_unused": len(unused),
        "most_useful": [_piece(use) for use in most_useful(tokenizer, used, _PIECES)],
        "longest": [_piece(use) for use in longest_used(tokenizer, used, _PIECES)],
        "unused": [piece.text for piece in islice((piece for piece in unused if piece.text), _PIECES)],
    }


def _piece(use: Any) -> dict[str, Any]:
    return asdict(use) | {"tokens_saved": use.tokens_saved}


def _text(kind: TextKind, tokenizers: Sequence[OpenTokenizer], measured: TextMeasures) -> dict[str, Any]:
    pairs = zip(tokenizers, measured.tokenizers, strict=True)
    return {
        "name": kind.name,
        "language": kind.language,
        "origin": kind.origin,
        "weight": kind.weight,
        "documents": measured.documents,
        "characters": measured.characters,
        "bytes": measured.bytes,
        "measures": {tokenizer.name: _measures(tokenizer, each) for tokenizer, each in pairs},
    }


def _measures(tokenizer: OpenTokenizer, measured: TokenizerMeasures) -> dict[str, Any]:
    used, tokens = measured.used, max(1, measured.tokens)
    per_byte = measured.per_byte.ratio()
    of_character = part_of_character_tokens(tokenizer, used)
    new = int(used[tokenizer.first_new :].sum()) if tokenizer.new_pieces else 0
    return {
        "tokens": measured.tokens,
        "tokens_per_character": _interval(measured.per_character.ratio()),
        "bytes_per_token": _interval(per_byte and _inverse(per_byte)),
        "tokens_change": _interval(measured.against_reference.ratio(), minus=1),
        "part_of_character_tokens": of_character,
        "part_of_character_share": of_character / tokens,
        "new_piece_tokens": new,
        "new_piece_share": new / tokens,
        "pieces_used": int((used > 0).sum()),
        "new_pieces_used": int((used[tokenizer.first_new :] > 0).sum()),
        "entropy_bits": entropy(used),
        "renyi_efficiency": renyi_efficiency(used),
        "lossy_documents": measured.lossy_documents,
        "round_trip_failures": measured.round_trip_failures,
    }


def _interval(found: Ratio | None, minus: float = 0) -> dict[str, float | None] | None:
    if found is None:
        return None
    low, high = (None if bound is None else bound - minus for bound in (found.low, found.high))
    return {"value": found.ratio - minus, "low": low, "high": high}


def _inverse(found: Ratio) -> Ratio:
    """Bytes per token from tokens per byte; a lower bound at or below zero says nothing of the upper one."""
    low = None if found.high is None else 1 / found.high
    return Ratio(1 / found.ratio, low, 1 / found.low if found.low is not None and found.low > 0 else None)


def _tokens(row: Mapping[str, Any]) -> TextTokens:
    tokens = {name: measures["tokens"] for name, measures in row["measures"].items()}
    return TextTokens(row["characters"], row["bytes"], tokens)


def _sentences(kind: TextKind, texts: Sequence[str], tokenizers: Sequence[OpenTokenizer]) -> list[dict[str, Any]]:
    """First sentences of the first documents, as each tokenizer cuts them."""
    if kind.language in _NO_SENTENCES:
        return []
    found = (sentence for text in texts if (sentence := first_sentence(text, kind.language)))
    rows = []
    for sentence in islice(found, _SENTENCES.get(kind.language, 1)):
        cuts: list[dict[str, Any]] = []
        for tokenizer in tokenizers:
            runs = cut_sentence(tokenizer.encoder, sentence, tokenizer.first_new)
            same = next((cut for cut in cuts if cut["runs"] == runs), None)
            if same is None:
                same = {"tokenizers": [], "runs": runs, "tokens": sum(run["tokens"] for run in runs)}
                cuts.append(same)
            same["tokenizers"].append(tokenizer.name)
        rows.append({"text": kind.name, "sentence": sentence, "cuts": cuts})
    return rows
