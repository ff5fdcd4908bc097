"""A corpus as it is read: the documents of all its generations that are kept today.

Deduplication makes a corpus at once, or onto an earlier one, whose texts are then not written again. Such an artifact
is the newest of several generations, and holds beside what is new:

- `generations.json`: `{"earlier": [...]}`, the folders of the generations before it, oldest first, all siblings of its
  own; a corpus made at once has no such file;
- `documents/<key>.parquet`: documents of new shards, and of an earlier shard only those that have come back;
- `superseded/<key>.parquet`: `id` of every document that lies in an earlier generation and is no longer kept. The
  newest generation's lists say it all: older ones are not read.

Shards come in the order of their files' names, the generations of one shard oldest first, so that a corpus of several
generations reads as one that was made at once.

    for shard in corpus_shards("runs/deduplicate/x-0123456789ab"):
        for id, text in corpus_texts(shard): ...
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from storage.artifact import Manifest, read_manifest
from storage.documents import ROWS_PER_GROUP, count_documents, read_documents
from storage.uri import join, read_bytes

GENERATIONS = "generations.json"
DOCUMENTS, SUPERSEDED = "documents/", "superseded/"


@dataclass(frozen=True)
class CorpusShard:
    """A file of documents, and the list of those in it that are no longer kept, where there may be any."""

    uri: str
    superseded: str | None = None

    @property
    def key(self) -> str:
        """The shard's name; its files in other generations have the same."""
        return self.uri.rsplit("/", 1)[-1].removesuffix(".parquet")


def earlier_generations(artifact: str, manifest: Manifest) -> list[str]:
    """Folder names of the generations that a corpus is built onto, oldest first; none where it was made at once."""
    if all(entry.path != GENERATIONS for entry in manifest.files):
        return []
    earlier: list[str] = json.loads(read_bytes(join(artifact, GENERATIONS)))["earlier"]
    return earlier


def generations(artifact: str) -> list[tuple[str, Manifest]]:
    """URI and manifest of every generation of a corpus, oldest first; `artifact` itself is the last.

    Raises:
        FileNotFoundError: it is not complete, or a generation it is built onto is not; says what to do.
    """
    manifest = read_manifest(artifact)
    if manifest is None:
        raise FileNotFoundError(f"no complete artifact at {artifact}")
    found = []
    for folder in earlier_generations(artifact, manifest):
        uri = join(artifact.rsplit("/", 1)[0], folder)
        earlier = read_manifest(uri)
        if earlier is None:
            raise FileNotFoundError(
                f"{artifact} is built onto {uri}, which is not there, or not complete: it was removed. Bring it back, "
                "or deduplicate at once, without deduplicate.onto"
            )
        found.append((uri, earlier))
    return [*found, (artifact, manifest)]


def corpus_shards(artifact: str) -> list[CorpusShard]:
    """The document files of a complete corpus, in the order in which they are read.

    Raises:
        FileNotFoundError: as `generations`.
    """
    every = generations(artifact)
    newest, manifest = every[-1]
    lists = {name: join(newest, SUPERSEDED, name) for name in _names(manifest, SUPERSEDED)}
    found = []
    for number, (uri, made) in enumerate(every):
        for name in _names(made, DOCUMENTS):
            superseded = lists.get(name) if uri != newest else None
            found.append((name, number, CorpusShard(join(uri, DOCUMENTS, name), superseded)))
    return [shard for _, _, shard in sorted(found, key=lambda entry: entry[:2])]


def read_corpus(shard: CorpusShard, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
    """The documents of a shard that are kept, in reading order.

    At most a row group is in memory, and the ids of the shard's superseded documents: 16 bytes each.

    Args:
        columns: the columns wanted, all when left out.

    Raises:
        FileNotFoundError, ValueError: as `storage.documents.read_documents`.
    """
    return (batch for batch, _ in read_corpus_rows(shard, columns))


def read_corpus_rows(
    shard: CorpusShard, columns: Sequence[str] | None = None, batch_rows: int = ROWS_PER_GROUP
) -> Iterator[tuple[pa.RecordBatch, np.ndarray]]:
    """As `read_corpus`, and with every batch the rows of its documents in the file (from 0), (documents,) int64.

    Args:
        batch_rows: as of `storage.documents.read_documents`.
    """
    first = 0
    if shard.superseded is None:
        for batch in read_documents(shard.uri, columns, batch_rows):
            yield batch, np.arange(first, first + batch.num_rows)
            first += batch.num_rows
        return
    lists = [batch.column("id") for batch in read_documents(shard.superseded, ["id"])]
    gone = pa.chunked_array(lists, pa.binary(16)).combine_chunks()
    without_id = columns is not None and "id" not in columns
    wanted = ["id", *columns] if columns is not None and without_id else columns
    for batch in read_documents(shard.uri, wanted, batch_rows):
        stays = pc.invert(pc.is_in(batch.column("id"), value_set=gone))
        kept = batch.filter(stays)
        yield kept.drop_columns(["id"]) if without_id else kept, first + np.flatnonzero(stays)
        first += batch.num_rows


def count_corpus(shard: CorpusShard) -> int:
    """How many documents of a shard are kept; from its footer where none is superseded.

    Raises:
        FileNotFoundError, ValueError: as `read_corpus`.
    """
    if shard.superseded is None:
        return count_documents(shard.uri)
    return sum(batch.num_rows for batch in read_corpus(shard, ["id"]))


def corpus_texts(shard: CorpusShard) -> Iterator[tuple[bytes, str]]:
    """(id, text) of every document of a shard that is kept, in reading order."""
    for batch in read_corpus(shard, ["id", "text"]):
        yield from zip(batch.column("id").to_pylist(), batch.column("text").to_pylist(), strict=True)


def _names(manifest: Manifest, folder: str) -> list[str]:
    """The names of an artifact's data files in one of its folders."""
    return [entry.path.removeprefix(folder) for entry in manifest.files if entry.path.startswith(folder)]
