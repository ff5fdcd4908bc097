"""Single documents by their row: the few that a report names, out of shards that hold millions.

In: rows numbered over all shards, and the document shard of each index shard. Out: the columns asked for. Only the row
groups that hold a wanted row are read, and of them only these columns.

Memory: one row group of the columns at a time (about 12 MB with the text).

    pages = read_pages([17, 900_004], shards, documents, ["url", "text"])
    pages[17]["url"], excerpt(pages[17]["text"], PiiConfig())
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from storage.uri import exists, filesystem
from tasks.deduplicate.index import IndexShard
from tasks.refine.pii import mask
from tasks.refine.pii_config import PiiConfig

EXCERPT_CHARACTERS = 120
_ROWS_AT_A_TIME = 256

Page = Mapping[str, Any]


def read_pages(
    rows: Collection[int], shards: Sequence[IndexShard], documents: Mapping[str, str], columns: Sequence[str]
) -> dict[int, Page]:
    """Row -> its columns; rows whose document shard is not given, or is gone, are left out.

    Args:
        rows: numbered over all shards.
        documents: key of an index shard -> URI of its document shard.
    """
    wanted = np.unique(np.array(sorted(rows), np.int64))
    pages: dict[int, Page] = {}
    for shard in shards:
        first, last = np.searchsorted(wanted, [shard.first, shard.first + shard.documents])
        uri = documents.get(shard.key)
        if first < last and uri is not None and exists(uri):
            here = wanted[first:last]
            pages.update(zip(here.tolist(), _take(uri, here - shard.first, columns), strict=True))
    return pages


def _take(uri: str, rows: np.ndarray, columns: Sequence[str]) -> Iterator[Page]:
    """These rows of one document shard; `rows` are ascending."""
    fs, path = filesystem(uri)
    with fs.open(path, "rb") as file:
        parquet = pq.ParquetFile(file, pre_buffer=False)
        groups = range(parquet.num_row_groups)
        bounds = np.cumsum([0, *(parquet.metadata.row_group(group).num_rows for group in groups)])
        group_of = np.searchsorted(bounds, rows, side="right") - 1
        for group in np.unique(group_of).tolist():
            wanted = rows[group_of == group] - bounds[group]
            first = 0
            for batch in parquet.iter_batches(_ROWS_AT_A_TIME, [group], list(columns), use_threads=False):
                here = wanted[(wanted >= first) & (wanted < first + batch.num_rows)] - first
                yield from batch.take(pa.array(here)).to_pylist()
                first += batch.num_rows


def excerpt(text: str, pii: PiiConfig) -> str:
    """The beginning of a text on one line, with the personal information masked that refinement masks."""
    line = " ".join(mask(text, pii).text.split())
    return line if len(line) <= EXCERPT_CHARACTERS else line[: EXCERPT_CHARACTERS - 1].rstrip() + "…"
