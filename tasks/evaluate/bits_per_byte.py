"""Bits per byte: how well a model predicts held-out text, comparable across vocabularies.

In: held-out documents (id, text) and a model with its tokenizer; out: bits and bytes of each document. The
value is the negative log2-likelihood of the text's tokens, summed over documents, divided by the text's
UTF-8 bytes. The end of the document is not scored. What precedes the first token is what did in training:
BOS where the tokenizer's document policy has one, else the token that ends documents (in a training sample,
that of the document before). A document longer than `window` tokens is read in windows: the first scores
`window` tokens, each later one moves on by `stride`, scores `stride` tokens more and gives them at least
`window - stride` tokens of context. The log-softmax is float32. The same definition is used in every figure
that bears the name.

    documents = select_texts(held_out, max_bytes=32_000, max_document_bytes=4_096)
    rows = score_documents(model, plan_documents(encoder, documents, window=512, stride=384), batch_size=4)
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tokenizer.encoder import Encoder

if TYPE_CHECKING:
    from tasks.evaluate.model import LanguageModel, OnTokens, Span


@dataclass(frozen=True)
class HeldOut:
    """A held-out text as it is scored: possibly a document's beginning."""

    id: str
    language: str
    text: str


@dataclass(frozen=True)
class DocumentPlan:
    """A text and its windows (ids, first): each scores its ids from index `first` on."""

    document: HeldOut
    spans: list[Span]

    @property
    def num_tokens(self) -> int:
        return sum(len(ids) - first for ids, first in self.spans)


def select_texts(
    texts: Iterable[tuple[bytes, str]], *, language: str, max_bytes: int, max_document_bytes: int
) -> list[HeldOut]:
    """The texts that are scored: by order of id, each cut to its beginning, up to `max_bytes` in all.

    Ids are hashes, so this is a sample without regard to content, and the same whatever order the texts
    come in.

    Raises:
        ValueError: no text of this language holds a character.
    """
    chosen: list[HeldOut] = []
    room = max_bytes
    for identity, text in sorted(texts):
        kept = text.encode()[: min(room, max_document_bytes)].decode(errors="ignore")
        if kept.strip():
            chosen.append(HeldOut(identity.hex(), language, kept))
            room -= len(kept.encode())
        if room <= 0:
            break
    if not chosen:
        raise ValueError(
            f"bits_per_byte: no held-out {language} text to score; raise binarize.validation_ratio, "
            f"give more {language} documents, or leave bits_per_byte out of evaluate.tasks"
        )
    return chosen


def plan_documents(encoder: Encoder, documents: Sequence[HeldOut], *, window: int, stride: int) -> list[DocumentPlan]:
    """Tokenise documents and cut them into windows."""
    start = start_ids(encoder)
    encoded = encoder.encode_batch([document.text for document in documents])
    return [
        DocumentPlan(document, cut_windows([*start, *ids], len(start), window=window, stride=stride))
        for document, ids in zip(documents, encoded, strict=True)
    ]


def start_ids(encoder: Encoder) -> list[int]:
    """What precedes a text's first token: the policy's prefix (BOS), else what ends the document before."""
    return list(encoder.policy.prefix) or [encoder.eos_id]


def cut_windows(ids: Sequence[int], first: int, *, window: int, stride: int) -> list[Span]:
    """Windows over `ids` that score each id from index `first` on exactly once.

    A window reads at most `window` ids and predicts the one after each, so its span holds one id more.

    >>> cut_windows([9, 1, 2, 3, 4, 5], 1, window=3, stride=2)
    [([9, 1, 2, 3], 1), ([2, 3, 4, 5], 2)]
    """
    spans: list[Span] = []
    begin, scored = 0, first
    while scored < len(ids):
        end = min(begin + window + 1, len(ids))
        spans.append((ids[begin:end], scored - begin))
        begin, scored = begin + stride, end
    return spans


def score_documents(
    model: LanguageModel,
    plans: Sequence[DocumentPlan],
    *,
    batch_size: int,
    on_tokens: OnTokens | None = None,
) -> list[dict[str, Any]]:
    """One row per document, in the order of `plans`: what was scored, and its bits.

    Raises:
        ValueError: the model's output is not finite.
    """
    spans = [span for plan in plans for span in plan.spans]
    values = iter(model.log_likelihoods(spans, batch_size=batch_size, on_tokens=on_tokens))
    rows = []
    for plan in plans:
        document = plan.document
        bits = -sum(float(next(values).sum()) for _ in plan.spans) / math.log(2)
        if not np.isfinite(bits):
            raise ValueError(f"document {document.id} ({document.language}): its log-likelihood is {-bits}, not finite")
        data = document.text.encode()
        rows.append(
            {
                "id": document.id,
                "language": document.language,
                "prompt_hash": hashlib.sha256(data).hexdigest()[:16],
                "bytes": len(data),
                "tokens": plan.num_tokens,
                "windows": len(plan.spans),
                "bits": round(bits, 6),
                "score": round(bits / len(data), 6),
            }
        )
    return rows
