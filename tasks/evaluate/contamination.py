"""How much of each benchmark item stands in the training corpus.

In: the items' texts and a corpus artifact. Out: for each item the largest share of its distinct n-grams that one
document holds, and which document. Texts are reduced to letters and digits as in `tasks/refine` (NFKC, case-folded:
spaces, punctuation and the width of characters make no difference), n-grams are of `ngram` of them. An item is dirty
when the share is above `max_overlap`: the idea of GPT-3's evaluation (Brown et al., 2020, appendix C), whose words are
characters here, because Japanese words have no borders. Of an item shorter than one n-gram nothing can be said: it is
unknown, neither clean nor dirty. Three letters of ASCII weigh as one Japanese character there, since 10 of them are but
two words of English: of 2,008 English sentences 15 of up to 25 letters ("Good evening") stood in 3.7 million characters
of other people's English, and none longer.

The shards of the corpus are mapped over, each leaving the best document of every item it has something of; a killed
run redoes only the shards that were not finished. Of documents that hold as much the one with the smallest id is
named, so the result does not depend on shards or workers. A worker needs at most

    40 B x items' n-grams + 400 B x items + 100 B x max(2^18, longest document's characters)
        + twice the text of a row group + 90 MiB

measured: 330 MiB for 4.2 million n-grams of 28,430 items of thirteen benchmarks and row groups of 50 MB. One core reads
a billion characters of Japanese in 80 s where that many items are looked for, of English in 230 s: more of its n-grams
are in some item.

    rows = overlaps({"niilc": [("1", "日本で一番高い山は？富士山")]}, corpus_uri, config, executor, out)
    [row for row in rows if is_dirty(row["overlap"], config)]
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from storage.corpus import CorpusShard, corpus_shards, count_corpus, generations, read_corpus_rows
from storage.documents import read_documents, write_documents
from storage.uri import join, read_bytes, write_bytes
from tasks.evaluate.config import ContaminationConfig
from tasks.meter import advance
from tasks.refine.ngrams import NO_HASHES, NONE, NgramTable, distinct_ngrams, joined_letters, letter_weights, ngrams
from tasks.shards import ExecutorConfig, Progress, Shard, ShardRecord, map_shards, one_pool

logger = logging.getLogger(__name__)

Texts = Mapping[str, Sequence[tuple[str, str]]]  # task -> (id, text) of its items
ALGORITHM = "1"  # raised when the same items and corpus give other rows
_ITEMS_AT_ONCE = 8192
_CHARACTERS_AT_ONCE = _LETTERS_AT_ONCE = 1 << 18
_ROWS_PER_READ = 256
_INDEX = "items.npz"
NO_FLAGS = np.empty(0, bool)


def is_dirty(overlap: float, config: ContaminationConfig) -> bool:
    """Whether an item of this overlap counts as seen in training."""
    return overlap > config.max_overlap


def unknown_items(items: Texts, config: ContaminationConfig) -> dict[str, list[str]]:
    """The items of each task that are shorter than one n-gram: nobody can say whether a document holds them."""
    found: dict[str, list[str]] = {}
    for task, entries in items.items():
        known = [
            _is_known(*joined_letters(texts), config.ngram) for texts in _some_at_once([text for _, text in entries])
        ]
        found[task] = [entries[place][0] for place in np.flatnonzero(~np.concatenate([NO_FLAGS, *known])).tolist()]
    return found


def _some_at_once(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    return (texts[start : start + _ITEMS_AT_ONCE] for start in range(0, len(texts), _ITEMS_AT_ONCE))


def _is_known(points: np.ndarray, bounds: np.ndarray, n: int) -> np.ndarray:
    """bool (texts,): which texts are long enough."""
    return letter_weights(points, bounds) >= n


def overlaps(
    items: Texts,
    corpus_uri: str,
    config: ContaminationConfig,
    executor: ExecutorConfig,
    out: str,
    progress: Progress | None = None,
) -> list[dict[str, Any]]:
    """The items that a corpus has something of.

    Args:
        items: task -> (id, text) of each item.
        corpus_uri: a complete corpus artifact (`storage.corpus`); its documents have `id`, `url` and `text`.
        out: where work files go, below a folder of their own for these items and this corpus.
        progress: as of `map_shards`; counts `documents` and `characters`.

    Returns:
        {task, id, overlap, document, url} of every item with an overlap above 0, by task and id: `overlap` is the
        largest share of its distinct n-grams in one document, `document` that one's id in hexadecimal digits.

    Raises:
        FileNotFoundError: the corpus is not complete.
        ShardFailedError: a shard could not be read.
    """
    for task, ids in unknown_items(items, config).items():
        if ids:
            logger.info(
                "contamination: %d of %d items of %s are shorter than one n-gram of %d letters: nothing can be said",
                len(ids), len(items[task]), task, config.ngram,
            )  # fmt: skip
    work = join(out, "overlaps", _digest(items, corpus_uri, config.ngram))
    num_ngrams = _write_index(work, items, config.ngram)
    shards = [
        Shard(key, _Search(shard, key, work, config.ngram))
        for number, shard in enumerate(corpus_shards(corpus_uri))
        if (key := f"{number:05d}-{shard.key}")
    ]
    with one_pool(executor):
        records = map_shards(search_shard, shards, out=work, executor=executor, progress=progress)
    best: dict[int, _Holder] = {}
    for record in records:
        for batch in read_documents(join(work, record.files[0].path)):
            for item, *holder in zip(*batch.to_pydict().values(), strict=True):
                _take(best, item, _Holder(*holder))
    names = [(task, id) for task, texts in items.items() for id, _ in texts]
    rows = [
        {
            "task": names[item][0],
            "id": names[item][1],
            "overlap": round(holder.found / int(num_ngrams[item]), 6),
            "document": holder.document.hex(),
            "url": holder.url,
        }
        for item, holder in best.items()
    ]
    return sorted(rows, key=lambda row: (row["task"], row["id"]))


class _Holder(NamedTuple):
    """The document that holds most of an item: how many of its n-grams, the document's id and URL."""

    found: int
    document: bytes
    url: str | None


