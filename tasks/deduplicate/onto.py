"""Adding documents to an earlier corpus without reading its texts again.

In: the base, a complete artifact of deduplication, which may itself be built onto earlier ones (its generations,
`storage.corpus`), and all documents, the base's among them. Only shards that no generation has signed are signed.
The decision is over all documents, as if they were deduplicated at once; what it says of the documents of earlier
shards is compared with where their texts lie:

- a document that lies in an earlier generation and is no longer kept goes to `superseded/<key>.parquet` (`id`, `rule`,
  `twin_id`, `survivor_id`): a tombstone, the text stays where it is;
- one that lies in none and is kept again (what outranked it was itself dropped before the two were compared) returns:
  its text is read from the documents before deduplication, refined and written here;
- every shard's ledger is written anew from the base's: ids, URLs, and what refinement dropped, with the new fates.

So documents, ledger and counts are those of deduplicating everything at once. Boilerplate is the exception: its lines
are counted over what a generation writes, and what earlier ones found is cut too.

Memory of a worker: about 250 bytes x documents of its shard, and of a shard with returning documents what
`tasks.deduplicate.survivors` takes.

    earlier = open_earlier("runs/deduplicate/x-0123456789ab", digests, config)
    earlier.index["CC-MAIN-00000"]   # the artifact that has signed it
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from storage.artifact import FileEntry, Manifest, new_file
from storage.corpus import GENERATIONS, SUPERSEDED, generations
from storage.documents import read_documents, write_parquet
from storage.ledger import FULL_SCHEMA, Rule, full_path
from storage.uri import join, read_bytes
from tasks.deduplicate.config import DeduplicateConfig
from tasks.deduplicate.fates import Fates, write_ledger, write_returning
from tasks.deduplicate.index import IndexShard, read_rows
from tasks.deduplicate.survivors import REFINE_SCHEMA, WriteShard, Written, record_of, write_survivors
from tasks.refine.refine import DROPPING
from tasks.shards import ShardRecord

SIGNED = "index/documents.json"  # of which files the index of an artifact is: {"urls": bool, "sha256": {key: hex}}
SUPERSEDED_SCHEMA = pa.schema(
    [
        pa.field("id", pa.binary(16), nullable=False),
        pa.field("rule", pa.uint8(), nullable=False),
        pa.field("twin_id", pa.binary(16)),
        pa.field("survivor_id", pa.binary(16)),
    ]
)
_AT_ONCE = "Deduplicate at once: leave deduplicate.onto out"


@dataclass(frozen=True)
class Earlier:
    """The generations that a corpus is built onto.

    Attributes:
        artifacts: their URIs, oldest first; the last is the base.
        index: key of a shard -> the artifact that has signed it.
        refined: key -> URIs of `refine/<key>.parquet`, oldest first.
        superseded: key -> URI of the base's list.
        boilerplate: URIs of all files of boilerplate lines.
    """

    artifacts: tuple[str, ...]
    index: Mapping[str, str]
    refined: Mapping[str, tuple[str, ...]]
    superseded: Mapping[str, str]
    boilerplate: tuple[str, ...]

    @property
    def base(self) -> str:
        return self.artifacts[-1]

    def shard(self, write: WriteShard, index: IndexShard) -> EarlierShard:
        """What is known of a shard."""
        return EarlierShard(write, index, self.base, self.refined.get(index.key, ()), self.superseded.get(index.key))


@dataclass(frozen=True)
class EarlierShard:
    """A shard that an earlier generation has written: what to write, and what is known of it (see `Earlier`)."""

    write: WriteShard
    index: IndexShard
    base: str
    refined: tuple[str, ...]
    superseded: str | None


def write_signed(out: str, config: DeduplicateConfig, digests: Mapping[str, str]) -> FileEntry:
    """Say which files were signed into the index of `out`: sha256 by key."""
    with new_file(out, SIGNED) as file:
        file.write(json.dumps({"sha256": digests, "urls": config.urls}, indent=1, sort_keys=True).encode())
    return FileEntry.of(SIGNED, file)


def write_generations(out: str, earlier: Earlier) -> FileEntry:
    """Name the generations that `out` is built onto."""
    names = [uri.rsplit("/", 1)[-1] for uri in earlier.artifacts]
    with new_file(out, GENERATIONS) as file:
        file.write(json.dumps({"earlier": names}).encode())
    return FileEntry.of(GENERATIONS, file)


def open_earlier(base: str, digests: Mapping[str, str], config: DeduplicateConfig) -> Earlier:
    """Find what the base and the generations it is built onto have.

    Args:
        digests: sha256 by key of all documents that are to be deduplicated.

    Raises:
        FileNotFoundError: a generation is missing or not complete.
        ValueError: the base has a shard that is not among the documents or was made of another file, or it was signed
            under other settings.
    """
    every = generations(base.rstrip("/"))
    index: dict[str, str] = {}
    refined: dict[str, tuple[str, ...]] = {}
    for artifact, manifest in every:
        for key in _check_signed(artifact, digests, config):
            index[key] = artifact
        for key, uri in _files(artifact, manifest, "refine/").items():
            refined[key] = (*refined.get(key, ()), uri)
    return Earlier(
        artifacts=tuple(artifact for artifact, _ in every),
        index=index,
        refined=refined,
        superseded=_files(*every[-1], SUPERSEDED),
        boilerplate=tuple(uri for entry in every for uri in sorted(_files(*entry, "boilerplate/").values())),
    )


def _files(artifact: str, manifest: Manifest, folder: str) -> dict[str, str]:
    """Key -> URI of the Parquet files in a folder of an artifact."""
    paths = [entry.path for entry in manifest.files if entry.path.startswith(folder)]
    return {path.removeprefix(folder).removesuffix(".parquet"): join(artifact, path) for path in paths}


def _check_signed(artifact: str, digests: Mapping[str, str], config: DeduplicateConfig) -> list[str]:
    """The keys of the shards that an artifact has signed, all of which must be what is to be deduplicated now."""
    signed = json.loads(read_bytes(join(artifact, SIGNED)))
    if signed["urls"] != config.urls:
        raise ValueError(f"{artifact} was made with urls: {signed['urls']}, not {config.urls}. {_AT_ONCE}")
    keys = sorted(signed["sha256"])
    missing = [key for key in keys if key not in digests]
    if missing:
        raise ValueError(
            f"{artifact} has {len(missing)} of {len(keys)} shards that are not among the documents to deduplicate, "
            f"{missing[0]} first: their documents cannot be taken out of it. {_AT_ONCE}"
        )
    others = [key for key in keys if digests[key] != signed["sha256"][key]]
    if others:
        raise ValueError(
            f"{artifact} has signed {others[0]} (and {len(others) - 1} other shards) from another file: sha256 "
            f"{signed['sha256'][others[0]][:12]}, now {digests[others[0]][:12]}. {_AT_ONCE}"
        )
    return keys


@dataclass(frozen=True)
class _Before:
    """What the base says of a shard: its ledger, and which documents lie in an earlier generation, bool (documents,).

    What lies there was kept by the base, or is in its list of superseded documents.
    """

    ledger: pa.Table
    lies_in: np.ndarray

    @property
    def rule(self) -> np.ndarray:
        return self.ledger["rule"].to_numpy()


def _before(shard: EarlierShard) -> _Before:
    schema = pa.schema([FULL_SCHEMA.field(name) for name in ("id", "rule", "value", "threshold")])
    batches = read_documents(join(shard.base, full_path(shard.write.key)), schema.names)
    ledger = pa.Table.from_batches(batches, schema)
    lies_in = ledger["rule"].to_numpy() == Rule.KEPT
    if shard.superseded is not None:
        listed = pa.chunked_array([batch.column("id") for batch in read_documents(shard.superseded, ["id"])])
        lies_in |= pc.is_in(ledger["id"], value_set=listed).to_numpy()
    return _Before(ledger, lies_in)


def find_returning(shard: EarlierShard) -> ShardRecord:
    """Find a shard's documents that are kept but lie in no earlier generation; counts `returning`."""
    fates, before = shard.write.fates(), _before(shard)
    returning = fates.kept & ~before.lies_in & ~np.isin(before.rule, DROPPING)
    entry = write_returning(shard.write.out, shard.write.key, returning)
    return ShardRecord(f"returning-{shard.write.key}", [entry], {"returning": int(returning.sum())})


