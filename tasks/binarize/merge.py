"""Parts to token files: what is kept, on which side it stands, and the files of each source.

A document is dropped when an earlier one of its source has the same text, and when it would be trained on
although another source holds the same text out; so no text that is held out is ever trained on, whatever
the ids of its copies hash to. What is kept is copied part by part, in the order of the shards: the result
does not depend on how many workers made the parts.

    selections = select([hashes], [split_hashes], threshold)
    source, files = merge_source(out, "corpus", "ja", keys, selections[0], dtype)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from storage.artifact import FileEntry
from storage.documents import ROWS_PER_GROUP as TEXT_ROWS_PER_GROUP
from storage.documents import read_documents, write_parquet
from storage.token_catalog import SPLITS, TokenSource, TokenSplit, document_rows_path, token_prefix
from storage.tokens import TokenFile, TokenWriter
from storage.uri import join
from tasks.binarize.shard import PART_SCHEMA, part_path

ROW_COLUMNS = ["id", "num_tokens", "num_bytes"]
# 28 bytes a row: groups of a megabyte or two are read whole to look up one id.
ROWS_PER_GROUP = 65_536


@dataclass(frozen=True)
class PartRows:
    """What is known of a source's documents, those of all its parts in order.

    Attributes:
        ids, text_hashes: (documents, 2) uint64; split_hashes: (documents,) uint64.
    """

    ids: np.ndarray
    text_hashes: np.ndarray
    split_hashes: np.ndarray


@dataclass(frozen=True)
class Selection:
    """(documents,) bool each: one of the first four is set; `shared_id` marks kept ones with a known id."""

    train: np.ndarray
    validation: np.ndarray
    duplicate: np.ndarray
    held_out_elsewhere: np.ndarray
    shared_id: np.ndarray


def read_rows(out: str, keys: Sequence[str]) -> PartRows:
    """The hashes of all documents in a source's parts."""
    ids, texts, splits = [], [], []
    for key in keys:
        for batch in read_documents(join(out, f"{part_path(key)}.parquet"), ["id", "text_hash", "split_hash"]):
            ids.append(_hashes(batch.column("id")))
            texts.append(_hashes(batch.column("text_hash")))
            splits.append(batch.column("split_hash").to_numpy())
    none = np.empty((0, 2), np.uint64)
    return PartRows(np.concatenate([none, *ids]), np.concatenate([none, *texts]), np.concatenate([none[:, 0], *splits]))


def _hashes(column: pa.Array) -> np.ndarray:
    """(n, 2) uint64 of a column of 16 bytes."""
    return np.frombuffer(b"".join(column.to_pylist()), "<u8").reshape(-1, 2)


def select(sources: Sequence[PartRows], threshold: int) -> list[Selection]:
    """Decide about every document of every source.

    Args:
        threshold: documents whose split hash lies below are held out.
    """
    first = [_first_of_each(rows.text_hashes) for rows in sources]
    held_out = [kept & (rows.split_hashes < threshold) for rows, kept in zip(sources, first, strict=True)]
    texts_held_out = np.concatenate([rows.text_hashes[mask] for rows, mask in zip(sources, held_out, strict=True)])
    selections = []
    for rows, kept, validation in zip(sources, first, held_out, strict=True):
        elsewhere = kept & ~validation & _contained(rows.text_hashes, texts_held_out)
        shared = kept & ~_first_of_each(rows.ids)
        selections.append(Selection(kept & ~validation & ~elsewhere, validation, ~kept, elsewhere, shared))
    return selections


def _first_of_each(hashes: np.ndarray) -> np.ndarray:
    """(n,) bool: no earlier row is equal."""
    order = np.lexsort((hashes[:, 1], hashes[:, 0]))  # stable: equal rows stay in their order
    ordered = hashes[order]
    first = np.ones(len(hashes), bool)
    first[order[1:]] = (ordered[1:] != ordered[:-1]).any(axis=1)
    return first


def _contained(hashes: np.ndarray, among: np.ndarray) -> np.ndarray:
    """(n,) bool: the row is one of `among`."""
    found = np.isin(hashes[:, 0], among[:, 0])
    known = {row.tobytes() for row in among}
    for row in np.flatnonzero(found):
        found[row] = hashes[row].tobytes() in known
    return found


def merge_source(
    out: str, name: str, language: str, keys: Sequence[str], selection: Selection, dtype: np.dtype
) -> tuple[TokenSource, list[FileEntry]]:
    """Write a source's token files and document tables."""
    splits, files = {}, []
    for split in SPLITS:
        keep = selection.train if split == "train" else selection.validation
        tokens = _merge_tokens(out, token_prefix(name, split), keys, keep, dtype)
        rows, num_bytes = _merge_rows(out, document_rows_path(name, split), keys, keep, with_text=split != "train")
        splits[split] = TokenSplit(
            documents=tokens.num_documents,
            tokens=tokens.num_tokens,
            bytes=num_bytes,
            bin_sha256=tokens.entries[0].sha256,
            idx_sha256=tokens.entries[1].sha256,
        )
        files += [*tokens.entries, rows]
    return TokenSource(name, language, splits), files


def _merge_tokens(out: str, prefix: str, keys: Sequence[str], keep: np.ndarray, dtype: np.dtype) -> TokenWriter:
    at = 0
    with TokenWriter(out, prefix, dtype) as writer:
        for key in keys:
            with TokenFile.open(join(out, part_path(key))) as part:
                writer.add_documents(part, keep[at : at + part.num_documents])
                at += part.num_documents
    assert at == len(keep), f"{prefix}: parts hold {at} documents, their tables {len(keep)}"
    return writer


def _merge_rows(
    out: str, path: str, keys: Sequence[str], keep: np.ndarray, *, with_text: bool
) -> tuple[FileEntry, int]:
    """Copy the rows that are kept; also the UTF-8 bytes of their texts."""
    columns = [*ROW_COLUMNS, "text"] if with_text else ROW_COLUMNS
    num_bytes = 0

    def kept_rows() -> Iterator[pa.RecordBatch]:
        nonlocal num_bytes
        at = 0
        for key in keys:
            for batch in read_documents(join(out, f"{part_path(key)}.parquet"), columns):
                kept = batch.filter(pa.array(keep[at : at + batch.num_rows]))
                at += batch.num_rows
                num_bytes += int(kept.column("num_bytes").to_numpy().sum())
                yield kept

    schema = pa.schema([PART_SCHEMA.field(name) for name in columns])
    entry = write_parquet(out, path, kept_rows(), schema, TEXT_ROWS_PER_GROUP if with_text else ROWS_PER_GROUP)
    return entry, num_bytes
