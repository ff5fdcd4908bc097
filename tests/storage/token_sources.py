"""Small binarize artifacts made by hand, for tests of what reads them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from storage.documents import write_parquet
from storage.token_catalog import (
    SPLITS,
    TokenSource,
    TokenSplit,
    document_rows_path,
    token_prefix,
    write_catalog,
)
from storage.tokens import TokenWriter

Documents = Sequence[Sequence[int]]


@dataclass(frozen=True)
class Source:
    """A source to write: its documents as token ids."""

    name: str
    language: str
    train: Documents
    validation: Documents = field(default_factory=list)


def document_id_of(name: str, split: str, row: int) -> bytes:
    """The id that `write_sources` gives a document."""
    return hashlib.md5(f"{name}/{split}/{row}".encode()).digest()


def write_sources(artifact: str, sources: Sequence[Source], dtype: str = "<u2") -> list[TokenSource]:
    """Token files, document tables and catalog, as binarize leaves them."""
    written = []
    for source in sources:
        splits = {}
        for split in SPLITS:
            documents = source.train if split == "train" else source.validation
            with TokenWriter(artifact, token_prefix(source.name, split), np.dtype(dtype)) as writer:
                for document in documents:
                    writer.add_document(document)
            ids = [document_id_of(source.name, split, row) for row in range(len(documents))]
            batch = pa.record_batch({"id": pa.array(ids, pa.binary(16))})
            write_parquet(artifact, document_rows_path(source.name, split), [batch], batch.schema, 3)
            splits[split] = TokenSplit(
                documents=len(documents),
                tokens=writer.num_tokens,
                bytes=writer.num_tokens,
                bin_sha256=writer.entries[0].sha256,
                idx_sha256=writer.entries[1].sha256,
            )
        written.append(TokenSource(source.name, source.language, splits))
    write_catalog(artifact, written, vocab_size=1000)
    return written
