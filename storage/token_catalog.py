"""What a binarize artifact holds: `tokens.json`, the sources with the counts and hashes of their token files.

Per source, below the artifact: `<name>/train.bin|.idx` and `<name>/validation.bin|.idx`
(`storage.tokens`); `<name>/train.documents.parquet`, whose row n says which document the n-th of
`train.bin` is (id, num_tokens, num_bytes) and where it was read: `file`, the number of the file among the
source's files in their order, and `row`, the row in it from 0; `<name>/validation.parquet`, the same for the
validation documents together with their text, which the evaluation scores. The hashes stand here because the
mixture's digest needs them and token files are too large to be hashed again.

    for source in read_catalog("runs/binarize/demo-0123"):
        print(source.name, source.splits["train"].tokens)
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from storage.artifact import FileEntry, new_file
from storage.uri import join, localized, read_bytes

CATALOG = "tokens.json"
SCHEMA_VERSION = 1
SPLITS = ("train", "validation")


@dataclass(frozen=True)
class TokenSplit:
    """One pair of token files; `bytes` is the UTF-8 size of the texts."""

    documents: int
    tokens: int
    bytes: int
    bin_sha256: str
    idx_sha256: str


@dataclass(frozen=True)
class TokenSource:
    """One source; `splits` has an entry for each of `SPLITS`."""

    name: str
    language: str
    splits: dict[str, TokenSplit]


def token_prefix(source: str, split: str) -> str:
    """Where a source's token files lie in the artifact, without `.bin` and `.idx`."""
    return f"{source}/{split}"


def document_rows_path(source: str, split: str) -> str:
    """Where the table lies that says which document each row of a token file is."""
    return f"{source}/train.documents.parquet" if split == "train" else f"{source}/validation.parquet"


def write_catalog(artifact: str, sources: Iterable[TokenSource], vocab_size: int) -> FileEntry:
    content = {
        "schema_version": SCHEMA_VERSION,
        "vocab_size": vocab_size,
        "sources": [asdict(source) for source in sources],
    }
    with new_file(artifact, CATALOG) as file:
        file.write(json.dumps(content, ensure_ascii=False, indent=1).encode() + b"\n")
    return FileEntry.of(CATALOG, file)


def read_catalog(artifact: str) -> list[TokenSource]:
    """The sources of a binarize artifact, in the run file's order.

    Raises:
        FileNotFoundError: no catalog there: not a binarize artifact, or one that was never finished.
        ValueError: written by another schema version.
    """
    content = json.loads(read_bytes(join(artifact, CATALOG)))
    if content["schema_version"] != SCHEMA_VERSION:
        raise ValueError(f"{artifact}/{CATALOG}: schema {content['schema_version']}, expected {SCHEMA_VERSION}")
    return [
        TokenSource(
            source["name"],
            source["language"],
            {split: TokenSplit(**source["splits"][split]) for split in SPLITS},
        )
        for source in content["sources"]
    ]


def document_ids(rows_uri: str, rows: Sequence[int]) -> list[bytes]:
    """The ids of rows of a token file, out of its document table; reads only the row groups they lie in.

    Raises:
        IndexError: a row that the table does not have.
    """
    return [id for (id,) in _table_rows(rows_uri, rows, ("id",))]


def document_places(rows_uri: str, rows: Sequence[int]) -> list[tuple[bytes, int, int]]:
    """(id, file, row) of rows of a token file: who each document is, and the place in its source it was read from.

    `file` counts the source's files in their order: those of `storage.corpus.corpus_shards` for the run's corpus, else
    its documents with globs expanded. `row` is `storage.documents.take_documents`' in a Parquet file.

    Raises:
        IndexError: a row that the table does not have.
        ValueError: the table was written before places were.
    """
    return [(id, file, row) for id, file, row in _table_rows(rows_uri, rows, ("id", "file", "row"))]


def _table_rows(rows_uri: str, rows: Sequence[int], columns: Sequence[str]) -> list[tuple[Any, ...]]:
    """Some columns of some rows, in the order they are asked for."""
    found: dict[int, tuple[Any, ...]] = {}
    wanted = sorted(set(rows))
    with localized(rows_uri) as path, pq.ParquetFile(path) as table:
        missing = [name for name in columns if name not in table.schema_arrow.names]
        if missing:
            raise ValueError(f"{rows_uri}: no column {', '.join(missing)}; it is of an older binarize, run that again")
        first = 0
        for group in range(table.num_row_groups):
            end = first + table.metadata.row_group(group).num_rows
            here = wanted[bisect_left(wanted, first) : bisect_left(wanted, end)]
            if here:
                values = table.read_row_group(group, columns=list(columns))
                taken = values.take(pa.array([row - first for row in here])).to_pylist()
                found.update(
                    {row: tuple(value[name] for name in columns) for row, value in zip(here, taken, strict=True)}
                )
            first = end
    if len(found) != len(wanted):
        raise IndexError(f"{rows_uri} has {first} rows, asked for {wanted[-1]}")
    return [found[row] for row in rows]
