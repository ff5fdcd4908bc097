"""Parts to the token files and document tables of a source.

What is kept (`tasks.binarize.selection`) is copied part by part, in the order of the shards: the result does not depend
on how many workers made the parts. In memory are at most a megabyte or two of tokens and a row group of a table.

    with select(tables, threshold) as selections:
        source, files = merge_source(out, "corpus", "ja", keys, selections[0], dtype)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from storage.artifact import FileEntry
from storage.documents import ROWS_PER_GROUP as TEXT_ROWS_PER_GROUP
from storage.documents import read_documents, write_parquet
from storage.token_catalog import SPLITS, TokenSource, TokenSplit, document_rows_path, token_prefix
from storage.tokens import TokenFile, TokenWriter
from storage.uri import join
from tasks.binarize.selection import Fate, Selection
from tasks.binarize.shard import PART_SCHEMA, part_path

ROW_COLUMNS = ["id", "num_tokens", "num_bytes", "file", "row"]
# 40 bytes a row: groups of two or three megabytes are read whole to look up one id.
ROWS_PER_GROUP = 65_536


def merge_source(
    out: str, name: str, language: str, keys: Sequence[str], selection: Selection, dtype: np.dtype
) -> tuple[TokenSource, list[FileEntry]]:
    """Write a source's token files and document tables."""
    splits, files = {}, []
    for split in SPLITS:
        fate = Fate.TRAIN if split == "train" else Fate.VALIDATION
        tokens = _merge_tokens(out, token_prefix(name, split), keys, selection.fates, fate, dtype)
        path = document_rows_path(name, split)
        rows, num_bytes = _merge_rows(out, path, keys, selection.fates, fate, with_text=split != "train")
        splits[split] = TokenSplit(
            documents=tokens.num_documents,
            tokens=tokens.num_tokens,
            bytes=num_bytes,
            bin_sha256=tokens.entries[0].sha256,
            idx_sha256=tokens.entries[1].sha256,
        )
        files += [*tokens.entries, rows]
    return TokenSource(name, language, splits), files


def _merge_tokens(
    out: str, prefix: str, keys: Sequence[str], fates: np.ndarray, fate: Fate, dtype: np.dtype
) -> TokenWriter:
    at = 0
    with TokenWriter(out, prefix, dtype) as writer:
        for key in keys:
            with TokenFile.open(join(out, part_path(key))) as part:
                writer.add_documents(part, fates[at : at + part.num_documents] == fate)
                at += part.num_documents
    assert at == len(fates), f"{prefix}: parts hold {at} documents, their tables {len(fates)}"
    return writer


def _merge_rows(
    out: str, path: str, keys: Sequence[str], fates: np.ndarray, fate: Fate, *, with_text: bool
) -> tuple[FileEntry, int]:
    """Copy the rows that are kept; also the UTF-8 bytes of their texts."""
    columns = [*ROW_COLUMNS, "text"] if with_text else ROW_COLUMNS
    num_bytes = 0

    def kept_rows() -> Iterator[pa.RecordBatch]:
        nonlocal num_bytes
        at = 0
        for key in keys:
            for batch in read_documents(join(out, f"{part_path(key)}.parquet"), columns):
                kept = batch.filter(pa.array(fates[at : at + batch.num_rows] == fate))
                at += batch.num_rows
                num_bytes += int(kept.column("num_bytes").to_numpy().sum())
                yield kept

    schema = pa.schema([PART_SCHEMA.field(name) for name in columns])
    entry = write_parquet(out, path, kept_rows(), schema, TEXT_ROWS_PER_GROUP if with_text else ROWS_PER_GROUP)
    return entry, num_bytes