@dataclass(frozen=True)
class _Search:
    """What a worker is asked: which shard, and the folder of the items' n-grams and of what is found."""

    shard: CorpusShard
    key: str
    work: str
    ngram: int


def search_shard(search: _Search) -> ShardRecord:
    """Write `found/<key>.parquet`: item, found, document and url of the best document for every item, by item."""
    table, num_items = _read_index(search.work)
    best: dict[int, _Holder] = {}
    best_found = np.zeros(num_items, np.int64)
    total, done, characters = count_corpus(search.shard), 0, 0
    for rows in _batches(search.shard):
        texts = rows.column("text").to_pylist()
        identities, urls = rows.column("id").to_pylist(), rows.column("url").to_pylist()
        for item, document, found in _largest(texts, identities, table, num_items, search.ngram, best_found):
            _take(best, item, _Holder(found, identities[document], urls[document]))
            best_found[item] = best[item].found
        size = sum(map(len, texts))
        done, characters = done + len(texts), characters + size
        advance(done / total, documents=len(texts), characters=size)
    entry = write_documents(search.work, f"found/{search.key}.parquet", _as_table(best))
    return ShardRecord(search.key, [entry], {"documents": done, "characters": characters})


def _take(best: dict[int, _Holder], item: int, holder: _Holder) -> None:
    """The document with more of the item, of equals the smaller id."""
    known = best.get(item)
    if known is None or (-holder.found, holder.document) < (-known.found, known.document):
        best[item] = holder


def _largest(
    texts: Sequence[str], identities: Sequence[bytes], table: NgramTable, num_items: int, n: int, least: np.ndarray
) -> Iterator[tuple[int, int, int]]:
    """(item, document, found) for each item that one of these documents has at least `least[item]` n-grams of."""
    documents, ngram_numbers = _known_ngrams(texts, table, n)
    which, items = table.owners_of(ngram_numbers)
    pairs, found = np.unique(documents[which] * num_items + items, return_counts=True)
    documents, items = np.divmod(pairs, num_items)
    enough = found >= least[items]
    documents, items, found = documents[enough], items[enough], found[enough]
    rank = np.empty(len(texts), np.int64)  # by id, which decides between equals
    rank[sorted(range(len(texts)), key=identities.__getitem__)] = np.arange(len(texts))
    order = np.lexsort((rank[documents], -found, items))
    _, first = np.unique(items[order], return_index=True)
    chosen = order[first]
    yield from zip(items[chosen].tolist(), documents[chosen].tolist(), found[chosen].tolist(), strict=True)