def rewrite_shard(shard: EarlierShard) -> ShardRecord:
    """Write a shard's ledger anew, its list of superseded documents, and the documents that return.

    Returns:
        the record of `record_of` for all documents of the shard, wherever they lie; and counts `returned`,
        `superseded`.
    """
    write = shard.write
    fates, before = write.fates(), _before(shard)
    returning = write.to_write(fates)
    written = write_survivors(write, fates) if returning.any() else Written()
    dropped_before = fates.kept & ~before.lies_in & ~returning
    for name, values in (("rule", fates.rule), ("value", fates.value), ("threshold", fates.threshold)):
        values[dropped_before] = before.ledger[name].to_numpy()[dropped_before]
    superseded = before.lies_in & ~fates.kept
    if superseded.any():
        written.files.append(_write_superseded(write, before, fates, superseded))
    base_ledger = join(shard.base, full_path(write.key))
    written.files.append(write_ledger(write.out, write.key, read_documents(base_ledger, ["id", "url"]), fates))
    _add_what_lies_there(shard, fates, before.ledger["id"], returning, written)
    record = record_of(write, fates, written)
    counts = record.counts | {"returned": int((returning & fates.kept).sum()), "superseded": int(superseded.sum())}
    return ShardRecord(record.key, record.files, counts, record.details)


def _write_superseded(write: WriteShard, before: _Before, fates: Fates, superseded: np.ndarray) -> FileEntry:
    chosen = pa.array(superseded)
    columns = [before.ledger["id"].combine_chunks(), pa.array(fates.rule), fates.twin_id, fates.survivor_id]
    batch = pa.RecordBatch.from_arrays([column.filter(chosen) for column in columns], schema=SUPERSEDED_SCHEMA)
    return write_parquet(write.out, f"{SUPERSEDED}{write.key}.parquet", [batch], SUPERSEDED_SCHEMA)


def _add_what_lies_there(
    shard: EarlierShard, fates: Fates, ids: pa.ChunkedArray, returning: np.ndarray, written: Written
) -> None:
    """Complete `written` by what earlier generations did to those of the shard's documents that are no copies.

    Of a document that was refined more than once the last time counts. One that refinement never changed has as many
    characters as the index says.
    """
    tables = [pa.Table.from_batches(read_documents(uri), REFINE_SCHEMA) for uri in shard.refined]
    refined = pa.concat_tables([*tables, written.refined])
    rows = pc.index_in(refined["id"], value_set=ids).to_numpy()
    places = np.arange(len(rows))
    is_new = places >= len(rows) - written.refined.num_rows
    latest = np.full(len(fates.rule), -1)
    np.maximum.at(latest, rows[~is_new], places[~is_new])
    latest[returning] = -1
    latest[rows[is_new]] = places[is_new]
    changed = latest >= 0
    characters = read_rows(shard.index, ["num_characters"])["num_characters"].to_numpy().copy()
    characters[changed] = refined["num_characters"].to_numpy()[latest[changed]]
    written.characters = int(characters[fates.kept].sum())
    no_copy = np.isin(fates.rule, (Rule.KEPT, *DROPPING))
    written.refined = refined.take(latest[changed & no_copy])