def _known_ngrams(texts: Sequence[str], table: NgramTable, n: int) -> tuple[np.ndarray, np.ndarray]:
    """The n-grams of documents that some item has, each once a document: the document, and the table's number."""
    points, bounds = joined_letters(texts)
    pairs = [NONE]
    for start in range(0, len(points), _LETTERS_AT_ONCE):  # of a long document; 60 bytes a letter
        piece = points[start : start + _LETTERS_AT_ONCE + n - 1]
        hashes, documents = ngrams(piece, np.clip(bounds - start, 0, len(piece)), n)
        places, numbers = table.known(hashes)
        pairs.append(documents[places] * table.size + numbers)
    documents, numbers = np.divmod(np.unique(np.concatenate(pairs)), max(1, table.size))
    return documents, numbers


def _batches(shard: CorpusShard) -> Iterator[pa.RecordBatch]:
    """A shard's documents, as many at once as are short: nearly all of the time goes into calls on long arrays."""
    for batch, _ in read_corpus_rows(shard, ["id", "url", "text"], _ROWS_PER_READ):
        sizes = pc.utf8_length(batch.column("text")).to_numpy()
        ends = np.flatnonzero(np.diff(np.cumsum(sizes) // _CHARACTERS_AT_ONCE, prepend=0)).tolist()
        for start, end in pairwise([0, *ends, batch.num_rows]):
            if end > start:
                yield batch.slice(start, end - start)


def _as_table(best: Mapping[int, _Holder]) -> pa.Table:
    items = sorted(best)
    return pa.table(
        {
            "item": pa.array(items, pa.int32()),
            "found": pa.array([best[item].found for item in items], pa.int32()),
            "document": pa.array([best[item].document for item in items], pa.binary(16)),
            "url": pa.array([best[item].url for item in items], pa.string()),
        }
    )


def _write_index(work: str, items: Texts, n: int) -> np.ndarray:
    """Leave the items' n-grams for the workers; returns how many distinct ones each item has, in the items' order."""
    texts = [text for entries in items.values() for _, text in entries]
    hashes, owners = [NO_HASHES], [NONE]
    for number, some in enumerate(_some_at_once(texts)):
        points, bounds = joined_letters(some)
        own, numbers = distinct_ngrams(*ngrams(points, bounds, n))
        known = _is_known(points, bounds, n)[numbers]
        own, numbers = own[known], numbers[known]
        hashes.append(own)
        owners.append(numbers + number * _ITEMS_AT_ONCE)
    file = io.BytesIO()
    every = np.concatenate(owners).astype(np.int32)
    table = NgramTable.make(np.concatenate(hashes), every)
    np.savez(file, hashes=table.hashes, owners=table.owners, bits=table.bits, num_items=len(texts))
    write_bytes(join(work, _INDEX), file.getvalue())
    return np.bincount(every, minlength=len(texts))


@lru_cache(maxsize=1)
def _read_index(work: str) -> tuple[NgramTable, int]:
    """One table a process; the folder is named after what is in it."""
    with np.load(io.BytesIO(read_bytes(join(work, _INDEX)))) as arrays:
        return NgramTable(arrays["hashes"], arrays["owners"], arrays["bits"]), int(arrays["num_items"])


def _digest(items: Texts, corpus_uri: str, ngram: int) -> str:
    """Names the work of these items on this corpus; 12 hexadecimal digits."""
    digest = hashlib.sha256(f"{ALGORITHM}\0{ngram}\0{generations(corpus_uri)[-1][1].fingerprint}".encode())
    for task, entries in items.items():
        for id, text in entries:
            digest.update(json.dumps([task, id, text]).encode())
    return digest.hexdigest()[:12]
